"""Which differences between configurations are larger than the noise of the seeds.

Two configurations are compared by the differences of their runs with the same seed: Student's t-test
on pairs. Its p-values are corrected by Holm (1979) for the number of comparisons made of one metric.
"""

import functools
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq
from scipy.special import stdtr, stdtrit
from scipy.stats import nct

from arcmargin.metrics.table import PREDICTED
from arcmargin.report.configurations import Configuration, baselines

ALPHA = 0.05
LEAST_SEEDS = 3  # for an interval to be shown; the means of fewer are points
MOST_PAIRWISE = 20  # configurations: 190 pairs; with more, only those with the baseline
ROUNDING = 1e-9  # a spread below this share of the values is rounding, not noise


class Interval(NamedTuple):
    """`half` is half the 95 % interval of the mean (Student's t); None for a single value."""

    mean: float
    sd: float | None
    half: float | None


class Difference(NamedTuple):
    """The mean of first - second over the seeds that both have. p is None where no test is
    possible: fewer than two such seeds, or the same difference in all of them."""

    metric: str
    first: int  # places in the list of configurations
    second: int
    seeds: int
    mean: float
    half: float | None
    p: float | None
    corrected: float | None = None

    @property
    def larger_than_noise(self) -> bool:
        return self.corrected is not None and self.corrected < ALPHA


def interval(values: Sequence[float]) -> Interval | None:
    if not values:
        return None
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return Interval(mean, None, None)
    sd = float(np.std(values, ddof=1))
    return Interval(mean, sd, half_width(count) * sd)


def interquartile(values: Sequence[float]) -> Interval | None:
    """The mean of the middle half, which a seed that fails does not move (Agarwal et al. 2021, arXiv
    2108.13264), with an interval from its error after Tukey and McLaughlin (1963). Of fewer than five
    seeds none is left out: two of four would have an interval of nineteen standard errors."""
    if len(values) < _LEAST_TO_TRIM:
        return interval(values)
    middle, error = _middle_half(np.asarray([values], dtype=float))
    return Interval(float(middle[0]), None, _critical(len(values)) * float(error[0]))


_LEAST_TO_TRIM = 5
_DRAWS = 40_000


def _middle_half(
    values: Float[np.ndarray, "m n"],
) -> tuple[Float[np.ndarray, "m"], Float[np.ndarray, "m"]]:
    """Of each row the interquartile mean and its standard error."""
    n = values.shape[1]
    left_out = n // 4  # at either end
    rising = np.sort(values, axis=1)
    middle = rising[:, left_out : n - left_out]
    winsorised = np.clip(rising, middle[:, :1], middle[:, -1:])
    error = winsorised.std(axis=1, ddof=1) / ((1 - 2 * left_out / n) * n**0.5)
    return middle.mean(axis=1), error


@functools.cache
def _critical(n: int) -> float:
    """What the mean's distance from the truth exceeds, in standard errors, in one of twenty normal
    samples. Student's t of n − 2g − 1 degrees, the usual approximation, covers 93 % instead of 95."""
    mean, error = _middle_half(np.random.default_rng(0).normal(size=(_DRAWS, n)))
    return float(np.quantile(np.abs(mean) / error, 1 - ALPHA))


def half_width(count: int) -> float:
    """Half of the interval of a mean of `count` values (Student's t), in their standard deviations;
    NaN of a single one."""
    if count < 2:
        return float("nan")
    return float(stdtrit(count - 1, 1 - ALPHA / 2)) / count**0.5


def against_baseline(found: Sequence[Configuration], metrics: Iterable[str]) -> list[Difference]:
    """Every configuration less its baseline."""
    pairs = [
        (index, other)
        for index, other in enumerate(baselines(found))
        if other is not None and other != index
    ]
    return _compare(found, pairs, metrics)


def pairwise(found: Sequence[Configuration], metrics: Iterable[str]) -> list[Difference]:
    """Every two configurations on the same data set; none when that would be too many."""
    if len(found) > MOST_PAIRWISE:
        return []
    pairs = [
        (first, second)
        for first, second in combinations(range(len(found)), 2)
        if found[first].settings["dataset"] == found[second].settings["dataset"]
    ]
    return _compare(found, pairs, metrics)


def _compare(
    found: Sequence[Configuration], pairs: Sequence[tuple[int, int]], metrics: Iterable[str]
) -> list[Difference]:
    every: list[Difference] = []
    for metric in metrics:
        if metric == PREDICTED:
            continue
        values = [one.values(metric) for one in found]
        tested = [paired(metric, a, b, values[a], values[b]) for a, b in pairs]
        known = [one for one in tested if one is not None]
        corrected = holm([one.p for one in known])
        every += [one._replace(corrected=p) for one, p in zip(known, corrected, strict=True)]
    return every


def paired(
    metric: str, first: int, second: int, a: dict[object, float], b: dict[object, float]
) -> Difference | None:
    """The t-test on the differences by seed; None when the two share no seed."""
    shared = [seed for seed in a if seed in b and seed is not None]
    if not shared:
        return None
    differences = np.array([a[seed] - b[seed] for seed in shared])
    spread = interval(differences.tolist())
    assert spread is not None
    size = max(abs(value) for seed in shared for value in (a[seed], b[seed]))
    p = None
    if spread.sd is not None and spread.sd > ROUNDING * size:
        t = spread.mean / (spread.sd / len(shared) ** 0.5)
        p = float(2 * stdtr(len(shared) - 1, -abs(t)))
    return Difference(metric, first, second, len(shared), spread.mean, spread.half, p)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction; what could not be tested stays None but counts."""
    count, highest = len(p_values), 0.0
    corrected: list[float | None] = [None] * count
    known = [index for index in range(count) if p_values[index] is not None]
    for place, index in enumerate(sorted(known, key=lambda i: p_values[i] or 0.0)):
        highest = max(highest, min(1.0, (count - place) * (p_values[index] or 0.0)))
        corrected[index] = highest
    return corrected


def smallest_visible(seeds: int, comparisons: int) -> float:
    """How many standard deviations (of the differences by seed) the largest difference must at
    least measure to count, by Holm's first step."""
    return float(stdtrit(seeds - 1, 1 - ALPHA / (2 * comparisons))) / seeds**0.5


def chance_of_more(difference: Difference) -> float | None:
    """The probability that first - second is above zero with a seed that neither had, for normal
    differences; None where they do not vary."""
    if difference.half is None or difference.p is None:
        return None
    n = difference.seeds
    deviation = difference.half / half_width(n)
    return float(stdtr(n - 1, difference.mean / (deviation * (1 + 1 / n) ** 0.5)))


def smallest_found(seeds: int, comparisons: int, power: float = 0.8) -> float:
    """How many standard deviations (of the differences by seed) a true difference measures that is
    found larger than the noise with this probability, in Holm's first step. NaN for one seed."""
    if seeds < 2:
        return float("nan")
    critical = float(stdtrit(seeds - 1, 1 - ALPHA / (2 * comparisons)))

    def missed(size: float) -> float:
        return float(nct.cdf(critical, seeds - 1, size * seeds**0.5)) - (1 - power)

    most = 1.0
    while missed(most) > 0:
        most *= 2
    return float(brentq(missed, 0.0, most))


def caveat(differences: Sequence[Difference]) -> str:
    """What these tests of one metric can and cannot show, in sentences."""
    count = len(differences)
    seeds = sorted({one.seeds for one in differences if one.seeds > 1})
    if not count:
        return "Nothing to compare: no two configurations have runs with the same seed."
    if not seeds:
        return (
            "One shared seed says nothing about noise: no test is made. "
            "Run at least three seeds of each configuration, better five to ten (seed=0,1,2)."
        )
    over = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0])
    most = seeds[-1]
    text = (
        f"{_number_of(count, 'comparison')}, each paired over {over} seeds, corrected together by "
        f"Holm. With {most} seeds the clearest difference counts only if it measures at least "
        f"{smallest_visible(most, count):.1f} standard deviations of its differences by seed"
    )
    text += f" (with 10 seeds: {smallest_visible(10, count):.1f}). " if most < 10 else ". "
    if most < 5:
        text += (
            f"{most} seeds show large effects only, and cannot show whether the t-test's assumption "
            "of normal noise holds: read “not shown” as “not known”, never as “equal”. "
        )
    untested = sum(one.p is None for one in differences)
    if untested:
        text += (
            f"{_number_of(untested, 'comparison')} could not be tested (a single shared seed, or the "
            "same difference in every seed) but count in the correction. "
        )
    return text + (
        "Seeds vary the initial weights and the order of the batches on one fixed split of the data: "
        "nothing here speaks for other data."
    )


def _number_of(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
