"""What Hydra calls at the beginning and at the end of a multirun."""

import math
import shlex
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from arcmargin.record import find_results
from arcmargin.sweeps import display, state, summary
from arcmargin.sweeps.axes import Axis, axes, count
from arcmargin.sweeps.command_line import refuse_mistake
from arcmargin.sweeps.display import Display, Overview
from arcmargin.tracking import mode as wandb_mode


class SweepCallback(Callback):
    """Shows how a multirun goes on, and says at its end what finished, what failed and why.

    At its start W&B's mode is decided once for all jobs.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        with _errors_end_the_sweep():
            _begin(config)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        with _errors_end_the_sweep():
            shown = None if config.hydra.sweeper.get("dry_run") else display.end()
            if shown is not None and not _end(shown, config):
                raise SystemExit(1)


@contextmanager
def _errors_end_the_sweep() -> Iterator[None]:
    """Hydra would make warnings of them, and of the sweep a success."""
    try:
        yield
    except Exception as error:
        refuse_mistake(error)
        traceback.print_exc()
        raise SystemExit(1) from error


def _begin(config: DictConfig) -> None:
    if config.hydra.sweeper.get("dry_run"):
        return
    found = _axes(config)
    expected = _number_of_jobs(config, found)
    swept = [key for axis in found if axis.varies for key in axis.keys]
    if config.study.name is not None:
        swept += ["s", "optimizer.lr", "seed"]
    sweep = Path(config.hydra.sweep.dir)
    if config.logger is not None:
        wandb_mode.begin_group(sweep, config.wandb.mode, swept)
    display.begin(sweep, Overview(expected, swept), again=_again(config))


def _end(shown: Display, config: DictConfig) -> bool:
    """The report and the last lines; returns whether there is nothing left to do."""
    reported = True
    if any(result.finished for result in find_results(shown.sweep).results):
        try:
            _report(shown, config)
        except Exception as error:
            summary.no_report(shown.sweep, error)
            reported = False
    state.forget(shown.sweep)
    return summary.say(shown) and reported


def _report(shown: Display, config: DictConfig) -> None:
    from arcmargin.report.write import write_report  # matplotlib would slow --help down

    report = write_report([shown.sweep])
    if config.logger is not None:
        from arcmargin.tracking.comparison import log_report

        settings: Any = OmegaConf.to_container(config.wandb, resolve=True)
        log_report(report.files, shown.sweep, settings)
    with suppress(BrokenPipeError):  # nobody reads any more
        print(summary.tables(report.markdown, report.verdict, report.files), flush=True)


def _axes(config: DictConfig) -> list[Axis]:
    return axes(
        config.hydra.overrides.task,
        params=config.hydra.sweeper.get("params"),
        loader=GlobalHydra.instance().config_loader(),
    )


def _number_of_jobs(config: DictConfig, found: Sequence[Axis]) -> int | None:
    """Every combination, or as many as a search asks for; None where nobody knows."""
    trials = config.hydra.sweeper.get("n_trials")
    if trials is None:
        return count(found)
    if config.study.name is not None:
        return _jobs_of_study(config, found)
    if config.hydra.sweeper.pruner is not None or config.hydra.sweeper.each:
        return None
    return int(trials) * math.prod(len(axis.points) for axis in found if axis.keys == ("seed",))


def _jobs_of_study(config: DictConfig, found: Sequence[Axis]) -> int | None:
    """The trials of each that is compared, and its tests."""
    if config.hydra.sweeper.pruner is not None:
        return None
    listed = [axis for axis in found if axis.varies and axis.points]
    compared = math.prod(len(axis.points) for axis in listed if axis.keys != ("seed",))
    seeds = math.prod(len(axis.points) for axis in listed if axis.keys == ("seed",))
    return int(compared * (config.study.trials * seeds + config.study.seeds))


def _again(config: DictConfig) -> str:
    """The command that goes on with this sweep, ready for a shell."""
    named_by_the_clock = OmegaConf.is_interpolation(config, "sweep")
    typed = summary.as_typed(sys.orig_argv)
    return shlex.join([*typed, *([f"sweep={config.sweep}"] * named_by_the_clock)])
