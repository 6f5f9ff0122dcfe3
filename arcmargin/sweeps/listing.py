"""What a sweep would do, read off its folder: --list. Nothing is written."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import NamedTuple

from arcmargin.files import display_path
from arcmargin.record import Damaged, Result
from arcmargin.sweeps.display import format_duration
from arcmargin.sweeps.sweeper import Planned

FINISHED, PRUNED = "finished", "stopped by the search"
FAILED, TO_RESUME, TO_RUN = "failed, to run again", "to resume", "to run"


class _Paid(NamedTuple):
    """What an epoch of a finished job took."""

    choices: frozenset[tuple[str, str]]  # of header, dataset, backbone and so on
    seconds: float


def listing(plans: Sequence[Planned], more: Sequence[Planned] = ()) -> str:
    """A line for each job: its number, state, folder and what distinguishes it; then the counts.

    At most as many jobs as `more` has are to follow, of which nobody can tell yet which they are: like
    these, but for some of their settings.
    """
    first: dict[Path, int] = {}
    states, paid, to_do = [], [], []
    for number, plan in enumerate(plans):
        if (same := first.setdefault(plan.folder, number)) != number:
            states.append(f"same as {same}")
            continue
        result = _result(plan.folder)
        states.append(_state(plan, result))
        if result is not None and result.finished:
            paid += _paid(plan, result)
        if states[-1] not in (FINISHED, PRUNED):
            to_do.append(plan)
    width = max(map(len, states), default=0)
    lines = [
        f"{number:>4}  {state:<{width}}  {display_path(plan.folder)}  {plan.label}".rstrip()
        for number, (state, plan) in enumerate(zip(states, plans, strict=True))
    ]
    counts = Counter(
        state if not state.startswith("same") else "same as another" for state in states
    )
    told = ", ".join(f"{count} {state}" for state, count in counts.items())
    total = f"{len(plans)} job{'s' * (len(plans) != 1)}: {told}"
    if more:
        total += f"; up to {len(more)} more, whose settings follow from the scores of these"
    return "\n".join([*lines, total, _estimate([*to_do, *more], paid)])


def _result(folder: Path) -> Result | None:
    with suppress(Damaged):  # missing, or to be written anew
        return Result.read(folder)
    return None


def _state(plan: Planned, result: Result | None) -> str:
    if result is not None and result.status == "failed":
        return FAILED
    if result is not None and result.finished:
        return FINISHED
    if result is not None and plan.config.hydra.sweeper.get("trial") is not None:
        return PRUNED
    return TO_RESUME if (plan.folder / "checkpoints" / "last.ckpt").exists() else TO_RUN


def _choices(plan: Planned) -> frozenset[tuple[str, str]]:
    return frozenset((str(k), str(v)) for k, v in plan.config.hydra.runtime.choices.items())


def _paid(plan: Planned, result: Result) -> list[_Paid]:
    seconds, epochs = result.durations.get("total_s"), result.settings.epochs
    return [_Paid(_choices(plan), seconds / epochs)] if seconds and epochs else []


def _estimate(to_do: Sequence[Planned], paid: Sequence[_Paid]) -> str:
    """From the finished jobs that are most like each one that is left."""
    if not to_do:
        return "nothing is left to run"
    if not paid:
        return "no job has finished yet from which to estimate the time"
    total = 0.0
    for plan in to_do:
        choices = _choices(plan)
        alike = max(len(choices & one.choices) for one in paid)
        seconds = [one.seconds for one in paid if len(choices & one.choices) == alike]
        total += plan.config.epochs * median(seconds)
    left = f"{len(to_do)} job{'s' * (len(to_do) != 1)} left"
    duration = format_duration(total)
    return f"{left}: about {duration} one after another, going by {len(paid)} that finished"
