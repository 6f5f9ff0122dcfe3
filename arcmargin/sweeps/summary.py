"""What is said at the end of a sweep, the most important last: what came of it and how to go on."""

import shlex
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from arcmargin.job.results import short
from arcmargin.job.user_errors import sentence, users_mistake
from arcmargin.sweeps import state as status
from arcmargin.sweeps import watch
from arcmargin.sweeps.overview import spoken
from arcmargin.sweeps.watch import Watch

_LISTED = 30  # jobs of a kind; the folders have them all


def tables(markdown: str, files: Sequence[Path]) -> str:
    """The summary and where the files of the report are."""
    folders: dict[Path, list[str]] = {}
    for file in files:
        folders.setdefault(file.parent, []).append(file.name)
    where = [f"{short(folder)}/: {', '.join(names)}" for folder, names in folders.items()]
    return "\n".join(["", markdown, *where])


def no_report(swept: Watch, error: Exception) -> None:
    if users_mistake(error) is None:
        traceback.print_exception(error)
    print(f"no report: {sentence(error)}; the runs are kept, to write it:", file=sys.stderr)
    print(f"  python -m arcmargin.report {shlex.quote(short(swept.sweep))}", file=sys.stderr)


def say(swept: Watch) -> bool:
    """The last lines of a sweep; returns whether nothing failed and nothing is left to do."""
    seen = swept.overview
    failed = sorted(seen.among("failed"), key=seen.label)
    stopped = seen.among("interrupted", "running")
    left = len(stopped) + seen.not_run
    for job in stopped[:_LISTED]:
        print(f"stopped: {seen.label(job)} after epoch {job.epoch}", file=sys.stderr)
    for job in failed[:_LISTED]:
        print(f"failed: {seen.label(job)}: {job.error}", file=sys.stderr)
    if len(failed) > _LISTED:
        print(f"failed: {len(failed) - _LISTED} more", file=sys.stderr)
    if failed:
        print(f"why in full: {short(swept.sweep)}/*/{status.TRACEBACK}", file=sys.stderr)
    print(_counts(swept), file=sys.stderr)
    if failed or left:
        print(f"to {'go on' if left else 'run only those again'}:", file=sys.stderr)
        print(f"  {swept.again}", file=sys.stderr)
    return not (failed or left)


def _counts(swept: Watch) -> str:
    seen = swept.overview
    total = len(seen.jobs) - len(seen.among("repeated")) if seen.total is None else seen.total
    counts = {
        "finished": len(seen.among("finished")),
        "finished already": len(seen.among("skipped")),
        "failed": len(seen.among("failed")),
        "stopped": len(seen.among("interrupted", "running")),
        "not run": seen.not_run,
    }
    if total and counts["finished already"] == total:
        return f"nothing to run: all of {total} in {short(swept.sweep)} finished already"
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    where = f"{total} job{'s' * (total != 1)} in {short(swept.sweep)}"
    return f"{where}: {told}, after {spoken(swept.elapsed)}"


def interrupted() -> None:
    """After Ctrl-C."""
    swept = watch.end()
    if swept is not None:
        status.stop(swept.sweep)  # those that a cluster runs for us
        so_far = swept.overview.line(time.monotonic(), left=False)
        print(
            f"interrupted: {so_far}. Finished jobs are kept, the others go on from their last "
            f"checkpoint with\n  {swept.again}",
            file=sys.stderr,
        )


def broken_off(swept: Watch, error: Exception) -> None:
    """After an error of the launcher itself, not of a job."""
    if type(error).__name__ == "TerminatedWorkerError":  # joblib
        told = "a worker process was killed, perhaps for want of memory; run fewer at once"
        print(f"the sweep broke off: {told} (hydra.launcher.n_jobs)", file=sys.stderr)
    elif str(error).startswith("No trials are completed"):  # Optuna's, looking for the best one
        say(swept)
        return
    else:
        traceback.print_exception(error)
    print(f"to go on:\n  {swept.again}", file=sys.stderr)
