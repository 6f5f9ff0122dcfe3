"""Files and folders: written whole or not at all, by one process at a time."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from arcmargin.errors import UserError

if sys.platform != "win32":
    import fcntl

log = logging.getLogger("arcmargin")

LOCK_FILE = ".lock"


@contextmanager
def alone(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """One process at a time works in a folder, the next one waits; the lock ends with its process.

    Makes the folder. Yields whether it is locked: not every file system has locks. Raises UserError
    instead of waiting without `wait`.
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
        yield _locked(file, folder, wait)


def _locked(file: IO[str], folder: Path, wait: bool) -> bool:
    if sys.platform == "win32":  # has no fcntl: processes there go without a lock
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        if not wait:
            raise UserError(
                f"another process works in {display_path(folder)}; wait for it to end, or choose "
                "another name"
            ) from error
        log.warning("%s: another process works there; waiting", display_path(folder))
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:  # a file system without locks
        return False
    return True


def write_atomically(
    path: Path, write: Callable[[IO[bytes]], object], *, flush: bool = True
) -> Path:
    """Write a file beside `path`, flush it to disk, then rename it: readers see the old file or the
    whole new one. Raises UserError when the folder is full or read-only."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            if flush:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"cannot write {path}: {reason}; free some space or choose another folder"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    return path


def import_from_here() -> None:
    """Modules in the current folder can be imported, after all others. `python -m` sees to that by
    itself, a console script does not."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)


def display_path(path: Path) -> str:
    """Relative to where the user is, when it lies below."""
    path, here = path.resolve(), Path.cwd().resolve()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
