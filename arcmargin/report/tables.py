"""Records as tables: one row a run, one row a configuration (mean and spread over its seeds)."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from arcmargin.metrics.table import metric_names, number
from arcmargin.record import Record, write_whole
from arcmargin.report.configurations import SETTINGS, Configuration, setting, varying_overrides
from arcmargin.report.statistics import Difference, interval

DIFFERENCE = ["metric", "compared", "first", "second", "seeds", "difference", "difference_ci95"]
DIFFERENCE += ["p", "p_holm", "larger_than_noise"]


def run_rows(records: Iterable[Record], root: Path) -> list[dict[str, Any]]:
    """One row a run; the error's last line, the folder relative to `root`."""
    records = list(records)
    names = metric_names(records)
    keys = [*SETTINGS, *varying_overrides(records), "seed"]
    if len({record.sweep for record in records}) > 1:
        keys.insert(0, "sweep")
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
    names = metric_names(record for one in found for record in one.finished)
    rows = []
    for one in found:
        row: dict[str, Any] = dict(one.settings)
        row["runs"] = len(one.finished)
        row["failed"] = len(one.records) - len(one.finished)
        for name in names:
            values = [number(record.metrics.get(name)) for record in one.finished]
            spread = interval([value for value in values if value is not None])
            mean, sd, half = spread or (None, None, None)
            row |= {name: mean, f"{name}_sd": sd, f"{name}_ci95": half}
        rows.append(row)
    return rows


def difference_rows(
    differences: Mapping[str, Sequence[Difference]], names: Sequence[str]
) -> list[dict[str, Any]]:
    """One row a comparison; `differences` by what was compared, `names` of the configurations."""
    return [
        dict(
            zip(
                DIFFERENCE,
                (
                    one.metric,
                    compared,
                    names[one.first],
                    names[one.second],
                    *one[3:],
                    one.larger_than_noise,
                ),
                strict=True,
            )
        )
        for compared, every in differences.items()
        for one in every
    ]


def write_csv(rows: Sequence[Mapping[str, Any]], path: Path, columns: Sequence[str] = ()) -> Path:
    """`columns`, and every further one that any row has; None is an empty cell."""
    columns = list(dict.fromkeys([*columns, *(column for row in rows for column in row)]))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_text(text.getvalue(), path)


def write_text(text: str, path: Path) -> Path:
    return write_whole(path, lambda file: file.write(text.encode()))


def read_csv(path: Path | str) -> list[dict[str, str]]:
    """summary.csv as rows for paper.markdown."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def last_line(error: str | None) -> str:
    return (error or "").strip().splitlines()[-1] if (error or "").strip() else ""


def _relative(folder: Path | None, root: Path) -> str:
    if folder is None:
        return ""
    resolved, root = folder.resolve(), root.resolve()
    return str(resolved.relative_to(root)) if resolved.is_relative_to(root) else str(folder)
