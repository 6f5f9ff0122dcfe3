"""index.html: the whole report as one page that opens from a file, without a network.

The page is assets/index/page.html with its style and scripts, and the data as JSON; pictures and
interactive views are linked where they lie beside the runs.
"""

import html
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from arcmargin.metrics.table import metric, metric_names, number
from arcmargin.record import Found, Result
from arcmargin.report.configurations import MARGINS, Configuration, rank, setting
from arcmargin.report.labels import UNITS, labels, varying
from arcmargin.report.margin_axes import contexts
from arcmargin.report.statistics import MOST_PAIRWISE, Difference, caveat
from arcmargin.report.tables import last_line
from arcmargin.report.text_tables import metrics_of_table

ASSETS = Path(__file__).parent / "assets" / "index"
SCRIPTS = ("base.js", "table.js", "viewer.js", "plots.js", "parallel.js", "page.js")
MOST_MOMENTS = 40  # of a curve, in its sparkline
STEPS = 99  # heights of a sparkline


class Contents(NamedTuple):
    """What there is to show."""

    found: Found
    grouped: Sequence[Configuration]
    summary: Sequence[Mapping[str, Any]]  # one row for each of `grouped`
    differences: Mapping[str, Sequence[Difference]]  # against the baseline, and every pair
    common: Sequence[str]  # what all runs have in common
    repeats: int
    files: Sequence[str]  # of the report, beside index.html
    out: Path  # where the page goes


def index_page(contents: Contents) -> str:
    found, grouped, out = contents.found, contents.grouped, contents.out
    names = metric_names(run.metrics for run in found.results)
    sweeps = sorted({run.sweep for run in found.results})
    title = " + ".join(sweeps) if len(sweeps) < 4 else f"{len(sweeps)} sweeps"
    keys = [key for key in varying(grouped) if key != "sweep"] + ["sweep"] * (len(sweeps) > 1)
    in_tables = set(metrics_of_table(contents.summary))
    place = {id(run): index for index, one in enumerate(grouped) for run in one.results}
    runs = sorted(found.results, key=lambda run: place.get(id(run), len(grouped)))
    data = {
        "title": title or "Report",
        "common": " · ".join(contents.common),
        "metrics": [
            metric(name)._asdict() | {"shown": metric(name) in in_tables} for name in names
        ],
        "settings": [{"key": key, "unit": UNITS.get(key, "")} for key in keys],
        "headers": sorted(
            {run.settings.header for run in found.results}, key=lambda name: rank("header", name)
        ),
        "configurations": [
            _configuration(*parts, keys, names, out)
            for parts in zip(grouped, labels(grouped), contents.summary, strict=True)
        ],
        "runs": [_run(run, keys, names, out) | {"of": place.get(id(run))} for run in runs],
        "contexts": contexts(grouped),
        "differences": _differences(contents.differences, names),
        "most_pairwise": MOST_PAIRWISE,
        "damaged": found.damaged,
        "unfinished": [_link(folder, out) | {"text": str(folder)} for folder in found.unfinished],
        "repeats": contents.repeats,
        "files": ["index.html", *contents.files],
    }
    parts = {
        "TITLE": html.escape(str(data["title"])),
        "STYLE": (ASSETS / "style.css").read_text(encoding="utf-8"),
        "SCRIPT": "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS),
        "DATA": _json(data),
    }
    template = (ASSETS / "page.html").read_text(encoding="utf-8")
    return re.sub("__(TITLE|STYLE|SCRIPT|DATA)__", lambda match: parts[match[1]], template)


def _configuration(
    one: Configuration,
    label: str,
    row: Mapping[str, Any],
    keys: Sequence[str],
    names: Sequence[str],
    out: Path,
) -> dict[str, Any]:
    shown = next(iter([*one.finished, *one.results]))
    return {
        "label": label,
        "header": one.settings["header"],
        "settings": [one.settings.get(key, shown.sweep) for key in keys],
        "runs": row["runs"],
        "failed": row["failed"],
        "metrics": [[row.get(name), row.get(f"{name}_ci95")] for name in names],
        "shown": shown.settings.name,
        **_views(shown, out),
    }


def _run(run: Result, keys: Sequence[str], names: Sequence[str], out: Path) -> dict[str, Any]:
    return {
        "name": run.settings.name,
        "header": run.settings.header,
        "seed": run.settings.seed,
        "settings": [setting(run, key) for key in keys],
        "all": {
            key: setting(run, key)
            for key in ("dataset", "embedding_dim", "backbone", "optimizer", "epochs", *MARGINS)
        },
        "overrides": " ".join(run.settings.overrides),
        "error": last_line(run.error) if not run.finished else None,
        "metrics": [run.metrics.get(name) for name in names],
        "seconds": run.durations.get("total_s"),
        "accuracy": sparkline(run.curves.get("val_accuracy")),
        "loss": sparkline(run.curves.get("train_loss")),
        **_views(run, out),
    }


def _views(run: Result, out: Path) -> dict[str, Any]:
    """Links to what the run's folder holds, from where the page lies."""
    if run.folder is None:
        return {}
    try:
        present = {entry.name for entry in os.scandir(run.folder)}
    except OSError:
        present = set()
    folder = _link(run.folder, out)["href"]
    files = {"picture": "embedding.png", "page": "embedding.html", "traceback": "traceback.txt"}
    return {"folder": folder} | {
        what: f"{folder}/{name}" for what, name in files.items() if name in present
    }


def _link(path: Path, out: Path) -> dict[str, str]:
    return {"href": quote(Path(os.path.relpath(path, out)).as_posix())}


def sparkline(curve: Any) -> dict[str, Any] | None:
    """At most MOST_MOMENTS heights from 0 to STEPS (-1: not a number) between `low` and `high`."""
    if not isinstance(curve, list) or len(curve) < 2:
        return None
    values = np.array([number(value, np.nan) for value in curve])
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    kept = np.unique(np.linspace(0, len(values) - 1, MOST_MOMENTS).round().astype(int))
    low, high = float(known.min()), float(known.max())
    scaled = np.nan_to_num((values[kept] - low) / ((high - low) or 1.0) * STEPS, nan=-1.0)
    return {
        "heights": np.clip(scaled.round(), -1, STEPS).astype(int).tolist(),
        "low": low,
        "high": high,
        "last": float(known[-1]),
        "epochs": len(values),
    }


def _differences(
    differences: Mapping[str, Sequence[Difference]], names: Sequence[str]
) -> list[dict[str, Any]]:
    """For each metric and each kind of comparison its tests, and what they can show."""
    kinds = []
    for kind, every in differences.items():
        by_metric: dict[str, list[Difference]] = {name: [] for name in names}
        for one in every:
            by_metric[one.metric].append(one)
        tests = [
            {
                "metric": name,
                "caveat": caveat(ones),
                "tests": [one[1:] for one in ones],
            }
            for name, ones in by_metric.items()
            if ones
        ]
        kinds.append({"kind": kind, "metrics": tests})
    return kinds


def _json(data: Any) -> str:
    """For a script element: no "</script>" can end it early, as "<" is written as an escape."""
    try:
        text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    except ValueError:  # a number too large for a float, somewhere; JSON has no infinity
        text = json.dumps(_finite(data), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
