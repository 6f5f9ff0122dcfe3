"""A run's folder: one process at a time works in it, and what it holds already."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arcmargin.errors import UserError
from arcmargin.record import RECORD_FILE, Damaged, Result, display_path

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]  # Windows has none: runs there go without a lock

log = logging.getLogger("arcmargin")

LOCK_FILE = ".lock"
# What a run that never started may have left.
NOTHING_YET = {".hydra", LOCK_FILE, "run.log", "wandb", "wandb_run_id"}


@contextmanager
def alone(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """One process at a time works in a folder, the next one waits; the lock ends with its process.

    So a job runs once although two workers, or two commands, start it at the same moment. Raises
    UserError instead of waiting without `wait`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK_FILE).open("a")
    except OSError as error:
        raise UserError(
            f"cannot write {display_path(folder)}: {error.strerror}; free some space or choose another "
            "folder"
        ) from error
    with file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if not wait:
                    raise UserError(
                        f"another process works in {display_path(folder)}; wait for it to end, or "
                        "choose another name"
                    ) from error
                log.warning("%s: another process works there; waiting", display_path(folder))
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError:  # a file system without locks
                pass
        yield


def result(folder: Path) -> Result | None:
    """The result in `folder`; None without one. One that cannot be read goes: the run is made again."""
    path = folder / RECORD_FILE
    if not path.exists():
        return None
    try:
        return Result.read(folder)
    except Damaged as error:
        log.warning("%s; the run is made again", error)
        path.unlink(missing_ok=True)
        return None


def finished(folder: Path, identity: str) -> Result | None:
    """The finished result of this very run, if it is there. Raises UserError for another run's."""
    before = result(folder)
    if before is None or not before.finished:
        return None
    if before.settings.identity != identity:
        raise UserError(
            f"{display_path(folder)} holds the result of another run ({before.settings.name} on "
            f"{before.settings.dataset}, seed {before.settings.seed}); choose another folder"
        )
    return before


def remove_if_empty(folder: Path) -> None:
    """A run that never started leaves nothing behind."""
    if folder.is_dir() and {path.name for path in folder.iterdir()} <= NOTHING_YET:
        shutil.rmtree(folder)
