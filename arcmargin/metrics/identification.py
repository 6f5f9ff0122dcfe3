"""Which enrolled class does an image show? A gallery of one image per class; all others are probes.

Closed set: every class is enrolled; rank k (the CMC curve) is the share of probes whose class is
among the k most similar. Open set: half of the classes are enrolled, and probes of the others must
be turned away. A threshold on the best similarity decides. FPIR: the share of probes of classes
that are not enrolled whose best similarity reaches it. FNIR: the share of probes of enrolled
classes that miss it or whose best match is another class (ISO/IEC 19795-1; rank 1).

Which image of a class is in the gallery, and which classes are enrolled, is drawn at random DRAWS
times; the metrics are over all draws. A tie counts against the probe.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from arcmargin.metrics.similarity import chunks, cosine_of, steps

DRAWS = 10
RANKS = (1, 5, 10)
FPIRS = (1e-1, 1e-2)


class Searches(NamedTuple):
    """Open-set searches of all draws: one row a probe and draw."""

    draw: Int[np.ndarray, "m"]
    image: Int[np.ndarray, "m"]  # which image the probe was
    mated: Bool[np.ndarray, "m"]  # its class was enrolled
    score: Float[np.ndarray, "m"]  # the best similarity; -2 for a mated probe's wrong best match


class Identification(NamedTuple):
    probed: Bool[np.ndarray, "t n"]  # by draw, whether the image was a probe
    hits: dict[int, Bool[np.ndarray, "t n"]]  # by k: whether its class was among the k most similar
    searches: Searches


def identify(
    unit: Float[np.ndarray, "n d"], labels: Int[np.ndarray, "n"], seed: int = 0
) -> Identification:
    """`hits` has only ranks k below the number of classes: at others every probe succeeds."""
    rng = np.random.default_rng(seed)
    classes, where = np.unique(labels, return_inverse=True)
    ranks = [k for k in RANKS if k < len(classes)]
    probed = np.zeros((DRAWS, len(labels)), dtype=bool)
    hits = {k: np.zeros_like(probed) for k in ranks}
    found: list[Searches] = []
    for draw in range(DRAWS):
        gallery = _one_of_each(where, rng)
        enrolled = np.isin(np.arange(len(classes)), rng.permutation(len(classes))[::2])
        probes = np.setdiff1d(np.arange(len(labels)), gallery)
        probed[draw, probes] = True
        for rows in chunks(len(probes), len(classes)):
            image = probes[rows]
            step, own = steps(unit[image] @ unit[gallery].T), where[image]
            mine = np.arange(len(image)), own
            rank = (step <= step[mine][:, None]).sum(axis=1)  # itself included, ties against it
            for k in ranks:
                hits[k][draw, image] = rank <= k
            found.append(_open_set(draw, image, step, own, enrolled))
    searches = Searches(*(np.concatenate(part) for part in zip(*found, strict=True)))
    return Identification(probed, hits, searches)


def mean_over_images(hits: Bool[np.ndarray, "t n"], probed: Bool[np.ndarray, "t n"]) -> float:
    """The mean over images of the share of its searches in which the image was recognised."""
    searches = probed.sum(axis=0)
    return float((hits.sum(axis=0) / np.maximum(searches, 1))[searches > 0].mean())


def _one_of_each(where: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One row of each class, in the order of the classes."""
    shuffled = rng.permutation(len(where))
    _, first = np.unique(where[shuffled], return_index=True)
    return shuffled[first]


def _open_set(
    draw: int, image: np.ndarray, step: np.ndarray, own: np.ndarray, enrolled: np.ndarray
) -> Searches:
    mine = np.arange(len(image)), own
    mated = enrolled[own]
    others = np.where(enrolled, step, np.iinfo(step.dtype).max)
    mate = others[mine]
    others[mine] = np.iinfo(step.dtype).max
    rival = others.min(axis=1)
    best = np.where(mated, mate, rival)
    score = np.where(mated & (mate >= rival), -2.0, cosine_of(best))
    return Searches(np.full(len(image), draw), image, mated, score)
