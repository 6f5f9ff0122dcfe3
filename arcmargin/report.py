"""Records -> comparison grid, CSV and Markdown tables: python scripts/report.py outputs/<folder>"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from arcmargin import figures
from arcmargin.errors import UserError
from arcmargin.figures import Cell
from arcmargin.record import Found, Record, find_records
from arcmargin.tables import (
    MARGINS_AND_GAP,
    SETTINGS,
    Configuration,
    configurations,
    last_line,
    rank,
    run_rows,
    summary_markdown,
    summary_rows,
    varying_overrides,
    write_csv,
    write_text,
)

MOST_CELLS = 60  # pictures in one grid; the tables have no such limit
NEUTRAL = {"m1": 1.0, "m2": 0.0, "m3": 0.0}


class Report(NamedTuple):
    files: list[Path]
    found: Found
    markdown: str


def write_report(
    folders: Sequence[Path | str],
    out: Path | str | None = None,
    rows: Sequence[str] | None = None,
    cols: Sequence[str] | None = None,
    formats: Sequence[str] = ("png",),
) -> Report:
    """Everything about the runs in `folders`, written into `out` (default: report/ in the first).
    Raises UserError when there is nothing to report on, or for an unknown key."""
    found = find_records(*folders)
    if not found.records:
        raise UserError(_nothing(folders, found))
    chosen = [*(rows or ()), *(cols or ())]
    _check_keys(chosen, found.records)
    out = Path(out) if out is not None else Path(folders[0]) / "report"
    grouped = configurations(found.records)
    summary = summary_rows(grouped)
    markdown = summary_markdown(summary)
    files = [
        write_csv(run_rows(found.records, Path(folders[0])), out / "runs.csv"),
        write_csv(summary, out / "summary.csv"),
        write_text(markdown, out / "summary.md"),
    ]
    shown = configurations(found.records, extra=chosen)
    cells, row_titles, col_titles, note = place(shown, *axes(shown, rows, cols))
    title = " · ".join([*_constants(shown), *_seeds(shown), *note])
    for name, angles in (("grid", False), ("angles", True)):
        figure = figures.grid(cells, row_titles, col_titles, title=title, angles=angles)
        files += [figures.save(figure, out / f"{name}.{suffix}") for suffix in formats]
    return Report(files, found, markdown)


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


def _constants(found: Sequence[Configuration]) -> list[str]:
    """What all runs have in common."""
    words = []
    for key in ("dataset", "embedding_dim", "s", "epochs"):
        values = _values(found, (key,))
        if len(values) == 1 and values[0][0] not in (None, "unknown"):
            words.append(_words(key, values[0][0]))
    return [*words, "test split"]


def _seeds(found: Sequence[Configuration]) -> list[str]:
    most = max(len(one.records) for one in found)
    return [f"mean ± sd of up to {most} seeds, picture: the first"] if most > 1 else []


def _check_keys(keys: Iterable[str], records: Sequence[Record]) -> None:
    known = [*SETTINGS, "seed", *varying_overrides(records)]
    for key in keys:
        if key not in known:
            raise UserError(
                f"unknown key {key!r} for --rows or --cols: choose from {', '.join(known)}"
            )


def _nothing(folders: Sequence[Path | str], found: Found) -> str:
    where = ", ".join(str(folder) for folder in folders)
    if found.damaged:
        return f"no usable record in {where}: {found.damaged[0]}"
    if found.unfinished:
        count = len(found.unfinished)
        return f"no finished run in {where}: {count} run folder(s) there have no record.json (yet)"
    return f"no runs in {where}: no record.json there or below, expected a run or sweep folder"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Comparison grid and tables from finished runs.")
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="runs, or sweeps of runs")
    keys = "keys, such as header or header,dataset (none: no such axis)"
    parser.add_argument("--rows", type=_keys, metavar="KEY", help=f"down: {keys}")
    parser.add_argument("--cols", type=_keys, metavar="KEY", help=f"across: {keys}")
    parser.add_argument("--out", metavar="DIR", help="default: FOLDER/report")
    parser.add_argument("--formats", nargs="+", default=["png"], choices=["png", "pdf", "svg"])
    args = parser.parse_args(argv)
    try:
        report = write_report(args.folders, args.out, args.rows, args.cols, args.formats)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    _say(report)
    return 0


def _keys(text: str) -> list[str]:
    return [] if text == "none" else [key for key in text.split(",") if key]


def _say(report: Report) -> None:
    found = report.found
    for sentence in found.damaged:
        print(f"skipped: {sentence}", file=sys.stderr)
    for folder in found.unfinished:
        print(
            f"skipped: {folder} has no record.json (interrupted, or still running)", file=sys.stderr
        )
    for record in found.records:
        if not record.finished:
            print(f"failed: {record.folder}: {last_line(record.error)}", file=sys.stderr)
    print(f"{report.markdown}\n{len(found.records)} runs:")
    for path in report.files:
        print(f"  {path}")
