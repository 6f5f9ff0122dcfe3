"""One run as the command line asks for it: by itself, or as a job of a multirun, which speaks to a log
of its own and whose end is written down."""

import gc
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from arcmargin.errors import Interrupted, UserError
from arcmargin.files import alone, display_path
from arcmargin.job.folder import finished, remove_if_empty
from arcmargin.job.identity import identity
from arcmargin.job.run import Curves, failed, pruned, run
from arcmargin.job.user_errors import sentence
from arcmargin.record import Result, Settings
from arcmargin.sweeps import pruning, signals, state
from arcmargin.sweeps.command_line import refuse_mistake
from arcmargin.sweeps.state import Reporter

log = logging.getLogger("arcmargin")


def run_alone(cfg: DictConfig, folder: Path) -> float | None:
    """One run that no sweep started: its score. A mistake of the user's ends the process."""
    try:
        with alone(folder):
            return run(cfg, folder).score
    except (KeyboardInterrupt, Exception) as error:
        if isinstance(error, KeyboardInterrupt) or signals.received():
            how = f"resume={display_path(folder)}"
            log.error("interrupted; to go on give the same command with %s", how)
            raise KeyboardInterrupt from error
        remove_if_empty(folder)
        refuse_mistake(error)
        raise


def run_in_sweep(cfg: DictConfig, folder: Path) -> float | None:
    """The job's score; None when it failed or was interrupted. Raises nothing but what ends the sweep.

    It computes on one thread unless `threads` says otherwise, so that every launcher comes to the
    same numbers.
    """
    sweep = folder.parent
    if state.stopped(sweep):
        remove_if_empty(folder)
        return None
    cfg.threads = cfg.threads or 1
    hydra_config = HydraConfig.get()
    reporter = Reporter(
        folder,
        name=hydra_config.runtime.choices["header"],
        overrides=list(hydra_config.overrides.task),
        number=hydra_config.job.num,
    )
    try:
        with _noting_warnings(reporter.job), alone(folder):
            return _run_once(cfg, folder, sweep, reporter)
    except UserError as error:  # of the folder, before there was a run
        reporter.end("failed", error=sentence(error))
        return None
    finally:
        gc.collect()  # a trainer and its callbacks are a cycle, and would keep the job's images


def _run_once(cfg: DictConfig, folder: Path, sweep: Path, reporter: Reporter) -> float | None:
    hydra_config = HydraConfig.get()
    if before := finished(folder, identity(cfg)) or pruning.pruned(
        cfg, hydra_config.sweeper, folder
    ):
        reporter.skip(before)
        return before.score
    stop_after = pruning.stop_rule(cfg, hydra_config.sweeper, sweep)
    acting: list[Settings] = []
    hopeless: list[Result] = []

    def on_settings(settings: Settings) -> None:
        acting.append(settings)
        reporter.job.name = settings.name

    def on_epoch(done: int, total: int, curves: Curves) -> None:
        reporter.epoch(done, total)
        if done == total:
            return
        if stop_after is not None and (epochs := stop_after(curves)):
            kept = {name: values[:epochs] for name, values in curves.items()}
            hopeless.append(pruned(cfg, kept, acting[0]))
        if hopeless or state.stopped(sweep):
            raise Interrupted

    with _own_output(folder):
        try:
            reporter.begin()
            result = run(
                cfg,
                folder,
                group=sweep,
                output=folder / state.LOG,
                on_settings=on_settings,
                on_epoch=on_epoch,
            )
            (folder / state.TRACEBACK).unlink(missing_ok=True)  # of an earlier attempt
            reporter.end("finished", result)
            return result.score
        except Interrupted:
            if hopeless:
                hopeless[0].write(folder)
            reporter.end("pruned" if hopeless else "interrupted")
        except Exception as error:
            if signals.received():
                reporter.end("interrupted")
                raise KeyboardInterrupt from error
            result = failed(cfg, error, *acting)
            with suppress(OSError, UserError):  # perhaps it failed because the disk is full
                traceback.print_exc()  # into the job's log
                (folder / state.TRACEBACK).write_text(traceback.format_exc())
                if finished(folder, identity(cfg)) is None:
                    result.write(folder)
            reporter.job.name = result.settings.name
            reporter.end("failed", error=result.error)
            if cfg.on_error == "raise":
                state.stop(sweep)
        except BaseException:  # Ctrl-C in the sweep's own process; a scheduler that moves the job
            reporter.end("interrupted")
            raise
    return None


@contextmanager
def _noting_warnings(job: state.Job) -> Iterator[None]:
    """In the job's state, which the sweep's own process reads and says."""
    notes = _Notes(job.warnings)
    logger = logging.getLogger("arcmargin")
    logger.addHandler(notes)
    try:
        yield
    finally:
        logger.removeHandler(notes)


@contextmanager
def _own_output(folder: Path) -> Iterator[None]:
    """What the job prints goes to the log that it writes already."""
    with (
        open(folder / state.LOG, "a", buffering=1, encoding="utf-8") as file,
        redirect_stdout(file),
        redirect_stderr(file),
    ):
        yield


class _Notes(logging.Handler):
    def __init__(self, notes: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        self.notes.append(record.getMessage())
