"""Weights & Biases as a mirror of the records: whatever happens to it, a run keeps its result."""

import logging
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger

from arcmargin.record import Result, Settings, display_path
from arcmargin.tracking import media
from arcmargin.tracking import mode as wandb_mode
from arcmargin.tracking.start import begin, without_key
from arcmargin.training import checkpoints
from arcmargin.training.snapshots import Moment

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
    settings: Settings,
    config: Mapping[str, Any],
    folder: Path,
    group: Path | None = None,
    continues: Path | None = None,
) -> "Tracker | None":
    """A running W&B run; None when disabled or when W&B did not start, which never costs a run.

    `group` is the folder of the runs that belong together, `continues` the run folder whose W&B
    run goes on. Raises UserError when the mode is online
    and W&B cannot be reached.
    """
    arguments = {
        "project": project,
        "entity": entity,
        "name": run_name(settings, wandb_mode.varying_keys(group)),
        "group": group.name if group else None,
        "job_type": "train",
        "tags": list(dict.fromkeys([settings.header, settings.dataset, *tags])),
        "notes": notes,
        "dir": str(group or folder),
        "config": run_config(settings, config, folder),
    }
    run = begin(mode, arguments, folder, group=group, continues=continues)
    if run is None:
        return None
    tracker = Tracker(
        run, settings, group=group, pictures=pictures, table_rows=table_rows, checkpoint=checkpoint
    )
    tracker.safely(lambda: media.define_metrics(run))
    if not run.offline:
        log.info("W&B: %s", run.url)
    elif group is None:
        log.info("W&B: offline; to upload later: wandb sync %s", _shown(tracker.where["dir"]))
    return tracker


def run_name(settings: Settings, varying: Sequence[str] | None = None) -> str:
    """`arcface m2=0.5 seed=1`: the head, its margins, and what else varies in the group (or was set, in
    a single run)."""
    parts = [settings.name]
    for override in settings.overrides:
        key, _, value = override.lstrip("+~").partition("=")
        shown = key.split(".")[0] not in _NOT_IN_NAME if varying is None else key in varying
        if shown and key.removeprefix("header.") not in _IN_NAME:
            parts.append(f"{key.rpartition('.')[2]}={value}")
    return " ".join(parts)


def run_config(settings: Settings, config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The whole configuration as plain values. At the top m1 m2 m3 s as they act: the columns of W&B's
    parallel coordinates; in each group its name."""
    plain = {key: value for key, value in config.items() if key not in ("wandb", "logger")}
    for group in ("header", "dataset", "backbone", "optimizer"):
        plain[group] = {"name": getattr(settings, group), **plain.get(group, {})}
    for key in ("m1", "m2", "m3", "s", "identity", "overrides"):
        plain[key] = getattr(settings, key)
    return {**plain, "folder": str(folder)}


class Tracker(Logger):
    """One W&B run behind Lightning's logger interface. After its first failure it stays silent."""

    def __init__(
        self,
        run: Any,
        settings: Settings,
        *,
        group: Path | None = None,
        pictures: int,
        table_rows: int,
        checkpoint: bool,
    ) -> None:
        super().__init__()
        self.run = run
        self.settings = settings
        self.group = group
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

    def show_moment(self, moment: Moment) -> None:
        """The embeddings at a moment of training: pictures that the media slider goes through."""
        place = moment.epoch * self.pictures // max(self.settings.epochs or 1, 1)
        if self.pictures and place > self._drawn:
            self._drawn = place
            self.safely(lambda: self.run.log(self._moment(moment)))

    def _moment(self, moment: Moment) -> dict[str, Any]:
        result = Result(settings=self.settings, metrics=moment.metrics)
        picture = media.embedding_picture(result, moment.embeddings, f"epoch {moment.epoch}")
        return {"embedding": picture, "epoch": moment.epoch}

    def finish(self, result: Result) -> None:
        """The final numbers, pictures and tables; then the run is closed."""
        epoch = {"epoch": self.settings.epochs}
        values = {f"test/{k}": v for k, v in result.metrics.items() if v is not None}
        self.safely(lambda: self.run.summary.update(values))
        self.safely(lambda: self.run.log(epoch | media.pictures(result)))
        if not self.run.offline and (reason := wandb_mode.problem()):
            self._fail(reason)  # a table or an artifact would wait for the server
        self.safely(lambda: self.run.log(epoch | media.tables(result, self.table_rows)))
        if self.checkpoint and result.folder:
            name, file = f"model-{self.run.id}", checkpoints.in_run(result.folder)
            self.safely(lambda: self.run.log_artifact(media.artifact(name, "model", [file])))
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
            wandb_mode.give_up(self.group)

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
    return shlex.quote(display_path(Path(directory)))


def _sectioned(name: str) -> str:
    section, _, rest = name.partition("_")
    return f"{section}/{rest}" if section in ("train", "val") else name
