"""The entry point: turns a Hydra configuration into plain objects, trains and writes the result.

    python -m arcmargin.run header=cosface
    python -m arcmargin.run --multirun header=arcface,cosface,sphereface m2=0.2,0.5

torch and Lightning are imported inside the task: --help and a typo answer at once.
"""

import atexit
import gc
import logging
import math
import os
import re
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from arcmargin import ending, interrupts, jobs, results, status, watch
from arcmargin.arguments import expanded
from arcmargin.errors import UserError
from arcmargin.launching import threads_per_job
from arcmargin.margins import (
    check_margins,
    check_scale,
    infeasible_margin_message,
    matched_margins,
)
from arcmargin.mistakes import sentence, users_mistake
from arcmargin.record import Record
from arcmargin.sweeps import check_on_error, run_folder

log = logging.getLogger("arcmargin")

Group = dict[str, Any]


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
    class_chunk: int | None = None
    sample_rate: float = 1.0
    seed: int = 0
    epochs: int = 1
    batch_size: int = 128
    header_lr: float = 1.0
    evaluate: str = "last"
    verification_pairs: int | str | None = None
    on_bad_image: str = "stop"
    resume: str | None = None
    threads: int | None = None
    compile: bool = False
    data_dir: str = "data"
    sweep: str = ""
    on_error: str = "continue"


ConfigStore.instance().store(name="schema", node=Schema)
# Our launcher presets are named like the plugins' schemas on purpose: they are checked against them.
warnings.filterwarnings("ignore", message=r"\s*'hydra/(launcher|sweeper)/\w+' is validated against")
OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)

# A source tree keeps conf/ at the top; a wheel carries it inside the package.
_PACKAGE = Path(__file__).resolve().parent
CONF = next(p for p in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if p.is_dir())


def main() -> None:
    """The command line: a user's mistake ends in one sentence and exit code 2."""
    os.environ[watch.TRACEBACKS] = os.environ.get("HYDRA_FULL_ERROR", "")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands errors over instead of printing them
    interrupts.install()
    try:
        sys.argv[1:] = expanded(sys.argv[1:])
        _task()
    except KeyboardInterrupt:
        ending.interrupted()
        sys.exit(130)
    except Exception as error:
        swept = watch.end()
        _stop_if_mistake(error)
        if swept is None:
            raise
        ending.broken_off(swept, error)
        sys.exit(1)
    finally:
        watch.end()


def _stop_if_mistake(error: Exception) -> None:
    told = users_mistake(error)
    if told is not None and os.environ.get(watch.TRACEBACKS) != "1":
        print(f"arcmargin: {told}", file=sys.stderr)
        sys.exit(2)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def _task(cfg: DictConfig) -> float:
    """One run, or one job of a multirun."""
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    if hydra_config.mode == RunMode.MULTIRUN:
        try:
            with jobs.alone(folder):
                return _job(cfg, folder)
        finally:
            _let_go()
    if (before := jobs.result(folder)) and before.finished:
        log.info("%s is finished already: %s", before.name, results.short(folder))
        return float(before.extra["score"])
    try:
        check_on_error(cfg.on_error)
        return run(cfg, folder)
    except KeyboardInterrupt:
        how = f"resume={results.short(folder)}"
        log.error("interrupted; to go on give the same command with %s", how)
        raise
    except Exception as error:
        _remove_if_empty(folder)
        _stop_if_mistake(error)  # Hydra would print a line of its own above it
        raise


def _job(cfg: DictConfig, folder: Path) -> float:
    """A job of a multirun: what becomes of it is written down, a failure too, and the others go on."""
    sweep = folder.parent
    if status.stopped(sweep):
        _remove_if_empty(folder)
        return math.nan
    interrupts.install()  # in a worker process
    record = _record(cfg)
    reporter = status.Reporter(
        folder, name=record.name, overrides=record.overrides, number=HydraConfig.get().job.num
    )
    if (before := jobs.result(folder)) and before.finished:
        reporter.skip(before.extra["score"])
        return float(before.extra["score"])
    with status.own_output(folder, reporter.job):
        try:
            reporter.begin()
            score = run(cfg, folder, sweep=sweep, report=reporter.epoch)
            (folder / status.TRACEBACK).unlink(missing_ok=True)  # of an earlier attempt
            reporter.end("finished", score=score)
            return score
        except KeyboardInterrupt:
            reporter.end("interrupted")
            raise
        except status.Stopped:
            reporter.end("interrupted")
        except Exception as error:
            (folder / status.TRACEBACK).write_text(traceback.format_exc())
            traceback.print_exc()  # into the job's log
            record.status, record.error = "failed", sentence(error)
            record.write(folder)
            reporter.end("failed", error=record.error)
            if cfg.on_error == "raise":
                status.stop(sweep)
    return math.nan


def _let_go() -> None:
    """A trainer and its callbacks are cycles, which would keep the images of a finished job."""
    gc.collect()
    if not gc.get_freeze_count():  # what is left are libraries: not to be looked through again
        gc.freeze()
        atexit.register(gc.unfreeze)  # they want to tidy up after themselves


def run(
    cfg: DictConfig,
    folder: Path,
    *,
    sweep: Path | None = None,
    report: Callable[[int, int], None] | None = None,
) -> float:
    """One run: its result lands in `folder`; returns the validation accuracy.

    `report` is told each epoch that ended and how many there are.
    """
    started = time.perf_counter()
    try:
        data, module, record = _build(cfg)
    except Exception as error:
        if sweep is not None and (tracker := _tracker(cfg, _record(cfg), folder, sweep)):
            tracker.fail(sentence(error))
        raise
    from arcmargin import training

    tracker = _tracker(cfg, record, folder, sweep)
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
            verification_pairs=_pair_count(cfg),
            logger=tracker,
            watch=tracker.watch if tracker else None,
            report=report,
            resume=jobs.checkpoint(cfg.resume, folder),
        )
        record.metrics = {**outcome.metrics, "gap_predicted_deg": results.predicted_gap(record)}
        record.curves = outcome.curves
        record.extra["checkpoint"] = f"{cfg.evaluate}.ckpt"
        record.extra["score"] = outcome.curves["val_accuracy"][-1]
        for note in results.note_unseen(record, outcome):
            log.warning("%s", note)
        record.wandb = tracker.where if tracker else None
        pictures = results.write(record, outcome, folder)
        record.durations = {**outcome.durations, "total_s": time.perf_counter() - started}
        record.write(folder)
    except BaseException as error:
        if tracker:
            interrupted = isinstance(error, KeyboardInterrupt | status.Stopped)
            tracker.close(255) if interrupted else tracker.fail(sentence(error))
        raise
    print(results.table(record))
    print("\n".join(results.short(path) for path in (*pictures, folder)), flush=True)
    if tracker:  # last: the result is on disk whatever W&B does
        tracker.finish(outcome, folder / "checkpoints" / "last.ckpt")
    return float(record.extra["score"])


def _build(cfg: DictConfig) -> tuple[Any, Any, Record]:
    """Data, module and the record to be; what the user got wrong comes out here."""
    check_margins(cfg.m1, cfg.m2, cfg.m3)
    check_scale(cfg.s)
    _refuse_what_the_header_cannot(cfg)
    _load_libraries(wandb=cfg.logger is not None)
    import pytorch_lightning as pl
    import torch

    from arcmargin.module import MarginModule

    _quiet_libraries()
    if threads := cfg.threads or _threads_of_job():
        torch.set_num_threads(threads)
    data = instantiate(cfg.dataset, _convert_="all")
    if isinstance(pairs := cfg.verification_pairs, str):
        from arcmargin.sources import add_pairs

        data = add_pairs(data, pairs, data_dir=cfg.data_dir, on_bad_image=cfg.on_bad_image)
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
        description=_description(cfg, data),
    )
    if cfg.backbone.get("frozen"):
        data = _frozen(data, module)
    if cfg.compile:
        module.backbone.compile()  # in place: the names in a checkpoint stay the same
    record = _record(cfg, data.class_names)
    _warn(cfg, record)
    return data, module, record


def _refuse_what_the_header_cannot(cfg: DictConfig) -> None:
    """Unlike a margin that has no effect, a saving that is not made would end in a full memory."""
    for key, unset in (("class_chunk", None), ("sample_rate", 1.0)):
        if cfg[key] != unset and key not in cfg.header:
            header = HydraConfig.get().runtime.choices["header"]
            raise UserError(
                f"header={header} takes no {key}: only a head whose loss is a softmax over s·cos θ_j "
                f"with a margin on the target alone does; drop {key}={cfg[key]}"
            )


def _threads_of_job() -> int | None:
    """As many as the launcher leaves for each of its jobs; None leaves torch's choice."""
    hydra_config = HydraConfig.get()
    multirun = hydra_config.mode == RunMode.MULTIRUN
    return threads_per_job(hydra_config.launcher) if multirun else None


def _frozen(data: Any, module: Any) -> Any:
    """The data set as the frozen body sees it: once for all runs with these weights and images."""
    from torch.nn import Identity

    from arcmargin.features import with_features

    if not isinstance(module.augment, Identity):
        raise UserError(
            "backbone.frozen=true computes features once: images cannot be augmented; set augment=none"
        )
    return with_features(data, module.backbone, Path("outputs/features"))


def _description(cfg: DictConfig, data: Any) -> dict[str, Any]:
    """What it takes to use a checkpoint: the backbone's settings and how images are prepared."""
    backbone: Any = OmegaConf.to_container(cfg.backbone, resolve=True)
    return {
        "backbone": {k: v for k, v in backbone.items() if k not in ("weights", "frozen")},
        "embedding_dim": cfg.embedding_dim.size,
        "image_shape": list(data.image_shape),
        "mean": data.mean.tolist(),
        "std": data.std.tolist(),
    }


def _pair_count(cfg: DictConfig) -> int | None:
    """How many pairs to draw; a list of pairs has become part of the data."""
    return None if isinstance(cfg.verification_pairs, str) else cfg.verification_pairs


def _load_libraries(*, wandb: bool) -> None:
    """With the collector off: nothing that an import makes is garbage, yet Python would spend a
    quarter of the time looking for some."""
    gc.disable()
    try:
        if wandb:
            import arcmargin.tracking.start  # noqa: F401
        import pytorch_lightning  # noqa: F401
    finally:
        gc.enable()


def _tracker(cfg: DictConfig, record: Record, folder: Path, sweep: Path | None) -> Any:
    """The W&B run, unless there is to be none. It goes on where the checkpoint's run broke off."""
    if cfg.logger is None:
        return None
    checkpoint = jobs.checkpoint(cfg.resume, folder)
    config = OmegaConf.to_container(cfg, resolve=True)
    continues = checkpoint.parent.parent if checkpoint else None
    start = instantiate(cfg.logger, _convert_="all")
    return start(record=record, config=config, folder=folder, sweep=sweep, continues=continues)


def _record(cfg: DictConfig, class_names: tuple[str, ...] = ()) -> Record:
    hydra_config = HydraConfig.get()
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    overrides = hydra_config.overrides.task
    return results.new_record(config, hydra_config.runtime.choices, overrides, class_names)


def _match_margins(cfg: DictConfig, num_classes: int) -> None:
    """Replace gap_deg by the one margin that the header names as its own."""
    if cfg.gap_deg is None:
        return
    given = [o for o in HydraConfig.get().overrides.task if re.match(r"\+*m[123]=", o)]
    if given:
        raise UserError(
            f"gap_deg chooses the margins, so {given[0]} cannot be set with it; drop one"
        )
    margins = matched_margins(cfg.gap_deg, num_classes, cfg.embedding_dim.size)
    if cfg.matched is not None:
        cfg[cfg.matched] = margins[cfg.matched]


def _warn(cfg: DictConfig, record: Record) -> None:
    """What a careful reader of the configuration would have noticed."""
    for override in record.overrides:
        key = re.match(r"\+*(m1|m2|m3|s)=", override)
        if key and key[1] not in cfg.header:
            log.warning("%s takes no %s: %s has no effect", record.header, key[1], override)
    if not results.in_formula(record):
        return
    margins = (record.m1, record.m2, record.m3)
    infeasible = infeasible_margin_message(*margins, len(record.class_names), record.embedding_dim)
    if infeasible:
        log.warning("%s", infeasible)


def _quiet_libraries() -> None:
    """Keep what Lightning says about itself out of the way of what the run says."""
    for name in logging.root.manager.loggerDict:
        if name.startswith(("pytorch_lightning", "lightning")):
            logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # downloads draw bars even into a log file


def _remove_if_empty(folder: Path) -> None:
    """A run that never started leaves nothing behind."""
    if {path.name for path in folder.iterdir()} <= {
        ".hydra",
        ".lock",
        "run.log",
        "wandb",
        "wandb_run_id",
    }:
        shutil.rmtree(folder)


if __name__ == "__main__":
    # Through the module's own name: the workers of a parallel launcher import the task by it.
    import arcmargin.run as entry

    entry.main()
