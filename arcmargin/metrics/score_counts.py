"""Numbers of genuine and impostor pairs at each score: all that verification needs to know."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from arcmargin.metrics.similarity import STEPS, chunks, cosine_of, steps


class ScoreCounts(NamedTuple):
    """A pair is accepted at a threshold when its score is at least that."""

    scores: Float[np.ndarray, "k"]  # falling
    genuine: Num[np.ndarray, "k"]  # pairs of one class with this score
    impostor: Num[np.ndarray, "k"]  # pairs of two classes


def of_scores(scores: Float[np.ndarray, "n"], same: Bool[np.ndarray, "n"]) -> ScoreCounts:
    """Exact; a higher score means more similar."""
    values, where = np.unique(-scores, return_inverse=True)
    genuine, impostor = (np.bincount(where[kind], minlength=len(values)) for kind in (same, ~same))
    return ScoreCounts(-values, genuine, impostor)


def of_embeddings(unit: Float[np.ndarray, "n d"], labels: Int[np.ndarray, "n"]) -> ScoreCounts:
    """All n(n-1)/2 pairs, by their cosine, rounded as `similarity` describes."""
    counts = np.zeros(
        2 * STEPS + 1, dtype=np.int64
    )  # the last entry collects what is not to be counted
    for rows in chunks(len(unit), len(unit)):
        rest = slice(rows.start, None)  # pairs with earlier rows were counted with these
        index = steps(unit[rows] @ unit[rest].T)
        index += STEPS * (labels[rows, None] == labels[rest])
        index[np.tril_indices(len(index))] = 2 * STEPS
        counts += np.bincount(index.ravel(), minlength=len(counts))
    impostor, genuine = counts[:-1].reshape(2, STEPS)
    return ScoreCounts(cosine_of(np.arange(STEPS)), genuine, impostor)


def rates(
    genuine: Num[np.ndarray, "k"], impostor: Num[np.ndarray, "k"]
) -> tuple[Float[np.ndarray, "k1"], Float[np.ndarray, "k1"]]:
    """(FAR, TAR) as the threshold falls, from (0, 0) to (1, 1): the ROC curve."""
    far, tar = (np.concatenate([[0], np.cumsum(kind)]) for kind in (impostor, genuine))
    return far / max(far[-1], 1), tar / max(tar[-1], 1)
