"""Metrics against the margin: which configurations lie on one line, at which margin, and beside
which baseline."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from arcmargin.metrics.table import PREDICTED, metric, number
from arcmargin.record import NO_MARGIN
from arcmargin.report.configurations import (
    Configuration,
    context,
)
from arcmargin.report.labels import TITLES, UNITS, varying, words


class Line(NamedTuple):
    """Configurations that differ in one quantity only."""

    label: str
    header: str
    at: list[float]  # rising
    members: list[int]


class Axis(NamedTuple):
    """A quantity that some head has several values of."""

    key: str
    title: str
    unit: str
    lines: list[Line]


class Context(NamedTuple):
    """Configurations whose heads can be compared: one data set, dimension and so on. They are named by
    their place among all."""

    title: str
    members: list[int]
    axes: list[Axis]
    baselines: list[int]


def contexts(found: Sequence[Configuration]) -> list[Context]:
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index, one in enumerate(found):
        groups[tuple(context(one).values())].append(index)
    keys = [key for key in varying(found) if key in context(found[0])]
    return [
        Context(
            ", ".join(words(key, found[members[0]].settings[key]) for key in keys),
            members,
            _axes(found, members),
            [index for index in members if _is_baseline(found[index])],
        )
        for members in groups.values()
    ]


def _is_baseline(one: Configuration) -> bool:
    return one.without_margin or one.plain_softmax


def _axes(found: Sequence[Configuration], members: Sequence[int]) -> list[Axis]:
    """The one that most heads have several values of comes first."""
    own = [key for key in found[0].settings if key.startswith("header.")]
    axes = []
    for key in (PREDICTED, "gap_deg", "m2", "m3", "m1", *own, "s"):
        lines = _lines(found, members, key)
        if rising := sum(len(set(line.at)) > 1 for line in lines):
            title, unit = TITLES.get(key, key), UNITS.get(key, "")
            if key == PREDICTED:
                title, unit = metric(PREDICTED).title, metric(PREDICTED).unit
            axes.append((rising, Axis(key, title, unit, lines)))
    if any(axis.key == PREDICTED for _, axis in axes):  # the wanted gap is the same, or infeasible
        axes = [(rising, axis) for rising, axis in axes if axis.key != "gap_deg"]
    return [axis for _, axis in sorted(axes, key=lambda pair: -pair[0])]


def _lines(found: Sequence[Configuration], members: Sequence[int], key: str) -> list[Line]:
    """What follows from `key`, such as the margin from the wanted gap, differs with it."""
    follow = {key, "gap_deg"} if key != "s" else {key}
    if key in (PREDICTED, "gap_deg"):
        follow |= set(NO_MARGIN)
    here = [found[index] for index in members]
    apart = [name for name in varying(here) if name not in follow and name not in context(here[0])]
    groups: dict[tuple[Any, ...], list[tuple[float, int]]] = defaultdict(list)
    for index in members:
        at = _at(found[index], key)
        if at is not None and (key == "s" or not _is_baseline(found[index])):
            groups[tuple(found[index].settings[name] for name in apart)].append((at, index))
    return [
        Line(
            _label(apart, place),
            found[points[0][1]].settings["header"],
            [at for at, _ in sorted(points)],
            [index for _, index in sorted(points)],
        )
        for place, points in groups.items()
    ]


def _label(keys: Sequence[str], values: Sequence[Any]) -> str:
    """The header, and what else tells the lines apart."""
    shown = [
        words(key, value)
        for key, value in zip(keys, values, strict=True)
        if value is not None and value != NO_MARGIN.get(key)
    ]
    return ", ".join(shown)


def _at(one: Configuration, key: str) -> float | None:
    if key != PREDICTED:
        return number(one.settings.get(key))
    known = list(one.values(PREDICTED).values())
    return float(np.mean(known)) if known else None
