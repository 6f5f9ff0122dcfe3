"""Results as tables: one row a run, one row a configuration (mean and spread over its seeds)."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from arcmargin.metrics.table import metric_names, number
from arcmargin.record import Result
from arcmargin.report.configurations import SETTINGS, Configuration, further_settings, setting
from arcmargin.report.statistics import Difference, interval

DIFFERENCE = ["metric", "compared", "first", "second", "seeds", "difference", "difference_ci95"]
DIFFERENCE += ["p", "p_holm", "larger_than_noise"]


def run_rows(results: Iterable[Result], root: Path) -> list[dict[str, Any]]:
    """One row a run; the error's last line, the folder relative to `root`."""
    results = list(results)
    names = metric_names(result.metrics for result in results)
    keys = [*SETTINGS, *further_settings(results), "seed"]
    if len({result.sweep for result in results}) > 1:
        keys.insert(0, "sweep")
    rows = []
    for result in results:
        row: dict[str, Any] = {"name": result.settings.name, "status": result.status}
        row |= {key: setting(result, key) for key in keys}
        row |= {name: result.metrics.get(name) for name in names}
        row["total_s"] = result.durations.get("total_s")
        row["error"] = last_line(result.error)
        row["folder"] = _relative(result.folder, root)
        rows.append(row)
    return rows


def summary_rows(found: Sequence[Configuration]) -> list[dict[str, Any]]:
    """One row a configuration: settings, runs, failed, and for each metric its mean, the standard
    deviation over the runs (_sd) and half the 95 % interval of the mean (_ci95, Student's t)."""
    names = metric_names(result.metrics for one in found for result in one.finished)
    rows = []
    for one in found:
        row: dict[str, Any] = dict(one.settings)
        row["runs"] = len(one.finished)
        row["failed"] = len(one.results) - len(one.finished)
        for name in names:
            values = [result.metrics.get(name) for result in one.finished]
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


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    """`columns`, and every further one that any row has; None is an empty cell."""
    columns = list(dict.fromkeys([*columns, *(column for row in rows for column in row)]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    lines: list[list[Any]] = [columns, *([row.get(column) for column in columns] for row in rows)]
    writer.writerows([_no_formula(value) for value in line] for line in lines)
    return text.getvalue()


FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _no_formula(value: Any) -> Any:
    """A spreadsheet would compute text that begins so: it gets an apostrophe (OWASP, CSV injection)."""
    is_text = isinstance(value, str) and number(value) is None
    return f"'{value}" if is_text and value.startswith(FORMULA) else value


def read_csv(path: Path | str) -> list[dict[str, str]]:
    """summary.csv as rows for text_tables.markdown."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{key: _as_it_was(value) for key, value in row.items()} for row in rows]


def _as_it_was(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell


def last_line(error: str | None) -> str:
    return (error or "").strip().splitlines()[-1] if (error or "").strip() else ""


def _relative(folder: Path | None, root: Path) -> str:
    if folder is None:
        return ""
    resolved, root = folder.resolve(), root.resolve()
    return str(resolved.relative_to(root)) if resolved.is_relative_to(root) else str(folder)
