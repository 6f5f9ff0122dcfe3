"""The words at a sweep's end."""

from pathlib import Path

import pytest

from arcmargin.sweeps.summary import as_typed, tables


@pytest.mark.parametrize(
    ("process", "typed"),
    [
        (
            ["/opt/venv/bin/python3", "/opt/venv/bin/arcmargin", "-m", "seed=0,1"],
            "arcmargin -m seed=0,1",
        ),
        (
            ["python", "-m", "arcmargin.run", "-m", "seed=0,1"],
            "python -m arcmargin.run -m seed=0,1",
        ),
        (["C:\\python.exe", "arcmargin.exe", "--multirun"], "arcmargin --multirun"),
        (["python"], "python"),
    ],
)
def test_the_command_that_goes_on_is_the_one_that_was_typed(process, typed):
    assert " ".join(as_typed(process)) == typed


def test_the_verdict_follows_the_table_and_precedes_the_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = [Path("a/report/index.html"), Path("a/report/grid.png")]
    lines = tables("| a |\n\nMeans.\n", ["No head differs."], files).splitlines()
    assert lines == [
        "",
        "| a |",
        "",
        "Means.",
        "",
        "No head differs.",
        "",
        "a/report/: index.html, grid.png",
    ]
