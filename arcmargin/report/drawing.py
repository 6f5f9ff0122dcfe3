"""Test embeddings on one matplotlib Axes: circle (2-D), sphere (3-D), projection (higher), angles.

Every painter takes a run's Embeddings, the class names, and the width of its Axes in inches, from
which it decides how much text fits. Class colours and the limits of circle and sphere are fixed.
"""

from typing import Any

import matplotlib.patheffects as effects
import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.patches import Circle, PathPatch
from matplotlib.path import Path
from matplotlib.ticker import NullLocator

from arcmargin.metrics import geometry
from arcmargin.metrics.directions import directions
from arcmargin.record import Embeddings
from arcmargin.report.projection import Plane, plane
from arcmargin.report.style import (
    FAINT,
    GAP,
    INK,
    OVERLAP,
    OWN,
    WRONG,
    class_colours,
    names_fit,
    plain_text,
)

BINS = 1440  # around the circle: a quarter of a degree each
MOST_VECTORS = 200  # classes that a PDF draws as lines; of more it holds a picture
MOST_POINTS = 3000  # in a scatter; a bounded sample, the same points every time


def circle(
    ax: Axes, data: Embeddings, names: list[str], predicted: float | None, inches: float
) -> None:
    """Outside the circle each class's density (square root, to show the tails), a tick at the
    header's class directions; inside a sector for the 5-95 % arc, a ray for the centre, and between
    the arcs the gap with a bracket as wide as the predicted one."""
    long = max(map(len, names)) if names_fit(names, inches) else 1
    _blank(ax, limit=1.66 + 0.045 * max(0, long - 3))
    if len(names) > MOST_VECTORS:
        ax.set_rasterization_zorder(10)
    around = geometry.arcs(data.embeddings, data.labels)
    unit, labels = with_direction(data)
    degrees = np.degrees(np.arctan2(unit[:, 1], unit[:, 0]))
    _gaps(ax, around, predicted, inches)
    colours = class_colours(len(names))
    own = [colours[label] for label in around.classes]
    starts, ends = around.centre + around.low, around.centre + around.high
    arcs = [_sector(start, end) for start, end in zip(starts, ends, strict=True)]
    ax.add_collection(PolyCollection(arcs, fc=own, alpha=0.45, lw=0), autolim=False)
    rays = [_polar(centre, [0.0, 1.0]).T for centre in around.centre]
    _lines(ax, rays, colors=own, lw=0.4 + 0.15 * inches, zorder=3)
    ridges = [_ridge(0.45 * np.sqrt(one)) for one in _densities(degrees, labels, around)]
    shapes = [shape for shape, _ in ridges]
    ax.add_collection(PolyCollection(shapes, fc=own, lw=0, alpha=0.75, zorder=1), autolim=False)
    _lines(ax, [line for _, line in ridges], colors=own, lw=0.6, zorder=2)
    if names_fit(names, inches):
        for label, centre in zip(around.classes, around.centre, strict=True):
            _outside(ax, centre, names[label], inches)
    ax.add_artist(Circle((0, 0), 1, fill=False, ec=INK, lw=0.7, zorder=4))
    x, y = data.centres.astype(np.float64).T
    directions = [_polar(angle, [0.95, 1.0]).T for angle in np.degrees(np.arctan2(y, x))]
    _lines(ax, directions, colors=INK, lw=1.1, zorder=5)


def _outside(ax: Axes, degrees: float, name: str, inches: float) -> None:
    """A class name beyond its ridge, aligned so that it grows away from the circle."""
    x, y = _polar(degrees, 1.49)
    ha, va = ("left" if x > 0 else "right"), "center"
    if abs(x) < 0.4:
        ha, va = "center", "bottom" if y > 0 else "top"
    ax.text(x, y, plain_text(name), fontsize=_size(inches), color=INK, ha=ha, va=va)


def _gaps(ax: Axes, around: geometry.Arcs, predicted: float | None, inches: float) -> None:
    """The wedges between the arcs, hatched red where those overlap, and the predicted brackets."""
    ends = around.centre + around.high
    open_gaps, overlaps, brackets = [], [], []
    for end, gap in zip(ends, around.gap, strict=True):
        middle = end + gap / 2
        if gap < 0:
            overlaps.append(Path(_sector(end + gap, end)))
        else:
            open_gaps.append(_sector(end, end + gap))
        if predicted:  # a bracket of no width says nothing
            span = np.linspace(middle - predicted / 2, middle + predicted / 2, 50)
            radius = np.r_[0.77, np.full(50, 0.81), 0.77]
            brackets.append(_polar(np.r_[span[0], span, span[-1]], radius).T)
        if inches > 3.5 and gap > 7:  # room for a number
            x, y = _polar(middle, 0.66)
            ax.text(x, y, f"{gap:.0f}°", fontsize=8, color=INK, ha="center", va="center", zorder=6)
    ax.add_collection(PolyCollection(open_gaps, fc=GAP, lw=0), autolim=False)
    if overlaps:  # hatched as one: a thousand hatched shapes would take seconds
        hatched = {"fc": "none", "ec": OVERLAP, "hatch": "/////", "lw": 0, "zorder": 2}
        ax.add_artist(PathPatch(Path.make_compound_path(*overlaps), **hatched))
    _lines(ax, brackets, colors=INK, lw=0.5 + 0.15 * inches, zorder=4)


def _lines(ax: Axes, lines: list[np.ndarray], **style: Any) -> None:
    """Many lines as one artist: a page of 48 circles has a thousand."""
    ax.add_collection(LineCollection(lines, capstyle="butt", **style), autolim=False)


def _sector(start: float, end: float) -> np.ndarray:
    """(n, 2) from the centre around the unit circle, a point every degree."""
    along = np.linspace(start, end, max(2, int(np.ceil(end - start)) + 1))
    return np.r_[np.zeros((1, 2)), _polar(along, np.ones(len(along))).T]


def _densities(
    degrees: Float[np.ndarray, "n"], labels: Int[np.ndarray, "n"], around: geometry.Arcs
) -> Float[np.ndarray, "c bins"]:
    """A smoothed histogram around the circle for each class of `around`, peak 1. The bandwidth follows
    from the width of the 5-95 % arc by Silverman's rule."""
    place = np.full(max(labels.max(initial=-1), around.classes.max(initial=-1)) + 1, -1)
    place[around.classes] = np.arange(len(around.classes))
    drawn = place[labels] >= 0
    cells = place[labels[drawn]] * BINS + _bins(degrees[drawn])
    shape = len(around.classes), BINS
    counts = np.bincount(cells, minlength=shape[0] * BINS).reshape(shape)
    samples = counts.sum(axis=1)
    bandwidth = np.clip(1.06 * (around.high - around.low) / 3.29 * samples**-0.2, 0.4, 8.0)
    harmonics = np.arange(BINS // 2 + 1)
    blur = np.exp(-0.5 * (harmonics * np.radians(bandwidth)[:, None]) ** 2)
    smooth = np.fft.irfft(np.fft.rfft(counts) * blur, n=BINS).clip(min=0)
    return smooth / smooth.max(axis=1, keepdims=True)


def _bins(degrees: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    return np.floor(degrees % 360 * BINS / 360).astype(np.int64) % BINS


def density_at(data: Embeddings, around: geometry.Arcs) -> Float[np.ndarray, "n"]:
    """How dense a sample's own class is where it lies on the circle: the square root of the density,
    1 at the class's peak; 0 for a sample without a direction or a class without a centre."""
    unit, usable = directions(data.embeddings)
    degrees = np.degrees(np.arctan2(unit[:, 1], unit[:, 0]))
    densities = _densities(degrees[usable], data.labels[usable], around)
    place = np.full(data.labels.max(initial=-1) + 1, -1)
    place[around.classes] = np.arange(len(around.classes))
    found, known = np.zeros(len(unit)), usable & (place[data.labels] >= 0)
    found[known] = np.sqrt(densities[place[data.labels[known]], _bins(degrees[known])])
    return found


def _ridge(height: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A density on the circle as a polygon and its visible outline, (n, 2) each, without the
    stretch where there is none of it."""
    high = np.flatnonzero(height > 0.002)
    empty = np.diff(high, append=high[0] + BINS)
    first = high[(empty.argmax() + 1) % len(high)]
    bins = np.arange(first - 1, first + BINS - empty.max() + 2)
    bins = bins[: BINS + 1]
    angle, height = (bins + 0.5) * 360 / BINS, height[bins % BINS]
    outer, inner = _polar(angle, 1 + height).T, _polar(angle[::-1], np.ones(len(angle))).T
    return np.r_[outer, inner], np.where(height[:, None] > 0.06, outer, np.nan)


def sphere(
    ax: Axes, data: Embeddings, names: list[str], inches: float, *, behind: bool = False
) -> None:
    """Seen from the front, or from exactly behind: what is far is paler and smaller."""
    _blank(ax, limit=1.22)
    turn = _view(-1.0 if behind else 1.0)
    _globe(ax, turn)
    unit, labels = _sample(data)
    points = unit @ turn.T  # x right, y up, z towards the reader
    colours = np.array([to_rgb(colour) for colour in class_colours(len(names))])
    near = (points[:, 2:] + 1) / 2
    shade = colours[labels] * (0.2 + 0.8 * near) + 0.94 * (0.8 - 0.8 * near)
    order = np.argsort(points[:, 2])
    size = (0.35 + 0.65 * near[:, 0]) * inches * 1.6
    right, up, _ = points[order].T
    ax.scatter(right, up, s=size[order], c=shade[order], alpha=0.55, lw=0, rasterized=True)
    for label in np.unique(labels):
        mean = points[labels == label].mean(axis=0)
        x, y, z = mean / np.linalg.norm(mean)
        ax.plot(
            [0, x],
            [0, y],
            color=colours[label],
            lw=1.1 if z > 0 else 0.6,
            alpha=0.5 + 0.4 * (z > 0),
        )
        if z > -0.15 and names_fit(names, inches):
            _label(ax, 1.1 * x, 1.1 * y, names[label], inches)


def _view(side: float) -> np.ndarray:
    """Rotation to the reader's axes; both sides together show the whole sphere."""
    towards = side * np.array(
        [np.cos(0.35) * np.cos(0.3), np.cos(0.35) * np.sin(0.3), np.sin(0.35)]
    )
    right = np.cross([0.0, 0.0, 1.0], towards)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(towards, right), towards])


def _globe(ax: Axes, turn: np.ndarray) -> None:
    """A softly lit ball with meridians and parallels every 30 degrees."""
    x, y = np.meshgrid(np.linspace(-1, 1, 200), np.linspace(-1, 1, 200))
    z = np.sqrt(np.clip(1 - x**2 - y**2, 0, None))
    light = np.clip(0.91 + 0.09 * (-0.45 * x + 0.55 * y + 0.7 * z), 0, 1)
    ball = ax.imshow(light, extent=(-1, 1, -1, 1), origin="lower", cmap="gray", vmin=0, vmax=1)
    ball.set_clip_path(Circle((0, 0), 1, transform=ax.transData))
    t = np.linspace(0, 2 * np.pi, 181)
    meridians = [
        (np.cos(a) * np.cos(t), np.sin(a) * np.cos(t), np.sin(t)) for a in np.pi / 6 * np.arange(6)
    ]
    parallels = [
        (np.cos(b) * np.cos(t), np.cos(b) * np.sin(t), np.full_like(t, np.sin(b)))
        for b in np.pi / 6 * np.arange(-2, 3)
    ]
    for line in (*meridians, *parallels):
        right, up, towards = turn @ np.array(line)
        for visible, alpha in ((towards < 0, 0.25), (towards >= 0, 0.7)):
            ax.plot(np.where(visible, right, np.nan), up, color="#9a9a9a", lw=0.4, alpha=alpha)
    ax.add_artist(Circle((0, 0), 1, fill=False, ec=INK, lw=0.7))


def projection(
    ax: Axes, data: Embeddings, names: list[str], inches: float, like: Plane | None = None
) -> float:
    """Unit embeddings on their principal plane, or on that of another run; returns the share of
    variance shown."""
    _blank(ax, limit=1.1)
    unit, labels = _sample(data)
    shown = plane(data, like)
    points, centres = unit @ shown.axes, shown.means @ shown.axes
    colours = np.array(class_colours(len(names)))
    ax.add_artist(Circle((0, 0), 1, fill=False, ec=FAINT, lw=0.7))
    x, y = points.T
    ax.scatter(x, y, s=1.6 * inches, c=colours[labels], alpha=0.4, lw=0, rasterized=True)
    for label in np.unique(labels) if names_fit(names, inches) else ():
        x, y = centres[label]
        _label(ax, x, y, names[label], inches)
    return shown.share


def angle_histograms(ax: Axes, data: Embeddings) -> tuple[float, float]:
    """How far the samples are from their own class direction (theta_y) and from the nearest wrong
    one. Returns the median and the 5th percentile of the difference: the decision margin."""
    unit, labels = with_direction(data)
    cosines = unit @ data.centres.T
    mine = (np.arange(len(cosines)), labels)
    own = np.degrees(np.arccos(cosines[mine].clip(-1, 1)))
    cosines[mine] = -1.0
    wrong = np.degrees(np.arccos(cosines.max(axis=1).clip(-1, 1)))
    edges = np.linspace(0, 180, 181)
    for angles, colour in ((wrong, WRONG), (own, OWN)):
        share = np.histogram(angles, edges)[0] / len(angles) * 100
        steps = np.append(share, share[-1]).clip(min=1e-3)
        ax.fill_between(edges, 1e-3, steps, step="post", fc=colour, alpha=0.5, lw=0)
        ax.plot(edges, steps, drawstyle="steps-post", color=colour, lw=0.9)
    middles = float(np.median(own)), float(np.median(wrong))
    ax.annotate(
        "", (middles[0], 130), (middles[1], 130), arrowprops={"arrowstyle": "<->", "lw": 0.8}
    )
    ax.set_yscale("log")
    ax.set(ylim=(50 / max(len(own), 200), 250), xlim=(0, min(180, 1.5 * np.percentile(wrong, 99))))
    ax.xaxis.set_major_formatter("{x:g}°")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_locator(NullLocator())
    ax.tick_params(labelsize=8, length=2, width=0.5, color=FAINT)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set(color=FAINT, lw=0.6)
    difference = wrong - own
    return float(np.median(difference)), float(np.percentile(difference, 5))


def _blank(ax: Axes, limit: float) -> None:
    """Fixed limits, so shapes are added by add_artist: add_patch would measure every curve."""
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    ax.axis("off")


def _polar(degrees: np.ndarray | float, radius: np.ndarray | list[float] | float) -> np.ndarray:
    """(2, ...) x and y."""
    angle = np.radians(degrees)
    return np.array([np.cos(angle) * np.asarray(radius), np.sin(angle) * np.asarray(radius)])


def _size(inches: float) -> float:
    return 9.5 if inches > 3.5 else 8.0


def _label(ax: Axes, x: float, y: float, name: str, inches: float) -> None:
    """A class name with a white rim, to be read on top of points."""
    rim = effects.withStroke(linewidth=2.5, foreground="white")
    style: dict[str, Any] = {"weight": "bold", "ha": "center", "va": "center", "zorder": 7}
    ax.text(x, y, plain_text(name), fontsize=_size(inches), color=INK, path_effects=[rim], **style)


def with_direction(data: Embeddings) -> tuple[np.ndarray, np.ndarray]:
    """Unit embeddings and their labels, less those that have no direction."""
    unit, usable = directions(data.embeddings)
    return unit[usable], data.labels[usable]


def _sample(data: Embeddings) -> tuple[np.ndarray, np.ndarray]:
    """At most MOST_POINTS of them."""
    unit, labels = with_direction(data)
    if len(unit) > MOST_POINTS:
        kept = np.random.default_rng(0).choice(len(unit), MOST_POINTS, replace=False)
        return unit[kept], labels[kept]
    return unit, labels
