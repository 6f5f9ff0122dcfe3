"""What a run says at its end: names, units, whom a number speaks of; coloured for a terminal alone."""

import re
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweep_terminal import Terminal
from synthetic_records import make_result

from arcmargin.job.terminal import files_left, result_table, wants_colour
from arcmargin.metrics import geometry
from arcmargin.metrics.table import ROWS
from arcmargin.record import Arrays, Embeddings, OpenSet, Snapshots


def on_the_circle(degrees, width=5.0, names=None, wrong=0):
    """A finished run whose classes lie at these angles, each `width` degrees to both sides."""
    spread = np.linspace(-width, width, 21)
    around = np.radians(np.asarray(degrees)[:, None] + spread).ravel()
    points = np.stack([np.cos(around), np.sin(around)], axis=1).astype(np.float32)
    labels = np.repeat(np.arange(len(degrees)), len(spread))
    data = Embeddings(points, labels, np.eye(2, dtype=np.float32)[:1].repeat(len(degrees), 0))
    none = np.zeros(0, np.int64)
    snapshots = Snapshots(
        none,
        np.zeros((0, 0, 2), np.float32),
        none,
        np.zeros((0, len(degrees), 2)),
        none,
        none.astype(str),
        np.zeros((0, 0)),
    )
    predicted = np.where(np.arange(len(labels)) < wrong, labels + 1, labels)
    metrics = {"accuracy": 1 - wrong / len(labels), **geometry.measure(points, labels)}
    names = names or [str(one) for one in range(len(degrees))]
    return make_result(
        "cosface",
        m3=0.1495,
        metrics=metrics,
        arrays=Arrays(data._replace(predicted=predicted), snapshots),
        class_names=names,
        num_classes=len(names),
    )


def test_the_pair_that_overlaps_is_named():
    table = result_table(on_the_circle([0, 120, 127, 240], wrong=3))
    assert "cosface m3=0.1495 on digits, 2-D, seed 0, s=30: test split" in table
    assert "3 of 84 test images are wrong" in table
    # The arcs' ends are the 5th and 95th percentiles: 4.5° from a centre.
    assert re.search(r"smallest gap +-2\.0° +1 and 2 overlap by 2\.0°", table)
    assert re.search(r"nearest centres +7\.0° +between 1 and 2", table)
    assert re.search(r"largest centre gap +120\.0° +between 0 and [13]; evenly 90°", table)


def test_classes_that_leave_a_gap_are_named_too():
    table = result_table(on_the_circle([0, 100, 230]))
    assert re.search(r"smallest gap +91\.0° +between 0 and 1$", table, re.MULTILINE)
    assert "overlap" not in table


@given(
    st.lists(st.floats(0, 359), min_size=2, max_size=7, unique_by=lambda one: round(one, 1)),
    st.floats(0.5, 40),
)
def test_the_pairs_are_those_of_the_metrics(degrees, width):
    data = on_the_circle(degrees, width).arrays.embeddings
    measured = geometry.measure(data.embeddings, data.labels)
    pairs = geometry.pairs_measured(data.embeddings, data.labels)
    around = geometry.arcs(data.embeddings, data.labels)
    neighbours = list(zip(around.classes, np.roll(around.classes, -1), strict=True))
    for name, values in (("gap_min_deg", around.gap), ("centre_gap_max_deg", around.centre_gap)):
        of_pair = [v for two, v in zip(neighbours, values, strict=True) if {*two} == {*pairs[name]}]
        assert measured[name] in of_pair
    first, second = np.asarray(degrees)[list(pairs["centre_angle_min_deg"])]
    apart = abs(first - second)
    assert min(apart, 360 - apart) == pytest.approx(measured["centre_angle_min_deg"], abs=1e-3)


def test_one_class_has_no_pair():
    points = np.ones((3, 2), np.float32)
    assert geometry.pairs_measured(points, np.zeros(3, np.int64)) == {}


def test_lines_keep_to_80_columns_and_points_stand_below_one_another():
    names = [f"alphabet_of_the_angels/character{number:02d}" for number in range(4)]
    result = on_the_circle([0, 120, 127, 240], names=names)
    unseen = [row.name.replace("{x}", "1e-03") for row in ROWS if row.unit == "%"][1:]
    result.metrics |= dict.fromkeys(unseen, 1.0) | {"verification_tar_at_far_1e-03": 0.363}
    result.intervals = dict.fromkeys(unseen, (0.1, 1.0))
    result.open_set = OpenSet(images=84, how="all pairs; images drawn again")
    lines = result_table(result).splitlines()
    assert max(map(len, lines)) <= 80
    assert "alp…cter01 and alp…cter02 overlap by 2.0°" in "\n".join(lines)
    assert len({line.index(".") for line in lines if line.startswith("  ")}) == 1
    (line,) = [line for line in lines if "TAR@FAR 1e-3" in line]
    expected = "TAR@FAR 1e-3 36.30 % 10.00 to 100.00 genuine pairs accepted"
    assert " ".join(line.split()) == expected


def test_colour_changes_no_word():
    result = on_the_circle([0, 120, 127, 240])
    plain, coloured = result_table(result), result_table(result, colour=True)
    assert "\x1b" not in plain and "\x1b[31m" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain


@pytest.mark.parametrize(
    ("terminal", "environment", "coloured"),
    [
        (True, {"TERM": "xterm"}, True),
        (False, {"TERM": "xterm"}, False),
        (True, {"TERM": "dumb"}, False),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
    ],
)
def test_only_a_terminal_whose_user_wants_it_is_coloured(
    terminal, environment, coloured, monkeypatch
):
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert wants_colour(terminal=terminal) is coloured


def test_files_are_named_by_what_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = files_left(
        [tmp_path / "x" / "embedding.png", tmp_path / "x" / "embedding.html"], tmp_path / "x"
    )
    assert [line.split() for line in said.splitlines()] == [
        ["picture", "x/embedding.png"],
        ["page", "x/embedding.html"],
        ["folder", "x"],
    ]


@pytest.mark.long
def test_a_terminal_of_80_columns_gets_a_bar_that_fits(tmp_path):
    terminal = Terminal(
        *(sys.executable, "-m", "arcmargin.run", "epochs=12", "threads=1", "logger=none"),
        cwd=tmp_path,
        columns=80,
    )
    assert terminal.end() == 0, terminal.shown
    frames = [re.sub(r"\x1b\[\w+", "", frame) for frame in re.split(r"[\r\n]", terminal.shown)]
    bars = [frame for frame in frames if "left, validation accuracy" in frame]
    assert bars and max(map(len, bars)) <= 80
    assert all(re.match(r"epoch \d+/12 \|.{10,}\| \d+ %, \d\d:\d\d left", bar) for bar in bars)
    assert "left" not in "\n".join(terminal.lines())  # it goes when it is done
