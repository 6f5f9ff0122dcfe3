"""95 % intervals by the bootstrap.

Pairs that share an image are not independent, so pairs are not what is resampled. With at least 20
classes, whole classes are resampled, each with all of its images; the interval is then one for new
classes. With fewer classes, images are resampled within each class; the interval then holds for these
classes alone. The random choice of a gallery (identification) is resampled too.

With w_i the number of times that image i was drawn, the pair (i, j) counts w_i + w_j - 1 times: the
linear part of w_i·w_j, the weight of the vertex bootstrap (Snijders and Borgatti 1999; for face
matching, Fogliato, Patil and Perona 2024, arXiv 2306.01198). Sums of these weights follow from one
histogram per image, so a thousand replicates cost about as much as one more pass over all pairs.
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
    """Draws units with replacement: classes where there are many, otherwise images within classes.

    `unit` is the unit of each image, `what` the units' name in words.
    """

    def __init__(self, labels: Int[np.ndarray, "n"], seed: int = 0) -> None:
        _, self._where, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        self.seed = seed
        self.by_class = len(sizes) >= MANY_CLASSES
        self.what = "classes" if self.by_class else "images"
        # Units are drawn within strata: one stratum of all classes, or one of images per class.
        self.unit = self._where if self.by_class else np.arange(len(labels))
        members = [np.arange(len(sizes))] if self.by_class else _members(self._where, len(sizes))
        self._strata = members
        self.units = len(sizes) if self.by_class else len(labels)

    def draws(self, replicates: int = REPLICATES) -> Iterator[Float[np.ndarray, "b u"]]:
        """How often each unit is drawn in each replicate, some replicates at a time. Every call gives
        the same draws."""
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

    def draws_with_trials(
        self, trials: int
    ) -> Iterator[tuple[Float[np.ndarray, "b u"], Float[np.ndarray, "b t"]]]:
        """How often each unit and, independently, each trial (such as a random gallery) is drawn: the
        pigeonhole bootstrap (Owen 2007, Annals of Applied Statistics 1)."""
        rng = np.random.default_rng(self.seed + 1)
        for weights in self.draws():
            even = np.full(trials, 1 / trials)
            yield weights, rng.multinomial(trials, even, size=len(weights)).astype(np.float32)

    def mean_of_trials(
        self, values: Float[np.ndarray, "t n"], tried: Bool[np.ndarray, "t n"]
    ) -> Interval:
        """Interval of the mean over images of an image's mean value over the trials it took part in.

        `tried` says which trials these are; `values` elsewhere are ignored.
        """
        held = np.where(tried, values, 0.0).astype(np.float32)
        replicates = []
        for weights, times in self.draws_with_trials(len(values)):
            trials = times @ tried.astype(np.float32)
            image = weights[:, self.unit] * (trials > 0)
            shares = times @ held / np.maximum(trials, 1)
            replicates.append((image * shares).sum(axis=1) / image.sum(axis=1))
        return percentile_interval(np.concatenate(replicates))

    def mean(self, values: Float[np.ndarray, "n"]) -> Interval:
        """Interval of the mean over images; images whose value is NaN are left out."""
        known = np.isfinite(values)
        unit = self.unit[known]
        sums = np.bincount(unit, values[known], minlength=self.units)
        counts = np.bincount(unit, minlength=self.units)
        with np.errstate(invalid="ignore"):
            return percentile_interval(
                np.concatenate([weights @ sums / (weights @ counts) for weights in self.draws()])
            )


def _members(where: np.ndarray, count: int) -> list[np.ndarray]:
    return np.split(np.argsort(where, kind="stable"), np.cumsum(np.bincount(where))[: count - 1])


def percentile_interval(replicates: Float[np.ndarray, "b"], shift: float = 0.0) -> Interval:
    """The middle 95 % of the replicates that are not NaN, plus `shift`."""
    low, high = np.nanpercentile(replicates, [2.5, 97.5]) + shift
    return float(low), float(high)


def normal_interval(share: float, standard_error: float, quantile: float = 1.96) -> Interval:
    """share ± quantile · standard error, cut to [0, 1]."""
    half_width = quantile * standard_error
    return max(share - half_width, 0.0), min(share + half_width, 1.0)


def fold_interval(values: Float[np.ndarray, "f"]) -> Interval:
    """Student's t interval of the mean over folds that share no image, whose standard error is what
    LFW's protocol reports."""
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return normal_interval(
        float(values.mean()), float(error), float(stdtrit(len(values) - 1, 0.975))
    )


def intervals_of_measures(
    measures: dict[str, Callable[[ScoreCounts], float]],
    counts: ScoreCounts,
    replicates: Iterator[tuple[Float[np.ndarray, "c"], Float[np.ndarray, "c"]]],
    points: Int[np.ndarray, "c"],
) -> dict[str, Interval]:
    """Interval of each measure of the counts.

    `replicates` are (genuine, impostor) pairs up to each of `points`, which are indices of scores: a
    coarse version of the counts. What coarseness does to a measure is taken to be the same in all
    replicates as in the data, where it is known, and is subtracted.
    """
    scores = counts.scores[points]
    coarse = ScoreCounts(scores, *(_differences(np.cumsum(kind)[points]) for kind in counts[1:]))
    found: dict[str, list[float]] = {name: [] for name in measures}
    for genuine, impostor in replicates:
        one = ScoreCounts(scores, _differences(genuine), _differences(impostor))
        for name, measure in measures.items():
            found[name].append(measure(one))
    result = {}
    for name, measure in measures.items():
        low, high = percentile_interval(np.array(found[name]), measure(counts) - measure(coarse))
        result[name] = (max(low, 0.0), min(high, 1.0))
    return result


def _differences(cumulative: np.ndarray) -> np.ndarray:
    """Counts between neighbouring points, from cumulative counts. As a pair's weight w_i + w_j - 1 can
    be -1, cumulative counts can fall by a little; they are made to rise."""
    return np.diff(np.maximum.accumulate(np.maximum(cumulative, 0.0)), prepend=0.0)


def pair_replicates(
    unit: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, "n"],
    points: Int[np.ndarray, "c"],
    resampling: Resampling,
) -> Iterator[tuple[Float[np.ndarray, "c"], Float[np.ndarray, "c"]]]:
    """(genuine, impostor) pairs up to each point, per replicate, of all pairs of images."""
    cell = np.searchsorted(points, np.arange(STEPS))  # the first point at or after each step
    cells = len(points)
    # How many pairs have an end in each unit: [:, 0] impostor pairs, [:, 1] genuine pairs.
    ends = np.zeros((resampling.units, 2, cells), dtype=np.float32)
    for rows in chunks(len(unit), len(unit)):
        code = cell[steps(unit[rows] @ unit.T)] + cells * (labels[rows, None] == labels)
        own = code[np.arange(len(code)), np.arange(rows.start, rows.stop)].copy()
        code += 2 * cells * np.arange(len(code))[:, None]
        counts = np.bincount(code.ravel(), minlength=2 * cells * len(code))
        counts = counts.reshape(len(code), 2 * cells)
        counts[np.arange(len(code)), own] -= 1  # an image and itself are no pair
        np.add.at(ends, resampling.unit[rows], counts.reshape(-1, 2, cells))
    yield from replicates_from_ends(ends, resampling)


def replicates_from_ends(
    ends: Float[np.ndarray, "u 2 c"], resampling: Resampling
) -> Iterator[tuple[Float[np.ndarray, "c"], Float[np.ndarray, "c"]]]:
    """(genuine, impostor) pairs up to each point, per replicate.

    `ends`: how many impostor and genuine pairs with a score between two points end in each unit.
    """
    cumulative = np.cumsum(ends, axis=2, dtype=np.float64)
    once = cumulative.sum(axis=0) / 2  # a pair has two ends
    for weights in resampling.draws():
        drawn = np.tensordot(weights.astype(np.float64), cumulative, axes=1)
        impostor = drawn[:, 0] - once[0]
        # Where classes are drawn, both ends of a genuine pair are drawn together.
        genuine = drawn[:, 1] / 2 if resampling.by_class else drawn[:, 1] - once[1]
        yield from zip(genuine, impostor, strict=True)


def independent_replicates(
    counts: ScoreCounts, points: Int[np.ndarray, "c"], seed: int = 0
) -> Iterator[tuple[Float[np.ndarray, "c"], Float[np.ndarray, "c"]]]:
    """(genuine, impostor) pairs up to each point, per replicate, when the pairs themselves are drawn
    again: as many genuine and impostor ones as there are."""
    rng = np.random.default_rng(seed)
    drawn = []
    for kind in (counts.genuine, counts.impostor):
        cells = np.diff(np.cumsum(kind)[points], prepend=0)
        resampled = rng.multinomial(int(cells.sum()), cells / cells.sum(), size=REPLICATES)
        drawn.append(np.cumsum(resampled, axis=1))
    yield from zip(*drawn, strict=True)
