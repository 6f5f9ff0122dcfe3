"""Killed anywhere, by anything: the same command again ends in the table of an undisturbed sweep.

Seeded. ARCMARGIN_KILLS says how many kills (default 4); 100 take the better part of an hour.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from arcmargin.record import find_results

pytestmark = pytest.mark.long
COUNT = int(os.environ.get("ARCMARGIN_KILLS", "4"))
LAUNCHERS = ("basic", "joblib", "submitit_local", "ray")
SWEEP = ["--multirun", "seed=0,1", "epochs=12", "dataset.classes=5", "dataset.unseen=2"]
SMALL = ["backbone.width=4", "backbone.hidden=8", "logger=none", "sweep=k"]
SECONDS = {"basic": 12.0, "joblib": 12.0, "submitit_local": 25.0, "ray": 25.0}  # of a whole sweep


def start(cwd: Path, launcher: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "arcmargin.run", *SWEEP, *SMALL, f"hydra/launcher={launcher}"]
    with (cwd / "said").open("a") as said:
        return subprocess.Popen(
            command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
        )


def table(cwd: Path) -> dict[str, object]:
    results = find_results(cwd / "outputs" / "sweeps" / "k").results
    assert all(result.finished for result in results), [result.error for result in results]
    return {r.folder.name: (r.score, r.metrics, r.intervals, r.curves) for r in results if r.folder}


def workers(cwd: Path) -> list[int]:
    """Processes that say of themselves that they run a job."""
    found = []
    for file in (cwd / "outputs" / "sweeps" / "k" / ".progress").glob("*.json"):
        try:
            job = json.loads(file.read_text())
        except (OSError, ValueError):
            continue
        if job.get("state") == "running" and job.get("process"):
            found.append(int(job["process"]))
    return found


def kill(rng: random.Random, process: subprocess.Popen[bytes], cwd: Path) -> str:
    how = rng.choice([signal.SIGKILL, signal.SIGTERM])
    whom = rng.choice(["main", "group", "worker"])
    running = workers(cwd)
    if whom == "worker" and running:
        os.kill(rng.choice(running), how)
    elif whom == "group":
        os.killpg(process.pid, how)
    else:
        process.send_signal(how)
    return f"{whom} {how.name}"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("undisturbed")
    assert start(cwd, "basic").wait(300) == 0, (cwd / "said").read_text()
    return table(cwd)


@pytest.mark.parametrize("number", range(COUNT))
def test_the_table_is_that_of_an_undisturbed_sweep(tmp_path, undisturbed, number):
    rng = random.Random(number)
    launcher = LAUNCHERS[number % len(LAUNCHERS)]
    process = start(tmp_path, launcher)
    time.sleep(rng.uniform(0.0, SECONDS[launcher]))  # the moment is what is drawn
    said = f"{launcher}: {kill(rng, process, tmp_path) if process.poll() is None else 'over'}"
    try:
        process.wait(120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"{said}: it did not end\n{(tmp_path / 'said').read_text()}")
    for _ in range(3):  # a worker that was told to stop leaves its job to the next command
        again = start(tmp_path, launcher)
        if again.wait(300) == 0:
            break
    text = (tmp_path / "said").read_text()
    assert again.returncode == 0, f"{said}\n{text}"
    assert "Traceback" not in text, f"{said}\n{text}"
    assert table(tmp_path) == undisturbed, said
