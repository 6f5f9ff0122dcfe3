"""Begins a W&B run, online or offline; a run that trains never depends on it."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

from arcmargin.errors import UserError
from arcmargin.record import Damaged, Result
from arcmargin.tracking import mode as wandb_mode

log = logging.getLogger(__name__)

START_SECONDS = 10.0  # for the server to accept a run
FINISH_SECONDS = 30.0  # for the last uploads; what is left stays on disk (WANDB_FINISH_TIMEOUT)
ID_FILE = "wandb_run_id"
# What a person sets in the environment goes before what the configuration says.
_ENVIRONMENT = {
    "project": "WANDB_PROJECT",
    "entity": "WANDB_ENTITY",
    "name": "WANDB_NAME",
    "group": "WANDB_RUN_GROUP",
    "job_type": "WANDB_JOB_TYPE",
    "tags": "WANDB_TAGS",
    "notes": "WANDB_NOTES",
    "dir": "WANDB_DIR",
    "resume": "WANDB_RESUME",
}


def begin(
    mode: str,
    arguments: Mapping[str, Any],
    folder: Path,
    *,
    group: Path | None = None,
    continues: Path | None = None,
) -> Any:
    """A wandb.Run made of wandb.init's `arguments`, or None: disabled, or W&B did not start.

    `group` is the folder of the runs that belong together, `continues` is the folder whose W&B
    run goes on unless it finished; `folder` remembers the id of
    this one. Raises UserError when the mode is online and W&B did not start.
    """
    chosen = wandb_mode.resolve(mode, group)
    if chosen == "disabled":
        return None
    # W&B's telemetry has no setting, only this variable; it would call home in offline mode too.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    # An id from the environment is its sender's business: a W&B sweep, or a person.
    own_id = not any(os.environ.get(name) for name in ("WANDB_RUN_ID", "WANDB_SWEEP_ID"))
    given = {**arguments, **(_same_run(continues) if own_id else {})}
    given = {k: v for k, v in given.items() if not os.environ.get(_ENVIRONMENT.get(k, ""))}
    try:
        run = _init(chosen, given)
    except Exception as error:
        reason = without_key(error)
        if (os.environ.get("WANDB_MODE") or mode) == "online":
            raise UserError(
                f"wandb.mode=online, but W&B did not start ({reason}); check the network and the "
                "project, or use wandb.mode=auto"
            ) from None
        log.warning("W&B did not start (%s)", reason)
        run = _offline_instead(given, group) if chosen == "online" else None
    if run is not None and own_id:
        _remember(run.id, folder)
    return run


def without_key(error: BaseException) -> str:
    """The error in one line, less the API key in case W&B quotes it."""
    text = " ".join(str(error).split()) or type(error).__name__
    key = os.environ.get("WANDB_API_KEY")
    return text.replace(key, "***") if key else text


def _init(mode: Any, arguments: Mapping[str, Any]) -> Any:
    settings: dict[str, Any] = {
        "init_timeout": START_SECONDS,
        "finish_timeout_raises": True,
        "silent": True,
    }
    if "WANDB_FINISH_TIMEOUT" not in os.environ:
        settings["finish_timeout"] = FINISH_SECONDS
    if "dir" in arguments:
        Path(arguments["dir"]).mkdir(parents=True, exist_ok=True)
    return wandb.init(**arguments, mode=mode, settings=wandb.Settings(**settings))


def _offline_instead(arguments: Mapping[str, Any], group: Path | None) -> Any:
    wandb_mode.give_up(group)
    try:
        return _init("offline", arguments)
    except Exception as error:
        log.warning("nor offline (%s); the run goes on without W&B", without_key(error))
        return None


def _same_run(folder: Path | None) -> dict[str, Any]:
    """The id of the run that an unfinished attempt in `folder` began."""
    path = folder / ID_FILE if folder else None
    if path is None or not path.exists():
        return {}
    try:
        if Result.read(path.parent).finished:
            return {}
    except Damaged:  # none yet: it was interrupted
        pass
    return {"id": path.read_text().strip(), "resume": "allow"}


def _remember(run_id: str, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ID_FILE).write_text(f"{run_id}\n")
    except OSError as error:
        log.warning("cannot note the W&B run's id (%s): a resumed run will be a new one", error)
