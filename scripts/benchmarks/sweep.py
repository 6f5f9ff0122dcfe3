"""A sweep of small runs: two worker processes against one, and how much of the time is training."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.rows import in_turns, ratios, row

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 2


def measure(quick: bool) -> list[dict[str, Any]]:
    seeds = 4 if quick else 12
    given = [
        *("header=arcface,cosface", f"seed=range({seeds})", "threads=1", "logger=none"),
        f"epochs={10 if quick else 30}",
    ]
    outside: list[float] = []
    jobs_outside: list[float] = []
    parallel = [f"hydra.launcher.n_jobs={WORKERS}"]
    serial_s, parallel_s = in_turns(
        1 if quick else 3,
        f"{2 * seeds} runs: serial, {WORKERS} workers (s)",
        lambda: timed_sweep([*given, "hydra/launcher=basic"], jobs_outside, outside),
        lambda: timed_sweep([*given, *parallel], [], []),
    )
    case = f"{2 * seeds} runs of the digits"
    speedup = ratios(serial_s, parallel_s)
    return [
        row(
            *(
                "sweep",
                f"{case}, {WORKERS} worker processes",
                "throughput",
                "one job after another",
            ),
            speedup,
        ),
        row(
            *("sweep", f"{case}, outside training", "share", "the sum of the runs' time"),
            jobs_outside,
        ),
        row("sweep", f"{case}, outside training", "share", "the whole command", outside),
    ]


def timed_sweep(arguments: list[str], jobs_outside: list[float], outside: list[float]) -> float:
    """Seconds of the whole command; notes which share of the jobs' time, and which share of that
    of the command, was not training. A job is everything from its configuration to its record; the
    first one imports torch. The command also starts Python and writes the report."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])
    )
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "arcmargin.run", "--multirun", *arguments, "sweep=benchmark"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - start
        if done.returncode:
            raise RuntimeError(f"the sweep ended with {done.returncode}:\n{done.stderr}")
        found = Path(folder, "outputs", "sweeps", "benchmark").glob("*/record.json")
        spent = [json.loads(path.read_text())["durations"] for path in found]
    training = sum(durations["train_s"] for durations in spent)
    jobs_outside.append(1 - training / sum(durations["total_s"] for durations in spent))
    outside.append(1 - training / seconds)
    return seconds
