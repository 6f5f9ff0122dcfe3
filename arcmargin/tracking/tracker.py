"""Weights & Biases as a mirror of the records: whatever happens to it, a run keeps its result."""

import logging
import os
import shlex
import shutil
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pytorch_lightning.loggers.logger import Logger

from arcmargin.files import display_path
from arcmargin.metrics.table import VALIDATION, metric
from arcmargin.record import RECORD_FILE, Result, Settings
from arcmargin.tracking import code, download, media
from arcmargin.tracking import mode as wandb_mode
from arcmargin.tracking.log_file import LogFile
from arcmargin.tracking.mode import Group
from arcmargin.tracking.start import begin, own_id, remember, same_run, without_key
from arcmargin.training import checkpoints
from arcmargin.training.snapshots import Moment

log = logging.getLogger(__name__)

MOST_BYTES = 4_000_000  # of a file that goes up for reports: far more than a 2-D run's
NOT_UPLOADED = "not_uploaded"  # in the directory of an online run whose server failed
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
    save_code: bool,
    settings: Settings,
    config: Mapping[str, Any],
    folder: Path,
    group: Path | None = None,
    continues: Path | None = None,
    printed: LogFile | None = None,
) -> "Tracker | None":
    """A running W&B run; None when disabled or when W&B did not start, which never costs a run.

    `group` is the folder of the runs that belong together, `continues` the run folder whose W&B run
    goes on, `printed` the file that what the run prints goes to (None: the terminal). Raises
    UserError when the mode is online and W&B cannot be reached.
    """
    decision, of_group = wandb_mode.decide(mode, group), wandb_mode.read_group(group)
    arguments = {
        "project": project,
        "entity": entity,
        "name": run_name(settings, of_group.varying if of_group else None),
        "group": group.name if group else None,
        "job_type": "train",
        "tags": run_tags(settings, tags),
        "notes": notes,
        "dir": str(group or folder),
        "config": run_config(settings, config, folder),
        **(same_run(continues) if own_id() else {}),
    }
    if os.environ.get("WANDB_CONSOLE"):
        printed = None  # a person has chosen how W&B listens
    about = {"program": "-m arcmargin.run", "save_code": False, **code.version(config)}
    if printed is not None:
        about["console"] = "off"  # W&B hears no other streams than those of its import
    run = begin(decision, arguments, about, command=settings.overrides, group=group)
    if run is None:
        return None
    if own_id():
        remember(run.id, folder)
    tracker = Tracker(
        run,
        settings,
        group=group,
        pictures=pictures,
        table_rows=table_rows,
        checkpoint=checkpoint,
        printed=printed,
        offline_because=decision.reason,
    )
    tracker.safely(lambda: define_epochs(run))
    if save_code:
        tracker.safely(lambda: code.upload(run))
    if not run.offline:
        log.info("W&B: %s", run.url)
        if of_group is not None:
            tracker.safely(lambda: add_to_notes(run, notes, links(run, of_group)))
    return tracker


def run_name(settings: Settings, varying: Sequence[str] | None = None) -> str:
    """`arcface m2=0.5 seed=1`: the head, its margins, and what else varies in the group (or was set, in
    a single run)."""
    parts = [settings.name]
    for key, value in overridden(settings):
        shown = key.split(".")[0] not in _NOT_IN_NAME if varying is None else key in varying
        if shown and key.removeprefix("header.") not in _IN_NAME:
            parts.append(f"{key.rpartition('.')[2]}={value}")
    return " ".join(parts)


def run_tags(settings: Settings, further: Sequence[str]) -> list[str]:
    """`arcface`, `digits`, `2-D`, the experiment where there is one, then the user's own."""
    experiments = [value for key, value in overridden(settings) if key == "experiment"]
    dimension = f"{settings.embedding_dim}-D"
    own = [settings.header, settings.dataset, dimension, *experiments]
    return list(dict.fromkeys([*own, *further]))


def run_config(settings: Settings, config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The whole configuration as plain values. At the top m1 m2 m3 s as they act: the columns of W&B's
    parallel coordinates; in each group its name."""
    plain = {key: value for key, value in config.items() if key not in ("wandb", "logger")}
    for group in ("header", "dataset", "backbone", "optimizer"):
        plain[group] = {"name": getattr(settings, group), **plain.get(group, {})}
    for key in ("m1", "m2", "m3", "s", "batch_size", "identity", "overrides"):
        plain[key] = getattr(settings, key)
    return {**plain, "folder": str(folder)}


def overridden(settings: Settings) -> list[tuple[str, str]]:
    """What the command line said, as keys and values."""
    parts = (override.lstrip("+~").partition("=") for override in settings.overrides)
    return [(key, value) for key, _, value in parts]


def define_epochs(run: Any) -> None:
    """Epochs are the axis of every chart, also of what is logged between two of them."""
    run.define_metric("epoch", hidden=True)
    run.define_metric("*", step_metric="epoch")


def links(run: Any, group: Group) -> str:
    """Markdown: the comparison that the run is part of, and the others."""
    report = f"{run.project_url}/runs/{group.report_id}"
    return f"[comparison of the sweep]({report}), [all of its runs]({group_url(run)})"


def add_to_notes(run: Any, notes: str | None, text: str) -> None:
    """W&B shows a run's notes, on top of its page, as Markdown."""
    given = os.environ.get("WANDB_NOTES") or notes
    run.notes = "\n\n".join([*([given] if given else []), text])


def group_url(run: Any) -> str:
    return f"{run.project_url}/groups/{quote(run.group, safe='')}/workspace"


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
        printed: LogFile | None = None,
        offline_because: str | None = None,
    ) -> None:
        super().__init__()
        self.run = run
        self.settings = settings
        self.group = group
        self.pictures = pictures
        self.table_rows = table_rows
        self.checkpoint = checkpoint
        self.printed = printed
        self.offline_because = offline_because
        self.failed = False
        self._place = -1
        self._defined: set[str] = set()
        self.where = {  # for the record
            "mode": "offline" if run.offline else "online",
            "id": run.id,
            "url": None if run.offline else run.url,
            "dir": run.sync_dir,
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
        self.safely(lambda: self._log(metrics))
        self._pass_on_what_was_printed()

    def _log(self, metrics: Mapping[str, Any]) -> None:
        given = {name: value for name, value in metrics.items() if value is not None}
        for name in given.keys() - self._defined:
            # The summary keeps the best value beside the last.
            if best := metric(name).best:
                kept = f"last,{best}"
                self.run.define_metric(_sectioned(name), step_metric="epoch", summary=kept)
        self._defined |= given.keys()
        self.run.log({_sectioned(name): value for name, value in given.items()})

    def show_moment(self, moment: Moment) -> None:
        """The embeddings at a moment of training: pictures that the media slider goes through."""
        place = moment.epoch * self.pictures // max(self.settings.epochs or 1, 1)
        if self.pictures and place > self._place:
            self._place = place
            self.safely(lambda: self.run.log(self._moment(moment)))

    def _moment(self, moment: Moment) -> dict[str, Any]:
        result = Result(settings=self.settings, metrics=moment.metrics)
        picture = media.embedding_picture(result, moment.embeddings, f"epoch {moment.epoch}")
        return {media.EMBEDDINGS: picture, "epoch": moment.epoch}

    def finish(self, result: Result) -> None:
        """The final numbers, pictures, tables and files; then the run is closed."""
        epoch = {"epoch": self.settings.epochs}
        values = {f"test/{k}": v for k, v in result.metrics.items() if v is not None}
        values |= {  # of the weights tested; val/… are the curves
            f"validation/{k.removeprefix(VALIDATION)}": v
            for k, v in result.validation.items()
            if v is not None
        }
        self.safely(lambda: self.run.summary.update(values))
        self.safely(lambda: self.run.log(epoch | media.pictures(result)))
        if folder := result.folder:
            self.safely(lambda: self._upload(folder))
        if not self.run.offline and (reason := wandb_mode.problem()):
            self._fail(reason)  # a table or an artifact would wait for the server
        self.safely(lambda: self.run.log(epoch | media.tables(result, self.table_rows)))
        if self.checkpoint and folder:
            name, file = f"model-{self.run.id}", checkpoints.in_run(folder)
            self.safely(lambda: self.run.log_artifact(media.artifact(name, "model", [file])))
        self.close(0)

    def fail(self, result: Result, error: BaseException) -> None:
        """The run shows as failed, and why: `result` says it in a sentence, the log has it in full."""
        self.safely(lambda: self.run.summary.update({"error": result.error}))
        self.safely(lambda: result.write(self.run.dir))
        self.safely(lambda: self._save(Path(self.run.dir) / RECORD_FILE))
        self._pass_on_what_was_printed()
        self.safely(lambda: self.run.write_logs("".join(traceback.format_exception(error))))
        self.close(1)

    def close(self, exit_code: int) -> None:
        """Ends the W&B run; anything but 0 shows as failed there."""
        self._pass_on_what_was_printed()
        try:
            self.run.finish(exit_code=exit_code)
        except Exception as error:
            self._fail(without_key(error))
        if self.failed and not self.run.offline:
            wandb_mode.give_up(self.group)
            with suppress(OSError):
                (Path(self.run.sync_dir) / NOT_UPLOADED).touch()
        if self.run.offline and self.group is None:
            because = f" ({self.offline_because})" if self.offline_because else ""
            upload = f"wandb sync {_shown(self.where['dir'])}"
            log.info("W&B: offline%s; to upload: %s", because, upload)

    def _upload(self, folder: Path) -> None:
        """As copies, so that W&B's directory is whole without the run's folder."""
        for name in download.FILES:
            file = folder / name
            if file.exists() and file.stat().st_size <= MOST_BYTES:
                self._save(Path(shutil.copy(file, self.run.dir)))

    def _save(self, file: Path) -> None:
        self.run.save(file, base_path=self.run.dir, policy="now", glob=False)

    def _pass_on_what_was_printed(self) -> None:
        """To the run's Logs tab."""
        if self.printed and (lines := self.printed.new_lines()):
            self.safely(lambda: self.run.write_logs(lines))

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
