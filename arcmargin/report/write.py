"""Records -> index.html, comparison grid and tables: python scripts/report.py outputs/<folder>"""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from arcmargin.errors import UserError
from arcmargin.metrics.table import metric_names, number
from arcmargin.record import Damaged, Embeddings, Found, Snapshots, find_records
from arcmargin.report import heatmap, interactive, page, roc
from arcmargin.report.configurations import (
    SETTINGS,
    Configuration,
    configurations,
    name_sweeps,
    varying_overrides,
)
from arcmargin.report.figures import save_pages
from arcmargin.report.grid import grid
from arcmargin.report.labels import labels
from arcmargin.report.layout import Axes, axes, constants, place
from arcmargin.report.paper import latex, markdown, noise_markdown
from arcmargin.report.statistics import Difference, against_baseline, pairwise
from arcmargin.report.tables import (
    DIFFERENCE,
    difference_rows,
    last_line,
    run_rows,
    summary_rows,
    write_csv,
    write_text,
)

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
    Raises UserError when there is nothing to report on, or for an unknown key."""
    found = find_records(*folders)
    if not found.records:
        raise UserError(_nothing(folders, found))
    name_sweeps(found.records)
    for record in found.records:
        # What is no number, perhaps a later version's, is no point of a plot.
        record.metrics = {name: number(value) for name, value in record.metrics.items()}
    chosen = [*(rows or ()), *(cols or ()), *(pages or ())]
    _check(chosen, [*SETTINGS, "seed", "sweep", *varying_overrides(found.records)], "key")
    _check(formats, FORMATS, "format")
    out = Path(out) if out is not None else Path(folders[0]) / "report"
    grouped = configurations(found.records)
    summary = summary_rows(grouped)
    names = metric_names(found.records)
    differences = {
        "against the baseline": against_baseline(grouped, names),
        "every pair": pairwise(grouped, names),
    }
    text = markdown(summary)
    files = [
        write_csv(run_rows(found.records, Path(folders[0])), out / "runs.csv"),
        write_csv(summary, out / "summary.csv"),
        write_csv(
            difference_rows(differences, labels(grouped)), out / "differences.csv", DIFFERENCE
        ),
        write_text(text, out / "summary.md"),
        *_noise(differences["against the baseline"], labels(grouped), out),
        write_text(latex(summary, differences["every pair"]), out / "summary.tex"),
    ]
    shown = configurations(found.records, extra=chosen)
    files += _pictures(shown, axes(shown, rows, cols, pages), formats, out)
    files += _open_set(grouped, formats, out)
    files += _side_by_side(shown, out)
    repeats = len(found.records) - sum(len(one.records) for one in grouped)
    contents = page.Contents(
        found, grouped, summary, differences, constants(shown), repeats, files, out
    )
    files.insert(0, write_text(page.index_page(contents), out / "index.html"))
    return Report(files, found, repeats, text)


def _noise(differences: Sequence[Difference], names: Sequence[str], out: Path) -> list[Path]:
    path = out / "differences.md"
    path.unlink(missing_ok=True)  # a report before this one may have had something to compare
    return [write_text(noise_markdown(differences, names), path)] if differences else []


def _pictures(
    shown: Sequence[Configuration], spanned: Axes, formats: Sequence[str], out: Path
) -> list[Path]:
    """grid.png and angles.png, their further pages, and the same in the other formats."""
    pages, left_out = place(shown, spanned)
    several = max(len(one.records) for one in shown) > 1
    files = []
    for name, seeds in (
        ("grid", "mean ± sd over seeds, picture: the first"),
        ("angles", "first seed"),
    ):
        # a report before this one may have had more pages
        for stale in out.glob(f"{name}_[0-9]*.*"):
            stale.unlink()
        figures = []
        for page_number, one in enumerate(pages, 1):
            titles = [one.title] * bool(one.title) + constants(shown) + [seeds] * several
            if len(pages) > 1 or left_out:
                titles.append(
                    f"page {page_number} of {len(pages)}" + f" ({left_out})" * bool(left_out)
                )
            title = " · ".join(titles)
            angles = name == "angles"
            figures.append(
                grid(one.cells, one.row_titles, one.col_titles, title=title, angles=angles)
            )
        for suffix in formats:
            files += save_pages(figures, out / f"{name}.{suffix}")
    return files


def _open_set(found: Sequence[Configuration], formats: Sequence[str], out: Path) -> list[Path]:
    """roc.png where there are unseen classes; heatmap.png where s and a margin vary."""
    curves = roc.figure(found)
    pictures = {"roc": [curves] if curves else [], "heatmap": heatmap.figures(found)}
    files = []
    for name, pages in pictures.items():
        for stale in out.glob(f"{name}*.*"):
            stale.unlink()
        for suffix in formats if pages else ():
            files += save_pages(pages, out / f"{name}.{suffix}")
    return files


def _side_by_side(shown: Sequence[Configuration], out: Path) -> list[Path]:
    """compare.html: each configuration's first seed, turning together, where there is such a view."""
    firsts = [one.finished[0] for one in shown if one.finished]
    turning = [first for first in firsts if first.embedding_dim in interactive.NOTES]
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
    alike = {(run.record.embedding_dim, tuple(run.record.class_names)) for run in runs}
    path = out / "compare.html"
    path.unlink(missing_ok=True)  # of a report before this one
    if len(runs) < 2 or len(alike) > 1:
        return []
    title = "Headers side by side"
    if len(turning) > MOST_COMPARED:
        title += f": the first {MOST_COMPARED} of {len(turning)} configurations"
    return [interactive.write_page(path, interactive.comparison_page(runs, title))]


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
