"""The expected best of so many trials, and choices at the end of a range."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcmargin.report.tuning import Tuned, at_the_edge, expected_best


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=7), st.sampled_from(["max", "min"]))
def test_the_expected_best_is_the_mean_over_all_choices(scores: list[float], end: str) -> None:
    best = max if end == "max" else min
    by_hand = [
        np.mean([best(some) for some in combinations(scores, k)]) for k in range(1, len(scores) + 1)
    ]
    assert expected_best(scores, end) == pytest.approx(by_hand, abs=1e-9)


def test_a_choice_at_the_end_of_its_range_is_told() -> None:
    ranges = {"m2": (0.0, 0.8, False), "s": (4.0, 128.0, True)}
    settings = [{"m2": 0.79, "s": 20.0}, {"m2": 0.01, "s": 127.0}]
    better = Tuned("header=arcface dataset=digits", "val_accuracy", [0.9, 0.8], settings, ranges)
    assert list(at_the_edge([better])) == ["m2 from 0 to 0.8 (arcface 0.79)"]
    other = better._replace(scores=[0.8, 0.9])  # a margin of nothing is no end
    third = other._replace(label="header=normface")
    assert list(at_the_edge([other, third])) == ["s from 4 to 128 (arcface 127, normface 127)"]
