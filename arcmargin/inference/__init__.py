"""What a finished run is good for: embeddings of other images, verification, export."""
