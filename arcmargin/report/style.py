"""The colours and marks that all pictures share, and the legend that explains them."""

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerLine2D
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import Bbox

from arcmargin.record import Record

INK, FAINT, GAP, OVERLAP = "#222222", "#b8b8b8", "#efeee8", "#d7301f"
OWN, WRONG = "#0072B2", "#D55E00"
MOST_LABELS = 30
# Paul Tol's "muted" qualitative scheme, with near-black for its pale grey: apart under protanopia,
# deuteranopia and tritanopia too.
COLOURS = (
    "#332288", "#88CCEE", "#117733", "#DDCC77", "#CC6677",
    "#AA4499", "#44AA99", "#999933", "#882255", "#222222",
)  # fmt: skip


def class_colours(count: int) -> list[str]:
    """One colour a class, always in the same order; past ten a lighter and then a darker round."""
    rounds = ((0.0, 0.0), (0.45, 1.0), (0.4, 0.0))  # how much of which grey is mixed in
    colours = []
    for index in range(count):
        share, grey = rounds[index // len(COLOURS) % len(rounds)]
        red, green, blue = (
            np.array(to_rgb(COLOURS[index % len(COLOURS)])) * (1 - share) + grey * share
        )
        colours.append(to_hex((red, green, blue)))
    return colours


def labelled(names: list[str], inches: float) -> bool:
    """Whether class names fit into a picture this wide; if not, the legend names the colours."""
    return len(names) <= MOST_LABELS and (inches > 3.5 or max(map(len, names), default=0) <= 3)


def marks(records: list[Record], inches: float) -> dict[str, Artist]:
    """What the legend of these pictures has to explain."""
    records = [record for record in records if record.finished]
    dims = {record.embedding_dim for record in records}
    found: dict[str, Artist] = {}
    if 2 in dims:
        found["density of a class (square root)"] = Patch(fc="#8a8a8a")
        found["its 5-95 % arc, ray at its centre"] = Patch(fc="#8a8a8a", alpha=0.45)
        found["header's class direction"] = Line2D([], [], color=INK, lw=0, marker="|", ms=7)
        found["gap between the arcs"] = Patch(fc=GAP, ec=FAINT, lw=0.5)
        if any((record.metrics.get("gap_min_deg") or 0) < 0 for record in records):
            found["overlap of the arcs"] = Patch(fc="none", ec=OVERLAP, hatch="/////", lw=0)
        if any(record.metrics.get("gap_predicted_deg") is not None for record in records):
            found["predicted gap"] = Line2D([], [], color=INK, marker="|", ms=5, lw=1)
    if 3 in dims:
        found["ray: centre of a class"] = Line2D([], [], color="#8a8a8a", lw=1.5)
        found["near side"] = Line2D([], [], color="#666666", lw=0, marker="o", ms=4)
        found["far side"] = Line2D([], [], color="#cccccc", lw=0, marker="o", ms=3)
    names = max((record.class_names for record in records), key=len, default=[])
    if len(names) <= MOST_LABELS and not labelled(names, inches):
        colours = class_colours(len(names))
        found |= {name: Patch(fc=fc) for name, fc in zip(names, colours, strict=True)}
    return found


def angle_marks() -> dict[str, Artist]:
    return {
        "θy: angle to the own class direction": Patch(fc=OWN, alpha=0.6),
        "angle to the nearest wrong one": Patch(fc=WRONG, alpha=0.6),
        "margin: their difference, here of the medians": Line2D(
            [], [], color=INK, lw=0.8, marker="|", ms=5
        ),
    }


def legend_inches(found: dict[str, Artist], columns: int) -> float:
    """The height that a legend below the pictures takes."""
    return 0.1 + 0.175 * -(-len(found) // columns)


def legend(
    figure: Figure, found: dict[str, Artist], *, columns: int, box: Bbox | None = None
) -> None:
    """In `box`, or centred at the bottom of the figure."""
    place: dict[str, Any] = {"loc": "lower center", "ncols": columns}
    if box is not None:
        place = {"loc": "center", "bbox_to_anchor": box, "ncols": 1 if len(found) < 20 else 2}
    brackets = {
        mark: HandlerLine2D(numpoints=2)
        for mark in found.values()
        if isinstance(mark, Line2D) and mark.get_linewidth() > 0
    }
    style: dict[str, Any] = {"fontsize": 8, "frameon": False, "handlelength": 1.6}
    figure.legend(list(found.values()), list(found), handler_map=brackets, **style, **place)
