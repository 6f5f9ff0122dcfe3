"""+study=fair: a fair comparison of headers, as one sweep of two stages.

Each header, and each further value that is listed, chooses its settings by as many trials as every
other; then what each chose is trained with fresh seeds. Both stages are ordinary jobs: what has
finished is found again, and the choices follow from the trials.
"""

import itertools
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from arcmargin.errors import UserError
from arcmargin.margins import largest_feasible
from arcmargin.record import JOURNAL_FILE
from arcmargin.report import journal
from arcmargin.sweeps import search
from arcmargin.sweeps.axes import Axis, axes
from arcmargin.sweeps.listing import listing
from arcmargin.sweeps.search_sweep import Batches, common_score, conclude, seeds_of
from arcmargin.sweeps.sweeper import SearchSweeper

log = logging.getLogger("arcmargin")

RATE = "optimizer.lr"


def run_study(sweeper: SearchSweeper, found: Sequence[Axis], given: Mapping[str, Any]) -> None:
    """Raises UserError for what cannot be compared or searched, before any job begins."""
    config = sweeper.config
    if config.study.name is None:
        raise UserError("hydra/sweeper=study is a part of +study=fair; give that")
    tuning = seeds_of(found, config.seed)
    spaces = _spaces(sweeper, found)
    tuned = sorted({one.name for space in spaces for one in space.dimensions})
    if not config.study.trials:
        spaces, tuned = [space._replace(dimensions=()) for space in spaces], []
    batches = Batches(sweeper, common_score(sweeper, spaces))
    chosen = _chosen(sweeper, spaces, tuned, given, tuning, batches)
    if batches.cut_off:
        if sweeper.dry_run:
            _list_trials(batches, spaces, len(tuning) * config.study.trials)
        return
    first = max(tuning) + 1 if tuned else min(tuning)
    seeds = range(first, first + config.study.seeds)
    tests = sweeper.plan_all(
        (
            [*space.fixed, *_part("test", tuned), *overrides, f"seed={seed}"],
            f"{space.name}, test: {' '.join([*overrides, f'seed={seed}'])}",
        )
        for space, overrides in zip(spaces, chosen, strict=True)
        if overrides is not None
        for seed in seeds
    )
    for space, overrides in zip(spaces, chosen, strict=True):
        if overrides is None:
            log.error("%s: no trial ended with a score, so there is nothing to test", space.name)
    if sweeper.dry_run:
        print(listing([*batches.listed, *tests]))
    elif tests:
        sweeper.launch(tests)


def _part(stage: str, tuned: Sequence[str]) -> list[str]:
    return [f"study.stage={stage}", f"study.tuned=[{','.join(tuned)}]"]


def _chosen(
    sweeper: SearchSweeper,
    spaces: Sequence[search.Space],
    tuned: Sequence[str],
    given: Mapping[str, Any],
    seeds: Sequence[int],
    batches: Batches,
) -> list[list[str] | None]:
    """The overrides that each chose; None where every trial failed. Nothing is chosen yet where the
    batches were cut off."""
    config = sweeper.config
    to_search = [space for space in spaces if space.dimensions]
    best: dict[str, list[str]] = {space.name: [] for space in spaces if not space.dimensions}
    if to_search:
        epochs = config.study.epochs or config.epochs
        settings = search.settings_of(
            {**given, "n_trials": config.study.trials}, score=batches.score, epochs=epochs
        )
        path = sweeper.folder / JOURNAL_FILE
        studies = search.search(
            [_as_trials(space, tuned, config.study.epochs) for space in to_search],
            batches.run,
            settings,
            seeds=seeds,
            recorded={study.study_name: study.trials for study in journal.load(path)},
            save=None if sweeper.dry_run else lambda studies: journal.save(studies, path),
        )
        if not sweeper.dry_run:
            conclude(studies, to_search, sweeper.folder)
        best |= {
            space.name: space.overrides(study.best_params)
            for space, study in zip(to_search, studies, strict=True)
            if _has_ended(study)
        }
    return [best.get(space.name) for space in spaces]


def _as_trials(space: search.Space, tuned: Sequence[str], epochs: int | None) -> search.Space:
    fixed = [*space.fixed, *_part("trial", tuned)]
    if epochs is not None:
        fixed = [*(one for one in fixed if not one.startswith("epochs=")), f"epochs={epochs}"]
    return space._replace(fixed=fixed)


def _has_ended(study: optuna.Study) -> bool:
    return bool(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


def _list_trials(batches: Batches, spaces: Sequence[search.Space], trials: int) -> None:
    """While trials are missing, what the tests will be is known but for the choices."""
    sweeper = batches.sweeper
    left = trials * sum(bool(space.dimensions) for space in spaces) - len(batches.listed)
    tests = [sweeper.plan(space.fixed, space.name) for space in spaces] * sweeper.config.study.seeds
    print(listing(batches.listed, more=[*batches.listed[-1:] * left, *tests]))
    trials_left = f"{left} more trials, then " if left else ""
    print(f"to follow: {trials_left}{len(tests)} tests of the settings chosen")


# ---- what each chooses from ------------------------------------------------------------------------


def _spaces(sweeper: SearchSweeper, found: Sequence[Axis]) -> list[search.Space]:
    """One for each combination of what is listed. An interval on the command line is in all of them, and
    a setting with a value there in none."""
    others = [axis for axis in found if axis.keys != ("seed",)]
    for axis in others:
        if axis.points and len(set(axis.points)) < len(axis.points):
            raise UserError(f"{axis.text} lists a value twice")
    listed = [axis for axis in others if axis.varies and axis.points]
    intervals = {axis.keys[0]: axis for axis in others if axis.varies and not axis.points}
    fixed = [point for axis in others if not axis.varies for point in axis.points[0]]
    decided = {key for axis in others for key in axis.keys}
    name = sweeper.folder.absolute().name
    classes: dict[str, int] = {}
    spaces = []
    for points in itertools.product(*(axis.points for axis in listed)):
        overrides = [*fixed, *itertools.chain(*points)]
        label = " ".join(itertools.chain(*points)) or name
        config = sweeper.plan(overrides, label).config
        dimensions = [
            *(search.dimension(axis) for axis in intervals.values()),
            *(_feasible(one, config, classes) for one in _own(config) if one.name not in decided),
        ]
        spaces.append(search.Space(label, overrides, dimensions))
    return spaces


def _own(config: DictConfig) -> list[search.Dimension]:
    """What the header's YAML declares, and the learning rate."""
    declared = {key: text for key, text in config.space.items() if text is not None}
    if config.gap_deg is not None:  # it sets the margins
        declared = {key: text for key, text in declared.items() if key not in ("m1", "m2", "m3")}
    found = [search.dimension(axis) for axis in axes([], params=declared)]
    own, factor = config.optimizer.get("lr"), config.study.lr
    if own is not None and factor is not None and RATE not in declared:
        around = FloatDistribution(own / factor, own * factor, log=True)
        found.append(search.Dimension(RATE, around))
    return found


def _feasible(
    one: search.Dimension, config: DictConfig, classes: dict[str, int]
) -> search.Dimension:
    """The part of a range of m2 or m3 that so many classes in so many dimensions can keep."""
    if one.name not in ("m2", "m3") or not isinstance(one.distribution, FloatDistribution):
        return one
    # The split may depend on the seed of the data set alone: it is loaded once for all headers.
    dataset = OmegaConf.to_yaml(config.dataset, resolve=True)
    if dataset not in classes:
        from arcmargin.job.build import load_data  # seconds for torch

        classes[dataset] = load_data(config).num_classes
    if classes[dataset] < 2:
        return one
    largest = largest_feasible(classes[dataset], config.embedding_dim.size)[one.name]
    low, high = one.distribution.low, math.floor(largest * 1000) / 1000
    if not low < high < one.distribution.high:
        return one
    return one._replace(distribution=FloatDistribution(low, high, log=one.distribution.log))
