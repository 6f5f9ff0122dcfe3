"""The comparison grid: one picture a configuration, its numbers above, and why a cell is empty."""

import textwrap
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from arcmargin.record import Damaged, Result
from arcmargin.report import drawing
from arcmargin.report.arrays import ArrayReader
from arcmargin.report.figures import CENTRED, draw, result_lines, say
from arcmargin.report.projection import Plane, plane
from arcmargin.report.style import (
    INK,
    angle_legend_entries,
    legend,
    legend_entries,
    legend_inches,
    plain_text,
)

WIDTH = 9.0  # inches of a whole grid: shown 900 pixels wide, 8 points are 11 pixels
TALLEST = 11.0  # inches of all pictures of a column together, while they stay readable
BETWEEN = 0.4  # inches for the tick labels between two histograms
ABOVE = 0.85  # inches above the first line of pictures: the title, the columns' names, the numbers
LINE = 0.17  # inches of each further line of the title


class Cell(NamedTuple):
    """One place of a grid: the runs of one configuration, one for each seed. No runs: not run."""

    results: list[Result]
    note: str = ""


def grid(
    cells: list[list[Cell]],
    row_titles: list[str],
    col_titles: list[str],
    *,
    title: str = "",
    angles: bool = False,
    arrays: ArrayReader | None = None,
) -> Figure:
    """The comparison: embeddings, or with `angles` the histograms of theta_y and the nearest wrong
    theta. A single row is wrapped into lines. Several seeds in a cell: the picture is the first
    finished one's, the numbers are mean and standard deviation over all."""
    per_line = len(col_titles)
    if len(cells) == 1 and per_line > 4:
        per_line = 3 if per_line <= 6 else 4
    lines = [line[i : i + per_line] for line in cells for i in range(0, len(line), per_line)]
    results = [result for line in cells for cell in line for result in cell.results]
    spare = per_line > len(lines[-1])  # then the legend goes into the last line
    side = _side(len(lines), per_line, angles, any(row_titles))
    explained = angle_legend_entries() if angles else legend_entries(results, side)
    left = _left(angles, any(row_titles))
    columns = min(3, int((left + per_line * side) // 2.1))
    below = 0.0 if spare else legend_inches(explained, columns)
    letters = int(13 * (left + per_line * (side + BETWEEN * angles)))
    titles = textwrap.wrap(plain_text(title), letters)
    above = ABOVE + LINE * max(len(titles) - 1, 0)
    figure, axes = _canvas(len(lines), per_line, side, above, below, left, angles)
    for number, text in enumerate(titles):
        place = 1 - (0.2 + LINE * number) / figure.get_figheight()
        figure.text(0.5, place, text, fontsize=9.5, **CENTRED)
    bold: dict[str, Any] = {"weight": "bold", "textcoords": "offset points"}
    tall = 0.55 * side if angles else side
    arrays = arrays or ArrayReader()
    like = None if angles else _first_plane(results, arrays)
    for row, line in enumerate(lines):
        for ax, cell in zip(axes[row], line, strict=False):
            _fill(ax, cell, side, angles, arrays, like)
            if angles and ax is axes[row, 0]:
                ax.set_ylabel("% per degree", fontsize=8, color=INK, labelpad=1)
        if len(cells) == 1 or row == 0:
            for ax, name in zip(axes[row], col_titles[row * per_line :], strict=False):
                name, size = _fitting(name, side)
                ax.annotate(
                    name, (0.5, 1), (0, 30), "axes fraction", fontsize=size, **bold, **CENTRED
                )
        if len(cells) > 1:
            beside = (-48 if angles else -9, 0)
            name, size = _fitting(row_titles[row], tall + 0.5)
            axes[row, 0].annotate(
                *(name, (0, 0.5), beside, "axes fraction"),
                rotation=90,
                fontsize=size,
                **bold,
                **CENTRED,
            )
    box = Bbox.union([ax.get_position() for ax in axes[-1, len(lines[-1]) :]]) if spare else None
    for ax in axes[-1, len(lines[-1]) :]:
        ax.remove()
    if angles:
        _share_limits(figure.axes)
    legend(figure, explained, columns=columns, box=box)
    return figure


def _fitting(name: str, inches: float) -> tuple[str, float]:
    """A bold title and the size of type in which it fits; one that would be too small to read is cut."""
    name = " ".join(name.split())
    wide = 0.68 * max(len(name), 1) / 72  # inches at one point
    size = max(6.0, min(10.0, inches / wide))
    most = round(72 * inches / (0.68 * size))
    return plain_text(name if len(name) <= most else f"{name[: most - 1]}…"), size


def _left(angles: bool, row_titles: bool) -> float:
    return (0.3 if row_titles else 0.0) + (0.5 if angles else 0.0)


def _side(rows: int, cols: int, angles: bool, row_titles: bool) -> float:
    """Width of one picture in inches: what fits the page, across and down."""
    between = BETWEEN if angles else 0.0
    across = (WIDTH - _left(angles, row_titles)) / cols - between
    down = TALLEST / rows / (0.55 if angles else 1.0)
    return float(np.clip(min(across, down), 1.6, 4.2))


def _canvas(
    rows: int, cols: int, side: float, above: float, below: float, left: float, angles: bool
) -> tuple[Figure, np.ndarray]:
    """Axes of one size, with room above each for its name and two lines, and below for a note."""
    between = BETWEEN if angles else 0.0
    tall = 0.55 * side if angles else side
    note = 0.3 if angles else 0.15
    width = left + cols * (side + between)
    height = above + rows * tall + (rows - 1) * (0.56 + note) + note + below
    room = {
        "left": left / width,
        "right": 1 - between / width,
        "top": 1 - above / height,
        "bottom": (note + below) / height,
        "wspace": between / side,
        "hspace": (0.56 + note) / tall,
    }
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(rows, cols, squeeze=False, gridspec_kw=room)


def _first_plane(results: list[Result], arrays: ArrayReader) -> Plane | None:
    """Of the first run that is shown as a projection: all others are turned to it."""
    for result in results:
        if result.finished and result.settings.embedding_dim > 3:
            with suppress(Damaged):
                return plane(arrays.embeddings(result))
    return None


def _fill(
    ax: Axes, cell: Cell, inches: float, angles: bool, arrays: ArrayReader, like: Plane | None
) -> None:
    """Draw a cell's first finished run with its numbers above, or say why there is none."""
    finished = [result for result in cell.results if result.finished]
    lines = result_lines(finished)
    most = int(inches * (3 if angles else 6))  # lines of text in place of a picture
    if not finished:
        say(ax, _why_empty(cell), inches, most)
    else:
        try:
            data = arrays.embeddings(finished[0])
            if angles and len(drawing.with_direction(data)[1]):
                median, low = drawing.angle_histograms(ax, data)
                lines = [f"margin: median {median:.1f}°", f"5 % of samples below {low:.1f}°"]
            else:
                draw(ax, finished[0], data, inches, like)
        except Damaged as error:
            say(ax, f"no picture: {error}", inches, most)
    failed = len(cell.results) - len(finished)
    notes = [cell.note] if cell.note else []
    if finished and failed:
        notes.append(f"{failed} of {len(cell.results)} runs failed")
    text: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "color": INK}
    ax.annotate(
        "\n".join(lines),
        (0.5, 1),
        (0, 1),
        "axes fraction",
        # A letter is about 0.58 of its size wide: the longest line stays above its own cell.
        fontsize=min(8, 72 * inches / (0.58 * max(map(len, lines), default=1))),
        **text,
    )
    place = (0, -13 if angles else -1)
    note = "; ".join(notes)
    ax.annotate(
        note, (0.5, 0), place, "axes fraction", fontsize=7.5, va="top", style="italic", **text
    )


def _why_empty(cell: Cell) -> str:
    if not cell.results:
        return "not run"
    error = (cell.results[0].error or "").strip() or "no reason recorded"
    return f"failed: {error.splitlines()[-1]}"


def _share_limits(axes: list[Axes]) -> None:
    """The same limits in every histogram."""
    drawn = [ax for ax in axes if ax.get_yscale() == "log"]
    for ax in drawn:
        ax.set(
            xlim=(0, max(other.get_xlim()[1] for other in drawn)),
            ylim=(min(other.get_ylim()[0] for other in drawn), drawn[0].get_ylim()[1]),
        )
