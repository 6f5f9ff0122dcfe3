"""Weights & Biases as a mirror of the records: whatever happens to it, a run keeps its result."""

import logging
import os
import shlex
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger

from arcmargin.job.results import predicted_gap, short
from arcmargin.metrics import geometry
from arcmargin.record import Embeddings, Record
from arcmargin.tracking import media
from arcmargin.tracking import mode as wandb_mode
from arcmargin.tracking.start import begin, without_key
from arcmargin.training.train import Outcome

log = logging.getLogger(__name__)

_IN_NAME = ("header", "m1", "m2", "m3")
_NOT_IN_NAME = (
    *("sweep", "logger", "wandb", "hydra", "data_dir", "resume", "on_error", "threads", "trainer"),
)


def start(
    *,
    mode: str,
    project: str,
    entity: str | None,
    tags: Sequence[str],
    notes: str | None,
    pictures: int,
    table_rows: int,
    checkpoint: bool,
    record: Record,
    config: Mapping[str, Any],
    folder: Path,
    sweep: Path | None = None,
    continues: Path | None = None,
) -> "Tracker | None":
    """A running W&B run; None when disabled or when W&B did not start, which never costs a run.

    `continues` is the run folder whose W&B run goes on. Raises UserError when the mode is online
    and W&B cannot be reached.
    """
    arguments = {
        "project": project,
        "entity": entity,
        "name": run_name(record),
        "group": sweep.name if sweep else None,
        "job_type": "train",
        "tags": list(dict.fromkeys([record.header, record.dataset, *tags])),
        "notes": notes,
        "dir": str(sweep or folder),
        "config": run_config(record, config, folder),
    }
    run = begin(mode, arguments, folder, continues)
    if run is None:
        return None
    tracker = Tracker(run, record, pictures=pictures, table_rows=table_rows, checkpoint=checkpoint)
    tracker.safely(lambda: media.define_metrics(run))
    if not run.offline:
        log.info("W&B: %s", run.url)
    elif sweep is None:
        log.info("W&B: offline; to upload later: wandb sync %s", _shown(tracker.where["dir"]))
    return tracker


def run_name(record: Record) -> str:
    """`arcface m2=0.5 seed=1`: the header, its margins, and what else varies in the sweep (or was
    set, in a single run)."""
    swept = os.environ.get(wandb_mode.SWEPT)
    parts = [record.name]
    for override in record.overrides:
        key, _, value = override.lstrip("+~").partition("=")
        told = key in swept.split(",") if swept else key.split(".")[0] not in _NOT_IN_NAME
        if told and key not in _IN_NAME:
            parts.append(f"{key.rpartition('.')[2]}={value}")
    return " ".join(parts)


def run_config(record: Record, config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The whole configuration as plain values. At the top m1 m2 m3 s as the header takes them: the
    columns of W&B's parallel coordinates; in each group its name."""
    plain = {key: value for key, value in config.items() if key not in ("wandb", "logger")}
    for group in ("header", "dataset", "backbone", "optimizer"):
        plain[group] = {"name": getattr(record, group), **plain.get(group, {})}
    for key in ("m1", "m2", "m3", "s", "git_commit", "overrides"):
        plain[key] = getattr(record, key)
    return {**plain, "folder": str(folder)}


class Tracker(Logger):
    """One W&B run behind Lightning's logger interface. After its first failure it stays silent."""

    def __init__(
        self, run: Any, record: Record, *, pictures: int, table_rows: int, checkpoint: bool
    ) -> None:
        super().__init__()
        self.run = run
        self.record = record
        self.pictures = pictures
        self.table_rows = table_rows
        self.checkpoint = checkpoint
        self.failed = False
        self._drawn = -1
        self.where = {  # for the record
            "mode": "offline" if run.offline else "online",
            "id": run.id,
            "url": None if run.offline else run.url,
            "dir": str(Path(run.dir).parent),
        }

    @property
    def name(self) -> str:
        return str(self.run.project)

    @property
    def version(self) -> str:
        return str(self.run.id)

    def safely(self, action: Callable[[], object]) -> None:
        """The first failure is said once; from then on the run goes on without W&B."""
        try:
            if not self.failed:
                action()
        except Exception as error:
            self._fail(without_key(error))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """They are in the config from the start."""

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """`val_accuracy` becomes val/accuracy: W&B makes a section of charts of each prefix."""
        named = {_sectioned(key): value for key, value in metrics.items() if value is not None}
        self.safely(lambda: self.run.log(named))

    def watch(self, epoch: int, data: Embeddings, accuracy: float) -> None:
        """The embeddings at a moment of training: pictures that the media slider goes through."""
        place = epoch * self.pictures // max(self.record.epochs or 1, 1)
        if self.pictures and place > self._drawn:
            self._drawn = place
            self.safely(lambda: self.run.log(self._moment(epoch, data, accuracy)))

    def _moment(self, epoch: int, data: Embeddings, accuracy: float) -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an embedding may lack a direction in mid-training
            metrics = geometry.measure(data.embeddings, data.labels)
        metrics |= {"accuracy": accuracy, "gap_predicted_deg": predicted_gap(self.record)}
        record = replace(self.record, metrics=metrics)
        picture = media.embedding_picture(record, data, f"epoch {epoch}")
        return {"embedding": picture, "epoch": epoch}

    def finish(self, outcome: Outcome, checkpoint: Path) -> None:
        """The final numbers, pictures and tables; then the run is closed."""
        record, data = self.record, outcome.embeddings
        epoch = {"epoch": record.epochs}
        values = {f"test/{k}": v for k, v in record.metrics.items() if v is not None}
        self.safely(lambda: self.run.summary.update(values))
        self.safely(lambda: self.run.log(epoch | media.pictures(record, data)))
        if not self.run.offline and (reason := wandb_mode.problem()):
            self._fail(reason)  # a table or an artifact would wait for the server
        self.safely(lambda: self.run.log(epoch | media.tables(record, outcome, self.table_rows)))
        if self.checkpoint:
            name = f"model-{self.run.id}"
            self.safely(lambda: self.run.log_artifact(media.artifact(name, "model", [checkpoint])))
        self.close(0)

    def fail(self, error: str) -> None:
        """The run shows as failed, and why."""
        self.safely(lambda: self.run.summary.update({"error": error}))
        self.close(1)

    def close(self, exit_code: int) -> None:
        """Ends the W&B run; anything but 0 shows as failed there."""
        try:
            self.run.finish(exit_code=exit_code)
        except Exception as error:
            self._fail(without_key(error))
        if self.failed and not self.run.offline:
            wandb_mode.give_up()

    def _fail(self, reason: str) -> None:
        if not self.failed:
            log.warning(
                "W&B failed (%s); the run goes on without it and its record will be complete. "
                "To upload what W&B noted: wandb sync --include-online %s",
                reason,
                _shown(self.where["dir"]),
            )
        self.failed = True


def _shown(directory: str) -> str:
    """For pasting into a shell."""
    return shlex.quote(short(Path(directory)))


def _sectioned(name: str) -> str:
    section, _, rest = name.partition("_")
    return f"{section}/{rest}" if section in ("train", "val") else name
