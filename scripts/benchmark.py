"""How fast everything is, as ratios to named baselines measured in the same run.

    python scripts/benchmark.py                                    # all parts, some 20 minutes
    python scripts/benchmark.py --quick                            # a look, under two minutes
    python scripts/benchmark.py --only epoch,start --out epoch.json

Writes the figures as JSON and, beside it, as the Markdown table that it prints. OMP_NUM_THREADS sets
the threads.
"""

import argparse
import importlib
import json
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.rows import met

PARTS = ("head", "epoch", "sweep", "start", "report")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="smaller cases, fewer repeats")
    parser.add_argument("--only", default=",".join(PARTS), help="some of " + ",".join(PARTS))
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmark.json"), metavar="FILE")
    given = parser.parse_args(arguments)
    wanted = given.only.split(",")
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; expected some of {', '.join(PARTS)}")
    if given.out.suffix != ".json":
        parser.error(f"--out must end in .json, got {given.out}")
    rows: list[dict[str, Any]] = []
    for part in wanted:
        print(f"{part} …", file=sys.stderr, flush=True)
        start = time.perf_counter()
        rows += measured(part, quick=given.quick)
        print(f"{part}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    result = {"machine": machine(), "quick": given.quick, "rows": rows}
    text = markdown(result)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    given.out.with_suffix(".md").write_text(text)
    print(text)
    print(given.out, given.out.with_suffix(".md"), sep="\n")
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
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def markdown(result: dict[str, Any]) -> str:
    """The table that the README shows, and the machine below it."""
    header = ("part", "case", "measure", "baseline", "ratio", "range", "target", "met")
    lines = [
        "| " + " | ".join(header) + " |",
        "| --- | --- | --- | --- | ---: | ---: | ---: | --- |",
    ]
    for row in result["rows"]:
        sign = "≤" if row["better"] == "lower" else "≥"
        cells = (
            *(row[key] for key in ("part", "case", "measure", "baseline")),
            f"{row['ratio']:.2f}",
            f"{row['ratio_low']:.2f}–{row['ratio_high']:.2f}",
            "" if row["target"] is None else f"{sign} {row['target']:g}",
            {None: "", True: "yes", False: "**no**"}[met(row)],
        )
        lines.append("| " + " | ".join(cells) + " |")
    facts = result["machine"]
    lines += [
        "",
        "Ratio: arcmargin / baseline, the median of repeats taken in turns, and their range. "
        f"{facts['device']}, {facts['cores']} cores ({facts['processor']}), "
        f"{facts['threads']} threads, torch {facts['torch']}, Python {facts['python']}"
        f"{', --quick' if result['quick'] else ''}.",
    ]
    if facts["device"] != "CPU":  # there absolute figures can be compared between machines
        lines += ["", *filter(None, map(_absolute, result["rows"]))]
    return "\n".join(lines) + "\n"


def _absolute(row: dict[str, Any]) -> str:
    shown = [
        f"{key} {value:.3g}" for key, value in row.items() if key.startswith(("ours_", "baseline_"))
    ]
    return f"- {row['part']}, {row['case']}: {', '.join(shown)}" if shown else ""


if __name__ == "__main__":
    sys.exit(main())
