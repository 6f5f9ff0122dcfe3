"""scripts/report.py on a thousand finished runs."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.rows import in_turns, row

ROOT = Path(__file__).resolve().parents[2]
SECONDS, BYTES = 10.0, 1e9


def measure(quick: bool) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        records = ROOT / "tests" / "synthetic_records.py"
        # 5 headers, 66 gaps, 5 seeds
        subprocess.run(
            [sys.executable, str(records), folder, "--gaps", "66", "--seeds", "5"],
            check=True,
            env=_environment(),
            stdout=subprocess.DEVNULL,
        )
        count = len(list(Path(folder).glob("*/record.json")))
        peaks: list[float] = []
        (seconds,) = in_turns(1 if quick else 3, "report (s)", lambda: _report(folder, peaks))
    case = f"report of {count:,} records"
    return [
        row("report", case, "time", f"{SECONDS:g} s", [s / SECONDS for s in seconds]),
        row("report", case, "peak memory", "1 GB", [p / BYTES for p in peaks]),
    ]


def _report(folder: str, peaks: list[float]) -> float:
    """Seconds; notes the peak memory of the process in bytes."""
    command = [sys.executable, str(ROOT / "scripts" / "report.py"), folder]
    start = time.perf_counter()
    process = subprocess.Popen(command, env=_environment(), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    peaks.append(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
    return seconds


def _environment() -> dict[str, str]:
    path = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}
