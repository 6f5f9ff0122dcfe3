"""The picture of docs/metrics.md: what arc, centre, gap, centre gap and margin are on the circle.

python scripts/draw_metrics.py
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from arcmargin.metrics import geometry
from arcmargin.report.figures import save
from arcmargin.report.style import FAINT, GAP, INK, class_colours

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "metrics.png"
CLASSES = 3
COLOURS = class_colours(CLASSES)


def main() -> None:
    rng = np.random.default_rng(2)
    labels = np.repeat(np.arange(CLASSES), 60)
    degrees = np.array([100, 190, 320])[labels] + rng.normal(0, 9, len(labels))
    around = geometry.arcs(point(degrees, 1.0), labels)
    figure = Figure(figsize=(5.6, 4.7))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(-1.55, 1.55), ylim=(-1.28, 1.32), aspect="equal")
    ax.axis("off")
    ax.add_artist(Circle((0, 0), 1, fill=False, ec=INK, lw=0.8))
    for label, centre, low, high, gap in zip(
        around.classes, around.centre, around.low, around.high, around.gap, strict=True
    ):
        fill(ax, centre + low, centre + high, COLOURS[label], 0.45)
        fill(ax, centre + high, centre + high + gap, GAP, 1.0)
        ax.plot(*zip((0, 0), *point([centre], 1.0), strict=True), color=COLOURS[label], lw=2)
    x, y = point(degrees, 1.0).T
    ax.scatter(x, y, s=9, c=[COLOURS[label] for label in labels], zorder=3)

    first, second = around.centre[:2]
    (one,) = np.flatnonzero(labels == 0)[degrees[labels == 0].argsort()[-6:-5]]
    span(
        ax, first + around.low[0], first + around.high[0], 1.13, "arc: the middle 90 %\nof a class"
    )
    span(ax, first + around.high[0], second + around.low[1], 1.13, "gap")
    span(ax, first, second, 0.32, "centre\ngap", inside=True)
    span(ax, first, degrees[one], 0.62, "to its own\ncentre", inside=True, aside=-38)
    span(ax, degrees[one], second, 0.78, "to the nearest\nother centre", inside=True, aside=4)
    ax.scatter(x[one], y[one], s=46, c=COLOURS[0], edgecolors=INK, zorder=4)
    ax.plot(*zip((0, 0), *point([degrees[one]], 1.0), strict=True), color=INK, lw=1, ls=(0, (3, 2)))
    caption = "An image's margin: its angle to the nearest other centre less that to its own."
    ax.text(0, -1.17, caption, fontsize=9, color=INK, ha="center", va="center")
    save(figure, PICTURE)


def point(degrees: np.ndarray | list[float], radius: float) -> np.ndarray:
    """(n, 2)"""
    return radius * np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1)


def fill(ax: Axes, start: float, end: float, colour: str, alpha: float) -> None:
    corners = np.r_[np.zeros((1, 2)), point(np.linspace(start, end, 60), 1.0)]
    ax.add_collection(PolyCollection([corners], fc=colour, alpha=alpha, lw=0), autolim=False)


def span(
    ax: Axes,
    start: float,
    end: float,
    radius: float,
    name: str,
    *,
    inside: bool = False,
    aside: float = 0.0,
) -> None:
    """An arrow along the circle from angle to angle, with its name."""
    along = np.linspace(start, end, 60)
    x, y = point(along, radius).T
    ax.plot(x, y, color=INK, lw=1)
    for tip, before in ((0, 3), (-1, -4)):
        arrow = {"arrowstyle": "-|>", "color": INK, "lw": 1, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", (x[tip], y[tip]), (x[before], y[before]), arrowprops=arrow)
    middle = point([(start + end) / 2 + aside], radius + (-0.14 if inside else 0.1))[0]
    rim = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": FAINT, "lw": 0.4, "alpha": 0.9}
    ha = "center" if inside else ("right" if middle[0] < -0.2 else "left")
    ax.text(
        middle[0], middle[1], name, fontsize=9, color=INK, ha=ha, va="center", bbox=rim, zorder=5
    )


if __name__ == "__main__":
    main()
