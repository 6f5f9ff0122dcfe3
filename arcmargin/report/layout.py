"""Where each configuration goes in the comparison grid: which keys span it, pages, cells, titles."""

from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np

from arcmargin.record import NO_MARGIN
from arcmargin.report.configurations import MARGINS_AND_GAP, Configuration, rank
from arcmargin.report.grid import Cell
from arcmargin.report.labels import varying, words

MOST_TOGETHER = 30  # cells that stay on one page although three or more keys span them
MOST_COLS, MOST_ROWS = 5, 6  # of a page
MOST_IN_LINES = 24  # on a page, where there is one axis only
MOST_PICTURES = 60  # on all pages: a few seconds; tables and index.html hold everything

Place = tuple[Any, ...]  # the values of an axis's keys


class Axes(NamedTuple):
    """The keys that span the grid."""

    rows: list[str]
    cols: list[str]
    pages: list[str]


class Page(NamedTuple):
    cells: list[list[Cell]]
    row_titles: list[str]
    col_titles: list[str]
    title: str = ""  # what this page shows that the others do not


def axes(
    found: Sequence[Configuration],
    rows: Sequence[str] | None = None,
    cols: Sequence[str] | None = None,
    pages: Sequence[str] | None = None,
) -> Axes:
    """Headers and the like down, margins across, unless told otherwise; what is left goes on pages
    when one page would not hold it all.

    A key that follows from the keys before it is no axis, such as a margin that every header has
    one value of in a comparison at matched margins.
    """
    keys = [key for key in found[0].settings if key not in ("header", *MARGINS_AND_GAP)]
    spanning: list[str] = []
    for key in ("header", *keys, "gap_deg", "m2", "m3", "m1", "s"):
        if key in found[0].settings and not _follows(found, key, spanning):
            spanning.append(key)
    spanning = [key for key in spanning if key not in (pages or ())]
    margins = [key for key in spanning if key in MARGINS_AND_GAP]
    others = [key for key in spanning if key not in margins]
    if others and margins:
        down, across = others, margins
    else:
        across, down = (others or margins)[-1:], (others or margins)[:-1]
    if rows is not None or cols is not None:
        free = [key for key in (*down, *across) if key not in (*(rows or ()), *(cols or ()))]
        down = free if rows is None else list(rows)
        return Axes(down, free if cols is None else list(cols), list(pages or ()))
    together = len(_values(found, down)) * len(_values(found, across))
    if pages is None and len(down) + len(across) > 2 and together > MOST_TOGETHER:
        return Axes(down[:1], across[:1], [*down[1:], *across[1:]])
    return Axes(down, across, list(pages or ()))


def place(found: Sequence[Configuration], axes: Axes) -> tuple[list[Page], str]:
    """The pages, and what they leave out. A head that takes no margin stands in every column (or
    row) of a margin. Of places that are too many to read, evenly spaced ones are kept."""
    rows, cols, _ = axes
    if len(_values(found, cols)) == 1 and len(_values(found, rows)) > 1:
        rows, cols = cols, rows  # one column is better read as lines
    down, across, through = (_values(found, keys) for keys in (rows, cols, axes.pages))
    high, wide = MOST_ROWS, MOST_COLS
    if len(down) == 1:
        high, wide = 1, MOST_IN_LINES
    elif len(down) * len(across) <= MOST_TOGETHER:
        high = max(MOST_ROWS, len(down))
    pictures = min(len(down), high) * min(len(across), wide)  # of a page
    most = max(1, MOST_PICTURES // pictures)
    budget = max(1, most // len(through))
    kept_across = _spread(across, wide * budget)
    budget = max(1, budget // -(-len(kept_across) // wide))
    kept_down, kept_through = _spread(down, high * budget), _spread(through, most)
    shown = [
        _page(found, axes._replace(rows=rows, cols=cols), which, some_down, some_across)
        for which, some_down, some_across in product(
            kept_through, _chunks(kept_down, high), _chunks(kept_across, wide)
        )
    ]
    left_out = [
        f"{len(kept)} of {len(whole)} {what}"
        for kept, whole, what in (
            (kept_down, down, "rows"),
            (kept_across, across, "columns"),
            (kept_through, through, "pages"),
        )
        if len(kept) < len(whole)
    ]
    return shown, ", ".join(left_out)


def _spread(places: list[Place], most: int) -> list[Place]:
    """All, or so many of them evenly spaced, the first and the last included."""
    if len(places) <= most:
        return places
    return [places[round(at)] for at in np.linspace(0, len(places) - 1, most)]


def _chunks(places: list[Place], size: int) -> list[list[Place]]:
    """Runs of at most `size`, as equal as they can be."""
    count = -(-len(places) // size)
    edges = [round(at) for at in np.linspace(0, len(places), count + 1)]
    return [places[low:high] for low, high in pairwise(edges)]


def _page(
    found: Sequence[Configuration],
    axes: Axes,
    which: Place,
    down: Sequence[Place],
    across: Sequence[Place],
) -> Page:
    rows, cols, pages = axes
    here = [one for one in found if _fits(one, pages, which)]
    if pages:  # what none of this page's runs has would be empty throughout
        down = [row for row in down if any(_fits(one, rows, row) for one in here)]
        across = [col for col in across if any(_at(one, cols) == col for one in here)] or across
    cells = [
        [
            _cell([one for one in here if _fits(one, rows, row) and _fits(one, cols, col)])
            for col in across
        ]
        for row in down
    ]
    if not rows and not cols:
        return Page(cells, [""], [here[0].results[0].settings.name], _title(pages, which, found))
    return Page(
        cells,
        [_title(rows, value, found, axes) for value in down],
        [_title(cols, value, found, axes) for value in across],
        _title(pages, which, found),
    )


def _cell(found: list[Configuration]) -> Cell:
    if not found:
        return Cell([])
    shown = next((one for one in found if one.settings["s"] is not None), found[0])
    return Cell(shown.results, f"1 of {len(found)} configurations" if len(found) > 1 else "")


def _at(one: Configuration, keys: Sequence[str]) -> tuple[Any, ...]:
    """Where a configuration belongs; None, which is everywhere, for a margin its head has not."""
    return tuple(
        one.settings[key] if key in MARGINS_AND_GAP else _known(one.settings[key]) for key in keys
    )


def _known(value: Any) -> Any:
    return "unknown" if value is None else value


def _fits(one: Configuration, keys: Sequence[str], value: Place) -> bool:
    return all(mine in (None, other) for mine, other in zip(_at(one, keys), value, strict=True))


def _values(found: Sequence[Configuration], keys: Sequence[str]) -> list[Place]:
    """The places along one axis, less those that only say "everywhere" of others."""
    values = {_at(one, keys): one for one in found}
    places = [
        value
        for value, one in values.items()
        if None not in value
        or not any(other != value and _fits(one, keys, other) for other in values)
    ]
    return sorted(places, key=lambda value: [rank(k, v) for k, v in zip(keys, value, strict=True)])


def _follows(found: Sequence[Configuration], key: str, keys: Sequence[str]) -> bool:
    """Whether `keys` determine `key` in all configurations that have it."""
    having = [one.settings for one in found if one.settings[key] is not None]
    places = {tuple(settings[k] for k in keys) for settings in having}
    return len({(*(settings[k] for k in keys), settings[key]) for settings in having}) <= len(
        places
    )


def _title(
    keys: Sequence[str], value: Place, found: Sequence[Configuration], axes: Axes | None = None
) -> str:
    """`arcface`, `m2 = 0.2`, `2-D`; with a header its margin, s and so on, unless an axis shows them."""
    parts = [words(key, part) for key, part in zip(keys, value, strict=True)]
    if axes is not None and "header" in keys:
        same = [one for one in found if _fits(one, keys, value)]
        shown = {*axes.rows, *axes.cols, *axes.pages, "gap_deg", "sweep"}
        for key in dict.fromkeys([*NO_MARGIN, *varying(found)]):
            own = {one.settings[key] for one in same}
            if key not in shown and len(own) == 1:
                part = own.pop()
                if part is not None and part != NO_MARGIN.get(key):
                    parts.append(words(key, part))
    return ", ".join(parts)


def constants(found: Sequence[Configuration]) -> list[str]:
    """What all runs have in common."""
    shared = []
    for key in ("dataset", "embedding_dim", "s", "epochs"):
        values = _values(found, (key,))
        if len(values) == 1 and values[0][0] not in (None, "unknown"):
            shared.append(words(key, values[0][0]))
    return [*shared, "test split"]
