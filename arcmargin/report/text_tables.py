"""The summary as a table to paste into a paper or README: Markdown, and LaTeX with booktabs."""

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from arcmargin.errors import UserError
from arcmargin.metrics.table import (
    PREDICTED,
    UNSEEN_IN_TABLES,
    Metric,
    in_order,
    metric,
    number,
)
from arcmargin.report.labels import NOTHING, text
from arcmargin.report.statistics import Difference, caveat, half_width

Rows = Sequence[Mapping[str, Any]]  # of a summary, a configuration each; None for what is missing
LINE = 345.0  # points: the text of LaTeX's article
# Size of the type, space beside a column and width of a character, in points: the first that fits.
SIZES = (
    ("\\small", 6.0, 4.15),
    ("\\footnotesize\\setlength{\\tabcolsep}{4pt}", 4.0, 3.8),
    ("\\scriptsize\\setlength{\\tabcolsep}{2.5pt}", 2.5, 3.65),
    ("\\tiny\\setlength{\\tabcolsep}{2pt}", 2.0, 3.15),
)
SPECIAL = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "±": "$\\pm$",
    "−": "$-$",
    "–": "--",
    "°": "$^\\circ$",
    "\n": " ",
}


class Table(NamedTuple):
    """The header, the settings that vary, and mean ± standard deviation of the metrics."""

    settings: list[str]
    metrics: list[Metric]
    says_how_many: bool  # runs of each finished
    caption: str


def rows_of(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """A summary, fresh or read back from summary.csv. Raises UserError when it is empty."""
    if summary.empty:
        raise UserError("no rows to make a table of")
    known = summary.astype(object).where(summary.notna(), None)
    return [{str(key): value for key, value in row.items()} for row in known.to_dict("records")]


def _table(rows: Rows) -> Table:
    unequal = len({_count(row) for row in rows}) > 1 or any(int(row["failed"]) for row in rows)
    return Table(_settings(rows), metrics_of_table(rows), unequal, _caption(rows, unequal))


def markdown(summary: pd.DataFrame) -> str:
    """Below the table a line says what its numbers are."""
    rows = rows_of(summary)
    table = _table(rows)
    heads = [one.heading for one in table.metrics] + ["finished runs"] * table.says_how_many
    lines = [
        [*map(_cell, table.settings), *heads],
        ["---"] * len(table.settings) + ["---:"] * len(heads),
    ]
    for row in rows:
        line = [_cell(text(row[key])) for key in table.settings]
        line += [" ± ".join(_mean(row, one)) for one in table.metrics]
        lines.append(line + [_count(row)] * table.says_how_many)
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{body}\n\n{table.caption}\n"


def noise_markdown(differences: Sequence[Difference], names: Sequence[str]) -> str:
    """Which configurations differ from their baseline by more than the noise of the seeds: one row
    a metric. `names` are the configurations'; the table ends with what the tests can show."""
    rows = []
    for name, clear in larger_than_noise(differences, names).items():
        count = sum(one.metric == name for one in differences)
        shown = [_cell(metric(name).heading), f"{len(clear)} of {count}", _cell("; ".join(clear))]
        rows.append(shown)
    lines = [["metric", "larger than the noise", "which, less its baseline"], ["---"] * 3, *rows]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return (
        f"{body}\n\n{caveat([one for one in differences if one.metric == differences[0].metric])}\n"
    )


def larger_than_noise(
    differences: Sequence[Difference], names: Sequence[str]
) -> dict[str, list[str]]:
    """Of each metric which configurations, and by how much: `cosface, 16-D -0.42`."""
    found: dict[str, list[str]] = {}
    for one in differences:
        shown, clear = metric(one.metric), found.setdefault(one.metric, [])
        if one.larger_than_noise:
            mean = f"{shown.factor * one.mean:+.{shown.digits or 2}f}"
            clear.append(f"{names[one.first]} {mean}")
    return found


def _cell(words: str) -> str:
    """Plain text: neither HTML nor a link nor the end of the cell."""
    plain = html.escape(" ".join(words.split()), quote=False)
    return plain.replace("|", "\\|").replace("[", "\\[")


def latex(summary: pd.DataFrame, pairwise: Sequence[Difference] = ()) -> str:
    """A table environment that needs booktabs. Bold: better than every other row by more than the
    noise of the seeds, as the pairwise differences have it."""
    rows = rows_of(summary)
    table = _table(rows)
    bold = {
        (index, one.name)
        for index in range(len(rows))
        for one in table.metrics
        if _best(index, one, rows, pairwise)
    }
    columns = "l" * len(table.settings) + "r" * (len(table.metrics) + table.says_how_many)
    heads = [_two_lines(key) for key in table.settings]
    heads += [_two_lines(one.title, one.unit) for one in table.metrics]
    heads += [_two_lines("finished runs")] * table.says_how_many
    lines = [[escape(part) for part in line] for line in zip(*heads, strict=True)]
    body = []
    for index, row in enumerate(rows):
        line = [escape(text(row[key])) for key in table.settings]
        line += [_latex_mean(row, one, (index, one.name) in bold) for one in table.metrics]
        body.append(line + [_count(row)] * table.says_how_many)
    caption = escape(table.caption)
    if bold:
        caption += (
            " Bold: better than every other row by more than the noise of the seeds "
            "(paired $t$-tests, Holm, $p < 0.05$)."
        )
    return "\n".join(
        [
            "% \\usepackage{booktabs}",
            "\\begin{table}",
            f"\\centering{_size([*lines, *body])}",
            f"\\caption{{{caption}}}",
            f"\\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
            "\\toprule",
            *(f"{' & '.join(line)} \\\\" for line in lines),
            "\\midrule",
            *(f"{' & '.join(line)} \\\\" for line in body),
            "\\bottomrule",
            "\\end{tabular}",
            "\\end{table}",
            "",
        ]
    )


def _two_lines(words: str, unit: str = "") -> tuple[str, str]:
    """A heading where the columns of numbers are narrow: its last word and its unit stand below."""
    unit = f"({unit})" if unit else ""
    above, _, last = words.rpartition(" ")
    return (above, f"{last} {unit}".rstrip()) if above else (last, unit)


def _size(lines: Sequence[Sequence[str]]) -> str:
    """The largest type in which the lines of cells fit LaTeX's own page; else the smallest."""
    shown = (r"\\pm", "±"), (r"\\[a-z]+|[${}\\\\]", "")
    widths = [0] * len(lines[0])
    for line in lines:
        for place, cell in enumerate(line):
            for pattern, seen in shown:
                cell = re.sub(pattern, seen, cell)
            widths[place] = max(widths[place], len(cell))
    for size, beside, letter in SIZES:
        if sum(widths) * letter + 2 * beside * (len(widths) - 1) <= LINE:
            return size
    return SIZES[-1][0]


def escape(words: str) -> str:
    """Plain text for LaTeX."""
    return "".join(SPECIAL.get(char, char) for char in words)


def _latex_mean(row: Mapping[str, Any], one: Metric, bold: bool) -> str:
    mean, *spread = _mean(row, one)
    if mean == NOTHING:
        return "--"
    shown = f"\\mathbf{{{mean}}}" if bold else mean
    return f"${shown} \\pm {spread[0]}$" if spread else f"${shown}$"


def _best(index: int, one: Metric, rows: Rows, pairwise: Sequence[Difference]) -> bool:
    """Whether tests against all other rows that have the metric say that this one is better."""
    beaten = set()
    for test in pairwise:
        if test.metric == one.name and test.larger_than_noise:
            winner = test.first if test.mean * one.better > 0 else test.second
            if winner == index:
                beaten.add(test.first + test.second - index)
    if not (one.better and beaten):
        return False
    having = {i for i, row in enumerate(rows) if number(row.get(one.name)) is not None}
    return having - {index} <= beaten


def _mean(row: Mapping[str, Any], one: Metric) -> list[str]:
    """[mean, standard deviation], [mean], or a dash."""
    mean, sd = number(row.get(one.name)), number(row.get(f"{one.name}_sd"))
    if mean is None:
        return [NOTHING]
    return [one.shown(mean)] + ([] if sd is None or one.name == PREDICTED else [one.shown(sd)])


def _count(row: Mapping[str, Any]) -> str:
    return f"{int(row['runs'])} of {int(row['runs']) + int(row['failed'])}"


def _caption(rows: Rows, unequal: bool) -> str:
    if all(one.name == PREDICTED for one in metrics_of_table(rows)):
        return "Nothing here was tested."
    most = max(int(row["runs"]) for row in rows)
    over = "the finished runs" if unequal else f"{most} seeds"
    spread = f"mean ± standard deviation over {over}" if most > 1 else "one run each"
    if any(f"{name}_sd" in rows[0] for name in UNSEEN_IN_TABLES):
        if most > 1 and not unequal:
            spread += f" (a mean's 95 % interval: ± {half_width(most):.2f} standard deviations)"
        return f"Accuracy: test split; the rest: images of unseen classes; {spread}."
    return f"Test split, {spread}; angles in degrees."


def _settings(rows: Rows) -> list[str]:
    """header, and the settings that vary where they are set at all."""
    keys = list(rows[0])[: list(rows[0]).index("runs")]
    values = {key: {text(row[key]) for row in rows} - {NOTHING} for key in keys}
    return ["header", *(key for key in keys if key != "header" and len(values[key]) > 1)]


def metrics_of_table(rows: Rows) -> list[Metric]:
    """Those known to the table of metrics that any row has; on a circle the gaps say more than the
    angles between centres."""
    names = [name.removesuffix("_sd") for name in rows[0] if name.endswith("_sd")]
    unseen = [name for name in UNSEEN_IN_TABLES if name in names]
    if unseen:  # what a margin is for; the angles of the seen classes stand in summary.csv
        return [metric(name) for name in ("accuracy", *unseen)]
    having = {name: [number(row.get(name)) is not None for row in rows] for name in names}
    left_out = {"intra_angle_deg"}
    if having.get("gap_mean_deg") == having.get("centre_angle_min_deg"):
        left_out |= {"centre_angle_min_deg", "margin_p05_deg"}
    known = [metric(name) for name in in_order(names) if any(having[name])]
    return [one for one in known if one.meaning and one.name not in left_out]
