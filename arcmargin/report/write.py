"""Records -> comparison grid, CSV and Markdown tables: python scripts/report.py outputs/<folder>"""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from arcmargin.errors import UserError
from arcmargin.record import Damaged, Embeddings, Found, Snapshots, find_records
from arcmargin.report import figures, heatmap, interactive, roc
from arcmargin.report.layout import axes, constants, place
from arcmargin.report.tables import (
    SETTINGS,
    Configuration,
    configurations,
    last_line,
    run_rows,
    summary_markdown,
    summary_rows,
    varying_overrides,
    write_csv,
    write_text,
)

FORMATS = ("png", "pdf", "svg")


class Report(NamedTuple):
    files: list[Path]
    found: Found
    repeats: int  # runs that a later one with the same settings and seed replaces
    markdown: str


def write_report(
    folders: Sequence[Path | str],
    out: Path | str | None = None,
    rows: Sequence[str] | None = None,
    cols: Sequence[str] | None = None,
    formats: Sequence[str] = FORMATS[:1],
) -> Report:
    """Everything about the runs in `folders`, written into `out` (default: report/ in the first).
    Raises UserError when there is nothing to report on, or for an unknown key."""
    found = find_records(*folders)
    if not found.records:
        raise UserError(_nothing(folders, found))
    chosen = [*(rows or ()), *(cols or ())]
    _check(chosen, [*SETTINGS, "seed", *varying_overrides(found.records)], "key")
    _check(formats, FORMATS, "format")
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
    common = " · ".join([*constants(shown), *note])
    several = max(len(one.records) for one in shown) > 1
    for name, seeds in (
        ("grid", "mean ± sd over seeds, picture: the first"),
        ("angles", "first seed"),
    ):
        title = f"{common} · {seeds}" if several else common
        angles = name == "angles"
        figure = figures.grid(cells, row_titles, col_titles, title=title, angles=angles)
        files += [figures.save(figure, out / f"{name}.{suffix}") for suffix in formats]
    files += _open_set(grouped, formats, out)
    files += _side_by_side(shown, out)
    repeats = len(found.records) - sum(len(one.records) for one in grouped)
    return Report(files, found, repeats, markdown)


def _open_set(found: Sequence[Configuration], formats: Sequence[str], out: Path) -> list[Path]:
    """roc.png where there are unseen classes; heatmap.png where s and a margin vary."""
    curves = roc.figure(found)
    pictures = {"roc": curves} if curves else {}
    for page, picture in enumerate(heatmap.figures(found), 1):
        pictures[f"heatmap_{page}" if page > 1 else "heatmap"] = picture
    return [
        figures.save(picture, out / f"{name}.{suffix}")
        for name, picture in pictures.items()
        for suffix in formats
    ]


def _side_by_side(shown: Sequence[Configuration], out: Path) -> list[Path]:
    """compare.html: each configuration's first seed, turning together, where there is such a view."""
    runs = []
    for one in shown:
        first = one.finished[0] if one.finished else None
        if first is None or first.folder is None or first.embedding_dim not in interactive.NOTES:
            continue
        picture, page = (
            os.path.relpath(first.folder / f"embedding.{suffix}", out) for suffix in ("png", "html")
        )
        with contextlib.suppress(Damaged):  # the grid's cell says what is wrong
            data, moments = Embeddings.load(first.folder), Snapshots.load(first.folder)
            runs.append(interactive.Run(first, data, moments, picture, page))
    if len(runs) < 2 or len({run.record.embedding_dim for run in runs}) > 1:
        return []
    return [interactive.write_page(out / "compare.html", interactive.comparison_page(runs))]


def _check(given: Iterable[str], known: Iterable[str], what: str) -> None:
    for one in given:
        if one not in known:
            raise UserError(f"unknown {what} {one!r}: choose from {', '.join(known)}")


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
    parser.add_argument("--formats", type=_keys, metavar="png,pdf,svg", help="default: png")
    args = parser.parse_args(argv)
    try:
        report = write_report(
            args.folders, args.out, args.rows, args.cols, args.formats or FORMATS[:1]
        )
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
    if report.repeats:
        print(
            f"{report.repeats} repeated run(s), same settings and seed: the last counts",
            file=sys.stderr,
        )
    print(f"{report.markdown}\n{len(found.records)} run(s):")
    for path in report.files:
        print(f"  {path}")


if __name__ == "__main__":
    sys.exit(main())
