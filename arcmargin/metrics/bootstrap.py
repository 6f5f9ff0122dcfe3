"""95 % intervals by the bootstrap. What is drawn again is what is independent: never pairs that
share an image.

With 20 classes or more, classes are drawn with replacement, all images of one together; with fewer,
images within each class: such an interval holds for these classes. Where a gallery is drawn, that is
drawn again as well. A pair of drawn things i and j weighs w_i + w_j - 1, the linear part of the
w_i·w_j of the vertex bootstrap (Snijders, Borgatti 1999; for matching, Fogliato, Patil, Perona 2024,
arXiv 2306.01198). Its sums follow from counts per image, so that a thousand replicates cost about one
more pass over all pairs.
"""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import stdtrit

from arcmargin.metrics.pairs import MANY_CLASSES
from arcmargin.metrics.score_counts import ScoreCounts
from arcmargin.metrics.similarity import STEPS, chunks, steps

REPLICATES = 1000
AT_A_TIME = 50

Interval = tuple[float, float]


class Resampling:
    """Which units (classes, or images within classes) there are, and how often each is drawn."""

    def __init__(self, labels: Int[np.ndarray, "n"], seed: int = 0) -> None:
        _, self._where, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        self.seed = seed
        self.by_class = len(sizes) >= MANY_CLASSES
        self.what = "classes" if self.by_class else "images"
        # Units are drawn within strata: all classes together, or the images of each class.
        self.unit = self._where if self.by_class else np.arange(len(labels))
        members = [np.arange(len(sizes))] if self.by_class else _members(self._where, len(sizes))
        self._strata = members
        self.units = len(sizes) if self.by_class else len(labels)

    def draws(self, replicates: int = REPLICATES) -> Iterator[Float[np.ndarray, "b u"]]:
        """How often each unit is drawn, some replicates at a time; the same ones at every call."""
        rng = np.random.default_rng(self.seed)
        for start in range(0, replicates, AT_A_TIME):
            count = min(AT_A_TIME, replicates - start)
            weights = np.zeros((count, self.units), dtype=np.float32)
            for stratum in self._strata:
                drawn = rng.integers(len(stratum), size=(count, len(stratum)))
                drawn += len(stratum) * np.arange(count)[:, None]
                times = np.bincount(drawn.ravel(), minlength=count * len(stratum))
                weights[:, stratum] = times.reshape(count, -1)
            yield weights

    def draws_of(self, trials: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The same, (b, units), and how often each of some independent trials is drawn, (b, trials):
        the pigeonhole bootstrap (Owen 2007, Annals of Applied Statistics 1)."""
        rng = np.random.default_rng(self.seed + 1)
        for weights in self.draws():
            even = np.full(trials, 1 / trials)
            yield weights, rng.multinomial(trials, even, size=len(weights)).astype(np.float32)

    def mean_of_trials(
        self, values: Float[np.ndarray, "t n"], tried: Bool[np.ndarray, "t n"]
    ) -> Interval:
        """Of the mean over images of each one's mean over the trials that it was in."""
        held = np.where(tried, values, 0.0).astype(np.float32)
        replicates = []
        for weights, times in self.draws_of(len(values)):
            trials = times @ tried.astype(np.float32)
            image = weights[:, self.unit] * (trials > 0)
            shares = times @ held / np.maximum(trials, 1)
            replicates.append((image * shares).sum(axis=1) / image.sum(axis=1))
        return interval(np.concatenate(replicates))

    def mean(self, values: Float[np.ndarray, "n"]) -> Interval:
        """Of a mean over images; NaN is left out."""
        known = np.isfinite(values)
        unit = self.unit[known]
        sums = np.bincount(unit, values[known], minlength=self.units)
        counts = np.bincount(unit, minlength=self.units)
        with np.errstate(invalid="ignore"):
            return interval(
                np.concatenate([weights @ sums / (weights @ counts) for weights in self.draws()])
            )


def _members(where: np.ndarray, count: int) -> list[np.ndarray]:
    return np.split(np.argsort(where, kind="stable"), np.cumsum(np.bincount(where))[: count - 1])


def interval(replicates: Float[np.ndarray, "b"], shift: float = 0.0) -> Interval:
    """The middle 95 % of what is defined, moved by `shift`."""
    low, high = np.nanpercentile(replicates, [2.5, 97.5]) + shift
    return float(low), float(high)


def around(value: float, error: float, quantile: float = 1.96) -> Interval:
    """From a standard error; of a share."""
    return max(value - quantile * error, 0.0), min(value + quantile * error, 1.0)


def mean_of_folds(values: Float[np.ndarray, "f"]) -> Interval:
    """Student's, from the standard error over folds that share no image: what LFW's protocol reports."""
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return around(float(values.mean()), float(error), float(stdtrit(len(values) - 1, 0.975)))


def intervals(
    measures: dict[str, Callable[[ScoreCounts], float]],
    counts: ScoreCounts,
    replicates: Iterator[tuple[Float[np.ndarray, "c"], Float[np.ndarray, "c"]]],
    places: Int[np.ndarray, "c"],
) -> dict[str, Interval]:
    """Of measures of `counts`, from replicates of the counts up to each of `places`. What the places
    leave out, between neighbours, is put right by the difference to all of `counts`."""
    scores = counts.scores[places]
    whole = ScoreCounts(scores, *(_cells(np.cumsum(kind)[places]) for kind in counts[1:]))
    found: dict[str, list[float]] = {name: [] for name in measures}
    for genuine, impostor in replicates:
        one = ScoreCounts(scores, _cells(genuine), _cells(impostor))
        for name, measure in measures.items():
            found[name].append(measure(one))
    result = {}
    for name, measure in measures.items():
        low, high = interval(np.array(found[name]), measure(counts) - measure(whole))
        result[name] = (max(low, 0.0), min(high, 1.0))
    return result


def _cells(up_to: np.ndarray) -> np.ndarray:
    """Counts of each cell from counts up to each place; the linear part may dip a little."""
    return np.diff(np.maximum.accumulate(np.maximum(up_to, 0.0)), prepend=0.0)


def pair_replicates(
    unit: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, "n"],
    places: Int[np.ndarray, "c"],
    resampling: Resampling,
) -> Iterator[tuple[Float[np.ndarray, "c"], Float[np.ndarray, "c"]]]:
    """Genuine and impostor pairs up to each place, in each replicate, of all pairs."""
    cell = np.searchsorted(places, np.arange(STEPS))  # of a step
    cells = len(places)
    ends = np.zeros((resampling.units, 2, cells), dtype=np.float32)  # how many ends each unit has
    for rows in chunks(len(unit), len(unit)):
        code = cell[steps(unit[rows] @ unit.T)] + cells * (labels[rows, None] == labels)
        own = code[np.arange(len(code)), np.arange(rows.start, rows.stop)].copy()
        code += 2 * cells * np.arange(len(code))[:, None]
        counts = np.bincount(code.ravel(), minlength=2 * cells * len(code))
        counts = counts.reshape(len(code), 2 * cells)
        counts[np.arange(len(code)), own] -= 1  # an image and itself are no pair
        np.add.at(ends, resampling.unit[rows], counts.reshape(-1, 2, cells))
    yield from replicated(ends, resampling)


def replicated(
    ends: Float[np.ndarray, "u 2 c"], resampling: Resampling
) -> Iterator[tuple[Float[np.ndarray, "c"], Float[np.ndarray, "c"]]]:
    """From the ends of impostor and genuine pairs that each unit has in each cell."""
    up_to = np.cumsum(ends, axis=2, dtype=np.float64)
    once = up_to.sum(axis=0) / 2
    for weights in resampling.draws():
        drawn = np.tensordot(weights.astype(np.float64), up_to, axes=1)
        impostor = drawn[:, 0] - once[0]
        # Both ends of a genuine pair lie in one class: they are drawn together, or on their own.
        genuine = drawn[:, 1] / 2 if resampling.by_class else drawn[:, 1] - once[1]
        yield from zip(genuine, impostor, strict=True)


def independent_replicates(
    counts: ScoreCounts, places: Int[np.ndarray, "c"], seed: int = 0
) -> Iterator[tuple[Float[np.ndarray, "c"], Float[np.ndarray, "c"]]]:
    """Genuine and impostor pairs up to each place when pairs are drawn again, as many of a kind."""
    rng = np.random.default_rng(seed)
    drawn = []
    for kind in (counts.genuine, counts.impostor):
        cells = np.diff(np.cumsum(kind)[places], prepend=0)
        again = rng.multinomial(int(cells.sum()), cells / cells.sum(), size=REPLICATES)
        drawn.append(np.cumsum(again, axis=1))
    yield from zip(*drawn, strict=True)
