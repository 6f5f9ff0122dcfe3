"""What Hydra calls at the beginning and at the end of a multirun."""

import math
import shlex
import sys
import traceback
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from arcmargin.errors import UserError
from arcmargin.record import find_results
from arcmargin.sweeps import display, state, summary
from arcmargin.sweeps.command_line import refuse
from arcmargin.sweeps.display import Display, Overview
from arcmargin.tracking import mode as wandb_mode

MOST_JOBS = 100_000  # of one sweep: Hydra lists them all before the first begins


class SweepCallback(Callback):
    """Shows how a multirun goes on, and says at its end what finished, what failed and why.

    At its start W&B's mode is decided once for all jobs.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            axes = _axes(config)
        except HydraException:  # Hydra will say it itself
            return
        try:
            count = _number_of_jobs(config, axes)
            if config.logger is not None:
                wandb_mode.begin_group(Path(config.hydra.sweep.dir), config.wandb.mode, list(axes))
            sweep = Path(config.hydra.sweep.dir)
            display.begin(sweep, Overview(count, list(axes)), again=_again(config))
        except UserError as error:  # Hydra would turn it into a warning
            refuse(error)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        shown = display.end()
        try:
            done = shown is None or _end(shown, config)
        except Exception:  # Hydra would make a warning of it, and of the sweep a success
            traceback.print_exc()
            done = False
        if not done:
            raise SystemExit(1)


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
        print(summary.tables(report.markdown, report.files), flush=True)


def _axes(config: DictConfig) -> dict[str, int | None]:
    """The keys that vary and, where they are listed, how many values each has. What the command line
    says goes before what the configuration says."""
    given = [f"{k}={v}" for k, v in (config.hydra.sweeper.get("params") or {}).items()]
    given += config.hydra.overrides.task
    loader = GlobalHydra.instance().config_loader()
    parsed = {
        override.get_key_element(): override
        for override in OverridesParser.create(config_loader=loader).parse_overrides(given)
    }
    return {
        override.key_or_group: len(list(islice(override.sweep_string_iterator(), MOST_JOBS + 1)))
        if override.is_discrete_sweep()
        else None
        for override in parsed.values()
        if override.is_sweep_override()
    }


def _number_of_jobs(config: DictConfig, axes: dict[str, int | None]) -> int | None:
    """Every combination under Hydra's own sweeper; a searching one says how many trials it makes."""
    for key, count in axes.items():
        if count == 0:
            raise UserError(f"{key}: nothing matches, so there is nothing to run")
    sweeper = config.hydra.sweeper
    if not str(sweeper._target_).endswith("BasicSweeper"):
        trials: int | None = sweeper.get("n_trials")
        return trials
    counts = [count for count in axes.values() if count is not None]
    if math.prod(counts) > MOST_JOBS:
        raise UserError(
            f"a sweep has at most {MOST_JOBS:,} jobs, and these are more ({', '.join(axes)}): "
            "sweep over fewer values, or search instead"
        )
    return math.prod(counts) if len(counts) == len(axes) else None


def _again(config: DictConfig) -> str:
    """The command that goes on with this sweep, ready for a shell."""
    named_by_the_clock = OmegaConf.is_interpolation(config, "sweep")
    return shlex.join([*sys.orig_argv, *([f"sweep={config.sweep}"] * named_by_the_clock)])
