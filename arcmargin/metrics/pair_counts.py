"""Pairs that are listed rather than all: their scores, folds and replicates."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from arcmargin.metrics.bootstrap import Resampling, replicated
from arcmargin.metrics.pairs import FOLDS, Pairs
from arcmargin.metrics.score_counts import ScoreCounts, of_scores


def cosines(unit: Float[np.ndarray, "n d"], pairs: Pairs) -> Float[np.ndarray, "p"]:
    return np.einsum("ij,ij->i", unit[pairs.first], unit[pairs.second])


def count_pairs(
    unit: Float[np.ndarray, "n d"], pairs: Pairs
) -> tuple[ScoreCounts, list[ScoreCounts]]:
    """Of all pairs and of each fold, on the same scores."""
    scores = cosines(unit, pairs)
    whole = of_scores(scores, pairs.same)
    fold = pairs.folds if pairs.folds is not None else _dealt(pairs)
    place = np.searchsorted(-whole.scores, -scores)
    parts = []
    for one in np.unique(fold):
        kinds = [place[(fold == one) & (pairs.same == same)] for same in (True, False)]
        parts.append(
            ScoreCounts(
                whole.scores, *(np.bincount(kind, minlength=len(whole.scores)) for kind in kinds)
            )
        )
    return whole, parts


def _dealt(pairs: Pairs) -> Int[np.ndarray, "p"]:
    """Ten folds of pairs where the protocol has none, each with as many of both kinds."""
    rng = np.random.default_rng(0)
    fold = np.empty(len(pairs.same), dtype=np.int64)
    for same in (True, False):
        rows = rng.permutation(np.flatnonzero(pairs.same == same))
        fold[rows] = np.arange(len(rows)) % FOLDS
    return fold


def image_replicates(
    counts: ScoreCounts,
    unit: Float[np.ndarray, "n d"],
    pairs: Pairs,
    places: Int[np.ndarray, "c"],
    resampling: Resampling,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    cell = np.searchsorted(places, np.searchsorted(-counts.scores, -cosines(unit, pairs)))
    ends = np.zeros((resampling.units, 2, len(places)), dtype=np.float32)
    for image in (pairs.first, pairs.second):
        np.add.at(ends, (resampling.unit[image], pairs.same.astype(int), cell), 1)
    return replicated(ends, resampling)
