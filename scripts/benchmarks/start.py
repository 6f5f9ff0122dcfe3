"""From the command line: to the first training step, to an answer, to a completion."""

import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.rows import in_turns, ratios, row

ROOT = Path(__file__).resolve().parents[2]
RUN = [sys.executable, "-m", "arcmargin.run"]
IMPORTS = [
    *(sys.executable, "-c"),
    "import torch, pytorch_lightning, time; print('first step', time.time(), flush=True)",
]
ANSWERS = {
    "--help": ["--help"],
    "a typo": ["header=arcfaze"],
    "tab completion": ["-sc", "query=bash"],
}


def measure(quick: bool) -> list[dict[str, Any]]:
    repeats = 2 if quick else 7
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        augment = "augment._target_=benchmarks.first_step.FirstStep"
        cases: dict[str, list[str]] = {"first step": [], "first step, logger=none": ["logger=none"]}
        commands = [IMPORTS, *([*RUN, augment, *more] for more in cases.values())]
        _until_said(IMPORTS, folder)  # fills the disk cache
        bare, *steps = in_turns(
            repeats,
            "imports, first step, without W&B (s)",
            *(partial(_until_said, command, folder) for command in commands),
        )
        for case, seconds in zip(cases, steps, strict=True):
            baseline = "import torch, pytorch_lightning"
            rows.append(row("start", case, "time", baseline, ratios(seconds, bare)))
        for case, arguments in ANSWERS.items():
            (seconds,) = in_turns(repeats, f"{case} (s)", partial(_whole, arguments, folder))
            rows.append(row("start", case, "time", "1 s", seconds))
    return rows


def _until_said(command: list[str], folder: str) -> float:
    """Seconds until the process says "first step <time>"; its own end does not count."""
    start = time.time()
    done = subprocess.run(
        command, cwd=folder, env=_environment(), capture_output=True, text=True, check=False
    )
    said = [line for line in done.stdout.splitlines() if line.startswith("first step ")]
    if not said:
        raise RuntimeError(f"no first step:\n{done.stderr}")
    return float(said[-1].split()[-1]) - start


def _whole(arguments: list[str], folder: str) -> float:
    start = time.perf_counter()
    done = subprocess.run(
        [*RUN, *arguments], cwd=folder, env=_environment(), capture_output=True, check=False
    )
    seconds = time.perf_counter() - start
    if not done.stdout + done.stderr or b"Traceback" in done.stderr:
        raise RuntimeError(f"no answer to {arguments}:\n{done.stderr.decode()}")
    return seconds


def _environment() -> dict[str, str]:
    """A user without a key: W&B goes offline by itself."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    path = [str(ROOT), str(ROOT / "scripts"), os.environ.get("PYTHONPATH", "")]
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "NETRC": os.devnull,
        "COMP_LINE": "python -m arcmargin.run header=arc",
    }
