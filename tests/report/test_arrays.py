"""Runs whose arrays cannot be used, or whose names are no plain words: named, and the others appear."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_records import circle, make_result, snapshots

from arcmargin.record import Embeddings, Snapshots
from arcmargin.report import write as report

CLASSES = 4


def sweep(folder: Path) -> Path:
    """Three runs on the circle, with arrays."""
    rng = np.random.default_rng(0)
    for place, own in enumerate(({}, {"m2": 0.2}, {"m2": 0.4})):
        data = circle(rng, 20.0, CLASSES, 80)
        result = make_result(
            **own, num_classes=CLASSES, class_names=list("abcd"), metrics={"accuracy": 0.9}
        )
        data.save(folder / f"run{place}")
        snapshots(data, 4).save(folder / f"run{place}")
        result.write(folder / f"run{place}")
    return folder


def replace(folder: Path, **arrays: np.ndarray) -> None:
    Embeddings.load(folder)._replace(**arrays).save(folder)


def replace_snapshots(folder: Path, **arrays: np.ndarray) -> None:
    moments = Snapshots.load(folder)
    assert moments is not None
    moments._replace(**arrays).save(folder)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda f: replace(f, embeddings=np.ones((80, 3)), centres=np.ones((CLASSES, 3))),
        lambda f: replace(f, centres=np.ones((9, 2))),
        lambda f: replace(f, labels=np.full(80, -1)),
        lambda f: replace(f, labels=np.full(80, CLASSES)),
        lambda f: replace(f, labels=np.zeros(7, int)),
        lambda f: (f / "embeddings.npz").write_bytes(b"no arrays"),
        lambda f: replace_snapshots(f, rows=np.arange(80) + 1),
        lambda f: replace_snapshots(f, labels=np.full(80, 99)),
        lambda f: replace_snapshots(f, embeddings=np.ones((3, 80, 3)), centres=np.ones((3, 4, 3))),
    ],
)
def test_damaged_arrays_are_named_and_the_others_appear(
    tmp_path: Path, spoil: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sweep(tmp_path / "sweep")
    spoil(folder / "run1")
    assert report.main([str(folder), "--formats", "png"]) == 0
    named = [line for line in capsys.readouterr().err.splitlines() if "no picture: " in line]
    assert len(named) == 1 and "run1" in named[0]
    page = (folder / "report" / "index.html").read_text()
    assert "Without pictures: damaged arrays" in page
    assert (folder / "report" / "grid.png").exists()
    assert (folder / "report" / "compare.html").exists()  # of the other two


@pytest.mark.parametrize("name", ["$\\frac{$", "a\nb", "\x00\x1b[31m", "é$é", "<b>", "x" * 500])
def test_names_of_any_kind_are_drawn_as_text(tmp_path: Path, name: str) -> None:
    folder = sweep(tmp_path / "sweep")
    for place in range(3):
        changes = {"header": f"my{name}", "dataset": name, "class_names": [name, "b", "c", name]}
        make_result(
            **changes, s=float(place), num_classes=CLASSES, metrics={"accuracy": 0.9},
            overrides=[f"backbone.note={name}{place}"],
        ).write(folder / f"run{place}")  # fmt: skip
    failed = make_result(status="failed", error=f"Error: {name}\n{name}", dataset=name)
    failed.write(folder / "failed")
    made = report.write_report([folder], formats=["png", "svg", "pdf"])
    assert not made.found.damaged and len(made.found.results) == 4


def test_missing_arrays_are_no_damage(tmp_path: Path) -> None:
    make_result(metrics={"accuracy": 0.9}).write(tmp_path / "a")
    assert report.write_report([tmp_path], formats=["png"]).damaged_arrays == []


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"a": "\\ud800"}', '{"schema": ' + "9" * 400 + "}", '{"schema": 2}']
)
def test_a_damaged_record_is_named_and_left_out(tmp_path: Path, content: str) -> None:
    folder = sweep(tmp_path / "sweep")
    (folder / "run1" / "record.json").write_text(content)
    made = report.write_report([folder], formats=["png"])
    assert len(made.found.results) == 2
    (sentence,) = made.found.damaged
    assert "run1" in sentence
