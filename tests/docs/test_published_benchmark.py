"""docs/benchmark.md is a whole table of the benchmark, as the script writes it."""

import re
from pathlib import Path

from benchmark import PARTS, page

PUBLISHED = Path(__file__).resolve().parents[2] / "docs" / "benchmark.md"
MACHINE = "CPU, {cores} cores ({processor}), {threads} threads, torch {torch}, Python {python}, "


def test_the_published_page_is_one_that_the_script_writes():
    """Read back into rows and a machine, and written again."""
    text = PUBLISHED.read_text()
    rows = []
    for line in text.splitlines():
        cells = line.strip("| ").split(" | ")
        if cells[0] in PARTS:
            row = dict(zip(("part", "case", "measure", "baseline"), cells, strict=False))
            if cells[4] == "–":
                rows.append({**row, "skipped": cells[5]})
                continue
            low, high = map(float, cells[5].split("–"))
            rows.append({**row, "ratio": float(cells[4]), "ratio_low": low, "ratio_high": high})
    assert {row["part"] for row in rows} == set(PARTS)
    pattern = (
        re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(MACHINE)) + r"commit (?P<commit>\w+)\."
    )
    machine = re.fullmatch(pattern, text.splitlines()[-1])
    assert machine, "measured --quick, or by a script that says something else"
    assert page(rows, {"device": "CPU", **machine.groupdict()}, quick=False) == text
