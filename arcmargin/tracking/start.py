"""Begins a W&B run, online or offline; a run that trains never depends on it."""

import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb

from arcmargin.errors import UserError
from arcmargin.record import Damaged, Result
from arcmargin.tracking import mode as wandb_mode
from arcmargin.tracking.mode import Decision

log = logging.getLogger(__name__)

START_SECONDS = 10.0  # for the server to accept a run
FINISH_SECONDS = 30.0  # for the last uploads; what is left stays on disk
ID_FILE = "wandb_run_id"
# Where $WANDB_<NAME> is called otherwise.
_ENVIRONMENT = {"group": "WANDB_RUN_GROUP", "id": "WANDB_RUN_ID"}


def begin(
    decision: Decision,
    arguments: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    command: Sequence[str] | None = None,
    group: Path | None = None,
) -> Any:
    """A wandb.Run made of wandb.init's `arguments` and wandb.Settings, or None: disabled, or W&B did
    not start.

    `command` are the arguments of the run's own command line where the process has another one,
    `group` is the folder of the runs that belong together. Raises UserError when online was asked
    for and W&B did not start.
    """
    if decision.mode == "disabled":
        return None
    # W&B's telemetry has no setting, only this variable.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    with _command_line(command):
        try:
            return _init(decision.mode, arguments, settings)
        except Exception as error:
            reason = without_key(error)
        if decision.required:
            raise UserError(
                f"wandb.mode=online, but W&B did not start ({reason}); check the network and the "
                "project, or use wandb.mode=auto"
            )
        log.warning("W&B did not start (%s)", reason)
        if decision.mode == "offline":
            return None
        wandb_mode.give_up(group)
        try:
            return _init("offline", arguments, settings)
        except Exception as error:
            log.warning("nor offline (%s); the run goes on without W&B", without_key(error))
            return None


def own_id() -> bool:
    """Whether W&B's id of a run is ours to choose: one from the environment is its sender's business,
    a W&B sweep or a person."""
    return not any(os.environ.get(name) for name in ("WANDB_RUN_ID", "WANDB_SWEEP_ID"))


def same_run(folder: Path | None) -> dict[str, Any]:
    """wandb.init's arguments to go on with the run that an unfinished attempt in `folder` began."""
    path = folder / ID_FILE if folder else None
    if path is None or not path.exists():
        return {}
    try:
        if Result.read(path.parent).finished:
            return {}
    except Damaged:  # none yet: it was interrupted
        pass
    return {"id": path.read_text().strip(), "resume": "allow"}


def remember(run_id: str, folder: Path) -> None:
    """For an attempt that goes on with this one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ID_FILE).write_text(f"{run_id}\n")
    except OSError as error:
        log.warning("cannot note the W&B run's id (%s): a resumed run will be a new one", error)


def without_key(error: BaseException) -> str:
    """The error in one line, less the API key in case W&B quotes it."""
    text = " ".join(str(error).split()) or type(error).__name__
    key = os.environ.get("WANDB_API_KEY")
    return text.replace(key, "***") if key else text


def _init(mode: Any, arguments: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    arguments, chosen = (
        _less_the_environment(arguments),
        _less_the_environment(
            {"init_timeout": START_SECONDS, "finish_timeout": FINISH_SECONDS, **settings}
        ),
    )
    if "dir" in arguments:
        Path(arguments["dir"]).mkdir(parents=True, exist_ok=True)
    chosen |= {"finish_timeout_raises": True, "silent": True}
    wandb.setup(wandb.Settings(silent=True))  # the login speaks by its own settings
    return wandb.init(**arguments, mode=mode, settings=wandb.Settings(**chosen))


def _less_the_environment(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a person sets in the environment goes before what the configuration says."""
    return {
        name: value
        for name, value in given.items()
        if not os.environ.get(_ENVIRONMENT.get(name, f"WANDB_{name.upper()}"))
    }


@contextmanager
def _command_line(arguments: Sequence[str] | None) -> Iterator[None]:
    """W&B takes a run's command from sys.argv and has no setting for its arguments; in the worker of a
    sweep that is the sweep's command, not the job's."""
    before = sys.argv
    if arguments is not None:
        sys.argv = [before[0], *arguments]
    try:
        yield
    finally:
        sys.argv = before
