"""What a job of a sweep finds in its folder: another process at work, a result, a checkpoint."""

import logging
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arcmargin.errors import UserError
from arcmargin.job.results import short
from arcmargin.record import RECORD_FILE, Damaged, Record

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]  # Windows has none: jobs there go without a lock

log = logging.getLogger("arcmargin")

LOCK_FILE = ".lock"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time works in a folder, the next one waits; the lock ends with its process.

    So a job runs once although two workers, or two commands, start it at the same moment.
    """
    with (folder / LOCK_FILE).open("a") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.warning("%s: another process runs this job; waiting for it", short(folder))
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError:  # a file system without locks
                pass
        yield


def result(folder: Path) -> Record | None:
    """The record in `folder`; None without one. One that cannot be read goes: the job runs again."""
    path = folder / RECORD_FILE
    if not path.exists():
        return None
    try:
        return Record.read(folder)
    except Damaged as error:
        log.warning("%s; the job is run again", error)
        path.unlink(missing_ok=True)
        return None


def checkpoint(resume: str | None, folder: Path) -> Path | None:
    """The checkpoint asked for, or the one that an interrupted run left in this same folder."""
    if resume is None:
        last = folder / "checkpoints" / "last.ckpt"
        if not last.exists() or _whole(last):
            return last if last.exists() else None
        log.warning("%s is damaged; training starts from the beginning", short(last))
        last.unlink()
        return None
    path = Path(resume)
    path = path / "checkpoints" / "last.ckpt" if path.is_dir() else path
    if not path.is_file():
        raise UserError(
            f"resume={resume} holds no checkpoint; give a run folder or a file such as "
            "outputs/runs/<run>/checkpoints/last.ckpt"
        )
    if not _whole(path):
        raise UserError(f"{short(path)} is damaged: no training can go on from it")
    return path


def _whole(checkpoint: Path) -> bool:
    """A checkpoint is a zip archive with a checksum for each of its parts."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, OSError, EOFError):
        return False


def cores() -> int:
    """CPU cores this process may use: affinity and control groups counted."""
    import joblib

    return int(joblib.cpu_count())


def begun_since(folder: Path, moment: float) -> bool:
    """Whether a job began in `folder` after `moment` (seconds since the epoch)."""
    return _written(folder / ".hydra" / "overrides.yaml") > moment


def ended_since(folder: Path, moment: float) -> bool:
    return _written(folder / RECORD_FILE) > moment


def _written(path: Path) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
