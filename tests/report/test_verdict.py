"""The answer in sentences: the best configuration, and whether it can be believed."""

from typing import Any

import pytest
from synthetic_records import make_result

from arcmargin.record import Result
from arcmargin.report.frame import configurations
from arcmargin.report.labels import labels
from arcmargin.report.margin_axes import contexts
from arcmargin.report.statistics import against_baseline
from arcmargin.report.verdict import headline, notes, verdict

MARGINS: dict[str, dict[str, float]] = {"arcface": {"m2": 0.3}, "cosface": {"m3": 0.1}}


def runs(name: str = "accuracy", **values: list[float]) -> list[Result]:
    return [
        make_result(header, seed=seed, metrics={name: value}, **MARGINS.get(header, {}))
        for header, of_header in values.items()
        for seed, value in enumerate(of_header)
    ]


def answer(results: list[Result]) -> list[str]:
    found = configurations(results)
    name = headline(found)
    tests = against_baseline(found, [name])
    return verdict(found, labels(found), contexts(found), tests, name)


CLEAR = {"normface": [0.90, 0.91, 0.92], "arcface": [0.95, 0.9603, 0.9698]}


def test_the_best_and_what_exceeds_the_noise() -> None:
    (sentence,) = answer(runs(**CLEAR, cosface=[0.91, 0.9, 0.93]))
    assert sentence.startswith("Best accuracy: arcface, m2 = 0.3 with 96.00 ± ")
    assert "95 % interval over 3 seeds" in sentence and "chosen among 3" in sentence
    assert "1 of 2 configurations differs from its baseline by more than the noise" in sentence
    assert "arcface, m2 = 0.3 by +5.00 points." in sentence


def test_the_validation_split_chooses_where_it_can() -> None:
    results = runs(**CLEAR)
    for result in results:
        score = 0.9 if result.settings.header == "arcface" else 0.95
        result.validation = {"val_accuracy": score}
    (sentence,) = answer(results)
    assert sentence.startswith(
        "Best on the validation split: normface, with a test accuracy of 91.00"
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"normface": [0.9, 0.92, 0.91], "arcface": [0.92, 0.9, 0.91]},
            "No configuration's accuracy",
        ),
        ({"arcface": [0.9, 0.91, 0.92], "cosface": [0.9, 0.91, 0.93]}, "No run without a margin"),
        ({"normface": [0.9], "arcface": [0.91]}, "cannot be said from one seed"),
    ],
)
def test_what_cannot_be_claimed_is_said(values: dict[str, list[float]], words: str) -> None:
    (sentence,) = answer(runs(**values))
    assert words in sentence


@pytest.mark.parametrize(("seeds", "words"), [(1, "(one run"), (2, "(2 runs: too few")])
def test_fewer_than_three_seeds_have_no_interval(seeds: int, words: str) -> None:
    (sentence,) = answer(runs(normface=[0.9] * seeds, arcface=[0.91, 0.92][:seeds]))
    assert "±" not in sentence and words in sentence


def test_a_lower_error_is_better_and_unseen_classes_come_first() -> None:
    results = runs("verification_eer", normface=[0.05, 0.051, 0.052], arcface=[0.02, 0.021, 0.0221])
    for result in results:
        result.metrics["accuracy"] = 0.9
    (sentence,) = answer(results)
    assert sentence.startswith("Best EER: arcface, m2 = 0.3 with 2.10 ±")
    assert "by −2.9" in sentence or "by −3.0" in sentence


def test_each_data_set_has_its_answer() -> None:
    results = runs(**CLEAR)
    results += [
        make_result(h, dataset="mnist", seed=s, metrics={"accuracy": 0.99}, **MARGINS.get(h, {}))
        for h in CLEAR
        for s in range(3)
    ]
    assert [sentence.partition(":")[0] for sentence in answer(results)] == ["digits", "mnist"]


def test_mixed_threads_are_told() -> None:
    def on(*threads: Any) -> list[str]:
        return notes([make_result(threads=count) for count in threads])

    assert on(1, 1, None) == []
    (sentence,) = on(1, 4, 2)
    assert sentence.startswith("Runs on 1, 2 and 4 threads are mixed")
