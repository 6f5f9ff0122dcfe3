"""Which figures there are, that Plotly takes them, and what they show."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import pytest
from synthetic_records import make_result

from arcmargin.metrics.table import PREDICTED
from arcmargin.record import Result
from arcmargin.report.charts import margin_charts, parallel_chart
from arcmargin.report.frame import configurations, run_frame
from arcmargin.report.labels import labels
from arcmargin.report.margin_axes import contexts
from arcmargin.report.style import header_colour


def test_lines_are_heads_and_points_their_margins() -> None:
    results = [make_result("linear"), make_result("normface")]
    results += [make_result(m2=m2, s=s) for m2 in (0.5, 0.2) for s in (30.0, 64.0)]
    results += [make_result("cosface", m3=0.35)]
    found = configurations(results)
    (one,) = contexts(found)
    assert [found[i].settings["header"] for i in one.baselines] == ["linear", "normface"]
    m2, scale = one.axes
    assert (m2.key, m2.unit, scale.key) == ("m2", "rad", "s")
    lines = {line.label: line for line in m2.lines}
    assert set(lines) == {"arcface, s = 30", "arcface, s = 64", "cosface, m3 = 0.35, s = 30"}
    assert lines["arcface, s = 30"].at == [0.2, 0.5]
    assert [found[i].settings["m2"] for i in lines["arcface, s = 30"].members] == [0.2, 0.5]
    assert {line.label for line in scale.lines} >= {"normface", "arcface, m2 = 0.5"}


def test_matched_margins_lie_at_their_predicted_gap() -> None:
    results = [make_result("normface", metrics={PREDICTED: 0.0, "accuracy": 0.9})]
    for gap in (10, 20):
        for header, own in (("arcface", {"m2": gap / 57}), ("cosface", {"m3": gap / 200})):
            metrics = {PREDICTED: gap + 0.1, "accuracy": 0.9}
            results.append(make_result(header, gap_deg=float(gap), metrics=metrics, **own))
    results += [make_result(dataset="mnist", m2=0.1), make_result("linear", dataset="mnist")]
    digits, mnist = contexts(configurations(results))
    assert [axis.key for axis in digits.axes] == [PREDICTED, "m2", "m3"]
    assert [line.at for line in digits.axes[0].lines] == [[10.1, 20.1], [10.1, 20.1]]
    assert (digits.title, mnist.title, mnist.axes) == ("digits", "mnist", [])


def sweep(seeds: int) -> list[Result]:
    rng = np.random.default_rng(0)
    heads: Sequence[tuple[str, dict[str, float]]] = [
        ("linear", {}), ("normface", {}), ("arcface", {"m2": 0.2}), ("arcface", {"m2": 0.5}),
    ]  # fmt: skip
    return [
        make_result(head, seed=seed, metrics={"accuracy": 0.9 + 0.01 * rng.random()}, **own)
        for head, own in heads
        for seed in range(seeds)
    ]


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_intervals_from_three_seeds_on_points_before(seeds: int) -> None:
    results = sweep(seeds)
    found = configurations(results)
    (context,) = contexts(found)
    against, each = margin_charts(found, labels(found), context, ["accuracy", "gap_mean_deg"])
    (figure,) = [one["figure"] for one in against["figures"]]  # no run has a gap
    go.Figure(figure)  # refuses what Plotly does not know
    line = next(trace for trace in figure["data"] if trace.get("name") == "arcface")
    values = {
        m2: [r.metrics["accuracy"] for r in results if r.settings.m2 == m2] for m2 in (0.2, 0.5)
    }
    assert line["x"] == [0.2, 0.5] and line["line"]["color"] == header_colour("arcface")
    assert line["y"] == pytest.approx([100 * np.mean(of_one) for of_one in values.values()])
    if seeds == 3:
        halves = [100 * 4.302653 * np.std(v, ddof=1) / 3**0.5 for v in values.values()]
        assert line["error_y"]["array"] == pytest.approx(halves, rel=1e-5)
    else:
        assert not line["error_y"]["visible"] and not figure["layout"]["shapes"]
    singles = [trace for trace in figure["data"] if trace["mode"] == "markers"]
    shown = sorted(y for trace in singles for y in trace["y"])
    wanted = sorted(100 * value for of_one in values.values() for value in of_one)
    assert shown == pytest.approx(wanted if seeds == 2 else [])
    assert [entry["label"] for entry in against["legend"]] == [
        "arcface",
        "linear (plain softmax)",
        "normface (m = 0)",
    ]
    assert len(each["figures"][0]["figure"]["data"]) == 4
    go.Figure(each["figures"][0]["figure"])


def test_parallel_coordinates_hold_every_run() -> None:
    results = sweep(2)
    figure = parallel_chart(run_frame(results), ["header", "m2", "s"], ["accuracy"])
    assert figure is not None
    go.Figure(figure)
    header, m2, accuracy = figure["data"][0]["dimensions"]
    assert header["ticktext"] == ["linear", "normface", "arcface"]
    assert header["values"] == [0, 0, 1, 1, 2, 2, 2, 2]
    assert m2["ticktext"][0] == "none" and m2["values"][:2] == [m2["tickvals"][0]] * 2
    assert m2["values"][2:] == [0, 0, 0.2, 0.2, 0.5, 0.5] and m2["tickvals"][0] < 0
    assert accuracy["values"] == pytest.approx([100 * r.metrics["accuracy"] for r in results])
    assert parallel_chart(run_frame(results[:1]), ["header"], ["accuracy"]) is None
