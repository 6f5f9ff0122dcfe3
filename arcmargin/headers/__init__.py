"""Margin heads as ordinary modules: embeddings and labels in, logits out."""

from arcmargin.headers.base import Header
from arcmargin.headers.margin import MarginHeader
from arcmargin.headers.partial_fc import PartialFC

__all__ = ["Header", "MarginHeader", "PartialFC"]
