"""One process at a time in a folder."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arcmargin.errors import UserError
from arcmargin.record import display_path

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]  # Windows has none: processes there go without a lock

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
        locked = fcntl is not None
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
                locked = False
        yield locked
