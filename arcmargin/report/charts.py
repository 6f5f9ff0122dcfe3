"""Plotly figures of the report's page: metrics against the margin, and all runs in parallel coordinates.

A figure is Plotly's JSON. It names no colour of paper or ink: those are the page's, light or dark.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from arcmargin.metrics.table import PREDICTED, Metric, metric
from arcmargin.report.configurations import Configuration, rank
from arcmargin.report.labels import UNITS, text
from arcmargin.report.margin_axes import Axis, Context
from arcmargin.report.statistics import LEAST_SEEDS, interval
from arcmargin.report.style import header_colour

Figure = dict[str, Any]
DASHES = ("solid", "dash", "dot", "dashdot")
SYMBOLS = ("circle", "square", "diamond", "cross")
MOST_DOTS = 40  # configurations of a figure that shows each on a line of its own


def margin_charts(
    found: Sequence[Configuration], labels: Sequence[str], context: Context, names: Sequence[str]
) -> list[dict[str, Any]]:
    """For each axis its title, a legend and a figure a metric; the last shows each configuration."""
    names = [name for name in names if name != PREDICTED]
    charts = [
        {
            "title": axis.title,
            "legend": _legend(found, labels, context, axis),
            "figures": [
                {"metric": name, "figure": figure}
                for name in names
                if (figure := _against(found, labels, context, axis, metric(name))) is not None
            ],
        }
        for axis in context.axes
    ]
    dots = [_dots(found, labels, context, metric(name)) for name in names]
    each = [{"metric": n, "figure": f} for n, f in zip(names, dots, strict=True) if f]
    return [*charts, {"title": "each configuration", "legend": [], "figures": each}]


def _against(
    found: Sequence[Configuration],
    labels: Sequence[str],
    context: Context,
    axis: Axis,
    one: Metric,
) -> Figure | None:
    traces: list[dict[str, Any]] = []
    shapes: list[dict[str, Any]] = []
    seen: list[tuple[float, float]] = []  # mean and half of its interval
    styles = _styles(axis)
    for line, (dash, symbol) in zip(axis.lines, styles, strict=True):
        points = [
            (at, place, _spread(found[place], one))
            for at, place in zip(line.at, line.members, strict=True)
            if found[place].values(one.name)
        ]
        if not points:
            continue
        colour = header_colour(line.header)
        seen += [(mean, half or 0.0) for _, _, (mean, half) in points]
        traces += _single_runs(found, points, one, colour)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": line.label,
                "x": [at for at, *_ in points],
                "y": [mean for *_, (mean, _) in points],
                "error_y": {
                    "type": "data",
                    "array": [half or 0.0 for *_, (_, half) in points],
                    "visible": any(half for *_, (_, half) in points),
                    "thickness": 1.2,
                    "width": 3,
                },
                "line": {"color": colour, "dash": dash, "width": 1.8},
                "marker": {"symbol": symbol, "size": 7 if len(points) < 25 else 4},
                "hovertext": [_hover(found, labels, place, one) for _, place, _ in points],
                "hoverinfo": "text",
            }
        )
    if not traces:
        return None
    at = [at for line in axis.lines for at in line.at]
    left, right = min(at), max(at)
    for place in context.baselines if axis.key != "s" else ():
        if not found[place].values(one.name):
            continue
        mean, half = _spread(found[place], one)
        seen.append((mean, half or 0.0))
        colour = header_colour(found[place].settings["header"])
        if half:
            shapes.append(_band(mean, half, colour))
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": labels[place],
                "x": np.linspace(left, right, 9).tolist(),  # to be found with the pointer
                "y": [mean] * 9,
                "line": {"color": colour, "dash": _baseline_dash(found[place]), "width": 1.6},
                "hovertext": _hover(found, labels, place, one),
                "hoverinfo": "text",
            }
        )
    if axis.key == PREDICTED and one.name in ("gap_min_deg", "gap_mean_deg"):
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": "measured = predicted",
                "x": [left, right],
                "y": [left, right],
                "line": {"color": "#8a8f98", "width": 1},
                "hoverinfo": "name",
            }
        )
    unit = f" ({axis.unit})" if axis.unit else ""
    return {
        "data": traces,
        "layout": {
            "xaxis": {"title": {"text": axis.title + unit}},
            "yaxis": {"range": _limits(seen), "ticksuffix": one.unit if one.unit == "°" else ""},
            "shapes": shapes,
            "showlegend": False,
            "hovermode": "closest",
        },
    }


def _dots(
    found: Sequence[Configuration], labels: Sequence[str], context: Context, one: Metric
) -> Figure | None:
    """A line for each configuration, the first of which stands on top."""
    members = [place for place in context.members if found[place].values(one.name)][:MOST_DOTS]
    if not members:
        return None
    spreads = [_spread(found[place], one) for place in members]
    colours = [header_colour(found[place].settings["header"]) for place in members]
    names = [plain_html(labels[place]) for place in members]
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "markers",
                "x": [mean],
                "y": [name],
                "error_x": {"type": "data", "array": [half or 0.0], "visible": bool(half)},
                "marker": {"color": colour, "size": 7},
                "hovertext": _hover(found, labels, place, one),
                "hoverinfo": "text",
            }
            for place, name, (mean, half), colour in zip(
                members, names, spreads, colours, strict=True
            )
        ],
        "layout": {
            "height": 90 + 20 * len(members),
            "xaxis": {"range": _limits([(mean, half or 0.0) for mean, half in spreads])},
            "yaxis": {"autorange": "reversed", "automargin": True},
            "showlegend": False,
            "hovermode": "closest",
        },
    }


def _single_runs(
    found: Sequence[Configuration],
    points: Sequence[tuple[float, int, tuple[float, float | None]]],
    one: Metric,
    colour: str,
) -> list[dict[str, Any]]:
    """The runs of those configurations that have too few for an interval."""
    few = [
        (at, one.factor * value)
        for at, place, (_, half) in points
        for value in found[place].values(one.name).values()
        if half is None and len(found[place].values(one.name)) > 1
    ]
    if not few:
        return []
    marker = {"symbol": "circle-open", "size": 5, "color": colour}
    x, y = zip(*few, strict=True)
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "x": list(x),
            "y": list(y),
            "marker": marker,
            "hoverinfo": "y",
        }
    ]


def _spread(one: Configuration, shown: Metric) -> tuple[float, float | None]:
    """The mean, and half of its 95 % interval where there are enough runs, in the shown unit."""
    values = list(one.values(shown.name).values())
    spread = interval(values)
    half = spread.half if spread and len(values) >= LEAST_SEEDS else None
    return shown.factor * float(np.mean(values)), None if half is None else shown.factor * half


def _hover(found: Sequence[Configuration], labels: Sequence[str], place: int, one: Metric) -> str:
    values = list(found[place].values(one.name).values())
    mean, half = _spread(found[place], one)
    shown = one.with_unit(mean / one.factor, None if half is None else half / one.factor)
    over = f"95 % interval over {len(values)} seeds" if half is not None else f"{len(values)} runs"
    over = "one run" if len(values) == 1 else over
    return f"{plain_html(labels[place])}<br>{one.title} {shown} ({over})".replace(" -", " −")


def _legend(
    found: Sequence[Configuration], labels: Sequence[str], context: Context, axis: Axis
) -> list[dict[str, str]]:
    lines = [
        {"label": line.label, "colour": header_colour(line.header), "dash": dash}
        for line, (dash, _) in zip(axis.lines, _styles(axis), strict=True)
    ]
    baselines = [
        {
            "label": f"{labels[place]} ({'plain softmax' if one.plain_softmax else 'm = 0'})",
            "colour": header_colour(one.settings["header"]),
            "dash": _baseline_dash(one),
        }
        for place, one in ((place, found[place]) for place in context.baselines)
        if axis.key != "s"
    ]
    return lines + baselines


def _styles(axis: Axis) -> list[tuple[str, str]]:
    """Dash and symbol of each line: a head's second one differs from its first."""
    drawn: Counter[str] = Counter()
    styles = []
    for line in axis.lines:
        index = drawn[line.header]
        drawn[line.header] += 1
        styles.append((DASHES[index % len(DASHES)], SYMBOLS[index % len(SYMBOLS)]))
    return styles


def _baseline_dash(one: Configuration) -> str:
    return "dot" if one.plain_softmax else "dash"


def _band(mean: float, half: float, colour: str) -> dict[str, Any]:
    area = {"xref": "paper", "x0": 0, "x1": 1, "y0": mean - half, "y1": mean + half}
    look = {"fillcolor": colour, "opacity": 0.13, "line": {"width": 0}, "layer": "below"}
    return {"type": "rect", **area, **look}


def _limits(spreads: Sequence[tuple[float, float]]) -> list[float]:
    """Intervals of a few seeds may be huge: beyond the range of the means they are cut off."""
    means, halves = np.array(spreads).T
    least, most = float(means.min()), float(means.max())
    reach = most - least or 0.1 * abs(most) or 1.0
    low = max(least - reach, float((means - halves).min()))
    high = min(most + reach, float((means + halves).max()))
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return [low - room, high + room]


def parallel_chart(runs: pd.DataFrame, keys: Sequence[str], names: Sequence[str]) -> Figure | None:
    """One line a run over the settings `keys` and the metrics `names` that vary, coloured by its header;
    what a run does not have is a tick of its own below. None where there is nothing to compare."""
    dimensions = [_dimension(runs[key], key, UNITS.get(key, "")) for key in keys]
    for one in map(metric, names):
        dimensions.append(
            _dimension(runs[one.name].astype(float) * one.factor, one.title, one.unit)
        )
    varying = [one for one in dimensions if one is not None]
    if len(varying) < 2 or len(runs) < 2:
        return None
    headers = sorted(set(runs["header"]), key=lambda header: rank("header", header))
    steps = [
        (edge / len(headers), header_colour(header))
        for place, header in enumerate(headers)
        for edge in (place, place + 1)
    ]
    return {
        "data": [
            {
                "type": "parcoords",
                "dimensions": varying,
                "line": {
                    "color": [headers.index(header) for header in runs["header"]],
                    "colorscale": steps,
                    "cmin": -0.5,
                    "cmax": len(headers) - 0.5,
                },
                "labelangle": -12,
            }
        ],
        "layout": {"height": 440, "margin": {"l": 90, "r": 60, "t": 80, "b": 30}},
    }


def _dimension(values: "pd.Series[Any]", title: str, unit: str) -> dict[str, Any] | None:
    known = values.dropna()
    if known.nunique() < 2:
        return None
    label = plain_html(f"{title} {unit}".strip())
    if all(isinstance(value, int | float) for value in known):
        low, high = float(known.min()), float(known.max())
        ticks = np.linspace(low, high, 5).tolist()
        numbers = values.astype(float)
        shown = [f"{tick:.4g}" for tick in ticks]
    else:
        order = sorted(set(known), key=lambda value: rank(title, value))
        low, high, ticks = 0.0, len(order) - 1.0, list(map(float, range(len(order))))
        numbers = values.map(lambda value: np.nan if value is None else order.index(value))
        shown = [plain_html(text(value)[:18]) for value in order]
    if len(known) < len(values):
        below = low - 0.15 * (high - low)
        numbers, low = numbers.fillna(below), below
        ticks, shown = [below, *ticks], ["none", *shown]
    return {
        "label": label,
        "values": numbers.astype(float).tolist(),
        "range": [low, high],
        "tickvals": ticks,
        "ticktext": shown,
    }


def plain_html(words: str) -> str:
    """Plotly reads some markup in texts."""
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
