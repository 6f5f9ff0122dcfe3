"""Results -> index.html, comparison grid and tables: python scripts/report.py outputs/<folder>"""

import argparse
import contextlib
import importlib.util
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from arcmargin.errors import UserError
from arcmargin.metrics.table import metric, metric_names
from arcmargin.record import JOURNAL_FILE, Damaged, Found, Result, find_results
from arcmargin.report import (
    heatmap,
    index,
    interactive,
    intervals,
    ranks,
    roc,
    study_page,
    study_text,
    tuning,
    verdict,
)
from arcmargin.report.arrays import ArrayReader
from arcmargin.report.configurations import (
    SETTINGS,
    Configuration,
    further_settings,
    last_line,
    name_sweeps,
    rank,
)
from arcmargin.report.frame import configurations
from arcmargin.report.grid import grid
from arcmargin.report.labels import labels
from arcmargin.report.layout import Axes, axes, constants, place
from arcmargin.report.margin_axes import contexts
from arcmargin.report.output import Content, write_files
from arcmargin.report.projection import KINDS
from arcmargin.report.recipe import RECIPE, recipe
from arcmargin.report.statistics import against_baseline, pairwise
from arcmargin.report.study import Judged, judge, without_trials
from arcmargin.report.tables import csv_text, difference_table, run_table, summary_table
from arcmargin.report.templates import PLOTLY_FILE, plotly_source
from arcmargin.report.text_tables import latex, markdown, noise_markdown

FORMATS = ("png", "pdf", "svg")
MOST_COMPARED = 28  # runs that compare.html shows by itself, and pictures of as many others
MOST_PREPARED = 60  # runs that it can show when asked


class Report(NamedTuple):
    files: list[Path]
    found: Found
    repeats: int  # runs that a later one with the same settings and seed replaces
    damaged_arrays: list[str]  # one sentence each
    verdict: list[str]
    markdown: str


def write_report(
    folders: Sequence[Path | str],
    out: Path | str | None = None,
    rows: Sequence[str] | None = None,
    cols: Sequence[str] | None = None,
    formats: Sequence[str] = FORMATS[:2],
    pages: Sequence[str] | None = None,
    projection: str = KINDS[0],
) -> Report:
    """Everything about the runs in `folders`, written into `out` (default: report/ in the first).
    Raises UserError when there is nothing to report on, for an unknown key, and where a file that
    no report wrote has the name of one of the report's."""
    found = without_trials(find_results(*folders))
    if not found.results:
        raise UserError(_nothing(folders, found))
    name_sweeps(found.results)
    chosen = [*(rows or ()), *(cols or ()), *(pages or ())]
    _check(chosen, [*SETTINGS, "seed", "sweep", *further_settings(found.results)], "key")
    _check(formats, FORMATS, "format")
    _check([projection], KINDS, "projection")
    if projection == "umap" and importlib.util.find_spec("umap") is None:
        raise UserError("projection umap needs another package: pip install 'arcmargin[umap]'")
    out = Path(out) if out is not None else Path(folders[0]) / "report"
    grouped = configurations(found.results)
    names, called = metric_names(run.metrics for run in found.results), labels(grouped)
    summary, comparable = summary_table(grouped), contexts(grouped)
    to_baseline, every_pair = against_baseline(grouped, names), pairwise(grouped, names)
    differences = {"with the baseline": to_baseline, "every pair": every_pair}
    headline = verdict.headline(grouped)
    answer = verdict.verdict(grouped, called, comparable, to_baseline, headline)
    contents: dict[str, Content] = {
        "runs.csv": csv_text(run_table(found.results, Path(folders[0]))),
        "summary.csv": csv_text(summary),
        "differences.csv": csv_text(difference_table(differences, called)),
        "summary.md": markdown(summary),
        "summary.tex": latex(summary, every_pair),
    }
    if to_baseline:
        contents["differences.md"] = noise_markdown(to_baseline, called)
    shown, arrays = configurations(found.results, extra=chosen), ArrayReader()
    only_trials = all(run.settings.is_trial for run in found.results)  # there is nothing to draw
    pictures = {
        **({} if only_trials else _grids(shown, axes(shown, rows, cols, pages), arrays)),
        "roc": [curves] if (curves := roc.figure(grouped)) else [],
        "heatmap": heatmap.figures(grouped),
    }
    contents |= _named_pages(pictures, formats)
    judged = judge(grouped, called, comparable, names, headline)
    if judged:
        contents |= study_files(judged, folders, out, formats)
        answer = [study_text.sentence(one) for one in judged]
    side_by_side, compared = _side_by_side(grouped, arrays, out, headline, projection)
    contents |= side_by_side
    if (searched := _search(folders)) is not None:
        contents["search.html"] = searched
    repeats = len(found.results) - sum(len(one.results) for one in grouped)
    front = index.Contents(
        found=found,
        grouped=grouped,
        labels=called,
        contexts=comparable,
        summary=summary,
        differences=differences,
        verdict=answer,
        notes=verdict.notes(found.results),
        headline=headline,
        common=constants(shown),
        repeats=repeats,
        compared=compared,
        damaged_arrays=arrays.damaged,
        files=list(contents),
        out=out,
    )
    contents = {"index.html": index.index_page(front), **contents, PLOTLY_FILE: plotly_source()}
    files = write_files(contents, out)
    return Report(files, found, repeats, arrays.damaged, answer, markdown(summary))


def study_files(
    judged: Sequence[Judged],
    folders: Sequence[Path | str],
    out: Path,
    formats: Sequence[str],
) -> dict[str, Content]:
    """The verdict of a fair comparison as a page and as text, and what to train after it."""
    tuned = tuning.load([Path(folder) for folder in folders])
    contests = [one.contest for one in judged]
    picture = ranks.figure(contests)
    contents: dict[str, Content] = {
        "verdict.md": study_text.markdown(judged, tuned, out),
        "verdict.html": study_page.page(judged, tuned, out, ranks=picture is not None),
    }
    pictures = {
        "verdict": [intervals.figure(one.contest, one.title) for one in judged],
        "ranks": [] if picture is None else [picture],
    }
    contents |= _named_pages(pictures, list(dict.fromkeys([*formats, "png"])))
    if (winner := judged[0].winner) is not None:
        about = study_text.advice(judged[0], out)[0]
        contents[RECIPE] = recipe(judged[0].runs[winner][0], about)
    return contents


def _grids(
    shown: Sequence[Configuration], spanned: Axes, arrays: ArrayReader
) -> dict[str, list[Figure]]:
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
                grid(
                    one.cells,
                    one.row_titles,
                    one.col_titles,
                    title=title,
                    angles=angles,
                    arrays=arrays,
                )
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


def _side_by_side(
    grouped: Sequence[Configuration],
    arrays: ArrayReader,
    out: Path,
    headline: str,
    projection: str,
) -> tuple[dict[str, str], dict[int, int]]:
    """compare.html and its data: the first run of each configuration, turning together; and where in it
    each configuration is. Nothing with fewer than two runs of the same classes."""
    turning = [index for index, one in enumerate(grouped) if one.finished]
    classes = Counter(tuple(grouped[i].finished[0].settings.class_names) for i in turning)
    alike = [
        index
        for index in turning
        if tuple(grouped[index].finished[0].settings.class_names) == classes.most_common(1)[0][0]
    ]
    runs: list[interactive.Run] = []
    members: list[int] = []
    for position in representative([grouped[i].settings["header"] for i in alike], MOST_PREPARED):
        first = grouped[alike[position]].finished[0]
        with contextlib.suppress(Damaged):  # the report names it
            data = arrays.embeddings(first)
            picture, page = (
                os.path.relpath((first.folder or out) / f"embedding.{suffix}", out)
                for suffix in ("png", "html")
            )
            moments, unseen = arrays.snapshots(first, data), arrays.unseen(first)
            runs.append(interactive.Run(first, data, moments, picture, page, unseen))
            members.append(alike[position])
    if len(runs) < (2 if projection == KINDS[0] else 1):
        return {}, {}
    shown = representative([run.result.settings.header for run in runs], MOST_COMPARED)
    shown = in_turns(shown, [run.result for run in runs], headline)
    title = "Headers side by side"
    if len(shown) < len(turning):
        title += f": {len(shown)} of {len(turning)} configurations"
    files = interactive.comparison(runs, shown, title, PLOTLY_FILE, "index.html", projection)
    return files, {member: position for position, member in enumerate(members)}


def _search(folders: Sequence[Path | str]) -> str | None:
    """search.html, where there was a search and its library is at hand."""
    searched = [Path(folder) for folder in folders if (Path(folder) / JOURNAL_FILE).exists()]
    if not searched:
        return None
    try:
        from arcmargin.report.search import search_page
    except ImportError:  # Optuna is an extra
        return None
    return search_page(searched, PLOTLY_FILE)


def representative(headers: Sequence[str], most: int) -> list[int]:
    """At most so many places, in order: of every header as many as of the others, evenly spread."""
    of_header: dict[str, list[int]] = {}
    for position, header in enumerate(headers):
        of_header.setdefault(header, []).append(position)
    left, chosen = most, []
    smallest_first = sorted(of_header.values(), key=len)
    for done, places in enumerate(smallest_first):
        share = min(len(places), -(-left // (len(smallest_first) - done)))
        chosen += [places[round(at)] for at in np.linspace(0, len(places) - 1, share)]
        left -= share
    return sorted(chosen)


def in_turns(places: Sequence[int], results: Sequence[Result], name: str) -> list[int]:
    """The best run of each header, then the second of each and so on: the first of them turn."""
    sign = -(metric(name).better or 1)
    best_first = sorted(places, key=lambda i: sign * (results[i].metrics.get(name) or 0.0))
    turn: Counter[str] = Counter()
    turns = {}
    for position in best_first:
        header = results[position].settings.header
        turns[position] = turn[header], rank("header", header)
        turn[header] += 1
    return sorted(places, key=turns.__getitem__)


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
    parser.add_argument(
        "--projection",
        default=KINDS[0],
        metavar="|".join(KINDS),
        help="what compare.html shows of four dimensions and more; tsne and umap: up to a minute a run",
    )
    args = parser.parse_args(argv)
    try:
        report = write_report(
            args.folders,
            args.out,
            args.rows,
            args.cols,
            args.formats or FORMATS[:2],
            args.pages,
            args.projection,
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
    for sentence in report.damaged_arrays:
        print(f"no picture: {sentence}", file=sys.stderr)
    if report.repeats:
        print(
            f"{report.repeats} repeated run(s), same settings and seed: the last counts",
            file=sys.stderr,
        )
    print("\n".join([*report.verdict, "", report.markdown, f"{len(found.results)} run(s):"]))
    for path in report.files:
        if path.parent.name != interactive.COMPARED:
            print(f"  {path}")


if __name__ == "__main__":
    sys.exit(main())
