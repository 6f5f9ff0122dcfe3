"""What is said at the end of a sweep, the most important last: what came of it and how to go on."""

import shlex
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from arcmargin.files import display_path
from arcmargin.job.user_errors import sentence, users_mistake
from arcmargin.sweeps import display, state
from arcmargin.sweeps.display import Display, format_duration

_MOST_SHOWN = 30  # jobs of a kind; the folders have them all


def as_typed(arguments: Sequence[str]) -> list[str]:
    """A process's command line as a person gave it: `arcmargin` is a script that the system runs as
    `/…/python /…/arcmargin`."""
    script = Path(arguments[1]).stem if len(arguments) > 1 else ""
    return ["arcmargin", *arguments[2:]] if script == "arcmargin" else [*arguments]


def tables(markdown: str, verdict: Sequence[str], files: Sequence[Path]) -> str:
    """The summary, what may be believed of it, and where the files of the report are."""
    folders: dict[Path, list[str]] = {}
    for file in files:
        folders.setdefault(file.parent, []).append(file.name)
    where = [f"{display_path(folder)}/: {', '.join(names)}" for folder, names in folders.items()]
    return "\n".join(["", markdown, *verdict, "", *where])


def no_report(sweep: Path, error: Exception) -> None:
    if users_mistake(error) is None:
        traceback.print_exception(error)
    _say(f"no report: {sentence(error)}; the runs are kept, to write it:")
    _say(f"  python -m arcmargin.report {shlex.quote(display_path(sweep))}")


def say(shown: Display) -> bool:
    """The last lines of a sweep; returns whether nothing failed and nothing is left to do."""
    seen = shown.overview
    failed = sorted(seen.among("failed"), key=seen.label)
    stopped = seen.among("interrupted", "running")
    left = len(stopped) + seen.not_run
    for job in stopped[:_MOST_SHOWN]:
        _say(f"stopped: {seen.label(job)} after epoch {job.epoch}")
    for job in failed[:_MOST_SHOWN]:
        _say(f"failed: {seen.label(job)}: {job.error}")
    if len(failed) > _MOST_SHOWN:
        _say(f"failed: {len(failed) - _MOST_SHOWN} more")
    if failed:
        _say(f"why in full: {display_path(shown.sweep)}/*/{state.TRACEBACK}")
    _say(_counts(shown))
    if failed or left:
        _say(f"to {'go on' if left else 'run only those again'}:\n  {shown.again}")
    return not (failed or left)


def interrupted() -> None:
    """After Ctrl-C or SIGTERM."""
    shown = display.end()
    if shown is not None:
        so_far = shown.overview.line(time.monotonic(), left=False)
        _say(
            f"interrupted: {so_far}. Finished jobs are kept, the others go on from their last "
            f"checkpoint with\n  {shown.again}"
        )


def _counts(shown: Display) -> str:
    seen = shown.overview
    total = len(seen.jobs) - len(seen.among("repeated")) if seen.total is None else seen.total
    counts = {
        "finished": len(seen.among("finished")),
        "finished already": len(seen.among("skipped")),
        "stopped by the search": len(seen.among("pruned")),
        "failed": len(seen.among("failed")),
        "stopped": len(seen.among("interrupted", "running")),
        "not run": seen.not_run,
    }
    where = display_path(shown.sweep)
    if total and counts["finished already"] == total:
        return f"nothing to run: all of {total} in {where} finished already"
    parts = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    jobs = f"{total} job{'s' * (total != 1)} in {where}"
    return f"{jobs}: {parts}, after {format_duration(shown.elapsed)}"


def _say(text: str) -> None:
    print(text, file=sys.stderr)
