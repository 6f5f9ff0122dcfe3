"""The entry point, and the one module that turns a Hydra configuration into objects.

    python -m arcmargin.run header=cosface
    python -m arcmargin.run --multirun header=arcface,cosface,sphereface m2=0.2,0.5

torch and Lightning are imported inside the task: --help and a typo answer at once.
"""

import errno
import logging
import math
import os
import re
import shutil
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from arcmargin.errors import UserError
from arcmargin.margins import (
    check_margins,
    check_scale,
    infeasible_margin_message,
    matched_margins,
    predicted_gap_deg,
)
from arcmargin.provenance import git_commit, versions
from arcmargin.record import RECORD_FILE, Record
from arcmargin.sweeps import run_folder

if TYPE_CHECKING:
    from arcmargin.training import Outcome

log = logging.getLogger("arcmargin")

Group = dict[str, Any]

NEUTRAL = {"s": None, "m1": 1.0, "m2": 0.0, "m3": 0.0}  # what a header without the key stands for


@dataclass
class Schema:
    """The types of the top-level keys, so that m2=abc is caught before anything starts."""

    header: Group = field(default_factory=dict)
    dataset: Group = field(default_factory=dict)
    embedding_dim: Group = field(default_factory=dict)
    backbone: Group = field(default_factory=dict)
    augment: Group = field(default_factory=dict)
    optimizer: Group = field(default_factory=dict)
    schedule: Group = field(default_factory=dict)
    trainer: Group = field(default_factory=dict)
    logger: Group | None = None
    wandb: Group = field(default_factory=dict)
    m1: float = 1.0
    m2: float = 0.0
    m3: float = 0.0
    s: float = 30.0
    matched: str | None = None  # the margin that gap_deg sets; a header without one has none
    gap_deg: float | None = None
    ramp: float = 0.0
    init: str = "random"
    gradient: str = "detached"
    seed: int = 0
    epochs: int = 1
    batch_size: int = 128
    header_lr: float = 1.0
    evaluate: str = "last"
    resume: str | None = None
    threads: int | None = None
    data_dir: str = "data"
    sweep: str = ""
    on_error: str = "continue"


ConfigStore.instance().store(name="schema", node=Schema)
OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)

# A source tree keeps conf/ at the top; a wheel carries it inside the package.
_PACKAGE = Path(__file__).resolve().parent
CONF = next(p for p in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if p.is_dir())


def main() -> None:
    """The command line: a user's mistake ends in one sentence and exit code 2."""
    sys.argv[1:] = [_embedding_size(argument) for argument in sys.argv[1:]]
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands errors over instead of printing them
    try:
        _task()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        sentence = None if wants_traceback else _users_mistake(error)
        if sentence is None:
            raise
        print(f"arcmargin: {sentence}", file=sys.stderr)
        sys.exit(2)


def _embedding_size(argument: str) -> str:
    """embedding_dim=7 means what it says, although Hydra wants the name of an option there."""
    return re.sub(r"^(\+*)embedding_dim=(\d+(,\d+)*)$", r"\1embedding_dim.size=\2", argument)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def _task(cfg: DictConfig) -> float:
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    multirun = hydra_config.mode == RunMode.MULTIRUN
    if (folder / RECORD_FILE).exists() and (before := Record.read(folder)).finished:
        log.info("%s is finished already: %s", before.name, folder)
        return float(before.extra["score"])
    try:
        return run(cfg, folder, sweep=folder.parent if multirun else None)
    except KeyboardInterrupt:
        log.error("interrupted; to go on: %s", _command_to_resume(folder, multirun))
        raise
    except Exception as error:
        if not multirun:
            _remove_if_empty(folder)
            raise
        if cfg.on_error == "raise":
            raise
        sentence = _users_mistake(error) or f"{type(error).__name__}: {error}"
        log.error("failed: %s", sentence)
        _failed_record(cfg, sentence).write(folder)
        return math.nan


def run(cfg: DictConfig, folder: Path, *, sweep: Path | None = None) -> float:
    """One run: its result lands in `folder`; returns the validation accuracy."""
    started = time.perf_counter()
    check_margins(cfg.m1, cfg.m2, cfg.m3)
    check_scale(cfg.s)
    import pytorch_lightning as pl
    import torch

    from arcmargin import tracking, training
    from arcmargin.module import MarginModule

    _quiet_libraries()
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    data = instantiate(cfg.dataset, _convert_="all")
    _match_margins(cfg, data.num_classes)
    pl.seed_everything(cfg.seed, verbose=False)
    size = cfg.embedding_dim.size
    module = MarginModule(
        instantiate(cfg.backbone, image_shape=data.image_shape, embedding_dim=size),
        instantiate(cfg.header, embedding_dim=size, num_classes=data.num_classes, _convert_="all"),
        optimizer=instantiate(cfg.optimizer),
        schedule=instantiate(cfg.schedule),
        augment=instantiate(cfg.augment),
        header_lr=cfg.header_lr,
    )
    record = _record(cfg, data.class_names)
    _warn(cfg, record)
    record.metrics["gap_predicted_deg"] = _predicted_gap(record)
    logger = None
    if cfg.logger is not None:
        logger = instantiate(cfg.logger)(
            directory=sweep or folder,
            group=sweep.name if sweep else None,
            name=record.name,
            config=OmegaConf.to_container(cfg, resolve=True),
        )
    try:
        outcome = training.train(
            module,
            data,
            instantiate(cfg.trainer),
            epochs=cfg.epochs,
            batch_size=cfg.batch_size,
            seed=cfg.seed,
            folder=folder,
            evaluate=cfg.evaluate,
            logger=logger,
            resume=_checkpoint(cfg.resume, folder),
        )
    except BaseException:
        record.status = "failed"
        tracking.finish(logger, record, None)
        raise
    record.metrics = {**outcome.metrics, **record.metrics}
    record.curves = outcome.curves
    record.extra["score"] = outcome.curves["val_accuracy"][-1]
    outcome.embeddings.save(folder)
    outcome.snapshots.save(folder)
    pictures = _draw(record, outcome, folder)
    record.wandb = tracking.finish(logger, record, pictures[0])
    record.durations = {**outcome.durations, "total_s": time.perf_counter() - started}
    record.write(folder)
    print(_table(record))
    for path in (*pictures, folder):
        print(_short(path))
    return float(record.extra["score"])


def _match_margins(cfg: DictConfig, num_classes: int) -> None:
    """Replace gap_deg by the one margin that the header names as its own."""
    if cfg.gap_deg is None:
        return
    given = [o for o in HydraConfig.get().overrides.task if re.match(r"\+*m[123]=", o)]
    if given:
        raise UserError(
            f"gap_deg chooses the margins, so {given[0]} cannot be set with it; drop one"
        )
    if cfg.matched is None:
        return
    cfg[cfg.matched] = matched_margins(cfg.gap_deg, num_classes, cfg.embedding_dim.size)[
        cfg.matched
    ]


def _record(cfg: DictConfig, class_names: Sequence[str] = ()) -> Record:
    """The record of a run that has not happened yet. A header's block names the margins it takes."""
    hydra_config = HydraConfig.get()
    choices = hydra_config.runtime.choices
    margins = {key: cfg[key] if key in cfg.header else NEUTRAL[key] for key in NEUTRAL}
    shown = [
        f"{key}={margins[key]:.4g}" for key in ("m1", "m2", "m3") if margins[key] != NEUTRAL[key]
    ]
    return Record(
        name=" ".join([choices.header, *shown]),
        header=choices.header,
        dataset=choices.dataset,
        embedding_dim=cfg.embedding_dim.size,
        backbone=choices.backbone,
        optimizer=choices.optimizer,
        epochs=cfg.epochs,
        seed=cfg.seed,
        **margins,
        num_classes=len(class_names),
        class_names=list(class_names),
        overrides=list(hydra_config.overrides.task),
        versions=versions(),
        git_commit=git_commit(),
        extra={"takes": [key for key in NEUTRAL if key in cfg.header]},
    )


def _checkpoint(resume: str | None, folder: Path) -> Path | None:
    """The checkpoint asked for, or the one that an interrupted run left in this same folder."""
    if resume is None:
        last = folder / "checkpoints" / "last.ckpt"
        return last if last.exists() else None
    path = Path(resume)
    path = path / "checkpoints" / "last.ckpt" if path.is_dir() else path
    if not path.is_file():
        raise UserError(
            f"resume={resume} holds no checkpoint; give a run folder or a file such as "
            "outputs/runs/<run>/checkpoints/last.ckpt"
        )
    return path


def _predicted_gap(record: Record) -> float | None:
    """On the circle; plain softmax has none."""
    if record.embedding_dim != 2 or record.s is None:
        return None
    margins = (record.m1, record.m2, record.m3)
    return predicted_gap_deg(*margins, len(record.class_names))


def _draw(record: Record, outcome: "Outcome", folder: Path) -> list[Path]:
    """embedding.png, and embedding.html where there is something to turn or to replay."""
    from arcmargin import figures, interactive

    pictures = [
        figures.save(figures.panel(record, outcome.embeddings), folder / "embedding.png"),
    ]
    if record.embedding_dim in (2, 3):
        page = interactive.embedding_page(record, *outcome.embeddings, outcome.snapshots)
        pictures.append(interactive.write_page(folder / "embedding.html", page))
    return pictures


def _warn(cfg: DictConfig, record: Record) -> None:
    """What a careful reader of the configuration would have noticed."""
    for override in record.overrides:
        key = re.match(r"\+*(m1|m2|m3|s)=", override)
        if key and key[1] not in cfg.header:
            log.warning("%s takes no %s: %s has no effect", record.header, key[1], override)
    margins = (record.m1, record.m2, record.m3)
    infeasible = infeasible_margin_message(*margins, len(record.class_names), record.embedding_dim)
    if infeasible and record.s is not None:
        log.warning("%s", infeasible)


def _failed_record(cfg: DictConfig, reason: str) -> Record:
    record = _record(cfg)
    record.status, record.error = "failed", reason
    return record


def _quiet_libraries() -> None:
    """Keep what Lightning says about itself out of the way of what the run says."""
    for name in logging.root.manager.loggerDict:
        if name.startswith(("pytorch_lightning", "lightning")):
            logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # downloads draw bars even into a log file


def _table(record: Record) -> str:
    """The result as a short table."""
    settings = f"dataset {record.dataset}, {record.embedding_dim}-D, seed {record.seed}"
    settings += "" if record.s is None else f", s={record.s:g}"
    lines = [f"{record.name}  ({settings}; test split)"]
    for name, value in record.metrics.items():
        if value is not None:
            shown = f"{100 * value:.2f} %" if name == "accuracy" else f"{value:.2f}"
            lines.append(f"  {name:<22}{shown:>10}")
    return "\n".join(lines)


def _short(path: Path) -> str:
    """Relative to where the user is, when it lies below."""
    path = path.resolve()
    here = Path.cwd().resolve()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _remove_if_empty(folder: Path) -> None:
    """A run that never started leaves nothing behind."""
    kept = [path for path in folder.iterdir() if path.name != ".hydra"]
    if not kept:
        shutil.rmtree(folder)


def _command_to_resume(folder: Path, multirun: bool) -> str:
    if multirun:
        return f"the same command with sweep={folder.parent.name}"
    return f"the same command with resume={_short(folder)}"


def _users_mistake(error: BaseException) -> str | None:
    """One sentence when the user can mend it; None when it is ours and deserves its traceback."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    for link in chain:
        if isinstance(link, UserError):
            return str(link)
    if isinstance(error, InstantiationException):
        return _one_line(error) if isinstance(chain[-1], TypeError) else None
    if isinstance(error, HydraException | OmegaConfBaseException):
        return " ".join(_one_line(link) for link in chain[:2])
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        return f"cannot write the output: {error}; free some space or choose another folder"
    if type(error).__name__ in ("MisconfigurationException", "TrainingDiverged"):
        return _one_line(error)
    return None


_DISK_ERRORS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG),
}


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


if __name__ == "__main__":
    main()
