"""The benchmark table in docs/ and the README is that of docs/benchmark.json."""

import json
from pathlib import Path

from benchmark import PARTS, markdown
from benchmarks.rows import row

ROOT = Path(__file__).resolve().parents[2]

PUBLISHED = ROOT / "docs" / "benchmark.json"


def foreign_rows(page: str, table: str) -> list[str]:
    """The benchmark's lines on a page that its table does not have."""
    begins = tuple(f"| {part} |" for part in PARTS)
    return [
        line
        for line in page.splitlines()
        if line.startswith(begins) and line not in table.splitlines()
    ]


def test_the_published_table_agrees_with_its_figures():
    result = json.loads(PUBLISHED.read_text())
    table = markdown(result)
    assert PUBLISHED.with_suffix(".md").read_text() == table
    assert foreign_rows((ROOT / "README.md").read_text(), table) == []
    assert {line["part"] for line in result["rows"]} == set(PARTS) and not result["quick"]


def test_a_changed_figure_is_noticed():
    machine = dict.fromkeys(("device", "processor", "cores", "threads", "torch", "python"), "x")
    result = {"machine": machine, "quick": False, "rows": [row("start", "x", "time", "y", [1.5])]}
    page = f"Some words\n\n{markdown(result)}"
    assert foreign_rows(page, markdown(result)) == []
    result["rows"][0]["ratio"] = 1.4
    assert foreign_rows(page, markdown(result)) == [
        "| start | x | time | y | 1.50 | 1.50–1.50 |  |  |"
    ]
