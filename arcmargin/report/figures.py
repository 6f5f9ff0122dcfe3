"""Static pictures from records: one run's panel, and what a cell of the comparison grid is made of."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from arcmargin.files import write_atomically
from arcmargin.metrics.table import PREDICTED, metric
from arcmargin.record import Embeddings, Result
from arcmargin.report import drawing
from arcmargin.report.projection import Plane
from arcmargin.report.style import FAINT, INK, legend, legend_entries, legend_inches, plain_text

DPI = 200
CENTRED: dict[str, Any] = {"ha": "center", "va": "center", "color": INK}


def panel(run: Result, data: Embeddings) -> Figure:
    """One run's embedding.png: the circle, both sides of the sphere, or a projection."""
    views = 2 if data.embeddings.shape[1] == 3 else 1
    side, top = 5.2, 0.75
    explained, columns = legend_entries([run], side), 2 if views == 1 else 3
    bottom = legend_inches(explained, columns)
    height = top + side + bottom
    figure = Figure(figsize=(side * views, height))
    axes = [
        figure.add_axes((view / views, bottom / height, 1 / views, side / height))
        for view in range(views)
    ]
    draw(axes[0], run, data, side)
    if views == 2 and len(drawing.with_direction(data)[1]):
        drawing.sphere(axes[1], data, class_names(run, data), side, behind=True)
        for ax, where in zip(axes, ("front", "from behind"), strict=True):
            ax.text(0, -1.15, where, fontsize=9, **CENTRED)
    numbers = " · ".join(result_lines([run]))
    name = plain_text(run.settings.name)
    figure.text(0.5, 1 - 0.25 / height, name, fontsize=13, weight="bold", **CENTRED)
    where = plain_text(run.settings.dataset)
    figure.text(0.5, 1 - 0.53 / height, f"{where}, test split: {numbers}", fontsize=9.5, **CENTRED)
    legend(figure, explained, columns=columns)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """PNG, PDF or SVG by the suffix. Raises UserError when the file cannot be written."""
    kind = path.suffix.lstrip(".")
    # A tenth larger than by default, and written in three quarters of the time.
    given: dict[str, Any] = {"pil_kwargs": {"compress_level": 3}} if kind == "png" else {}
    return write_atomically(
        path, lambda file: figure.savefig(file, format=kind, dpi=DPI, facecolor="white", **given)
    )


def save_pdf(pages: Sequence[Figure], path: Path) -> Path:
    """One file of all pages."""
    from matplotlib.backends.backend_pdf import PdfPages  # its fonts would slow every run down

    def write(file: IO[bytes]) -> None:
        with PdfPages(file) as pdf:
            for figure in pages:
                pdf.savefig(figure, dpi=DPI, facecolor="white")

    return write_atomically(path, write)


def draw(ax: Axes, run: Result, data: Embeddings, inches: float, like: Plane | None = None) -> None:
    """The picture that fits the dimension; a projection beside others on their plane."""
    names = class_names(run, data)
    dim = data.embeddings.shape[1]
    if not len(drawing.with_direction(data)[1]):
        say(ax, "no embedding has a direction", inches)
    elif dim == 2:
        drawing.circle(ax, data, names, run.metrics.get(PREDICTED), inches)
    elif dim == 3:
        drawing.sphere(ax, data, names, inches)
    else:
        share = drawing.projection(ax, data, names, inches, like)
        text = f"PCA of {dim}-D: {100 * share:.0f} % of the variance"
        ax.text(0, -1.07, text, fontsize=7.5, ha="center", va="top", color=INK)


def class_names(run: Result, data: Embeddings) -> list[str]:
    """One for each class; its number where the run has no name for it."""
    count = max(len(data.centres), int(data.labels.max(initial=-1)) + 1)
    return [*run.settings.class_names, *map(str, range(len(run.settings.class_names), count))][
        :count
    ]


def result_lines(runs: list[Result]) -> list[str]:
    """Accuracy and the gap, measured beside predicted: mean ± standard deviation over the runs."""
    if not runs:
        return []
    accuracy, gap = _over_runs(runs, "accuracy"), _over_runs(runs, "gap_mean_deg")
    predicted, nearest = runs[0].metrics.get(PREDICTED), _over_runs(runs, "centre_angle_min_deg")
    if gap and predicted is not None:
        gap += f", predicted {metric(PREDICTED).with_unit(predicted)}"
    return [accuracy or "accuracy unknown", *filter(None, [gap or nearest])]


def _over_runs(runs: list[Result], name: str) -> str | None:
    """`accuracy 98.00 ± 1.00 %`"""
    values = [run.metrics.get(name) for run in runs]
    known = [value for value in values if value is not None]
    if not known:
        return None
    spread = float(np.std(known, ddof=1)) if len(known) > 1 else None
    shown = metric(name).with_unit(float(np.mean(known)), spread).replace("-", "−")
    return f"{metric(name).title} {shown}"


def say(ax: Axes, text: str, inches: float, lines: int = 8) -> None:
    """A framed note instead of a picture."""
    ax.clear()
    ax.axis("on")
    ax.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[], facecolor="#fafafa")
    ax.spines[:].set(color=FAINT, lw=0.6, ls=(0, (4, 4)))
    words = textwrap.fill(plain_text(text), int(11 * inches), max_lines=lines, placeholder=" …")
    ax.text(0.5, 0.5, words, fontsize=8, color="#666666", ha="center", va="center")
