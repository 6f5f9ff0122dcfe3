"""Scale against margin: how accuracy and open-set figures depend on both, as tables of colours."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from arcmargin.record import NO_MARGIN
from arcmargin.report.configurations import Configuration
from arcmargin.report.style import INK

WIDTH, ROW = 9.0, 2.9  # inches
MOST_ROWS = 4  # on a page
COLUMNS = (
    ("accuracy", "accuracy %, seen classes"),
    ("verification_tar_at_far_1e-02", "TAR % at FAR 1e-2, unseen classes"),
)
OTHERWISE = ("gap_mean_deg", "gap between the arcs, degrees")  # without unseen classes


def figures(found: Sequence[Configuration]) -> list[Figure]:
    """Pages of rows, a row for each head with everything else equal, where s and exactly one margin
    vary; none elsewhere."""
    rows = [(title, margin, cells) for title, margin, cells in _tables(found)]
    pages = [rows[start : start + MOST_ROWS] for start in range(0, len(rows), MOST_ROWS)]
    return [_page(page) for page in pages]


Cells = dict[tuple[float, float], Configuration]  # by margin and s


def _tables(found: Sequence[Configuration]) -> list[tuple[str, str, Cells]]:
    groups: dict[tuple[Any, ...], list[Configuration]] = {}
    for one in found:
        if one.finished and one.settings["s"] is not None:
            rest = [v for k, v in one.settings.items() if k not in ("s", *NO_MARGIN)]
            groups.setdefault(tuple(map(str, rest)), []).append(one)
    tables = []
    for members in groups.values():
        varying = [key for key in NO_MARGIN if len({one.settings[key] for one in members}) > 1]
        if len(varying) == 1 and len({one.settings["s"] for one in members}) > 1:
            first, margin = members[0].settings, varying[0]
            cells = {(one.settings[margin], one.settings["s"]): one for one in members}
            title = f"{first['header']} on {first['dataset']}, {first['embedding_dim']}-D"
            tables.append((title, margin, cells))
    return tables


def _page(rows: Sequence[tuple[str, str, Cells]]) -> Figure:
    figure = Figure(figsize=(WIDTH, ROW * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), len(COLUMNS), squeeze=False)
    for line, (title, margin, cells) in zip(axes, rows, strict=True):
        known = [column for column in COLUMNS if _has(cells, column[0])]
        columns = known if len(known) == len(COLUMNS) else [*known[:1], OTHERWISE]
        for ax, (metric, name) in zip(line, columns, strict=False):
            if not _has(cells, metric):
                ax.set_axis_off()
                continue
            _heat(ax, metric, margin, cells)
            ax.set_title(f"{title}\n{name}" if ax is line[0] else name, fontsize=9, color=INK)
    return figure


def _has(cells: Cells, metric: str) -> bool:
    return any(
        run.metrics.get(metric) is not None for one in cells.values() for run in one.finished
    )


def _heat(ax: Axes, metric: str, margin: str, cells: Cells) -> None:
    """Mean over seeds, written with the standard deviation; an empty cell was not run."""
    margins = sorted({place[0] for place in cells})
    scales = sorted({place[1] for place in cells})
    factor = 1.0 if metric.endswith("_deg") else 100.0
    means: Float[np.ndarray, "m s"] = np.full((len(margins), len(scales)), np.nan)
    for (m, s), one in cells.items():
        values = [run.metrics.get(metric) for run in one.finished]
        known = [factor * value for value in values if value is not None]
        if known:
            means[margins.index(m), scales.index(s)] = np.mean(known)
            spread = f"\n± {np.std(known, ddof=1):.1f}" if len(known) > 1 else ""
            place = scales.index(s), margins.index(m)
            text = f"{np.mean(known):.1f}{spread}"
            ax.text(*place, text, ha="center", va="center", fontsize=7.5)
    low, high = np.nanmin(means), np.nanmax(means)
    ax.imshow(means, cmap="YlGnBu", aspect="auto", vmin=low, vmax=high + 0.7 * (high - low) + 1e-9)
    ax.set_xticks(range(len(scales)), [f"{s:g}" for s in scales])
    ax.set_yticks(range(len(margins)), [f"{m:.3g}" for m in margins])
    ax.set_xlabel("s", fontsize=8, labelpad=1)
    ax.set_ylabel(margin, fontsize=8, labelpad=5)
    ax.tick_params(labelsize=8, length=0)
    ax.spines[:].set_visible(False)
