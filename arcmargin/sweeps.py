"""What a multirun adds: a stable folder for each job, and an end that says what came of them."""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from arcmargin.errors import UserError
from arcmargin.record import find_records
from arcmargin.tracking import mode as wandb_mode

# Settings that do not change a run's result; margins count through the header that uses them.
BOOKKEEPING = {
    *("m1", "m2", "m3", "s", "ramp", "init", "gradient", "matched", "data_dir"),
    *("class_chunk", "sample_rate"),
    *("sweep", "on_error", "resume", "threads", "wandb", "logger", "hydra"),
}


def fingerprint(config: DictConfig) -> str:
    """Eight hex digits that two runs share only when they would compute the same thing."""
    content: dict[str, Any] = {
        str(key): OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
        for key, node in config.items()
        if key not in BOOKKEEPING
    }
    content["dataset"].pop("data_dir", None)
    content["header"].pop("class_chunk", None)  # the same sums in another order
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


class SweepSummary(Callback):
    """Says at the end of a multirun what finished, what failed and why; failures exit with 1.

    At its start W&B's mode is decided once for all jobs.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        if config.logger is None:
            return
        given = [*config.hydra.overrides.task]
        given += [f"{k}={v}" for k, v in (config.hydra.sweeper.get("params") or {}).items()]
        parsed = OverridesParser.create().parse_overrides(given)
        # Through the environment: a job, perhaps in another process, sees only its own values.
        os.environ[wandb_mode.SWEPT] = ",".join(
            o.key_or_group for o in parsed if o.is_sweep_override()
        )
        try:
            wandb_mode.resolve(config.wandb.mode)
        except UserError as error:  # Hydra would turn it into a warning
            print(f"arcmargin: {error}", file=sys.stderr)
            raise SystemExit(2) from error

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        if not folder.is_dir():
            return
        records = find_records(folder).records
        failed = [record for record in records if not record.finished]
        print(f"\n{len(records) - len(failed)} runs finished, {len(failed)} failed, in {folder}")
        for record in failed:
            print(f"  failed: {record.name} ({record.error})", file=sys.stderr)
        if len(failed) < len(records):
            from arcmargin.report.write import write_report  # matplotlib would slow --help down

            report = write_report([folder])
            print(report.markdown)
            print("\n".join(str(file) for file in report.files))
            if config.logger is not None:
                from arcmargin.tracking.comparison import log_report

                settings: Any = OmegaConf.to_container(config.wandb, resolve=True)
                log_report(report.files, folder, settings)
        if failed:
            print(
                f"run the same command with sweep={folder.name} to try those again", file=sys.stderr
            )
            raise SystemExit(1)
