"""Weights & Biases as a mirror of the records: without it nothing else in outputs/ changes."""

import functools
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import WandbLogger

from arcmargin.errors import UserError
from arcmargin.record import Record

log = logging.getLogger(__name__)

MODES = ("auto", "online", "offline", "disabled")
PROBE_SECONDS = 3.0


def wandb_logger(
    *,
    mode: str,
    project: str,
    entity: str | None,
    tags: Sequence[str],
    notes: str | None,
    directory: Path,
    group: str | None,
    name: str,
    config: dict[str, Any],
) -> WandbLogger | None:
    """A started logger, or None when disabled or when W&B cannot start: that never costs a run."""
    # Imported here: W&B reads its environment when it is first imported.
    os.environ.setdefault("WANDB_SILENT", "true")
    mode = _resolved_mode(os.environ.get("WANDB_MODE", mode))
    if mode == "disabled":
        return None
    try:
        directory.mkdir(parents=True, exist_ok=True)
        logger = WandbLogger(
            name=name,
            project=os.environ.get("WANDB_PROJECT", project),
            entity=os.environ.get("WANDB_ENTITY", entity),
            group=os.environ.get("WANDB_RUN_GROUP", group),
            job_type="train",
            save_dir=directory,
            offline=mode == "offline",
            tags=list(tags),
            notes=notes,
            config=config,
        )
        run = logger.experiment
        run.define_metric("epoch")
        run.define_metric("*", step_metric="epoch")
    except Exception as error:
        if mode == "online":
            raise UserError(
                f"wandb.mode=online, but W&B did not start ({error}); check the key and the "
                "network, or use wandb.mode=auto"
            ) from error
        log.warning("W&B did not start (%s); the run goes on without it", error)
        return None
    if mode == "offline":
        log.info("W&B: offline; to upload later: wandb sync %s", Path(run.dir).parent)
    else:
        log.info("W&B: %s", run.url)
    return logger


def finish(
    logger: WandbLogger | None, record: Record, picture: Path | None
) -> dict[str, Any] | None:
    """Send the final numbers and the picture, close the run; returns where it is."""
    if logger is None:
        return None
    import wandb

    run = logger.experiment
    where = {"mode": "offline" if run.offline else "online", "id": run.id, "url": run.url}
    where["dir"] = str(Path(run.dir).parent)
    try:
        run.summary.update({f"test/{name}": value for name, value in record.metrics.items()})
        if picture is not None:
            run.log({"embedding": wandb.Image(str(picture))})
        run.finish(exit_code=0 if record.finished else 1)
    except Exception as error:
        log.warning("W&B stopped answering (%s); the record on disk is complete", error)
    return where


def _resolved_mode(mode: str) -> str:
    if mode not in MODES:
        raise UserError(f"wandb.mode must be one of {', '.join(MODES)}, got '{mode}'")
    if mode != "auto":
        return mode
    return "online" if _has_key() and _answers() else "offline"


def _has_key() -> bool:
    import wandb

    return bool(wandb.api.api_key)


@functools.cache
def _answers() -> bool:
    """Whether the server answers at all, asked once a process."""
    url = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    try:
        urllib.request.urlopen(url, timeout=PROBE_SECONDS).close()
    except urllib.error.HTTPError:
        return True  # an answer, whatever it says
    except (OSError, ValueError):
        return False
    return True
