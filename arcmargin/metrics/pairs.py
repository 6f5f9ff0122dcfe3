"""Pairs of images to verify: given by a protocol, or drawn from labelled images."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

FOLDS = 10
MANY_CLASSES = 20  # from here on classes are drawn, below only images are


class Pairs(NamedTuple):
    """Which two images are compared, by their rows, and whether they show one class."""

    first: Int[np.ndarray, "n"]
    second: Int[np.ndarray, "n"]
    same: Bool[np.ndarray, "n"]
    folds: Int[np.ndarray, "n"] | None = None  # the protocol's own cross-validation folds


def folds(labels: Int[np.ndarray, "n"], seed: int = 0) -> Int[np.ndarray, "n"]:
    """The fold of each image, at most ten folds. With at least 20 classes a fold consists of whole
    classes, as in LFW's protocol; otherwise of images of every class. Where folds with pairs of both
    kinds cannot be made, there is one fold."""
    rng = np.random.default_rng(seed)
    classes, where, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if len(classes) >= MANY_CLASSES and (sizes > 1).sum() >= FOLDS:
        paired = sizes > 1  # distributed first, so that every fold gets some
        order = np.concatenate(
            [rng.permutation(np.flatnonzero(kind)) for kind in (paired, ~paired)]
        )
        fold_of_class = np.empty(len(classes), dtype=np.int64)
        fold_of_class[order] = np.arange(len(classes)) % FOLDS
        return fold_of_class[where]
    count = min(FOLDS, int(sizes.max()) // 2, int(np.sort(sizes)[-2:].min()))
    result = np.zeros(len(labels), dtype=np.int64)
    for label in range(len(classes)):
        members = rng.permutation(np.flatnonzero(where == label))
        result[members] = np.arange(len(members)) % max(count, 1)
    return result


def sampled(labels: Int[np.ndarray, "n"], count: int, seed: int = 0) -> Pairs:
    """`count` random pairs, half of them genuine, half impostor; both images of a pair in one fold."""
    rng = np.random.default_rng(seed)
    fold = folds(labels, seed)
    number = int(fold.max()) + 1
    drawn = []
    for one in range(number):
        members = np.flatnonzero(fold == one)
        each = -(-count // (2 * number))
        drawn += [_genuine(labels, members, each, rng), _impostor(labels, members, each, rng)]
    first, second = (np.concatenate([pair[side] for pair in drawn]) for side in (0, 1))
    return Pairs(first, second, labels[first] == labels[second], fold[first])


def _genuine(
    labels: np.ndarray, members: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Uniform over all genuine pairs."""
    members = members[np.argsort(labels[members], kind="stable")]
    _, start, sizes = np.unique(labels[members], return_index=True, return_counts=True)
    pairs = sizes * (sizes - 1.0)
    chosen = rng.choice(len(sizes), count, p=pairs / pairs.sum())
    one = rng.integers(sizes[chosen])
    other = (one + 1 + rng.integers(sizes[chosen] - 1)) % sizes[chosen]
    return members[start[chosen] + one], members[start[chosen] + other]


def _impostor(
    labels: np.ndarray, members: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    found = np.empty((2, 0), dtype=np.int64)
    while found.shape[1] < count:
        drawn = rng.choice(members, (2, 2 * count))
        found = np.concatenate([found, drawn[:, labels[drawn[0]] != labels[drawn[1]]]], axis=1)
    return found[0, :count], found[1, :count]
