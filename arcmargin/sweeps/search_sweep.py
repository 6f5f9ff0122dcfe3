"""hydra/sweeper=optuna: a search as a sweep. Its jobs are ordinary ones, in ordinary folders."""

import itertools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import OmegaConf
from optuna.trial import TrialState

from arcmargin.errors import UserError
from arcmargin.job.schema import score_of
from arcmargin.metrics.table import VALIDATION, metric
from arcmargin.record import JOURNAL_FILE, Damaged, Result
from arcmargin.report import journal
from arcmargin.sweeps import search, state
from arcmargin.sweeps.axes import Axis
from arcmargin.sweeps.listing import listing
from arcmargin.sweeps.sweeper import Planned, SearchSweeper

log = logging.getLogger("arcmargin")

BEST = "best.yaml"


def run_search(
    sweeper: SearchSweeper,
    found: Sequence[Axis],
    given: Mapping[str, Any],
) -> None:
    """Raises UserError for a space that cannot be searched, before any job begins."""
    config = sweeper.config
    seeds = seeds_of(found, config.seed)
    each = given["each"]
    spaces = _spaces(
        found, [each] if isinstance(each, str) else each, sweeper.folder.absolute().name
    )
    score = common_score(sweeper, spaces)
    settings = search.settings_of(given, score=score, epochs=config.epochs)
    path = sweeper.folder / JOURNAL_FILE
    recorded = {study.study_name: study.trials for study in journal.load(path)}
    batches = Batches(sweeper, score)
    studies = search.search(
        spaces,
        batches.run,
        settings,
        seeds=seeds,
        recorded=recorded,
        save=None if sweeper.dry_run else lambda studies: journal.save(studies, path),
    )
    if sweeper.dry_run:
        total = len(spaces) * settings.n_trials * len(seeds)
        left = batches.cut_off * (total - len(batches.listed))
        print(listing(batches.listed, more=batches.listed[-1:] * left))
    else:
        conclude(studies, spaces, sweeper.folder)


def seeds_of(found: Sequence[Axis], otherwise: int) -> list[int]:
    """Those of each trial."""
    for axis in found:
        if axis.keys == ("seed",) and axis.points:
            return [int(point[0].partition("=")[2]) for point in axis.points]
        if "seed" in axis.keys:
            raise UserError(
                f"{axis.text}: a search chooses no seed, it takes the mean over those that are "
                "listed, such as seeds=3"
            )
    return [otherwise]


def _spaces(found: Sequence[Axis], each: Sequence[str], name: str) -> list[search.Space]:
    """One, or one for each combination of what `each` names."""
    others = [axis for axis in found if axis.keys != ("seed",)]
    unknown = set(each) - {key for axis in others if axis.points for key in axis.keys}
    if unknown:
        raise UserError(
            f"hydra.sweeper.each names {', '.join(sorted(unknown))}, of which no values are listed"
        )
    apart = [axis for axis in others if set(axis.keys) & set(each)]
    chosen = [axis for axis in others if axis.varies and axis not in apart]
    fixed = [point for axis in others if not axis.varies for point in axis.points[0]]
    if not chosen:
        raise UserError(
            "hydra/sweeper=optuna has nothing to search; give a space such as 'm2=interval(0.1,0.6)'"
        )
    dimensions = [search.dimension(axis) for axis in chosen]
    combinations = itertools.product(*(axis.points for axis in apart))
    return [
        search.Space(
            " ".join(itertools.chain(*points)) or name,
            [*fixed, *itertools.chain(*points)],
            dimensions,
        )
        for points in combinations
    ]


def common_score(sweeper: SearchSweeper, spaces: Sequence[search.Space]) -> str:
    """What all of them go by."""
    configs = [sweeper.loader.load_sweep_config(sweeper.config, [*one.fixed]) for one in spaces]
    scores = {score_of(config): space.name for config, space in zip(configs, spaces, strict=True)}
    if len(scores) > 1:
        means = " and ".join(f"{score} for {name}" for score, name in scores.items())
        raise UserError(f"score=auto means {means}; name one for all, such as score=val_accuracy")
    return next(iter(scores))


class Batches:
    """Has the jobs of a search run, or only looks which of them have."""

    def __init__(self, sweeper: SearchSweeper, score: str) -> None:
        self.sweeper = sweeper
        self.score = score
        self.listed: list[Planned] = []
        self.cut_off = False  # they have not all ended

    def run(self, batch: list[search.Job]) -> list[search.Outcome]:
        plans = self.sweeper.plan_all((_overrides(job), _label(job)) for job in batch)
        self.listed += plans
        if not self.sweeper.dry_run:
            self.sweeper.launch(plans)
        outcomes = [_outcome(plan.folder, self.score) for plan in plans]
        if None in outcomes and (self.sweeper.dry_run or state.stopped(self.sweeper.folder)):
            self.cut_off = True
            raise search.CutOff
        return [one or search.Outcome(None) for one in outcomes]


def _outcome(folder: Path, score: str) -> search.Outcome | None:
    """None where no job has ended. The score is that of the weights that are tested."""
    try:
        result = Result.read(folder)
    except Damaged:
        return None
    curve = result.curves.get(score, [])
    if not result.finished:
        return search.Outcome(None, curve)
    if not curve:
        known = ", ".join(name for name in result.curves if name.startswith(VALIDATION))
        raise UserError(f"score={score} is not measured by these runs; they have {known}")
    return search.Outcome(result.validation.get(score), curve)


def _overrides(job: search.Job) -> list[str]:
    if job.earlier is None:
        return job.overrides
    name = QuotedString(job.space.name, Quote.double).with_quotes()
    return [*job.overrides, f"hydra.sweeper.trial={{study:{name},earlier:{job.earlier}}}"]


def _label(job: search.Job) -> str:
    return f"{job.space.name}, trial {job.trial}: {' '.join(job.chosen)} seed={job.seed}"


def conclude(studies: Sequence[optuna.Study], spaces: Sequence[search.Space], folder: Path) -> None:
    """best.yaml; says what was best."""
    found = []
    for study, space in zip(studies, spaces, strict=True):
        if not study.get_trials(states=(TrialState.COMPLETE,)):
            continue
        best, score = study.best_trial, metric(study.user_attrs["score"])
        chosen = space.overrides(best.params)
        overrides = [*space.fixed, *chosen]
        found.append({"study": space.name, score.name: study.best_value, "overrides": overrides})
        shown = f"{score.title} {score.with_unit(study.best_value)}: {' '.join(chosen)}"
        log.info("%s: best of %d trials: %s", space.name, len(study.trials), shown)
    if found:
        OmegaConf.save(OmegaConf.create(found), folder / BEST)
