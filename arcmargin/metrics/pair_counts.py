"""Verification on given pairs, rather than on all pairs of images: counts by score, and replicates."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from arcmargin.metrics.bootstrap import Resampling, replicates_from_ends
from arcmargin.metrics.pairs import FOLDS, Pairs
from arcmargin.metrics.score_counts import ScoreCounts, of_scores


def cosines(unit: Float[np.ndarray, "n d"], pairs: Pairs) -> Float[np.ndarray, "p"]:
    return np.einsum("ij,ij->i", unit[pairs.first], unit[pairs.second])


def counts_by_fold(
    unit: Float[np.ndarray, "n d"], pairs: Pairs
) -> tuple[ScoreCounts, list[ScoreCounts]]:
    """Counts of all pairs, and of the pairs of each fold; all at the same scores."""
    scores = cosines(unit, pairs)
    whole = of_scores(scores, pairs.same)
    fold = pairs.folds if pairs.folds is not None else _random_folds(pairs)
    index = np.searchsorted(-whole.scores, -scores)
    parts = []
    for one in np.unique(fold):
        kinds = [index[(fold == one) & (pairs.same == same)] for same in (True, False)]
        parts.append(
            ScoreCounts(
                whole.scores, *(np.bincount(kind, minlength=len(whole.scores)) for kind in kinds)
            )
        )
    return whole, parts


def _random_folds(pairs: Pairs) -> Int[np.ndarray, "p"]:
    """Ten folds where the protocol has none: the pairs of each kind are spread evenly over them."""
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
    points: Int[np.ndarray, "c"],
    resampling: Resampling,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(genuine, impostor) pairs up to each point, per replicate, when images or classes are drawn."""
    cell = np.searchsorted(points, np.searchsorted(-counts.scores, -cosines(unit, pairs)))
    ends = np.zeros((resampling.units, 2, len(points)), dtype=np.float32)
    for image in (pairs.first, pairs.second):
        np.add.at(ends, (resampling.unit[image], pairs.same.astype(int), cell), 1)
    return replicates_from_ends(ends, resampling)
