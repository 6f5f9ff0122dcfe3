"""Results -> index.html, comparison grid and tables: python scripts/report.py outputs/<folder>"""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from arcmargin.errors import UserError
from arcmargin.metrics.table import metric_names
from arcmargin.record import JOURNAL_FILE, Damaged, Embeddings, Found, Snapshots, find_results
from arcmargin.report import heatmap, interactive, page, roc
from arcmargin.report.configurations import (
    SETTINGS,
    Configuration,
    configurations,
    further_settings,
    name_sweeps,
)
from arcmargin.report.grid import grid
from arcmargin.report.labels import labels
from arcmargin.report.layout import Axes, axes, constants, place
from arcmargin.report.output import Content, write_files
from arcmargin.report.statistics import against_baseline, pairwise
from arcmargin.report.tables import (
    DIFFERENCE,
    csv_text,
    difference_rows,
    last_line,
    run_rows,
    summary_rows,
)
from arcmargin.report.text_tables import latex, markdown, noise_markdown

FORMATS = ("png", "pdf", "svg")
MOST_COMPARED = 28  # runs in compare.html: those that turn, and pictures of as many others


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
    formats: Sequence[str] = FORMATS[:2],
    pages: Sequence[str] | None = None,
) -> Report:
    """Everything about the runs in `folders`, written into `out` (default: report/ in the first).
    Raises UserError when there is nothing to report on, for an unknown key, and where a file that
    no report wrote has the name of one of the report's."""
    found = find_results(*folders)
    if not found.results:
        raise UserError(_nothing(folders, found))
    name_sweeps(found.results)
    chosen = [*(rows or ()), *(cols or ()), *(pages or ())]
    _check(chosen, [*SETTINGS, "seed", "sweep", *further_settings(found.results)], "key")
    _check(formats, FORMATS, "format")
    out = Path(out) if out is not None else Path(folders[0]) / "report"
    grouped = configurations(found.results)
    summary = summary_rows(grouped)
    names = metric_names(result.metrics for result in found.results)
    to_baseline, every_pair = against_baseline(grouped, names), pairwise(grouped, names)
    differences = {"against the baseline": to_baseline, "every pair": every_pair}
    contents: dict[str, Content] = {
        "runs.csv": csv_text(run_rows(found.results, Path(folders[0]))),
        "summary.csv": csv_text(summary),
        "differences.csv": csv_text(difference_rows(differences, labels(grouped)), DIFFERENCE),
        "summary.md": markdown(summary),
        "summary.tex": latex(summary, every_pair),
    }
    if to_baseline:
        contents["differences.md"] = noise_markdown(to_baseline, labels(grouped))
    shown = configurations(found.results, extra=chosen)
    pictures = {
        **_grids(shown, axes(shown, rows, cols, pages)),
        "roc": [curves] if (curves := roc.figure(grouped)) else [],
        "heatmap": heatmap.figures(grouped),
    }
    contents |= _named_pages(pictures, formats)
    if (side_by_side := _side_by_side(shown, out)) is not None:
        contents["compare.html"] = side_by_side
    if (searched := _search(folders)) is not None:
        contents["search.html"] = searched
    repeats = len(found.results) - sum(len(one.results) for one in grouped)
    index = page.index_page(
        page.Contents(
            found, grouped, summary, differences, constants(shown), repeats, list(contents), out
        )
    )
    files = write_files({"index.html": index, **contents}, out)
    return Report(files, found, repeats, markdown(summary))


def _grids(shown: Sequence[Configuration], spanned: Axes) -> dict[str, list[Figure]]:
    """The pages of the grid of embeddings, and of that of angles."""
    pages, left_out = place(shown, spanned)
    several = max(len(one.results) for one in shown) > 1
    kinds = {"grid": "mean ± sd over seeds, picture: the first", "angles": "first seed"}
    figures: dict[str, list[Figure]] = {name: [] for name in kinds}
    for name, seeds in kinds.items():
        for page_number, one in enumerate(pages, 1):
            titles = [one.title] * bool(one.title) + constants(shown) + [seeds] * several
            if len(pages) > 1 or left_out:
                titles.append(
                    f"page {page_number} of {len(pages)}" + f" ({left_out})" * bool(left_out)
                )
            title, angles = " · ".join(titles), name == "angles"
            figures[name].append(
                grid(one.cells, one.row_titles, one.col_titles, title=title, angles=angles)
            )
    return figures


def _named_pages(pictures: dict[str, list[Figure]], formats: Sequence[str]) -> dict[str, Content]:
    """grid.pdf with all of its pages; grid.png, grid_2.png ..."""
    contents: dict[str, Content] = {}
    for stem, pages in pictures.items():
        for suffix in formats if pages else ():
            if suffix == "pdf":
                contents[f"{stem}.pdf"] = pages
                continue
            for number, figure in enumerate(pages, 1):
                contents[f"{stem}{f'_{number}' if number > 1 else ''}.{suffix}"] = figure
    return contents


def _side_by_side(shown: Sequence[Configuration], out: Path) -> str | None:
    """compare.html: each configuration's first seed, turning together, where there is such a view."""
    firsts = [one.finished[0] for one in shown if one.finished]
    turning = [first for first in firsts if first.settings.embedding_dim in interactive.NOTES]
    runs: list[interactive.Run] = []
    for first in turning[:MOST_COMPARED]:
        if first.folder is None:
            continue
        picture, page = (
            os.path.relpath(first.folder / f"embedding.{suffix}", out) for suffix in ("png", "html")
        )
        with contextlib.suppress(Damaged):  # the grid's cell says what is wrong
            data, moments = Embeddings.load(first.folder), Snapshots.load(first.folder)
            runs.append(interactive.Run(first, data, moments, picture, page))
    alike = {
        (run.result.settings.embedding_dim, tuple(run.result.settings.class_names)) for run in runs
    }
    if len(runs) < 2 or len(alike) > 1:
        return None
    title = "Headers side by side"
    if len(turning) > MOST_COMPARED:
        title += f": the first {MOST_COMPARED} of {len(turning)} configurations"
    return interactive.comparison_page(runs, title)


def _search(folders: Sequence[Path | str]) -> str | None:
    """search.html, where there was a search and its library is at hand."""
    searched = [Path(folder) for folder in folders if (Path(folder) / JOURNAL_FILE).exists()]
    if not searched:
        return None
    try:
        from arcmargin.report.search import search_page
    except ImportError:  # Optuna is an extra
        return None
    return search_page(searched)


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
    parser = argparse.ArgumentParser(
        description="A page, a comparison grid and tables from finished runs."
    )
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="runs, or sweeps of runs")
    keys = "keys, such as header or header,dataset (none: no such axis)"
    parser.add_argument("--rows", type=_keys, metavar="KEY", help=f"down: {keys}")
    parser.add_argument("--cols", type=_keys, metavar="KEY", help=f"across: {keys}")
    parser.add_argument("--pages", type=_keys, metavar="KEY", help=f"a page each: {keys}")
    parser.add_argument("--out", metavar="DIR", help="default: FOLDER/report")
    parser.add_argument("--formats", type=_keys, metavar="png,pdf,svg", help="default: png,pdf")
    args = parser.parse_args(argv)
    try:
        report = write_report(
            args.folders,
            args.out,
            args.rows,
            args.cols,
            args.formats or FORMATS[:2],
            args.pages,
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    _tell(report)
    return 0


def _keys(text: str) -> list[str]:
    return [] if text == "none" else [key for key in text.split(",") if key]


def _tell(report: Report) -> None:
    found = report.found
    for sentence in found.damaged:
        print(f"skipped: {sentence}", file=sys.stderr)
    for folder in found.unfinished:
        print(
            f"skipped: {folder} has no record.json (interrupted, or still running)", file=sys.stderr
        )
    for result in found.results:
        if not result.finished:
            print(f"failed: {result.folder}: {last_line(result.error)}", file=sys.stderr)
    if report.repeats:
        print(
            f"{report.repeats} repeated run(s), same settings and seed: the last counts",
            file=sys.stderr,
        )
    print(f"{report.markdown}\n{len(found.results)} run(s):")
    for path in report.files:
        print(f"  {path}")


if __name__ == "__main__":
    sys.exit(main())
