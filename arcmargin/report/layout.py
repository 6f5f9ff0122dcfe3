"""Where each configuration goes in the comparison grid: which keys span it, cells, titles."""

from collections.abc import Sequence
from typing import Any

from arcmargin.report.figures import Cell
from arcmargin.report.tables import MARGINS_AND_GAP, Configuration, rank

MOST_CELLS = 48  # pictures in one grid; the tables have no such limit
NEUTRAL = {"m1": 1.0, "m2": 0.0, "m3": 0.0}


def axes(
    found: Sequence[Configuration],
    rows: Sequence[str] | None = None,
    cols: Sequence[str] | None = None,
) -> tuple[list[str], list[str]]:
    """Which keys span the grid: headers and the like down, margins across, unless told otherwise.

    A key that follows from the keys before it is no axis, such as a margin that every header has
    one value of in a comparison at matched margins.
    """
    keys = [key for key in found[0].settings if key not in ("header", *MARGINS_AND_GAP)]
    spanning: list[str] = []
    for key in ("header", *keys, "gap_deg", "m2", "m3", "m1", "s"):
        if key in found[0].settings and not _follows(found, key, spanning):
            spanning.append(key)
    margins = [key for key in spanning if key in MARGINS_AND_GAP]
    others = [key for key in spanning if key not in margins]
    if others and margins:
        down, across = others, margins
    else:
        across, down = (others or margins)[-1:], (others or margins)[:-1]
    if rows is not None and cols is None:
        return list(rows), [key for key in across + down if key not in rows]
    if cols is not None and rows is None:
        return [key for key in down + across if key not in cols], list(cols)
    return (list(rows), list(cols)) if rows is not None and cols is not None else (down, across)


def place(
    found: Sequence[Configuration], rows: Sequence[str], cols: Sequence[str]
) -> tuple[list[list[Cell]], list[str], list[str], list[str]]:
    """Cells, the titles of rows and columns, and what the figure's title has to add. A head that
    takes no margin stands in every column (or row) of a margin."""
    down, across = _values(found, rows), _values(found, cols)
    if len(across) == 1 and len(down) > 1:  # one column is better read as lines
        rows, cols, down, across = cols, rows, across, down
    note = []
    if len(down) * len(across) > MOST_CELLS:
        kept = max(1, MOST_CELLS // len(across))
        note = [f"first {min(MOST_CELLS, kept * len(across))} of {len(down) * len(across)} cells"]
        down, across = down[:kept], across[:MOST_CELLS]
    cells = [
        [
            _cell([one for one in found if _fits(one, rows, row) and _fits(one, cols, col)])
            for col in across
        ]
        for row in down
    ]
    if not rows and not cols:
        return cells, [""], [found[0].records[0].name], note
    free = not set(MARGINS_AND_GAP) & {*rows, *cols}
    row_titles = [_title(rows, value, found if free else ()) for value in down]
    return cells, row_titles, [_title(cols, value, found if free else ()) for value in across], note


def _cell(found: list[Configuration]) -> Cell:
    if not found:
        return Cell([])
    shown = next((one for one in found if one.settings["s"] is not None), found[0])
    return Cell(shown.records, f"1 of {len(found)} configurations" if len(found) > 1 else "")


def _at(one: Configuration, keys: Sequence[str]) -> tuple[Any, ...]:
    """Where a configuration belongs; None, which is everywhere, for a margin its head has not."""
    return tuple(
        one.settings[key] if key in MARGINS_AND_GAP else _known(one.settings[key]) for key in keys
    )


def _known(value: Any) -> Any:
    return "unknown" if value is None else value


def _fits(one: Configuration, keys: Sequence[str], value: tuple[Any, ...]) -> bool:
    return all(mine in (None, other) for mine, other in zip(_at(one, keys), value, strict=True))


def _values(found: Sequence[Configuration], keys: Sequence[str]) -> list[tuple[Any, ...]]:
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


def _title(keys: Sequence[str], value: tuple[Any, ...], found: Sequence[Configuration]) -> str:
    """`arcface`, `m2 = 0.2`, `2-D`; with `found`, the margin that goes with a header."""
    words = [_words(key, part) for key, part in zip(keys, value, strict=True)]
    if "header" in keys:
        same = [one for one in found if _fits(one, keys, value)]
        margins = {tuple(one.settings[key] for key in NEUTRAL) for one in same}
        if len(margins) == 1:
            own = zip(NEUTRAL, margins.pop(), strict=True)
            words += [_words(key, part) for key, part in own if part not in (None, NEUTRAL[key])]
    return ", ".join(words)


def _words(key: str, value: Any) -> str:
    if key == "embedding_dim":
        return f"{value}-D"
    if value is None:
        return f"no {key}"
    if key in ("header", "dataset", "backbone", "optimizer"):
        return str(value)
    return f"{key} = {value:.3g}" if isinstance(value, float) else f"{key} = {value}"


def constants(found: Sequence[Configuration]) -> list[str]:
    """What all runs have in common."""
    words = []
    for key in ("dataset", "embedding_dim", "s", "epochs"):
        values = _values(found, (key,))
        if len(values) == 1 and values[0][0] not in (None, "unknown"):
            words.append(_words(key, values[0][0]))
    return [*words, "test split"]
