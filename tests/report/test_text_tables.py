"""The tables to paste: LaTeX, and what metrics are called in all of them."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from synthetic_records import make_result

from arcmargin.metrics.table import SECTIONS
from arcmargin.record import Result
from arcmargin.report.frame import configurations
from arcmargin.report.labels import labels
from arcmargin.report.statistics import against_baseline, pairwise
from arcmargin.report.tables import csv_text, read_csv, summary_table
from arcmargin.report.text_tables import escape, latex, markdown, noise_markdown


def records(overrides: Any = None, m2: Any = None, **accuracy: list[float]) -> list[Result]:
    values = [(h, seed, v) for h, row in accuracy.items() for seed, v in enumerate(row)]
    further = ({"m2": m2[i]} if m2 else {} for i in range(len(values)))
    return [
        make_result(
            header,
            seed=seed,
            s=30.0,
            metrics={"accuracy": value, "intra_angle_p50_deg": 1 - value},
            overrides=[overrides[i]] if overrides else [],
            **more,
        )
        for i, ((header, seed, value), more) in enumerate(zip(values, further, strict=True))
    ]


def table(runs: list[Result]) -> str:
    found = configurations(runs)
    return latex(summary_table(found), pairwise(found, ["accuracy", "intra_angle_p50_deg"]))


CLEAR = {
    "normface": [0.90, 0.91, 0.92, 0.905],
    "arcface": [0.95, 0.962, 0.969, 0.956],
    "sphereface_r": [0.89, 0.903, 0.909, 0.896],
}


def test_latex_holds_the_numbers_of_the_summary() -> None:
    text = table(records(**CLEAR))
    body = text[text.index("\\midrule") : text.index("\\bottomrule")]
    rows = [line.rstrip(" \\").split(" & ") for line in body.splitlines()[1:] if line]
    assert [row[0] for row in rows] == ["normface", "arcface", "sphereface\\_r"]
    for row, values in zip(rows, CLEAR.values(), strict=True):
        mean = 100 * sum(values) / 4
        deviation = (sum((100 * value - mean) ** 2 for value in values) / 3) ** 0.5
        number = re.sub(r"\\mathbf\{(.*?)\}", r"\1", row[1])
        assert number == f"${mean:.2f} \\pm {deviation:.2f}$"
    assert "\\begin{tabular}{@{}lrr@{}}" in text and "(\\%)" in text and "($^\\circ$)" in text
    assert {"\\toprule", "\\midrule", "\\bottomrule"} <= set(text.splitlines())


def test_bold_is_what_beats_all_others_by_more_than_noise() -> None:
    text = table(records(**CLEAR))
    assert text.count("\\mathbf") == 2  # the accuracy, and the angle, where less is better
    assert all("\\mathbf" not in line or line.startswith("arcface") for line in text.splitlines())
    assert "Holm" in text
    close = CLEAR | {"cosface": [0.951, 0.96, 0.97, 0.954]}  # as good as arcface
    assert "\\mathbf" not in table(records(**close))
    assert "Holm" not in table(records(**close))
    assert "\\mathbf" not in table(records(normface=[0.5], arcface=[0.9]))


def test_the_table_of_differences_names_those_larger_than_noise() -> None:
    found = configurations(records(**CLEAR, cosface=[0.90, 0.93, 0.91, 0.90]))
    differences = against_baseline(found, ["accuracy"])
    head, _, row, *_ = noise_markdown(differences, labels(found)).splitlines()
    assert head.count("|") == row.count("|") == 4
    assert "2 of 3" in row and "arcface +5.05" in row and "sphereface_r -0.9" in row


HOSTILE = r"a_b & 50% of $x$ #1 {y} ~ ^ \end{table} <±−–°>"


def test_latex_is_escaped() -> None:
    text = escape(HOSTILE)
    bare = re.sub(
        r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater)\{\}", "", text
    )
    bare = bare.replace("$\\pm$", "").replace("$-$", "").replace("$^\\circ$", "")
    assert not re.search(r"(?<!\\)[&%$#_{}~^]", bare)
    assert "\\textbackslash{}end\\{table\\}" in text


@pytest.fixture
def pdflatex() -> str:
    program = shutil.which("pdflatex")
    if program is None:
        pytest.skip("no pdflatex: TeX does not come by pip; .ci/run installs it")
    return program


def test_latex_compiles_within_the_line(tmp_path: Path, pdflatex: str) -> None:
    """A table that a sweep on the circle leaves fits the page of an article; none is refused."""
    many = {one.name: 12.3 for one in SECTIONS[0].metrics}
    margins = [0.1, 0.2, 0.3] * 4
    runs = records(m2=margins, **CLEAR)
    for run in runs:
        run.metrics |= many
    usual = latex(summary_table(configurations(runs)))
    hostile = [f"backbone.name={HOSTILE}{m2}" for m2 in margins]
    runs = records(hostile, m2=margins, **CLEAR)[:2]
    for run in runs:
        run.metrics |= many | {"verification_eer": 0.02}
    wide = latex(summary_table(configurations(runs)))
    assert usual.splitlines()[-5].count("&") == 8, "header, m2, and seven metrics"
    said = []
    for number, text in enumerate((table(records(**CLEAR)), usual, wide)):
        (tmp_path / "a.tex").write_text(
            "\\documentclass{article}\\usepackage{booktabs}\\usepackage[T1]{fontenc}"
            f"\\begin{{document}}{text}\\end{{document}}"
        )
        done = subprocess.run(
            [pdflatex, "-interaction=nonstopmode", "-halt-on-error", "a.tex"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{number}: {done.stdout[-2000:]}"
        said.append(done.stdout)
    assert "\\small" in table(records(**CLEAR)) and "Overfull" not in said[0]
    assert "Overfull" not in said[1], said[1]


def test_a_table_shows_open_set_scores_and_not_what_nobody_named(tmp_path: Path) -> None:
    runs = records(normface=[0.9], arcface=[0.91])
    for run in runs:
        run.metrics |= {"verification_eer": 0.0213, "steps": 12.0}
    rows = summary_table(configurations(runs))
    heads = markdown(rows).splitlines()[0]
    assert heads == "| header | accuracy % | EER % |"
    assert "2.13" in markdown(rows) and "steps" in rows
    (tmp_path / "summary.csv").write_text(csv_text(rows))
    assert markdown(read_csv(tmp_path / "summary.csv")) == markdown(rows)
    assert latex(read_csv(tmp_path / "summary.csv")) == latex(rows)


def test_a_bar_in_a_setting_does_not_split_the_markdown() -> None:
    runs = records(["augment.name=a|b", "augment.name=c\nd"], normface=[0.9], arcface=[0.91])
    lines = markdown(summary_table(configurations(runs))).splitlines()
    assert lines[2].replace("\\|", "").count("|") == lines[0].count("|") == lines[3].count("|")


def test_markup_in_a_setting_is_text() -> None:
    runs = records(["a=<img src=x>", "a=[x](y)"], normface=[0.9], arcface=[0.91])
    table = markdown(summary_table(configurations(runs)))
    assert "<img" not in table and "&lt;img src=x&gt;" in table and "\\[x](y)" in table
