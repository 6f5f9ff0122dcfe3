"""ROC curves of unseen classes, all heads in one picture: FAR on a logarithmic axis, mean over seeds."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from arcmargin.record import OpenSet, Result
from arcmargin.report.configurations import Configuration
from arcmargin.report.labels import labels
from arcmargin.report.style import FAINT, INK, header_colour, plain_text

WIDTH, PANEL = 9.0, 4.3  # inches; a panel with its legend beside it
MOST_LINES = 20  # in one panel
MOST_BANDS = 8  # more would be mud; the legend has every spread all the same
READ_AT = 1e-3  # the FAR that the legend quotes and sorts by, or the lowest known one above it
DASHES = ("-", (0, (4, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)))
PANELS = ("dataset", "embedding_dim")


class Curve(NamedTuple):
    label: str
    header: str
    far: Float[np.ndarray, "f"]
    tar: Float[np.ndarray, "seeds f"]  # NaN where a run has too few pairs


def picture(result: Result) -> Figure | None:
    """One run's curve; None when it has none."""
    return figure([Configuration({"header": result.settings.header}, [result])])


def figure(found: Sequence[Configuration]) -> Figure | None:
    """A panel for each data set and dimension; None when no run has a curve."""
    panels: dict[tuple[Any, ...], list[Configuration]] = defaultdict(list)
    for one in found:
        if _curves(one.finished):
            panels[tuple(getattr(one.finished[0].settings, key) for key in PANELS)].append(one)
    if not panels:
        return None
    height = PANEL * len(panels) + 0.3
    figure = Figure(figsize=(WIDTH, height))
    for row, (place, members) in enumerate(sorted(panels.items())):
        bottom = (height - PANEL * (row + 1) + 0.35) / height
        lines = labels(members)
        width = 0.62 if max(map(len, lines)) < 22 else 0.53  # the rest is the legend's
        ax = figure.add_axes((0.07, bottom, width, (PANEL - 0.75) / height))
        _draw(ax, [_curve(*one) for one in zip(members, lines, strict=True)])
        dataset, dim = place
        seen = len(members[0].results[0].settings.class_names)
        several = max(len(one.finished) for one in members) > 1
        over = " · mean ± sd over seeds" if several else ""
        title = f"{plain_text(dataset)}, {dim}-D: classes not among the {seen} of training{over}"
        ax.set_title(title, fontsize=9.5, color=INK)
    return figure


def _curves(results: Sequence[Result]) -> list[OpenSet]:
    """Of those that have a curve: very few pairs tell the rate 1 alone."""

    def drawn(one: OpenSet) -> bool:
        points = zip(one.far, one.tar, strict=True)
        return any(far < 1 and tar is not None for far, tar in points)

    known = (result.open_set for result in results)
    return [one for one in known if one and len(one.far) == len(one.tar) and drawn(one)]


def _curve(one: Configuration, label: str) -> Curve:
    curves = _curves(one.finished)
    same = [curve for curve in curves if curve.far == curves[0].far]
    far, tar = np.array(same[0].far), np.array([curve.tar for curve in same], dtype=float)
    return Curve(plain_text(label), one.settings["header"], far, tar)


def _draw(ax: Axes, curves: list[Curve]) -> None:
    means = [curve.tar.mean(axis=0) for curve in curves]
    far = curves[0].far
    known = np.flatnonzero(np.all(np.isfinite(means), axis=0))
    at = known[np.argmax(far[known] >= READ_AT * (1 - 1e-9))]
    order = sorted(range(len(curves)), key=lambda i: -means[i][at])
    shown = order[:MOST_LINES]
    drawn: Counter[str] = Counter()  # lines of a head, which have its colour and different dashes
    for index in sorted(shown):
        curve, mean = curves[index], means[index]
        colour, style = header_colour(curve.header), DASHES[drawn[curve.header] % len(DASHES)]
        drawn[curve.header] += 1
        sd = np.std(curve.tar, axis=0, ddof=1) if len(curve.tar) > 1 else None
        value = f"{100 * mean[at]:.1f}" + ("" if sd is None else f" ± {100 * sd[at]:.1f}")
        label = f"{value}  {curve.label}"
        ax.plot(curve.far, 100 * mean, color=colour, ls=style, lw=1.2, label=label)
        if sd is not None and len(shown) <= MOST_BANDS:
            edges = 100 * (mean - sd).clip(0), 100 * (mean + sd).clip(max=1)
            ax.fill_between(curve.far, *edges, color=colour, alpha=0.15, lw=0)
    ax.set_xscale("log")
    ax.set(xlim=(far[known[0]], 1), ylim=(0, 100))
    ax.set_xlabel("false accept rate", fontsize=8, color=INK, labelpad=1)
    ax.set_ylabel("true accept rate, %", fontsize=8, color=INK, labelpad=1)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.tick_params(labelsize=8, length=2, width=0.5, color=FAINT)
    ax.grid(color=FAINT, lw=0.4, alpha=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set(color=FAINT, lw=0.6)
    _legend(ax, f"TAR % at FAR {far[at]:.0e}".replace("e-0", "e-"), curves, order)


def _legend(ax: Axes, title: str, curves: list[Curve], order: list[int]) -> None:
    """Best first; says so where lines were left out."""
    handles, labels = ax.get_legend_handles_labels()
    drawn = sorted(order[:MOST_LINES])
    ranked = [drawn.index(index) for index in order[:MOST_LINES]]
    if len(order) > MOST_LINES:
        title += f"\nthe best {MOST_LINES} of {len(order)}"
    ax.legend(
        [handles[i] for i in ranked],
        [labels[i] for i in ranked],
        title=title,
        title_fontsize=8,
        fontsize=7.5,
        loc="center left",
        alignment="left",
        bbox_to_anchor=(1.01, 0.5),
        frameon=False,
        labelspacing=0.35,
    )
