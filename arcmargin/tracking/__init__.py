"""The mirror in Weights & Biases: without it nothing in outputs/ is different."""
