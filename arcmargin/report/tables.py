"""Results as tables: a row a run, a row a configuration over its seeds, a row a test."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from arcmargin.metrics.table import metric_names, number
from arcmargin.record import Result
from arcmargin.report.configurations import Configuration
from arcmargin.report.frame import run_frame
from arcmargin.report.statistics import Difference, half_width

DIFFERENCE = ["metric", "compared", "first", "second", "seeds", "difference", "difference_ci95"]
DIFFERENCE += ["p", "p_holm", "larger_than_noise"]
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def run_table(results: Iterable[Result], root: Path) -> pd.DataFrame:
    """One row a run; the error's last line, the folder relative to `root`."""
    runs = run_frame(results)
    if runs["sweep"].nunique() < 2:
        runs = runs.drop(columns="sweep")
    folders = [_relative(result.folder, root) for result in runs["result"]]
    return runs.drop(columns="result").assign(folder=folders)


def summary_table(found: Sequence[Configuration]) -> pd.DataFrame:
    """One row a configuration: settings, runs, failed, and for each metric its mean, the standard
    deviation over the runs (_sd) and half the 95 % interval of the mean (_ci95, Student's t)."""
    settings = pd.DataFrame([one.settings for one in found], dtype=object)
    settings["runs"] = [len(one.finished) for one in found]
    settings["failed"] = [len(one.results) - len(one.finished) for one in found]
    finished = [(place, run.metrics) for place, one in enumerate(found) for run in one.finished]
    names = metric_names(metrics for _, metrics in finished)
    if not names:
        return settings
    values = pd.DataFrame([metrics for _, metrics in finished], columns=names, dtype=float)
    groups = values.groupby([place for place, _ in finished])
    mean, sd, count = groups.mean(), groups.std(), groups.count()
    columns: dict[str, pd.Series[float]] = {}
    for name in names:
        columns |= {name: mean[name], f"{name}_sd": sd[name]}
        columns[f"{name}_ci95"] = sd[name] * count[name].map(half_width)
    return settings.join(pd.DataFrame(columns))


def difference_table(
    differences: Mapping[str, Sequence[Difference]], names: Sequence[str]
) -> pd.DataFrame:
    """One row a comparison; `differences` by what was compared, `names` of the configurations."""
    rows = [
        (one.metric, compared, names[one.first], names[one.second], *one[3:], one.larger_than_noise)
        for compared, every in differences.items()
        for one in every
    ]
    return pd.DataFrame(rows, columns=DIFFERENCE)


def csv_text(table: pd.DataFrame) -> str:
    """What is missing is an empty cell."""
    safe = table.rename(columns=_no_formula).map(_no_formula)
    return safe.to_csv(index=False, lineterminator="\n")


def _no_formula(value: Any) -> Any:
    """A spreadsheet would compute text that begins so: it gets an apostrophe (OWASP, CSV injection)."""
    is_text = isinstance(value, str) and number(value) is None
    return f"'{value}" if is_text and value.startswith(FORMULA) else value


def read_csv(path: Path | str) -> pd.DataFrame:
    """A table as csv_text wrote it: columns of numbers to the last digit, NaN for empty cells."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False).rename(columns=_as_it_was)
    return table.apply(_numbers_or_words)


def _numbers_or_words(cells: "pd.Series[str]") -> "pd.Series[Any]":
    known = cells[cells != ""]
    if known.map(number).notna().all():
        return cells.map(lambda cell: number(cell or None, float("nan")))
    return cells.map(_as_it_was).where(cells != "")


def _as_it_was(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell


def _relative(folder: Path | None, root: Path) -> str:
    if folder is None:
        return ""
    resolved, root = folder.resolve(), root.resolve()
    return str(resolved.relative_to(root)) if resolved.is_relative_to(root) else str(folder)
