"""Heads against their baselines: against scipy, and by simulation of what the numbers promise."""

from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.stats.mstats import trimmed_mean_ci

from arcmargin.report.contest import Contest, contest
from arcmargin.report.statistics import (
    ALPHA,
    Difference,
    chance_of_more,
    interquartile,
    interval,
    paired,
    smallest_found,
)

BASELINES = ("linear", "normface")


def simulated(
    rng: np.random.Generator, gains: dict[str, float], seeds: int, metric: str = "accuracy"
) -> Contest:
    """All heads share the luck of a seed and have as much of their own."""
    luck = rng.normal(0, 0.01, seeds)
    values: dict[str, dict[Any, float]] = {
        head: dict(enumerate((0.7 + gain + luck + rng.normal(0, 0.01, seeds)).tolist()))
        for head, gain in gains.items()
    }
    return contest(values, BASELINES, metric)


def test_the_middle_half_is_scipys() -> None:
    values = np.random.default_rng(0).normal(size=12)
    found = interquartile(values.tolist())
    assert found is not None and found.half is not None
    assert found.mean == pytest.approx(stats.trim_mean(values, 0.25))
    # scipy takes Student's t, whose intervals are a little short.
    low, high = trimmed_mean_ci(values, limits=(0.25, 0.25))
    assert (high - low) / 2 < found.half < 1.15 * (high - low) / 2


def test_the_middle_half_of_few_is_the_mean() -> None:
    assert interquartile([]) is None
    assert interquartile([1.0]) == interval([1.0])
    assert interquartile([1.0, 2.0, 6.0, 9.0]) == interval([1.0, 2.0, 6.0, 9.0])
    moved = interquartile([1.0, 2.0, 3.0, 4.0, -1e6])
    assert moved is not None and moved.mean == 2.0


@pytest.mark.parametrize("estimate", [interval, interquartile])
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_intervals_cover_what_they_promise(estimate: Any, seeds: int) -> None:
    values = np.random.default_rng(seeds).normal(size=(4000, seeds))
    covered = np.mean([abs(one.mean) <= one.half for one in map(estimate, values.tolist())])
    assert covered == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("seeds", [3, 10])
def test_equal_heads_get_a_verdict_in_five_percent_of_studies_at_most(seeds: int) -> None:
    """Ten heads and both baselines: neither a win nor a loss against both is often claimed."""
    rng = np.random.default_rng(7)
    gains = dict.fromkeys([*BASELINES, *(f"head{k}" for k in range(10))], 0.0)
    studies = [simulated(rng, gains, seeds) for _ in range(400)]
    claimed = [
        any(d.larger_than_noise for h in one.heads for d in h.less.values()) for one in studies
    ]
    assert np.mean(claimed) <= 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5
    assert np.mean([bool(one.winners) for one in studies]) <= 0.05


def test_planted_gains_are_recovered() -> None:
    """Each in its interval as often as promised, and found by ten seeds where it is large."""
    rng = np.random.default_rng(3)
    gains = {"linear": 0.0, "normface": 0.005, "arcface": 0.06, "cosface": 0.05, "adacos": 0.006}
    studies = [simulated(rng, gains, 10) for _ in range(500)]
    inside = [
        abs(one.mean - (gains[head.label] - gains[to])) <= (one.half or 0)
        for study in studies
        for head in study.challengers
        for to, one in head.less.items()
    ]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)
    found = [{head.label for head in study.winners} for study in studies]
    assert np.mean([{"arcface", "cosface"} <= one for one in found]) > 0.97
    assert np.mean(["adacos" in one for one in found]) < 0.05, "barely better than normface"


@pytest.mark.parametrize("gain", [0.0, 0.5, 1.5])
def test_the_chance_of_a_new_seed_is_how_often_it_wins(gain: float) -> None:
    """Said before the new seed is run, and right on average for each that is said."""
    draws = np.random.default_rng(11).normal(gain, 1, size=(4000, 6))
    known, new = draws[:, :5], draws[:, 5]
    said = []
    for one in known:
        zero = dict.fromkeys(range(5), 0.0)
        difference = paired("x", 0, 1, dict(enumerate(one.tolist())), zero)
        assert difference is not None
        said.append(chance_of_more(difference) or 0.0)
    # Integrated over all that may be said, the promise is exact for a mean of which nothing is known.
    centred = (new - known.mean(axis=1)) / (known.std(axis=1, ddof=1) * (1 + 1 / 5) ** 0.5)
    for level in (0.1, 0.5, 0.9):
        assert np.mean(stats.t.cdf(centred, 4) < level) == pytest.approx(level, abs=0.025)
    by_hand = stats.t.sf(0, 4, known[0].mean(), known[0].std(ddof=1) * (1 + 1 / 5) ** 0.5)
    assert said[0] == pytest.approx(by_hand)


def test_what_does_not_vary_has_no_chance() -> None:
    assert chance_of_more(Difference("x", 0, 1, 1, 0.1, None, None)) is None


@pytest.mark.parametrize(("seeds", "comparisons"), [(3, 2), (10, 20)])
def test_the_smallest_difference_is_found_in_four_of_five_studies(
    seeds: int, comparisons: int
) -> None:
    size = smallest_found(seeds, comparisons)
    noise = np.random.default_rng(5).normal(size=(4000, seeds))
    p = stats.ttest_1samp(noise + size, 0, axis=1).pvalue
    assert np.mean(p < ALPHA / comparisons) == pytest.approx(0.8, abs=0.02)


def test_a_lower_error_wins() -> None:
    rng = np.random.default_rng(0)
    gains = {"linear": 0.0, "normface": 0.0, "arcface": -0.1, "cosface": 0.1}
    study = simulated(rng, gains, 10, "verification_eer")
    assert [head.label for head in study.winners] == ["arcface"]
    assert study.heads[0].label == "arcface" and study.heads[-1].label == "cosface"
    (less, _) = study.heads[0].less.values()
    assert (study.chance(less) or 0) > 0.99 and (study.smallest(less) or 1) < 0.05


def test_a_head_must_beat_every_baseline() -> None:
    gains = {"linear": 0.0, "normface": 0.2, "arcface": 0.1}
    study = simulated(np.random.default_rng(0), gains, 10)
    assert study.winners == [] and study.best_baseline is not None
    assert study.best_baseline.label == "normface"


def test_only_common_seeds_are_compared_and_absent_heads_are_left_out() -> None:
    values: dict[str, dict[Any, float]] = {
        "linear": {1: 0.5, 2: 0.6},
        "normface": {},
        "arcface": {2: 0.7, 3: 0.9},
    }
    study = contest(values, BASELINES, "accuracy")
    assert study.baselines == ["linear"] and [h.label for h in study.heads] == ["arcface", "linear"]
    assert study.heads[0].less["linear"].seeds == 1 and study.winners == []
