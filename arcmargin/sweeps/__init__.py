"""Multiruns: which jobs there are, who runs them, how they go on, and what is said of them."""
