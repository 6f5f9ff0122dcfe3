"""The colours that all figures and pages share, and the legends that explain the pictures."""

import zlib
from collections.abc import Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerLine2D
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import Bbox

from arcmargin.metrics.table import PREDICTED
from arcmargin.record import Result

INK, FAINT, GAP, OVERLAP = "#222222", "#b8b8b8", "#efeee8", "#d7301f"
OWN, WRONG = "#0072B2", "#D55E00"
MOST_LABELS = 30
# Paul Tol's "muted" qualitative scheme, with near-black for its pale grey: apart under protanopia,
# deuteranopia and tritanopia too.
COLOURS = (
    "#332288", "#88CCEE", "#117733", "#DDCC77", "#CC6677",
    "#AA4499", "#44AA99", "#999933", "#882255", "#222222",
)  # fmt: skip


# One colour a head, in every figure and page; the order of heads too. All are read on white and on
# black paper; the first five are apart for colour-blind readers.
HEADER_COLOURS = {
    "linear": "#7d8590",
    "normface": "#8a6a35",
    "arcface": "#1f83d6",
    "cosface": "#dc6014",
    "sphereface": "#1c9a6c",
    "combined": "#b250b2",
    "subcenter_arcface": "#009dc4",
    "curricularface": "#3e51fa",
    "mv_softmax": "#70a100",
    "adaface": "#fa007d",
    "magface": "#b28f00",
    "adacos": "#a14863",
    "elastic_arcface": "#6c60d6",
    "elastic_cosface": "#e86868",
    "sphereface_original": "#a636d6",
    "sphereface_r": "#7f68a1",
    "sphereface2": "#9600fa",
    "uniface": "#fa0032",
    "per_class": "#fa00fa",
    "sface": "#00a88f",
    "inter_topk": "#5b8c00",
    "kappaface": "#c2410c",
    "x2_softmax": "#3a86a8",
    "gb_cosface": "#c05a8f",
}


def header_colour(header: str) -> str:
    """A head that is not in the table, such as a user's own, has one of its colours, always the
    same."""
    known = list(HEADER_COLOURS.values())[5:]
    return HEADER_COLOURS.get(header, known[zlib.crc32(header.encode()) % len(known)])


def class_colours(count: int, dark: bool = False) -> list[str]:
    """One colour a class, always in the same order; past ten a lighter and then a darker round, past
    thirty the same again. `dark`: lightened, for dark paper."""
    rounds = ((0.0, 0.0), (0.45, 1.0), (0.4, 0.0))  # how much of which grey is mixed in
    distinct = []
    for share, grey in rounds:
        for colour in COLOURS:
            mixed = [part * (1 - share) + grey * share for part in to_rgb(colour)]
            red, green, blue = (0.6 * part + 0.4 if dark else part for part in mixed)
            distinct.append(to_hex((red, green, blue)))
    return [distinct[index % len(distinct)] for index in range(count)]


def names_fit(names: Sequence[str], inches: float) -> bool:
    """Whether class names fit into a picture this wide; if not, the legend names the colours."""
    return len(names) <= MOST_LABELS and (inches > 3.5 or max(map(len, names), default=0) <= 3)


def legend_entries(results: Sequence[Result], inches: float) -> dict[str, Artist]:
    """What the legend of these runs' pictures has to explain."""
    results = [result for result in results if result.finished]
    dims = {result.settings.embedding_dim for result in results}
    found: dict[str, Artist] = {}
    if 2 in dims:
        found["density of a class (square root)"] = Patch(fc="#8a8a8a")
        found["its 5-95 % arc, ray at its centre"] = Patch(fc="#8a8a8a", alpha=0.45)
        found["header's class direction"] = Line2D([], [], color=INK, lw=0, marker="|", ms=7)
        found["gap between the arcs"] = Patch(fc=GAP, ec=FAINT, lw=0.5)
        if any((result.metrics.get("gap_min_deg") or 0) < 0 for result in results):
            found["overlap of the arcs"] = Patch(fc="none", ec=OVERLAP, hatch="/////", lw=0)
        if any(result.metrics.get(PREDICTED) is not None for result in results):
            found["predicted gap"] = Line2D([], [], color=INK, marker="|", ms=5, lw=1)
    if 3 in dims:
        found["ray: centre of a class"] = Line2D([], [], color="#8a8a8a", lw=1.5)
        found["near side"] = Line2D([], [], color="#666666", lw=0, marker="o", ms=4)
        found["far side"] = Line2D([], [], color="#cccccc", lw=0, marker="o", ms=3)
    names = max((result.settings.class_names for result in results), key=len, default=[])
    if len(names) <= MOST_LABELS and not names_fit(names, inches):
        shown = map(plain_text, names)
        found |= {
            name: Patch(fc=fc) for name, fc in zip(shown, class_colours(len(names)), strict=True)
        }
    return found


def angle_legend_entries() -> dict[str, Artist]:
    return {
        "θy: angle to the own class direction": Patch(fc=OWN, alpha=0.6),
        "angle to the nearest wrong one": Patch(fc=WRONG, alpha=0.6),
        "margin: their difference, here of the medians": Line2D(
            [], [], color=INK, lw=0.8, marker="|", ms=5
        ),
    }


def plain_text(words: str) -> str:
    """Names for a picture: matplotlib would read what stands between two dollars as mathematics."""
    printable = "".join(char if char.isprintable() else " " for char in words)
    return printable.replace("$", r"\$")


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
        entry: HandlerLine2D(numpoints=2)
        for entry in found.values()
        if isinstance(entry, Line2D) and entry.get_linewidth() > 0
    }
    style: dict[str, Any] = {"fontsize": 8, "frameon": False, "handlelength": 1.6}
    figure.legend(list(found.values()), list(found), handler_map=brackets, **style, **place)
