"""The one table of metrics: it knows every metric that a run writes, and docs/metrics.md is it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from arcmargin.metrics import geometry, open_set, table

ROOT = Path(__file__).resolve().parents[2]


def written() -> dict[str, float | None]:
    """Every metric of a run: of the circle, and of enough unseen images for the smallest rates."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(100), 20)
    unseen = rng.normal(size=(100, 16))[labels] + rng.normal(size=(2000, 16))
    circle = rng.normal(size=(50, 2))
    return {
        "accuracy": 0.9,
        table.PREDICTED: 28.0,
        **geometry.measure(circle, rng.integers(0, 3, 50)),
        **open_set.evaluate(unseen, labels).metrics,
    }


def test_every_metric_of_a_run_has_a_sentence_and_a_place() -> None:
    names = list(written())
    assert len(names) > 18
    for name in [*names, *(one.name for one in table.curves())]:
        row = table.metric(name)
        assert row.name == name, name
        assert row.meaning.endswith(".") and "{x}" not in row.title + row.meaning, name
        assert (row.brief or name == "train_loss") and "{x}" not in row.brief, name
        assert row.better or name == table.PREDICTED, name
    assert len({table.metric(name).title for name in names}) == len(names)


@pytest.mark.parametrize(
    ("name", "title", "unit", "better"),
    [
        ("verification_tar_at_far_1e-03", "TAR@FAR 1e-3", "%", 1),
        ("retrieval_recall_at_10", "recall@10", "%", 1),
        ("identification_fnir_at_fpir_1e-02", "FNIR@FPIR 1e-2", "%", -1),
        ("verification_eer", "EER", "%", -1),
        ("val_gap_min_deg", "validation smallest gap", "°", 1),
        ("train_loss", "training loss", "", -1),
        ("some_angle_deg", "some angle", "°", 0),
        ("steps", "steps", "", 0),
        ("seer", "seer", "", 0),
    ],
)
def test_names_units_and_directions(name: str, title: str, unit: str, better: int) -> None:
    found = table.metric(name)
    assert (found.title, found.unit, found.better) == (title, unit, better)


def test_numbers_are_shown_with_their_digits_and_unit() -> None:
    accuracy = table.metric("accuracy")
    assert (accuracy.shown(0.98765), accuracy.with_unit(0.98765)) == ("98.77", "98.77 %")
    assert table.metric("gap_min_deg").with_unit(-2.31) == "-2.3°"
    assert table.metric("steps").with_unit(12345.678) == "1.235e+04"
    assert accuracy.explanation.endswith("class. Higher is better.")
    assert (accuracy.best, table.metric("train_loss").best) == ("max", "min")


def test_the_order_is_the_tables() -> None:
    given = ["zeta", "val_accuracy", "gap_mean_deg", "verification_eer", "alpha", "accuracy"]
    wanted = ["accuracy", "gap_mean_deg", "verification_eer", "val_accuracy", "alpha", "zeta"]
    assert table.in_order(given) == wanted
    assert table.metric_names([{"b": 1, "accuracy": None}, {"a": 2.0, "x": "?"}]) == ["a", "b"]


def test_the_glossary_is_what_the_table_says() -> None:
    command = [sys.executable, "-m", "arcmargin.metrics.table"]
    made = subprocess.run(command, capture_output=True, check=True, cwd=ROOT).stdout
    assert made.decode() == (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_numbers_in_names_are_ordered_as_numbers():
    names = [f"retrieval_recall_at_{k}" for k in (10, 1, 5)]
    assert table.in_order(names) == [f"retrieval_recall_at_{k}" for k in (1, 5, 10)]
