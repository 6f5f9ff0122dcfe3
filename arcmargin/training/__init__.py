"""Training on plain objects: no configuration below this line."""
