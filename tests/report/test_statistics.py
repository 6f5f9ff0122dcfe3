"""The tests of differences, against scipy and loops written out."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from synthetic_records import make_result

from arcmargin.record import Result
from arcmargin.report.configurations import baselines
from arcmargin.report.frame import configurations
from arcmargin.report.statistics import (
    ALPHA,
    Difference,
    against_baseline,
    caveat,
    holm,
    interval,
    paired,
    pairwise,
    smallest_visible,
)


def run(header: str, seed: int, accuracy: float, **changes: Any) -> Result:
    return make_result(header, seed=seed, **{"metrics": {"accuracy": accuracy}} | changes)


def noisy(seeds: int = 5) -> list[Result]:
    """arcface is better than normface by far, linear worse, cosface now better and now worse."""
    rng = np.random.default_rng(0)
    luck = rng.normal(0, 0.01, seeds)
    heads = {"linear": 0.88, "normface": 0.9, "arcface": 0.95, "cosface": 0.9}
    noise = {head: rng.normal(0, 0.004, seeds) for head in heads}
    noise["cosface"] = noise["normface"] + 0.004 * (-1.0) ** np.arange(seeds)
    margins = {"arcface": {"m2": 0.3}, "cosface": {"m3": 0.1}}
    return [
        run(head, seed, mean + luck[seed] + noise[head][seed], **margins.get(head, {}))
        for head, mean in heads.items()
        for seed in range(seeds)
    ]


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12))
def test_the_interval_is_students(values: list[float]) -> None:
    found = interval(values)
    assert found is not None and found.half is not None and found.sd is not None
    mean = sum(values) / len(values)
    deviation = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    assert found.mean == pytest.approx(mean, abs=1e-9)
    assert found.sd == pytest.approx(deviation, abs=1e-7)
    wanted = stats.t.ppf(0.975, len(values) - 1) * deviation / len(values) ** 0.5
    assert found.half == pytest.approx(wanted, abs=1e-6)


def test_no_value_and_one_value() -> None:
    assert interval([]) is None
    assert interval([0.5]) == (0.5, None, None)


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_paired_is_scipys_on_the_seeds_that_both_have(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    a = {seed: float(rng.normal(0.9, 0.02)) for seed in range(seeds + 2)}
    b = {seed: float(rng.normal(0.88, 0.02)) for seed in range(2, seeds + 5)}
    found = paired("accuracy", 0, 1, a, b)
    assert found is not None
    shared = sorted(set(a) & set(b))
    assert found.seeds == len(shared) == seeds
    wanted = stats.ttest_rel([a[s] for s in shared], [b[s] for s in shared])
    assert found.p == pytest.approx(wanted.pvalue)
    low, high = wanted.confidence_interval(0.95)
    assert found.half == pytest.approx((high - low) / 2)
    assert found.mean == pytest.approx((high + low) / 2)


def test_what_cannot_be_tested_gets_no_p() -> None:
    assert paired("x", 0, 1, {0: 1.0}, {1: 1.0}) is None  # no seed in common
    single = paired("x", 0, 1, {0: 1.0}, {0: 0.9})
    assert single is not None and single.p is None and single.half is None
    # Accuracies come in steps of one image: equal differences are no proof beyond all doubt.
    steps = paired("x", 0, 1, {s: 0.90 + s / 359 for s in range(3)}, {s: s / 359 for s in range(3)})
    assert steps is not None and steps.p is None and steps.mean == pytest.approx(0.9)
    assert not steps.larger_than_noise
    unseeded = paired("x", 0, 1, {None: 1.0}, {None: 0.9})
    assert unseeded is None


def holm_by_hand(p_values: list[float]) -> list[float]:
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected = [0.0] * len(p_values)
    for place, index in enumerate(order):
        raised = [(len(p_values) - k) * p_values[order[k]] for k in range(place + 1)]
        corrected[index] = min(1.0, max(raised))
    return corrected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm(p_values: list[float]) -> None:
    found = holm(p_values)
    assert found == pytest.approx(holm_by_hand(p_values))
    bonferroni = [min(1.0, p * len(p_values)) for p in p_values]
    assert all(p <= one <= b + 1e-12 for p, one, b in zip(p_values, found, bonferroni, strict=True))


def test_holm_of_a_textbook_example_and_of_the_untested() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, None]) == [0.02, None]  # a comparison that was made counts


def test_each_head_is_compared_with_its_baseline() -> None:
    found = configurations(noisy())
    heads = [one.settings["header"] for one in found]
    tests = against_baseline(found, ["accuracy"])
    assert [(heads[t.first], heads[t.second]) for t in tests] == [
        ("linear", "normface"),
        ("arcface", "normface"),
        ("cosface", "normface"),
    ]
    larger = {heads[t.first]: t.larger_than_noise for t in tests}
    assert larger == {"linear": True, "arcface": True, "cosface": False}
    by_hand = []
    for one in found:
        if one.settings["header"] != "normface":
            mine = [run.metrics["accuracy"] for run in one.results]
            base = [run.metrics["accuracy"] for run in found[1].results]
            by_hand.append(float(stats.ttest_rel(mine, base).pvalue))
    assert [t.corrected for t in tests] == pytest.approx(holm_by_hand(by_hand))
    pairs = pairwise(found, ["accuracy"])
    assert len(pairs) == 6 and all(t.first < t.second for t in pairs)
    p_values = [t.p or 0.0 for t in pairs]
    assert [t.corrected for t in pairs] == pytest.approx(holm_by_hand(p_values))


def test_chance_alone_seldom_looks_like_an_effect() -> None:
    """Ten heads that differ in nothing: some comparison of the family errs in about 5 % of sweeps."""
    rng, wrong = np.random.default_rng(1), 0
    for _ in range(200):
        base, *others = rng.normal(size=(11, 4))
        tests = [
            paired("x", 0, 1, dict(enumerate(one.tolist())), dict(enumerate(base.tolist())))
            for one in others
        ]
        wrong += min(p or 0.0 for p in holm([t.p for t in tests if t])) < ALPHA
    assert wrong <= 20


def test_the_baseline_has_the_same_scale_and_context() -> None:
    records = [run("linear", 0, 0.9), run("linear", 0, 0.9, dataset="mnist")]
    records += [run(h, 0, 0.9, s=s) for h in ("normface", "adacos") for s in (8.0, 30.0)]
    records += [run("arcface", 0, 0.9, m2=0.5, s=s) for s in (8.0, 30.0, 64.0)]
    records += [run("arcface", 0, 0.9, m2=0.5, dataset="mnist"), run("arcface", 0, 0.9, s=64.0)]
    found = configurations(records)
    names = [
        (c.settings["dataset"], c.settings["header"], c.settings["m2"], c.settings["s"])
        for c in found
    ]
    base = {
        name: None if i is None else names[i]
        for name, i in zip(names, baselines(found), strict=True)
    }
    assert base["digits", "arcface", 0.5, 8.0] == ("digits", "normface", 0.0, 8.0)
    assert base["digits", "arcface", 0.5, 30.0] == ("digits", "normface", 0.0, 30.0)
    assert base["digits", "arcface", 0.5, 64.0] == ("digits", "arcface", 0.0, 64.0)  # m2 = 0
    assert base["mnist", "arcface", 0.5, 30.0] == ("mnist", "linear", None, None)
    assert base["digits", "normface", 0.0, 8.0] == ("digits", "normface", 0.0, 8.0)
    (adaface,) = configurations([run("adaface", 0, 0.9, s=30.0)])
    assert not adaface.without_margin
    (own_head,) = configurations(
        [run("own_head", 0, 0.9, in_formula=True, s=8.0, m1=1.0, m2=0.0, m3=0.0)]
    )
    assert own_head.without_margin  # whatever a user calls it
    assert baselines(configurations([run("arcface", 0, 0.9, m2=0.5)])) == [None]


def test_too_many_pairs_are_not_made() -> None:
    found = configurations(
        [run("arcface", s, 0.9, m2=m / 50) for m in range(1, 22) for s in (0, 1)]
    )
    assert len(found) == 21 and pairwise(found, ["accuracy"]) == []


@pytest.mark.parametrize(("seeds", "comparisons"), [(2, 1), (3, 10), (10, 4)])
def test_the_smallest_visible_difference_is_on_the_edge(seeds: int, comparisons: int) -> None:
    """Differences whose mean is that many of their standard deviations get p = alpha / comparisons."""
    noise = np.linspace(-1, 1, seeds)
    noise /= noise.std(ddof=1)
    p = stats.ttest_1samp(noise + smallest_visible(seeds, comparisons), 0).pvalue
    assert p == pytest.approx(ALPHA / comparisons)


def test_the_caveat_says_what_the_tests_can_show() -> None:
    def tests(seeds: int, count: int, p: float | None = 0.5) -> list[Difference]:
        return [Difference("accuracy", 0, i, seeds, 0.1, 0.2, p, p) for i in range(count)]

    assert "no test is made" in caveat(tests(1, 3, None))
    assert "Nothing to compare" in caveat([])
    three = caveat(tests(3, 10))
    assert three.startswith("10 comparisons, each paired over 3 seeds")
    assert "at least 8.1 standard deviations" in three and "never as “equal”" in three
    ten = caveat(tests(10, 1))
    assert ten.startswith("1 comparison, ") and "never as" not in ten and "with 10 seeds" not in ten
    mixed = caveat([*tests(3, 1), *tests(5, 1), *tests(3, 1, None)])
    assert "3 to 5 seeds" in mixed and "1 comparison could not be tested" in mixed
