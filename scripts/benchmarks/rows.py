"""What every part hands back: ratios of us to a named baseline, measured in turns."""

import random
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def row(
    part: str,
    case: str,
    measure: str,
    baseline: str,
    ratios: Sequence[float],
    *,
    absolute: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """One line of the table: the median ratio and the range over the repeats.

    measure: "time", "throughput", "peak memory" or "share". `absolute` holds further figures, such
    as ours_images_per_s: they are kept in the JSON, and say something only about one machine.
    """
    return {
        "part": part,
        "case": case,
        "measure": measure,
        "baseline": baseline,
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        **(absolute or {}),
    }


def skipped(part: str, case: str, measure: str, baseline: str, reason: str) -> dict[str, Any]:
    """A line without a figure: why there is none."""
    return {
        "part": part, "case": case, "measure": measure, "baseline": baseline, "skipped": reason
    }  # fmt: skip


def in_turns(repeats: int, what: str, *tasks: Callable[[], float]) -> list[list[float]]:
    """What each task returns, `repeats` times: one after the other within each repeat, in another
    order each time, so that whatever else the machine does, and what the task before left in the
    caches, falls on all of them alike. Says on stderr where it is."""
    results: list[list[float]] = [[] for _ in tasks]
    order = list(zip(results, tasks, strict=True))
    shuffled = random.Random(0)
    for repeat in range(repeats):
        for values, task in order:
            values.append(task())
        shuffled.shuffle(order)
        shown = "  ".join(f"{values[-1]:.3g}" for values in results)
        print(f"  {what}: {repeat + 1}/{repeats}  {shown}", file=sys.stderr, flush=True)
    return results


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(over, under, strict=True)]
