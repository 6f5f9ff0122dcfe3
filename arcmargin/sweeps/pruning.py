"""Jobs that a search stops before their end, as trials before them did better by that epoch.

`sweeper` is hydra.sweeper as the job's configuration has it: a search writes there, as `trial`, which
trials the job is to be compared with. No other job is stopped.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from arcmargin.job import folder as run_folder
from arcmargin.job.identity import identity
from arcmargin.job.schema import score_of
from arcmargin.record import JOURNAL_FILE, Result

Curves = Mapping[str, Sequence[float | None]]


def pruned(cfg: DictConfig, sweeper: Any, folder: Path) -> Result | None:
    """What is left in `folder` of this very job, where a search stopped it before."""
    if sweeper.get("trial") is None:
        return None
    before = run_folder.result(folder)
    if before is None or before.status != "pruned" or before.settings.identity != identity(cfg):
        return None
    return before


def stop_rule(cfg: DictConfig, sweeper: Any, sweep: Path) -> Callable[[Curves], int | None] | None:
    """Tells from a job's curves after which epoch it was to stop; None where it runs to its end."""
    if (trial := sweeper.get("trial")) is None:
        return None
    from arcmargin.report import journal
    from arcmargin.sweeps.search import Pruning, settings_of

    studies = {study.study_name: study for study in journal.load(sweep / JOURNAL_FILE)}
    earlier = studies[trial.study].trials[: trial.earlier] if trial.study in studies else []
    score = score_of(cfg)
    rule = Pruning(settings_of(sweeper, score=score, epochs=cfg.epochs), earlier)
    return lambda curves: rule.stop_after(curves.get(score, ()))
