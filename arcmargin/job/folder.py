"""A run's folder: what it holds already."""

import logging
import shutil
from pathlib import Path

from arcmargin.errors import UserError
from arcmargin.files import LOCK_FILE, display_path
from arcmargin.record import RECORD_FILE, Damaged, Result

log = logging.getLogger("arcmargin")

# What a run that never started may have left.
NOTHING_YET = {".hydra", LOCK_FILE, "run.log", "wandb", "wandb_run_id"}


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
