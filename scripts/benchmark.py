"""How fast everything is, as ratios to named baselines measured in the same run.

    python scripts/benchmark.py --out docs/benchmark.md            # all parts, about half an hour
    python scripts/benchmark.py --quick                            # a look, under two minutes
    python scripts/benchmark.py --only epoch,start

Prints the table and writes it as Markdown. OMP_NUM_THREADS sets the threads.
"""

import argparse
import importlib
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from arcmargin.files import display_path, write_atomically
from arcmargin.job.provenance import git_commit

PARTS = ("head", "epoch", "sweep", "start", "report")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="smaller cases, fewer repeats")
    parser.add_argument("--only", default=",".join(PARTS), help="some of " + ",".join(PARTS))
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmark.md"), metavar="FILE")
    given = parser.parse_args(arguments)
    wanted = given.only.split(",")
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; expected some of {', '.join(PARTS)}")
    rows: list[dict[str, Any]] = []
    for part in wanted:
        print(f"{part} …", file=sys.stderr, flush=True)
        start = time.perf_counter()
        rows += measured(part, quick=given.quick)
        print(f"{part}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    text = page(rows, machine(), quick=given.quick)
    write_atomically(given.out, lambda file: file.write(text.encode()))
    print(f"{text}\n{display_path(given.out)}")
    return 0


def measured(part: str, *, quick: bool) -> list[dict[str, Any]]:
    """The rows of a part, measured in a process of its own: the memory that one part has taken slows
    no other, and does not count as that of the programs that another starts."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_measure, part, quick).result()


def _measure(part: str, quick: bool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = importlib.import_module(f"benchmarks.{part}").measure(quick=quick)
    return rows


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    import torch

    gpu = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if gpu else "CPU",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": git_commit(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def page(rows: Sequence[dict[str, Any]], machine: dict[str, Any], *, quick: bool) -> str:
    """docs/benchmark.md"""
    heads = ("part", "case", "measure", "baseline", "ratio", "range")
    table = [heads, ("---",) * 4 + ("---:",) * 2]
    for row in rows:
        table.append((*(row[key] for key in heads[:4]), *_figures(row)))
    where = (
        f"{machine['device']}, {machine['cores']} cores ({machine['processor']}), "
        f"{machine['threads']} threads, torch {machine['torch']}, Python {machine['python']}, "
        f"commit {machine['commit']}"
    )
    lines = [
        "# Speed",
        "",
        "    python scripts/benchmark.py --out docs/benchmark.md",
        "",
        "Ratio: arcmargin / baseline, both measured in the same run, the median of repeats taken in "
        "turns, and their range. Of time, memory and share less is better, of throughput more.",
        "",
        *(f"| {' | '.join(cells)} |" for cells in table),
        "",
        f"{where}{', --quick' if quick else ''}.",
    ]
    if machine["device"] != "CPU":  # there absolute figures can be compared between machines
        lines += ["", *filter(None, map(_absolute, rows))]
    return "\n".join(lines) + "\n"


def _figures(row: dict[str, Any]) -> tuple[str, str]:
    """The ratio and its range, or why there is none."""
    if "skipped" in row:
        return "–", row["skipped"]
    return f"{row['ratio']:.2f}", f"{row['ratio_low']:.2f}–{row['ratio_high']:.2f}"


def _absolute(row: dict[str, Any]) -> str:
    shown = [
        f"{key} {value:.3g}" for key, value in row.items() if key.startswith(("ours_", "baseline_"))
    ]
    return f"- {row['part']}, {row['case']}: {', '.join(shown)}" if shown else ""


if __name__ == "__main__":
    sys.exit(main())
