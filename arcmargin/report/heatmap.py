"""Scale against margin: how accuracy and open-set figures depend on both, as tables of colours."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from arcmargin.margins import is_feasible, neighbour_angle
from arcmargin.metrics.table import metric
from arcmargin.record import NO_MARGIN
from arcmargin.report.configurations import MARGINS_AND_GAP, Configuration
from arcmargin.report.labels import words
from arcmargin.report.style import FAINT, INK, plain_text

WIDTH, ROW = 9.0, 2.9  # inches
MOST_ROWS = 4  # on a page
SEEN, UNSEEN = "accuracy", "verification_tar_at_far_1e-02"
OTHERWISE = "gap_mean_deg"  # without unseen classes
COLOURS = "YlGnBu"


class Table(NamedTuple):
    """One head, everything else equal."""

    title: str
    margin: str  # which of m1, m2 and m3 varies
    cells: dict[tuple[float, float], Configuration]  # by margin and s


def figures(found: Sequence[Configuration]) -> list[Figure]:
    """Pages of rows, a row for each head with everything else equal, where s and exactly one margin
    vary; none elsewhere. A metric has one scale of colours on all of them."""
    rows = _tables(found)
    names = [SEEN, UNSEEN if any(_has(row, UNSEEN) for row in rows) else OTHERWISE]
    names = [name for name in names if any(_has(row, name) for row in rows)]
    scales = {name: _scale(rows, name) for name in names}
    pages = [rows[start : start + MOST_ROWS] for start in range(0, len(rows), MOST_ROWS)]
    return [_page(page, scales) for page in pages if names]


def _tables(found: Sequence[Configuration]) -> list[Table]:
    """The formula without a margin is the m = 0 of each of its heads."""
    groups: dict[tuple[Any, ...], list[Configuration]] = {}
    own = ("header", *MARGINS_AND_GAP)
    for one in found:
        if one.finished and one.settings["s"] is not None:
            rest = [value for key, value in one.settings.items() if key not in own]
            groups.setdefault(tuple(map(str, rest)), []).append(one)
    tables = []
    for members in groups.values():
        for header in dict.fromkeys(one.settings["header"] for one in members):
            here = [one for one in members if one.settings["header"] == header]
            if here[0].results[0].settings.in_formula:
                here += [one for one in members if one.without_margin and one not in here]
            varying = [key for key in NO_MARGIN if len({one.settings[key] for one in here}) > 1]
            if len(varying) == 1 and len({one.settings["s"] for one in here}) > 1:
                settings, (margin,) = here[0].settings, varying
                where = (
                    f"{settings['dataset']}, {words('embedding_dim', settings['embedding_dim'])}"
                )
                cells = {(one.settings[margin], one.settings["s"]): one for one in here}
                tables.append(Table(f"{header} on {where}", margin, cells))
    return tables


def _page(rows: Sequence[Table], scales: dict[str, Normalize]) -> Figure:
    figure = Figure(figsize=(WIDTH, ROW * len(rows) + 0.5), layout="constrained")
    axes = figure.subplots(len(rows), len(scales), squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        for ax, (name, scale) in zip(line, scales.items(), strict=True):
            _heat(ax, row, name, scale)
            ax.set_title(plain_text(row.title), fontsize=9, color=INK)
    for column, (name, scale) in zip(axes.T, scales.items(), strict=True):
        one, of = metric(name), {SEEN: ", seen classes", UNSEEN: ", unseen classes"}.get(name, "")
        bar = figure.colorbar(
            ScalarMappable(scale, COLOURS), ax=list(column), location="bottom", aspect=40, pad=0.02
        )
        bar.set_label(f"{one.title} {one.unit}{of}; mean ± sd over seeds", fontsize=8)
        bar.ax.tick_params(labelsize=8, length=2)
        bar.outline.set_visible(False)
    if any(_infeasible(one) for row in rows for one in row.cells.values()):
        explained = "hatched: more margin than the classes have room for"
        figure.supxlabel(explained, fontsize=8, color=INK)
    return figure


def _values(one: Configuration, name: str) -> list[float]:
    return [metric(name).factor * value for value in one.values(name).values()]


def _has(row: Table, name: str) -> bool:
    return any(_values(one, name) for one in row.cells.values())


def _scale(rows: Sequence[Table], name: str) -> Normalize:
    """From the least mean to beyond the highest, whose colour would hide the numbers."""
    cells = (_values(one, name) for row in rows for one in row.cells.values())
    means = [float(np.mean(values)) for values in cells if values]
    low, high = min(means), max(means)
    return Normalize(low, high + 0.7 * (high - low) + 1e-9)


def _heat(ax: Axes, row: Table, name: str, scale: Normalize) -> None:
    """Mean over seeds, written with the standard deviation; an empty cell was not run."""
    margins = sorted({place[0] for place in row.cells})
    scales = sorted({place[1] for place in row.cells})
    means: Float[np.ndarray, "m s"] = np.full((len(margins), len(scales)), np.nan)
    for (m, s), one in row.cells.items():
        down, across = margins.index(m), scales.index(s)
        if _infeasible(one):
            corner = across - 0.5, down - 0.5
            ax.add_patch(Rectangle(corner, 1, 1, hatch="////", fill=False, ec=FAINT, lw=0))
        if values := _values(one, name):
            means[down, across] = np.mean(values)
            spread = f"\n± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
            text = f"{np.mean(values):.1f}{spread}"
            ax.text(across, down, text, ha="center", va="center", fontsize=7.5)
    ax.imshow(means, cmap=COLOURS, aspect="auto", norm=scale)
    ax.set_xticks(range(len(scales)), [f"{s:g}" for s in scales])
    ax.set_yticks(range(len(margins)), [f"{m:.3g}" for m in margins])
    ax.set_xlabel("s", fontsize=8, labelpad=1)
    ax.set_ylabel(row.margin, fontsize=8, labelpad=5)
    ax.tick_params(labelsize=8, length=0)
    ax.spines[:].set_visible(False)


def _infeasible(one: Configuration) -> bool:
    settings = one.results[0].settings
    classes = settings.num_classes or len(settings.class_names)
    if not settings.in_formula or classes < 2:
        return False
    delta = neighbour_angle(classes, settings.embedding_dim)
    return not is_feasible(settings.m1 or 1.0, settings.m2 or 0.0, settings.m3 or 0.0, delta)
