"""What a W&B run shows beside its curves: pictures, the plot to turn, tables, the checkpoint."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import wandb
from jaxtyping import Float, Int
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from arcmargin.record import Embeddings, Result, Snapshots
from arcmargin.report import drawing, figures, roc
from arcmargin.report.style import angle_legend_entries, class_colours

MOST_POINTS = 3000  # of the plot to turn
MOST_CLASSES = 200  # of a confusion matrix: its table has as many rows as it has cells
DPI = 100
EMBEDDINGS = "test/embedding"  # at moments of training too: a slider that ends with the final ones


def pictures(result: Result) -> dict[str, Any]:
    """Of a finished run's whole test split. What its folder holds already is not drawn again."""
    shown: dict[str, Any] = {}
    if result.folder and (drawn := result.folder / "embedding.png").exists():
        shown[EMBEDDINGS] = wandb.Image(str(drawn))
    data = result.arrays.embeddings if result.arrays else None
    if data is not None and len(drawing.with_direction(data)[1]):
        shown["test/angles"] = angle_histograms(data)
        if result.settings.embedding_dim in (2, 3):
            shown["test/plot"] = embedding_plot(data, result.settings.class_names)
    if (curve := roc.picture(result)) is not None:
        shown["test/roc"] = _image(curve)
    return shown


def tables(result: Result, rows: int) -> dict[str, Any]:
    """The confusion matrix, and so many rows of embeddings when asked for."""
    arrays, names = result.arrays, result.settings.class_names
    if arrays is None or (predicted := arrays.embeddings.predicted) is None:
        return {}
    shown = confusion_matrix(arrays.embeddings.labels, predicted, names)
    if rows:
        sampled = predicted[arrays.snapshots.rows]
        shown["test/embeddings"] = embedding_table(arrays.snapshots, sampled, names, rows)
    return shown


def confusion_matrix(
    labels: Int[np.ndarray, "n"], predicted: Int[np.ndarray, "n"], names: Sequence[str]
) -> dict[str, Any]:
    """Empty for so many classes that nobody could read it."""
    if len(names) > MOST_CLASSES:
        return {}
    plot = wandb.plot.confusion_matrix(
        y_true=labels.tolist(), preds=predicted.tolist(), class_names=list(names)
    )
    return {"test/confusion_matrix": plot}


def embedding_picture(result: Result, data: Embeddings, caption: str = "") -> wandb.Image:
    return _image(figures.panel(result, data), caption)


def angle_histograms(data: Embeddings) -> wandb.Image:
    """The angle to the own class direction and to the nearest wrong one."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    median, low = drawing.angle_histograms(axes, data)
    axes.set_title(f"margin: median {median:.1f}°, 5 % of samples below {low:.1f}°", fontsize=9)
    axes.set_ylabel("% per degree", fontsize=8)
    figure.legend(
        handles=list(angle_legend_entries().values()),
        labels=list(angle_legend_entries()),
        loc="outside lower center",
        fontsize=8,
        ncols=2,
        frameon=False,
    )
    return _image(figure)


def embedding_plot(data: Embeddings, names: Sequence[str]) -> go.Figure:
    """The circle or the sphere as Plotly: to turn, zoom, and hide classes in."""
    unit, labels = drawing.with_direction(data)
    if len(unit) > MOST_POINTS:
        rows = np.random.default_rng(0).choice(len(unit), MOST_POINTS, replace=False)
        unit, labels = unit[rows], labels[rows]
    colours = class_colours(len(names))
    solid = unit.shape[1] == 3
    kind = go.Scatter3d if solid else go.Scatter
    axes = "xyz"[: unit.shape[1]]
    line = {"color": "#b8b8b8", "width": 1}
    outline = dict(zip(axes, _outline(solid), strict=True))
    figure = go.Figure(kind(**outline, mode="lines", line=line, hoverinfo="skip", showlegend=False))
    for label in np.unique(labels):
        points = unit[labels == label]
        if not solid:  # room for the density: otherwise a class is a line
            depth = np.random.default_rng(int(label)).uniform(0.94, 1.06, (len(points), 1))
            points = points * depth
        figure.add_trace(
            kind(
                **dict(zip(axes, points.T.round(4), strict=True)),
                mode="markers",
                name=names[label],
                marker={"size": 2 if solid else 4, "opacity": 0.6, "color": colours[label]},
            )
        )
    centres = data.centres
    figure.add_trace(
        kind(
            **dict(zip(axes, centres.T, strict=True)),
            mode="markers",
            name="class directions",
            text=list(names),
            marker={"size": 4 if solid else 8, "color": "black", "symbol": "diamond"},
        )
    )
    hidden = {"visible": False}
    if solid:
        figure.update_scenes(xaxis=hidden, yaxis=hidden, zaxis=hidden, aspectmode="data")
    else:
        figure.update_xaxes(**hidden)
        figure.update_yaxes(scaleanchor="x", **hidden)
    figure.update_layout(margin={"l": 0, "r": 0, "t": 0, "b": 0}, plot_bgcolor="white")
    figure.update_layout(legend={"itemsizing": "constant", "y": 0.9})
    return figure


def _outline(solid: bool) -> np.ndarray:
    """The unit circle, or meridians and parallels of the unit sphere; NaN lifts the pen."""
    t = np.linspace(0, 2 * np.pi, 91)
    cos, sin = np.cos(t), np.sin(t)
    if not solid:
        return np.array([cos, sin])
    turns = np.pi / 6 * np.arange(6)
    lines = [np.array([np.cos(a) * cos, np.sin(a) * cos, sin]) for a in turns]
    lines += [np.array([np.cos(b) * cos, np.cos(b) * sin, 0 * t + np.sin(b)]) for b in turns[:3]]
    lines += [line * [[1], [1], [-1]] for line in lines[-2:]]
    return np.concatenate([np.c_[line, np.full(3, np.nan)] for line in lines], axis=1).round(4)


def embedding_table(
    snapshots: Snapshots, predicted: Int[np.ndarray, "n"], names: Sequence[str], rows: int
) -> wandb.Table:
    """One test image a row; W&B's projector takes the numeric columns."""
    final: Float[np.ndarray, "n d"] = snapshots.embeddings[-1]
    columns = [f"x{i}" for i in range(final.shape[1])]
    images = snapshots.thumbnails
    table = wandb.Table(["image", "label", "predicted", *columns])
    for i in range(min(rows, len(final))):
        image = None if images is None else wandb.Image(Image.fromarray(images[i]))
        label, guess = names[snapshots.labels[i]], names[predicted[i]]
        table.add_data(image, label, guess, *map(float, final[i]))
    return table


def artifact(name: str, kind: str, files: Sequence[Path]) -> wandb.Artifact:
    result = wandb.Artifact(name, type=kind)
    for file in files:
        result.add_file(str(file))
    return result


def _image(figure: Figure, caption: str = "") -> wandb.Image:
    """W&B writes the PNG: ours would be a second one."""
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return wandb.Image(Image.fromarray(np.asarray(canvas.buffer_rgba())), caption=caption or None)
