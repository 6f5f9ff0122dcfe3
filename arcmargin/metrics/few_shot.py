"""One-shot classification: which of a few classes does an image show, given one image of each?

An episode draws as many classes as its ways, and two images of each: one is known, one is to be told.
It is told rightly when its own class's known image is the most similar; a tie counts against it.

Lake, Salakhutdinov, Tenenbaum 2015 (Science 350) put this to Omniglot's evaluation characters, within
one alphabet at a time. These episodes mix all classes at random, as is usually published (Vinyals et
al. 2016, arXiv 1606.04080; Snell, Swersky, Zemel 2017, arXiv 1703.05175), and easier.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from arcmargin.metrics.bootstrap import Interval, normal_interval
from arcmargin.metrics.similarity import steps

WAYS = (5, 20)
EPISODES = 1000


class Episodes(NamedTuple):
    """Rows of images; in both, those in one place are of one class."""

    known: Int[np.ndarray, "e w"]
    asked: Int[np.ndarray, "e w"]


class OneShot(NamedTuple):
    accuracy: float
    interval: Interval  # 95 %, of the mean over episodes: for these very classes


def draw(labels: Int[np.ndarray, "n"], ways: int, count: int = EPISODES, seed: int = 0) -> Episodes:
    """The same ones whenever the labels are the same. A class of one image is never drawn."""
    rng = np.random.default_rng([seed, ways])
    _, where, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    order = np.argsort(where, kind="stable")
    first = np.cumsum(sizes) - sizes
    usable = np.flatnonzero(sizes > 1)
    chosen = np.stack([rng.permutation(usable)[:ways] for _ in range(count)])
    size = sizes[chosen]
    known = rng.integers(size)
    asked = (known + 1 + rng.integers(size - 1)) % size  # any but the known one
    return Episodes(order[first[chosen] + known], order[first[chosen] + asked])


def accuracies(unit: Float[np.ndarray, "n d"], episodes: Episodes) -> Float[np.ndarray, "e"]:
    """The share of each episode's images that are told rightly."""
    found = []
    for known, asked in zip(*episodes, strict=True):
        step = steps(unit[asked] @ unit[known].T)  # the smaller, the more similar
        own = np.diagonal(step)[:, None]
        found.append(np.mean((step <= own).sum(axis=1) == 1))
    return np.array(found)


def one_shot(unit: Float[np.ndarray, "n d"], labels: Int[np.ndarray, "n"]) -> dict[int, OneShot]:
    """By the number of ways, as far as there are so many classes of two images."""
    usable = np.count_nonzero(np.unique(labels, return_counts=True)[1] > 1)
    result = {}
    for ways in (ways for ways in WAYS if ways <= usable):
        of_each = accuracies(unit, draw(labels, ways))
        mean, error = float(of_each.mean()), float(of_each.std(ddof=1) / np.sqrt(len(of_each)))
        result[ways] = OneShot(mean, normal_interval(mean, error))
    return result
