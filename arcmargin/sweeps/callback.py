"""What a multirun adds: a stable folder for each job, and an end that says what came of them."""

import hashlib
import json
import math
import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from arcmargin.errors import UserError
from arcmargin.record import find_records
from arcmargin.sweeps import launcher as launching
from arcmargin.sweeps import state as status
from arcmargin.sweeps import summary as ending
from arcmargin.sweeps import watch, workers
from arcmargin.sweeps.overview import Overview
from arcmargin.tracking import mode as wandb_mode

# Settings that do not change a run's result; margins count through the header that uses them.
BOOKKEEPING = {
    *("m1", "m2", "m3", "s", "ramp", "init", "gradient", "matched", "data_dir"),
    *("sweep", "on_error", "resume", "threads", "compile", "wandb", "logger", "hydra"),
    *("on_bad_image", "class_chunk", "sample_rate"),
}

# Settings that came after the first sweeps, and mean nothing while they are null or false.
LEFT_ALONE = {
    "": ("verification_pairs",),
    "dataset": ("unseen", "test_path", "unseen_path"),
    "backbone": ("weights", "frozen"),
}


def fingerprint(config: DictConfig) -> str:
    """Eight hex digits that two runs share only when they would compute the same thing."""
    content: dict[str, Any] = {
        str(key): OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
        for key, node in config.items()
        if key not in BOOKKEEPING
    }
    for key in ("data_dir", "on_bad_image"):
        content["dataset"].pop(key, None)
    for group, keys in LEFT_ALONE.items():
        part = content[group] if group else content
        for key in keys:
            if not part.get(key):  # a setting left alone changes nothing
                part.pop(key, None)
    content["header"].pop("class_chunk", None)  # the same sums in another order
    if content["header"].get("sample_rate") == 1.0:
        content["header"].pop("sample_rate")
    for key in ("accelerator", "devices"):  # where it runs; clipping and the like do change it
        content["trainer"].pop(key, None)
    if config.get("matched") is None:  # a header without a margin of its own ignores the wanted gap
        content.pop("gap_deg", None)
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def run_folder(*, _root_: DictConfig) -> str:
    """The name of a job's folder, the same whenever the same job is asked for."""
    header = _root_.hydra.runtime.choices.header
    return f"{header}_seed{_root_.seed}_{fingerprint(_root_)}"


def check_on_error(value: str) -> None:
    if value not in ("continue", "raise"):
        raise UserError(f"on_error must be 'continue' or 'raise', got '{value}'")


class SweepSummary(Callback):
    """Shows how a multirun goes on, and says at its end what finished, what failed and why.

    At its start W&B's mode is decided once for all jobs.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            axes = _axes(config)
        except HydraException:  # Hydra will say it itself
            return
        try:
            check_on_error(config.on_error)
            count = _number_of_jobs(config, axes)
            launching.prepare(config, count)
            # Through the environment: a job, perhaps in another process, sees only its own values.
            os.environ[wandb_mode.SWEPT] = ",".join(axes)
            if config.logger is not None and wandb_mode.resolve(config.wandb.mode) != "disabled":
                wandb_mode.check_one_run_a_job()
        except UserError as error:  # Hydra would turn it into a warning
            print(f"arcmargin: {error}", file=sys.stderr)
            raise SystemExit(2) from error
        overview = Overview(count, list(axes))
        watch.begin(Path(config.hydra.sweep.dir), overview, again=_again(config))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        swept = watch.end()
        workers.dismiss(at_once=config.logger is None)  # W&B has something to tidy up
        if swept is None or not swept.sweep.is_dir():
            return
        reported = True
        if any(record.finished for record in find_records(swept.sweep).records):
            try:
                _report(swept, config)
            except Exception as error:  # Hydra would make a warning of it, and of the end nothing
                ending.no_report(swept, error)
                reported = False
        status.forget(swept.sweep)
        if not (ending.say(swept) and reported):
            raise SystemExit(1)


def _report(swept: watch.Watch, config: DictConfig) -> None:
    from arcmargin.report.write import write_report  # matplotlib would slow --help down

    with swept.busy("writing the report"):
        report = write_report([swept.sweep])
        if config.logger is not None:
            from arcmargin.tracking.comparison import log_report

            settings: Any = OmegaConf.to_container(config.wandb, resolve=True)
            log_report(report.files, swept.sweep, settings)
    with suppress(BrokenPipeError):  # nobody reads any more
        print(ending.tables(report.markdown, report.files), flush=True)


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
        override.key_or_group: len(list(override.sweep_string_iterator()))
        if override.is_discrete_sweep()
        else None
        for override in parsed.values()
        if override.is_sweep_override()
    }


def _number_of_jobs(config: DictConfig, axes: dict[str, int | None]) -> int | None:
    """Every combination under Hydra's own sweeper; a searching one says how many trials it makes."""
    sweeper = config.hydra.sweeper
    if not str(sweeper._target_).endswith("BasicSweeper"):
        trials: int | None = sweeper.get("n_trials")
        return trials
    counts = [count for count in axes.values() if count is not None]
    return math.prod(counts) if len(counts) == len(axes) else None


def _again(config: DictConfig) -> str:
    """The command that goes on with this sweep, ready for a shell."""
    named_by_the_clock = OmegaConf.is_interpolation(config, "sweep")
    return shlex.join([*sys.orig_argv, *([f"sweep={config.sweep}"] * named_by_the_clock)])
