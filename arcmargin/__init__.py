"""The bench for margin-based softmax heads: s·(cos(m1·θ + m2) − m3)."""

__version__ = "0.1.0"
