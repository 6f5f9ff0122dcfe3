"""Cosines between many embeddings, a block at a time, as whole numbers: 0 is cos = 1, the last -1.

Cosines less than RESOLUTION apart count as equal: about what single precision leaves of them. A
histogram over these steps then replaces a list of all pairs, so 50,000 embeddings need no 50,000²
matrix; where two scores fall into one step, they count as tied.
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
    """Each row at length one, float32. A row without a direction becomes zero, like nothing else:
    leaving it out would flatter the result."""
    unit, usable = directions(embeddings)
    if not usable.all():
        warnings.warn(
            f"{np.count_nonzero(~usable)} of {len(usable)} embeddings have no direction (zero or "
            "not finite); they count as similar to nothing",
            stacklevel=2,
        )
    return unit.astype(np.float32)


def steps(cosines: Float[np.ndarray, "..."]) -> Int[np.ndarray, "..."]:
    """The more similar, the smaller the number."""
    scaled = (1 - cosines) * ((STEPS - 1) / 2) + 0.5
    return np.clip(scaled, 0, STEPS - 1).astype(np.int64)


def cosine_of(step: Int[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return 1 - step * RESOLUTION


def chunks(rows: int, columns: int) -> Iterator[slice]:
    """Rows at a time, so that rows × columns stays within BLOCK."""
    size = max(1, BLOCK // max(columns, 1))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))
