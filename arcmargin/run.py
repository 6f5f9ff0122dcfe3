"""The entry point: has objects made of a Hydra configuration, trains and writes the result.

    python -m arcmargin.run header=cosface
    python -m arcmargin.run --multirun header=arcface,cosface,sphereface m2=0.2,0.5

torch and Lightning are imported inside the task: --help and a typo answer at once.
"""

import logging
import math
import os
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from arcmargin import libraries
from arcmargin.job import build as building
from arcmargin.job import results, schema
from arcmargin.job.user_errors import sentence, users_mistake
from arcmargin.sweeps import interrupts, jobs, watch, workers
from arcmargin.sweeps import state as status
from arcmargin.sweeps import summary as ending
from arcmargin.sweeps.callback import check_on_error, run_folder
from arcmargin.sweeps.command_line import expanded

log = logging.getLogger("arcmargin")

schema.store()
# Our launcher presets are named like the plugins' schemas on purpose: they are checked against them.
warnings.filterwarnings("ignore", message=r"\s*'hydra/(launcher|sweeper)/\w+' is validated against")
OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)

# A source tree keeps conf/ at the top; a wheel carries it inside the package.
_PACKAGE = Path(__file__).resolve().parent
CONF = next(p for p in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if p.is_dir())


def main() -> None:
    """The command line: a user's mistake ends in one sentence and exit code 2."""
    with _errors_handed_over():
        _main()


@contextmanager
def _errors_handed_over() -> Iterator[None]:
    """By Hydra, instead of printed. The environment is put back: a command line called or started later
    from this process would take Hydra's variable for the user's, and show tracebacks."""
    names = (watch.TRACEBACKS, "HYDRA_FULL_ERROR")
    before = {name: os.environ.get(name) for name in names}
    os.environ.setdefault(watch.TRACEBACKS, os.environ.get("HYDRA_FULL_ERROR", ""))
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _main() -> None:
    interrupts.install()
    try:
        sys.argv[1:] = expanded(sys.argv[1:])
        _task()
    except KeyboardInterrupt:
        ending.interrupted()
        sys.exit(130)
    except Exception as error:
        if interrupts.pressed():
            ending.interrupted()
            sys.exit(130)
        workers.dismiss(at_once=True)
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
            libraries.let_go()
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
    record = building.blank_record(cfg)
    reporter = status.Reporter(
        folder, name=record.name, overrides=record.overrides, number=HydraConfig.get().job.num
    )
    if (before := jobs.result(folder)) and before.finished:
        reporter.skip(before.extra["score"])
        return float(before.extra["score"])
    with status.own_output(folder, reporter.job):
        try:
            reporter.begin()
            score = run(cfg, folder, sweep=sweep, reporter=reporter)
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
            record = building.blank_record(cfg)  # again: its margin may have been matched meanwhile
            record.status, record.error = "failed", sentence(error)
            record.write(folder)
            reporter.end("failed", error=record.error)
            if cfg.on_error == "raise":
                status.stop(sweep)
    return math.nan


def run(
    cfg: DictConfig,
    folder: Path,
    *,
    sweep: Path | None = None,
    reporter: status.Reporter | None = None,
) -> float:
    """One run: its result lands in `folder`; returns the validation accuracy.

    `reporter` is told the run's name and each epoch that ended.
    """
    started = time.perf_counter()
    try:
        data, module, record = building.build(cfg)
    except Exception as error:
        if sweep is not None:
            tracker = building.tracker(cfg, building.blank_record(cfg), folder, sweep)
            if tracker:
                tracker.fail(sentence(error))
        raise
    if reporter is not None:
        reporter.job.name = record.name  # with the margin that gap_deg came to
    from arcmargin.training import train as training

    tracker = building.tracker(cfg, record, folder, sweep)
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
            verification_pairs=building.pair_count(cfg),
            logger=tracker,
            watch=tracker.watch if tracker else None,
            report=reporter.epoch if reporter else None,
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
