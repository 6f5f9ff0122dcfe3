"""Cosines between many embeddings, a block of rows at a time, rounded to whole steps.

Step 0 is a cosine of 1, step STEPS - 1 a cosine of -1. A step is about as fine as single precision
computes a cosine; two cosines in one step count as tied. So a histogram of STEPS counts takes the
place of a list of all pairs, and 50,000 embeddings need no 50,000 × 50,000 matrix.
"""

import warnings
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from arcmargin.metrics.directions import directions

STEPS = 2**20
RESOLUTION = 2 / (STEPS - 1)
BLOCK = 2**22  # cosines at a time


def unit_rows(embeddings: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Each row divided by its norm, float32. A row that is zero or not finite becomes zero, and so is
    similar to nothing: leaving it out would flatter the result. Warns of such rows."""
    unit, usable = directions(embeddings)
    if not usable.all():
        warnings.warn(
            f"{np.count_nonzero(~usable)} of {len(usable)} embeddings have no direction (zero or "
            "not finite); they count as similar to nothing",
            stacklevel=2,
        )
    return unit.astype(np.float32)


def steps(cosines: Float[np.ndarray, "..."]) -> Int[np.ndarray, "..."]:
    """The step of each cosine: the more similar, the smaller."""
    scaled = (1 - cosines) * ((STEPS - 1) / 2) + 0.5
    return np.clip(scaled, 0, STEPS - 1).astype(np.int64)


def cosine_of(step: Int[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return 1 - step * RESOLUTION


def chunks(rows: int, columns: int) -> Iterator[slice]:
    """Rows at a time, so that rows × columns stays within BLOCK."""
    size = max(1, BLOCK // max(columns, 1))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))
