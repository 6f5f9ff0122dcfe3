"""Margin heads as ordinary modules: embeddings and labels in, logits out."""

from arcmargin.headers.base import Header
from arcmargin.headers.margin import MarginHeader

__all__ = ["Header", "MarginHeader"]
