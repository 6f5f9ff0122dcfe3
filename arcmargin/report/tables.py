"""Records as tables: one row a run, one row a configuration (mean and spread over its seeds)."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

from arcmargin.errors import UserError
from arcmargin.record import Record, write_whole

MARGINS = ("m1", "m2", "m3", "s")
MARGINS_AND_GAP = (*MARGINS, "gap_deg")  # gap_deg: the override that sets matched margins
SETTINGS = ("dataset", "embedding_dim", "backbone", "optimizer", "epochs", "header", *MARGINS)
HEADERS = ("linear", "normface", "arcface", "cosface", "sphereface")  # then others by name
# overrides that do not change a result, or that a field of the record holds
NOT_SETTINGS = {"seeds", "sweep", "logger", "hydra", "wandb", "data_dir", "resume", "on_error"}
IN_RECORD = {f.name for f in fields(Record)} | {"embedding_dim.size"}
NOTHING = "–"
MISSING = "default"  # the value of an override that a run does not have

# name in records, column title, factor, digits; in the order of the tables
METRICS = (
    ("accuracy", "accuracy %", 100.0, 2),
    ("gap_min_deg", "gap min", 1.0, 1),
    ("gap_mean_deg", "gap mean", 1.0, 1),
    ("gap_predicted_deg", "gap predicted", 1.0, 1),
    ("centre_gap_max_deg", "centre gap max", 1.0, 1),
    ("centre_angle_min_deg", "centre angle min", 1.0, 1),
    ("margin_p05_deg", "margin p05", 1.0, 1),
    ("intra_angle_p50_deg", "intra angle p50", 1.0, 2),
    ("intra_angle_deg", "intra angle", 1.0, 2),
)


class Configuration(NamedTuple):
    """Runs that differ in nothing but the seed."""

    settings: dict[str, Any]
    records: list[Record]  # by seed

    @property
    def finished(self) -> list[Record]:
        return [record for record in self.records if record.finished]


def configurations(records: Iterable[Record], extra: Sequence[str] = ()) -> list[Configuration]:
    """Runs grouped by every setting; `extra` names further keys to keep apart, such as seed. Of
    repeats with one seed only the last finished counts: they would pass for independent runs."""
    records = list(records)
    keys = dict.fromkeys([*SETTINGS, *varying_overrides(records), *extra])
    groups: dict[tuple[Any, ...], dict[Any, Record]] = defaultdict(dict)
    for record in sorted(records, key=lambda record: record.finished):
        group = groups[tuple(setting(record, key) for key in keys)]
        group[record.folder if record.seed is None else record.seed] = record
    found = [
        Configuration(
            dict(zip(keys, values, strict=True)),
            sorted(runs.values(), key=lambda run: rank("seed", run.seed)),
        )
        for values, runs in groups.items()
    ]
    return sorted(found, key=lambda one: [rank(key, one.settings[key]) for key in keys])


def setting(record: Record, key: str) -> Any:
    """A field of the record, or else what the run's overrides say. None for a margin that the
    header does not take."""
    if key in MARGINS and not record.takes(key):
        return None
    if key == "gap_deg" and not any(record.takes(margin) for margin in ("m1", "m2", "m3")):
        return None
    if key in SETTINGS or key == "seed":
        return getattr(record, key)
    return _overrides(record).get(key, MISSING)


def varying_overrides(records: Iterable[Record]) -> list[str]:
    """Keys such as optimizer.lr that are no field of a record and not the same in all."""
    overrides = [_overrides(record) for record in records]
    keys = sorted({key for one in overrides for key in one})
    return [key for key in keys if len({one.get(key, MISSING) for one in overrides}) > 1]


def _overrides(record: Record) -> dict[str, Any]:
    pairs = (text.lstrip("+~").partition("=") for text in record.overrides)
    return {
        key: _number(value, value)
        for key, _, value in pairs
        if key not in IN_RECORD and key.split(".")[0] not in NOT_SETTINGS
    }


def rank(key: str, value: Any) -> tuple[Any, ...]:
    """Sorts headers in their own order, numbers before words, and what is missing first."""
    if key == "header":
        return (HEADERS.index(value) if value in HEADERS else len(HEADERS), value)
    number = _number(value)
    return (value is not None, number is None, number or 0.0, str(value))


def run_rows(records: Iterable[Record], root: Path) -> list[dict[str, Any]]:
    """One row a run; the error's last line, the folder relative to `root`."""
    records = list(records)
    names = _metric_names(records)
    keys = [*SETTINGS, *varying_overrides(records), "seed"]
    rows = []
    for record in records:
        row: dict[str, Any] = {"name": record.name, "status": record.status}
        row |= {key: setting(record, key) for key in keys}
        row |= {name: record.metrics.get(name) for name in names}
        row["total_s"] = record.durations.get("total_s")
        row["error"] = last_line(record.error)
        row["folder"] = _relative(record.folder, root)
        rows.append(row)
    return rows


def summary_rows(found: Sequence[Configuration]) -> list[dict[str, Any]]:
    """One row a configuration: settings, runs, failed, and for each metric its mean, the standard
    deviation over the runs (_sd) and half the 95 % interval of the mean (_ci95, Student's t)."""
    names = _metric_names(record for one in found for record in one.finished)
    rows = []
    for one in found:
        row: dict[str, Any] = dict(one.settings)
        row["runs"] = len(one.finished)
        row["failed"] = len(one.records) - len(one.finished)
        for name in names:
            values = [_number(record.metrics.get(name)) for record in one.finished]
            row |= _spread(name, [value for value in values if value is not None])
        rows.append(row)
    return rows


def _spread(name: str, values: list[float]) -> dict[str, float | None]:
    mean = sd = half = None
    if values:
        mean = float(np.mean(values))
    if len(values) > 1:
        sd = float(np.std(values, ddof=1))
        half = float(stdtrit(len(values) - 1, 0.975)) * sd / len(values) ** 0.5
    return {name: mean, f"{name}_sd": sd, f"{name}_ci95": half}


def summary_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of summary rows, fresh or read back from summary.csv: the header, the
    settings that vary, and mean ± standard deviation; below it a line that says so."""
    if not rows:
        raise UserError("no rows to make a table of")
    keys = _telling_settings(rows)
    metrics = [m for m in METRICS if m[0] in _telling_metrics(rows)]
    counts = {f"{row['runs']} of {int(row['runs']) + int(row['failed'])}" for row in rows}
    each = len(counts) > 1 or any(int(row["failed"]) for row in rows)
    lines = [
        [*keys, *(title for _, title, *_ in metrics), *(["finished runs"] if each else [])],
        [*(["---"] * len(keys)), *(["---:"] * (len(metrics) + each))],
    ]
    for row in rows:
        line = [_text(row[key]) for key in keys]
        line += [_mean_text(row, name, factor, digits) for name, _, factor, digits in metrics]
        lines.append(line + [f"{row['runs']} of {int(row['runs']) + int(row['failed'])}"] * each)
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\n{_caption(rows, each)}\n"


def _caption(rows: Sequence[Mapping[str, Any]], each: bool) -> str:
    most = max(int(row["runs"]) for row in rows)
    if most < 2:
        return "Test split, one run each; angles in degrees."
    over = "the finished runs" if each else f"{most} seeds"
    return f"Test split, mean ± standard deviation over {over}; angles in degrees."


def _telling_settings(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """header, and the settings that vary where they are set at all."""
    keys = list(rows[0])[: list(rows[0]).index("runs")]
    values = {key: {_text(row[key]) for row in rows} - {NOTHING} for key in keys}
    return ["header", *(key for key in keys if key != "header" and len(values[key]) > 1)]


def _telling_metrics(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Those that any row has; on a circle the gaps say more than the angles between centres."""
    known = [name for name, *_ in METRICS if name != "intra_angle_deg"]
    having = {name: [_number(row.get(name)) is not None for row in rows] for name in known}
    telling = {name for name in known if any(having[name])}
    circles = having["gap_mean_deg"] == having["centre_angle_min_deg"]
    return telling - {"centre_angle_min_deg", "margin_p05_deg"} if circles else telling


def _text(value: Any) -> str:
    number = _number(value)
    return f"{number:.4g}" if number is not None else str(value or NOTHING)


def _mean_text(row: Mapping[str, Any], name: str, factor: float, digits: int) -> str:
    mean, sd = _number(row.get(name)), _number(row.get(f"{name}_sd"))
    if mean is None:
        return NOTHING
    spread = "" if sd is None or name == "gap_predicted_deg" else f" ± {sd * factor:.{digits}f}"
    return f"{mean * factor:.{digits}f}{spread}"


def write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Every column that any row has; None is an empty cell."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_text(text.getvalue(), path)


def write_text(text: str, path: Path) -> Path:
    return write_whole(path, lambda file: file.write(text.encode()))


def read_csv(path: Path | str) -> list[dict[str, str]]:
    """summary.csv as rows for summary_markdown."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _metric_names(records: Iterable[Record]) -> list[str]:
    """The known metrics in their order, then the others by name; numbers only."""
    present = {
        name
        for record in records
        for name, value in record.metrics.items()
        if _number(value) is not None
    }
    known = [name for name, *_ in METRICS if name in present]
    return known + sorted(present - set(known))


def _number(value: Any, otherwise: Any = None) -> Any:
    """A float, from text too, or `otherwise`."""
    try:
        return otherwise if value is None else float(value)
    except (TypeError, ValueError):
        return otherwise


def last_line(error: str | None) -> str:
    return (error or "").strip().splitlines()[-1] if (error or "").strip() else ""


def _relative(folder: Path | None, root: Path) -> str:
    if folder is None:
        return ""
    resolved, root = folder.resolve(), root.resolve()
    return str(resolved.relative_to(root)) if resolved.is_relative_to(root) else str(folder)
