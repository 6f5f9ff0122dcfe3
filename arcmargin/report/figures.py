"""Static pictures from records: one run's panel, and what a cell of the comparison grid is made of."""

import textwrap
from pathlib import Path
from typing import IO, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from arcmargin.record import Embeddings, Record, write_whole
from arcmargin.report import drawing
from arcmargin.report.style import FAINT, INK, legend, legend_inches, marks

DPI = 200
CENTRED: dict[str, Any] = {"ha": "center", "va": "center", "color": INK}


def panel(record: Record, data: Embeddings) -> Figure:
    """One run's embedding.png: the circle, both sides of the sphere, or a projection."""
    views = 2 if data.embeddings.shape[1] == 3 else 1
    side, top = 5.2, 0.75
    explained, columns = marks([record], side), 2 if views == 1 else 3
    bottom = legend_inches(explained, columns)
    height = top + side + bottom
    figure = Figure(figsize=(side * views, height))
    axes = [
        figure.add_axes((view / views, bottom / height, 1 / views, side / height))
        for view in range(views)
    ]
    draw(axes[0], record, data, side)
    if views == 2 and len(drawing.directed(data)[1]):
        drawing.sphere(axes[1], data, _names(record, data), side, behind=True)
        for ax, where in zip(axes, ("front", "from behind"), strict=True):
            ax.text(0, -1.15, where, fontsize=9, **CENTRED)
    name = record.name or record.header
    told = " · ".join(result([record]))
    figure.text(0.5, 1 - 0.25 / height, name, fontsize=13, weight="bold", **CENTRED)
    figure.text(
        0.5, 1 - 0.53 / height, f"{record.dataset}, test split: {told}", fontsize=9.5, **CENTRED
    )
    legend(figure, explained, columns=columns)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """PNG, PDF or SVG by the suffix. Raises UserError when the file cannot be written."""
    kind = path.suffix.lstrip(".")
    # A tenth larger than by default, and written in three quarters of the time.
    given: dict[str, Any] = {"pil_kwargs": {"compress_level": 3}} if kind == "png" else {}
    return write_whole(
        path, lambda file: figure.savefig(file, format=kind, dpi=DPI, facecolor="white", **given)
    )


def save_pages(figures: list[Figure], path: Path) -> list[Path]:
    """One PDF of all pages, or name.png, name_2.png, ..."""
    if path.suffix != ".pdf":
        return [
            save(figure, path.with_stem(f"{path.stem}_{page}") if page > 1 else path)
            for page, figure in enumerate(figures, 1)
        ]

    from matplotlib.backends.backend_pdf import PdfPages  # its fonts would slow every run down

    def write(file: IO[bytes]) -> None:
        with PdfPages(file) as pdf:
            for figure in figures:
                pdf.savefig(figure, dpi=DPI, facecolor="white")

    return [write_whole(path, write)]


def draw(ax: Axes, record: Record, data: Embeddings, inches: float) -> None:
    """The picture that fits the dimension."""
    names = _names(record, data)
    dim = data.embeddings.shape[1]
    if not len(drawing.directed(data)[1]):
        say(ax, "no embedding has a direction", inches)
    elif dim == 2:
        drawing.circle(ax, data, names, record.metrics.get("gap_predicted_deg"), inches)
    elif dim == 3:
        drawing.sphere(ax, data, names, inches)
    else:
        share = drawing.projection(ax, data, names, inches)
        text = f"PCA of {dim}-D: {100 * share:.0f} % of the variance"
        ax.text(0, -1.07, text, fontsize=7.5, ha="center", va="top", color=INK)


def _names(record: Record, data: Embeddings) -> list[str]:
    count = max(len(data.centres), int(data.labels.max(initial=-1)) + 1)
    return [*record.class_names, *map(str, range(len(record.class_names), count))]


def result(records: list[Record]) -> list[str]:
    """Accuracy and the gap, measured beside predicted, over the seeds."""
    if not records:
        return []
    accuracy = _over_seeds(records, "accuracy", 2, 100.0)
    gap = _over_seeds(records, "gap_mean_deg", 1)
    predicted = records[0].metrics.get("gap_predicted_deg")
    nearest = _over_seeds(records, "centre_angle_min_deg", 1)
    lines = [f"accuracy {accuracy} %" if accuracy else "accuracy unknown"]
    if gap:
        lines.append(
            f"gap {gap}°".replace("-", "−")
            + ("" if predicted is None else f", predicted {predicted:.1f}°")
        )
    elif nearest:
        lines.append(f"nearest centres {nearest}°")
    return lines


def _over_seeds(records: list[Record], metric: str, digits: int, factor: float = 1.0) -> str | None:
    values = [record.metrics.get(metric) for record in records]
    known = [factor * value for value in values if value is not None]
    if not known:
        return None
    spread = f" ± {np.std(known, ddof=1):.{digits}f}" if len(known) > 1 else ""
    return f"{np.mean(known):.{digits}f}{spread}"


def say(ax: Axes, text: str, inches: float, lines: int = 8) -> None:
    """A framed note instead of a picture."""
    ax.clear()
    ax.axis("on")
    ax.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[], facecolor="#fafafa")
    ax.spines[:].set(color=FAINT, lw=0.6, ls=(0, (4, 4)))
    words = textwrap.fill(text, int(11 * inches), max_lines=lines, placeholder=" …")
    ax.text(0.5, 0.5, words, fontsize=8, color="#666666", ha="center", va="center")
