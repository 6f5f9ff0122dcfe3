"""Pairs of images to verify: given by a protocol, or made from labels."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int


class Pairs(NamedTuple):
    """Which two images are compared, by their rows, and whether they show one class."""

    first: Int[np.ndarray, "n"]
    second: Int[np.ndarray, "n"]
    same: Bool[np.ndarray, "n"]
    folds: Int[np.ndarray, "n"] | None = None  # the protocol's own cross-validation folds
