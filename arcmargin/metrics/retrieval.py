"""Finding images of the query's class among all others: recall@k, R-precision, mAP@R.

Musgrave, Belongie, Lim 2020, A Metric Learning Reality Check (arXiv 2003.08505), section 3.1.
Every image is a query once, and never finds itself. A tie counts against the query.
"""

import numpy as np
from jaxtyping import Float, Int

from arcmargin.metrics.similarity import STEPS, chunks, steps

RECALL_AT = (1, 5, 10)
HALVES = 60
MOST = 1500  # images in a half


def retrieve(
    unit: Float[np.ndarray, "n d"], labels: Int[np.ndarray, "n"]
) -> dict[str, Float[np.ndarray, "n"]]:
    """Each query's own values by name; NaN for a query whose class has no other image.

    R is the number of the other images of its class. R-precision: the share of these among the R
    nearest. mAP@R: the mean over the R nearest of the precision so far, 0 at a wrong one.
    """
    n = len(unit)
    _, where, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    others = sizes[where] - 1
    depth = min(max(int(others.max(initial=0)), *RECALL_AT), n)
    values = {f"recall_at_{k}": np.full(n, np.nan) for k in RECALL_AT}
    values |= {"r_precision": np.full(n, np.nan), "map_at_r": np.full(n, np.nan)}
    rank = np.arange(1, depth + 1)
    for rows in chunks(n, n):
        # Even keys are images of other classes, odd ones of the query's class: in a tie the former
        # come first.
        keys = 2 * steps(unit[rows] @ unit.T) + (labels[rows, None] == labels)
        keys[np.arange(len(keys)), np.arange(rows.start, rows.stop)] = 2 * STEPS
        keys = keys.astype(np.int32)
        keys = np.sort(np.partition(keys, depth - 1, axis=1)[:, :depth], axis=1)
        right = keys % 2 == 1
        wanted = others[rows, None]
        within = right & (rank <= wanted)
        has_mate = wanted[:, 0] > 0
        found = np.cumsum(right, axis=1)
        mates = np.maximum(wanted[:, 0], 1)
        for k in RECALL_AT:
            values[f"recall_at_{k}"][rows] = np.where(has_mate, right[:, :k].any(axis=1), np.nan)
        values["r_precision"][rows] = np.where(has_mate, within.sum(axis=1) / mates, np.nan)
        precise = (within * found / rank).sum(axis=1) / mates
        values["map_at_r"][rows] = np.where(has_mate, precise, np.nan)
    return values


def standard_errors(
    unit: Float[np.ndarray, "n d"], labels: Int[np.ndarray, "n"], seed: int = 0
) -> dict[str, float]:
    """Of the means over queries, when new images of the same classes are both looked for and found.

    By the delete-half jackknife (Shao, Wu 1989, Annals of Statistics 17): the spread of the means over
    random halves of each class. The bootstrap is no use here, as an image drawn twice would find
    itself. Where there are many images, the parts are smaller and their spread is scaled accordingly.
    """
    rng = np.random.default_rng(seed)
    share = min(0.5, MOST / len(labels))
    means: dict[str, list[float]] = {}
    for _ in range(HALVES):
        part = np.concatenate([_some(labels == one, share, rng) for one in np.unique(labels)])
        for name, values in retrieve(unit[part], labels[part]).items():
            means.setdefault(name, []).append(float(np.nanmean(values)))
    scale = np.sqrt(len(part) / (len(labels) - len(part)))
    return {name: float(scale * np.std(values, ddof=1)) for name, values in means.items()}


def _some(members: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    shuffled = rng.permutation(np.flatnonzero(members))
    return shuffled[: max(round(share * len(shuffled)), 2)]
