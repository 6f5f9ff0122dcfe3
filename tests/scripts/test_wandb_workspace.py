"""The saved view and the report, as the server gets them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from wandb_server import FakeWandb

pytest.importorskip("wandb_workspaces")
SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "wandb_workspace.py"


def run(*arguments, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        capture_output=True, text=True, check=False, env={**clean, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_dry_run_says_what_it_would_create_and_asks_nobody():
    told = run("me/heads", "--sweep", "try", "--dry-run", WANDB_BASE_URL="http://127.0.0.1:9")
    for part in ("workspace 'arcmargin: try' in me/heads", "config:m1", "MediaBrowser: embeddings",
                 "ParallelCoordinatesPlot: m1, m2, m3, s, accuracy", "accuracy against m2",
                 "report 'Margin heads: try'"):  # fmt: skip
        assert part in told


def test_the_workspace_and_the_report_reach_the_server():
    with FakeWandb() as server:
        told = run("tester/arcmargin", "--sweep", "try", **server.environment())
    assert not server.unknown
    assert server.url in told
    view, report = server.views
    assert (view["type"], report["type"]) == ("project-view", "runs")
    spec = json.loads(view["spec"])
    sections = {s["name"]: s["panels"] for s in spec["section"]["panelBankConfig"]["sections"]}
    figures = sections["Embeddings"][0]
    assert figures["viewType"] == "Media Browser"
    assert figures["config"]["mediaKeys"] == ["test/embedding"]
    columns = [column["accessor"] for column in sections["Margins"][0]["config"]["columns"]]
    assert columns[:4] == [f"config:{name}.value" for name in ("m1", "m2", "m3", "s")]
    for text in (view["spec"], report["spec"]):
        assert '"try"' in text and '"train"' in text, "only this sweep, only its training runs"
    pinned = json.dumps(spec)
    assert "summary:test/gap_mean_deg" in pinned and "config:header.name" in pinned
