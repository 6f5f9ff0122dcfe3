"""joblib's worker processes: busy before the first job, and out of the way after the last."""

import importlib
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from arcmargin import libraries

# By these joblib tells whether its workers are still the right ones.
_OF_THE_WORKERS = ("n_jobs", "verbose", "temp_folder", "max_nbytes", "mmap_mode")
_used = False


def use(settings: Mapping[str, Any], count: int | None, *, wandb: bool) -> None:
    """The launcher's `settings` for joblib; `count` jobs, None if unknown, are about to be composed.

    Meanwhile the workers load the libraries: joblib gives the same ones to the same settings.
    """
    global _used
    _used = True
    if count != 0:
        importlib.import_module("joblib")  # here: two threads at it at once would break it
        given = (settings, 1 if count is None else count, wandb)
        threading.Thread(target=_wake, args=given, name="waking workers", daemon=True).start()


def _wake(settings: Mapping[str, Any], count: int, wandb: bool) -> None:
    from joblib import Parallel, delayed, effective_n_jobs

    workers = effective_n_jobs(settings["n_jobs"])
    if workers == 1:  # none: the jobs run in this process
        return
    same = {name: settings[name] for name in _OF_THE_WORKERS if name in settings}
    load = delayed(libraries.load)
    with suppress(Exception):  # the jobs will meet it again
        Parallel(**same, backend="loky", batch_size=1)(
            load(wandb=wandb) for _ in range(min(workers, count))
        )


def dismiss(*, at_once: bool = False) -> None:
    """No more jobs come. A worker takes two seconds to end, during the report and after it, unless
    `at_once`."""
    global _used
    if _used:
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor(reuse=True).shutdown(wait=False, kill_workers=at_once)
    _used = False
