"""Geometry of embeddings and open-set metrics: pure functions on arrays, and the table of metrics."""
