"""index.html: the whole report as one page that opens from a file, without a network.

Its tables are DataTables, from ITables' bundle; its figures Plotly's, which lies beside the page;
pictures and interactive views are linked where they lie beside the runs.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import itables.options
import numpy as np
import pandas as pd
from markupsafe import Markup, escape

from arcmargin.metrics.table import PREDICTED, metric, metric_names, number
from arcmargin.record import Found, Result
from arcmargin.report.charts import margin_charts, parallel_chart
from arcmargin.report.configurations import Configuration, last_line
from arcmargin.report.frame import run_frame
from arcmargin.report.labels import NOTHING, UNITS, text, varying
from arcmargin.report.margin_axes import Context
from arcmargin.report.statistics import LEAST_SEEDS, MOST_PAIRWISE, Difference, caveat, interval
from arcmargin.report.style import header_colour
from arcmargin.report.templates import PLOTLY_FILE, asset, plotly_tag, render, script_json
from arcmargin.report.text_tables import metrics_of_table, rows_of

_BUNDLE = Path(itables.options.dt_bundle)  # DataTables and its style, for pages without a network
MOST_MOMENTS = 40  # of a curve, in its small picture
PICTURES = {
    "grid": "Test embeddings of each configuration, the first seed",
    "angles": "Angles to the own and to the nearest wrong class direction",
    "roc": "Verification of unseen classes",
    "heatmap": "Metrics over the scale and the margin",
}
FILES = {
    "runs.csv": "every run",
    "summary.csv": "every configuration",
    "summary.md": "Markdown table",
    "summary.tex": "LaTeX table (booktabs)",
    "differences.csv": "every test",
    "differences.md": "what exceeds the noise",
    "verdict.html": "the verdict, with its pictures",
    "verdict.md": "the verdict, to quote",
    "compare.html": "side by side",
    "search.html": "the search",
    "grid.pdf": "comparison grid",
    "angles.pdf": "angles",
    "roc.pdf": "ROC curves",
    "heatmap.pdf": "heat maps",
}


class Contents(NamedTuple):
    """What there is to show."""

    found: Found
    grouped: Sequence[Configuration]
    labels: Sequence[str]  # of `grouped`
    contexts: Sequence[Context]
    summary: pd.DataFrame  # one row for each of `grouped`
    differences: Mapping[str, Sequence[Difference]]  # with the baseline, and of every pair
    verdict: Sequence[str]
    notes: Sequence[str]
    headline: str  # the metric that the verdict is about
    common: Sequence[str]  # what all runs have in common
    repeats: int
    compared: Mapping[int, int]  # configurations, to their places in compare.html
    damaged_arrays: Sequence[str]
    files: Sequence[str]  # of the report, beside index.html
    out: Path  # where the page goes


def index_page(contents: Contents) -> str:
    found, grouped = contents.found, contents.grouped
    names = metric_names(run.metrics for run in found.results)
    in_tables = [one.name for one in metrics_of_table(rows_of(contents.summary))]
    sweeps = sorted({run.sweep for run in found.results})
    title = (" + ".join(sweeps) if len(sweeps) < 4 else f"{len(sweeps)} sweeps") or "Report"
    keys = [key for key in varying(grouped) if key != "sweep"] + ["sweep"] * (len(sweeps) > 1)
    place = {id(run): index for index, one in enumerate(grouped) for run in one.results}
    runs = sorted(found.results, key=lambda run: place.get(id(run), len(grouped)))
    data = {
        "tables": {
            "configurations": _configurations_table(contents, runs, names, in_tables),
            "runs": _runs_table(runs, place, keys, names, in_tables, contents.out),
        },
        "metrics": [_about_metric(name) for name in names],
        "charts": [
            {
                "title": context.title or "all runs",
                "axes": margin_charts(grouped, contents.labels, context, in_tables),
            }
            for context in contents.contexts
        ],
        "parallel": parallel_chart(run_frame(runs, keys), keys, in_tables),
        "configurations": [
            {"label": label, "colour": header_colour(one.settings["header"])}
            for label, one in zip(contents.labels, grouped, strict=True)
        ],
        "differences": _differences(contents.differences, names),
        "headline": contents.headline,
    }
    failed = [run for run in runs if not run.finished]
    problems = {
        "Failed": [_failure(run, contents, place) for run in failed],
        "Unfinished: interrupted, or still running": [
            Markup('<a href="{}">{}</a>').format(_link(folder, contents.out), folder)
            for folder in found.unfinished
        ],
        "Damaged, and left out": [escape(sentence) for sentence in found.damaged],
        "Without pictures: damaged arrays": list(map(escape, contents.damaged_arrays)),
    }
    if contents.repeats:
        problems["Repeated"] = [
            escape(
                f"{contents.repeats} run(s) with the settings and the seed of another: the last "
                "finished one counts."
            )
        ]
    seeds = len({run.settings.seed for run in runs})
    least = min((len(one.finished) for one in grouped), default=0)
    return render(
        "index.html",
        title=title,
        common=" · ".join(contents.common),
        verdict=contents.verdict,
        notes=contents.notes,
        counts=[
            ("runs", len(runs), ""),
            ("configurations", len(grouped), ""),
            ("seeds", seeds, ""),
            ("failed", len(failed), "bad"),
            ("unfinished", len(found.unfinished), "bad"),
            ("damaged", len(found.damaged) + len(contents.damaged_arrays), "bad"),
        ],
        problems={name: items for name, items in problems.items() if items},
        pictures=_pictures(contents.files),
        judged="verdict.html" in contents.files,
        compare="compare.html" if contents.compared else None,
        intervals=least >= LEAST_SEEDS,
        least_seeds=LEAST_SEEDS,
        too_many_pairs=len(grouped) if len(grouped) > MOST_PAIRWISE else 0,
        most_pairwise=MOST_PAIRWISE,
        files=[(name, FILES.get(name, "")) for name in contents.files if "/" not in name],
        style=asset("index.css"),
        datatables_style=Markup(_BUNDLE.with_suffix(".css").read_text("utf-8")),
        datatables=_datatables(),
        plotly=plotly_tag(PLOTLY_FILE),
        data=script_json(data),
        script=asset("plots.js") + asset("index.js"),
    )


def _datatables() -> Markup:
    """The script as the text of a script element, which neither of these may end or turn around."""
    text = _BUNDLE.read_text("utf-8")
    return Markup(text.replace("</script", "<\\/script").replace("<!--", "\\x3c!--"))


# ---- tables: a cell is [what it sorts by, its HTML] -------------------------------------------------


def _configurations_table(
    contents: Contents, runs: Sequence[Result], names: Sequence[str], in_tables: Sequence[str]
) -> dict[str, Any]:
    columns = [_column("configuration"), *(_metric_column(name, in_tables) for name in names)]
    columns.append(_column("runs", kind="number"))
    position = {id(run): index for index, run in enumerate(runs)}
    rows = []
    for index, (one, label) in enumerate(zip(contents.grouped, contents.labels, strict=True)):
        shown = next(iter([*one.finished, *one.results]))
        cells: list[Any] = [_named(label, one.settings["header"], shown, contents.out)]
        cells += [_spread(one, name) for name in names]
        total = f" of {len(one.results)}" * (len(one.finished) < len(one.results))
        cells.append([len(one.finished), f"{len(one.finished)}{total}"])
        rows.append(
            {"cells": cells, "compare": contents.compared.get(index), "run": position[id(shown)]}
        )
    return {"columns": columns, "rows": rows}


def _runs_table(
    runs: Sequence[Result],
    place: Mapping[int, int],
    keys: Sequence[str],
    names: Sequence[str],
    in_tables: Sequence[str],
    out: Path,
) -> dict[str, Any]:
    columns = [
        _column("run"),
        _column("seed", kind="number"),
        *(_column(key, unit=UNITS.get(key, ""), choice=True) for key in keys),
        _column("validation accuracy", kind="curve", tip="Over the epochs; sorts by the last."),
        _column("training loss", kind="curve", tip="Over the epochs; sorts by the last."),
        *(_metric_column(name, in_tables) for name in names),
        _column("time", unit="s", kind="number"),
        _column("status", choice=True),
    ]
    frame = run_frame(runs, keys)
    rows = []
    for run, row in zip(runs, frame.to_dict("records"), strict=True):
        cells: list[Any] = [_named(run.settings.name, run.settings.header, run, out)]
        cells.append(_plain(run.settings.seed))
        cells += [_plain(row[key]) for key in keys]
        cells += [curve_cell(run.curves.get(name)) for name in ("val_accuracy", "train_loss")]
        cells += [_number(name, run.metrics.get(name)) for name in names]
        seconds = run.durations.get("total_s")
        cells.append([seconds, NOTHING if seconds is None else f"{seconds:.1f}"])
        status = "finished" if id(run) in place else "repeated"
        cells.append([status, status] if run.finished else ["failed", _error(run, out)])
        about = [f"seed {run.settings.seed}", *run.settings.overrides]
        rows.append({"cells": cells, "about": " · ".join(about), **_views(run, out)})
    return {"columns": columns, "rows": rows}


def _column(
    title: str, *, unit: str = "", kind: str = "text", tip: str = "", choice: bool = False
) -> dict[str, Any]:
    """`choice`: worth a list of its values to filter by."""
    return {"name": title, "title": title, "unit": unit, "kind": kind, "tip": tip, "choice": choice}


def _metric_column(name: str, in_tables: Sequence[str]) -> dict[str, Any]:
    one = metric(name)
    return {
        **_column(one.title, unit=one.unit, kind="number", tip=one.explanation),
        "name": name,
        "better": one.better,
        "hidden": name not in in_tables,
    }


def _plain(value: Any) -> list[Any]:
    return [number(value, value), escape(text(value))]


def _number(name: str, value: float | None) -> list[Any]:
    return [value, NOTHING if value is None else metric(name).shown(value).replace("-", "−")]


def _spread(one: Configuration, name: str) -> list[Any]:
    """The mean, with half of its 95 % interval where there are enough runs."""
    values = list(one.values(name).values())
    spread = interval(values)
    if spread is None:
        return [None, NOTHING]
    cell = _number(name, spread.mean)
    if len(values) >= LEAST_SEEDS and spread.half is not None and name != PREDICTED:
        cell[1] = Markup('{}<span class="spread"> ± {}</span>').format(
            cell[1], metric(name).shown(spread.half)
        )
    return cell


def _named(label: str, header: str, run: Result, out: Path) -> list[Any]:
    """A run's picture, its header's colour and its name."""
    views = _views(run, out)
    image = (
        Markup('<img src="{}" alt="" loading="lazy">').format(views["picture"])
        if "picture" in views
        else ""
    )
    thumbnail = Markup('<span class="thumbnail">{}</span>').format(image)
    swatch = Markup('<i class="swatch" style="--own: {}"></i>').format(header_colour(header))
    button = Markup('<button type="button" class="open">{} {}</button>').format(swatch, label)
    return [label, Markup('<div class="name">{}{}</div>').format(thumbnail, button)]


def curve_cell(curve: Sequence[float | int | None] | None) -> list[Any]:
    """Sorts by the last value; at most MOST_MOMENTS points of it as the corners of a small picture."""
    values = np.array([number(value, np.nan) for value in curve or ()], dtype=float)
    known = values[np.isfinite(values)]
    if len(values) < 2 or not len(known):
        return [None, NOTHING]
    kept = np.unique(np.linspace(0, len(values) - 1, MOST_MOMENTS).round().astype(int))
    low, high = float(known.min()), float(known.max())
    across = kept / (len(values) - 1) * 100
    down = 24 - (values[kept] - low) / ((high - low) or 1.0) * 22
    points = " ".join(
        f"{x:.0f},{y:.1f}" for x, y in zip(across, down, strict=True) if np.isfinite(y)
    )
    words = f"{len(values)} epochs: from {low:.3g} to {high:.3g}, last {known[-1]:.3g}"
    return [float(known[-1]), points, words]


# ---- links and problems -----------------------------------------------------------------------------


def _views(run: Result, out: Path) -> dict[str, Any]:
    """Links to what the run's folder holds, from where the page lies."""
    if run.folder is None:
        return {}
    try:
        present = {entry.name for entry in os.scandir(run.folder)}
    except OSError:
        present = set()
    folder = _link(run.folder, out)
    files = {"picture": "embedding.png", "page": "embedding.html", "traceback": "traceback.txt"}
    return {"folder": folder} | {
        what: f"{folder}/{name}" for what, name in files.items() if name in present
    }


def _link(path: Path, out: Path) -> str:
    return quote(Path(os.path.relpath(path, out)).as_posix())


def _error(run: Result, out: Path) -> Markup:
    traceback = _views(run, out).get("traceback")
    link = Markup(' <a href="{}">traceback</a>').format(traceback) if traceback else ""
    return Markup('<span class="error">failed: {}{}</span>').format(last_line(run.error), link)


def _failure(run: Result, contents: Contents, place: Mapping[int, int]) -> Markup:
    index = place.get(id(run))
    label = run.settings.name if index is None else contents.labels[index]
    views = _views(run, contents.out)
    to = views.get("traceback", views.get("folder"))
    link = Markup('<a href="{}">{}</a>').format(
        to, "traceback" if "traceback" in views else "folder"
    )
    words = f", seed {text(run.settings.seed)}: {last_line(run.error)} "
    return Markup("<b>{}</b>{}{}").format(label, words, link if to else "")


def _pictures(files: Sequence[str]) -> list[dict[str, str | None]]:
    """The PNGs, or else the SVGs, each with its PDF."""
    shown = [name for name in files if name.partition(".")[0].partition("_")[0] in PICTURES]
    suffix = ".png" if any(name.endswith(".png") for name in shown) else ".svg"
    pictures = []
    for name in shown:
        if name.endswith(suffix):
            stem, _, page = name.removesuffix(suffix).partition("_")
            about = PICTURES[stem] + (f", page {page}" if page else "")
            pdf = f"{stem}.pdf"
            pictures.append({"file": name, "about": about, "pdf": pdf if pdf in files else None})
    return pictures


# ---- what the page compares -------------------------------------------------------------------------


def _about_metric(name: str) -> dict[str, Any]:
    one = metric(name)
    return {
        **{"name": name, "title": one.title, "unit": one.unit, "factor": one.factor},
        **{"digits": one.digits, "better": one.better, "tip": one.explanation},
    }


def _differences(
    differences: Mapping[str, Sequence[Difference]], names: Sequence[str]
) -> list[dict[str, Any]]:
    """For each kind of comparison and each metric the tests, and what they can show."""
    kinds = []
    for kind, every in differences.items():
        by_metric: dict[str, list[Difference]] = {name: [] for name in names}
        for one in every:
            by_metric[one.metric].append(one)
        tests = [
            {
                "metric": name,
                "caveat": caveat(ones),
                "tests": [[*one[1:], one.larger_than_noise] for one in ones],
            }
            for name, ones in by_metric.items()
            if ones
        ]
        if tests:
            kinds.append({"kind": kind, "metrics": tests})
    return kinds
