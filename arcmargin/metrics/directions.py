"""Embeddings as directions: only their angles are compared, never their lengths."""

import numpy as np
from jaxtyping import Bool, Float


def directions(
    embeddings: Float[np.ndarray, "n d"],
) -> tuple[Float[np.ndarray, "n d"], Bool[np.ndarray, "n"]]:
    """Each row at length one, in float64, and which rows have a direction at all: one that is zero
    or not finite becomes zero."""
    embeddings = embeddings.astype(np.float64)
    norms = np.linalg.norm(embeddings, axis=1)
    usable = np.isfinite(norms) & (norms > 0)
    unit = np.where(usable[:, None], embeddings, 0.0) / np.where(usable, norms, 1.0)[:, None]
    return unit, usable
