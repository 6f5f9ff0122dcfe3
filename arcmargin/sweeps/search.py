"""A search by Optuna: which settings to try next, given what those before came to.

What is asked for follows from the seed, the trial's number and the scores of the batches before, and
from nothing else. So a search that was cut off goes on by asking for the same again: jobs that are
finished are not run again, and the settings of trials in the journal are taken from there.

Several studies, each with a budget of its own, share their batches: the launcher stays busy.
"""

import logging
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import optuna
from hydra.core.override_parser.types import IntervalSweep, RangeSweep
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import BasePruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from arcmargin.errors import UserError
from arcmargin.metrics.score import best
from arcmargin.sweeps.axes import Axis

optuna.logging.set_verbosity(logging.WARNING)

SAMPLERS = ("tpe", "random")
PRUNERS = ("median", "halving")
STARTUP = 5  # trials before TPE looks at their scores, and before one is compared with their median


class Dimension(NamedTuple):
    """What may be chosen for one key, or for several that go together."""

    name: str
    distribution: BaseDistribution
    points: Mapping[str, tuple[str, ...]] | None = None  # the overrides of each listed value

    def overrides(self, value: Any) -> tuple[str, ...]:
        return self.points[value] if self.points else (f"{self.name}={value}",)


class Space(NamedTuple):
    """The settings of one study: those of all its jobs, and those it chooses."""

    name: str
    fixed: Sequence[str]
    dimensions: Sequence[Dimension]

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """Those that it chose."""
        chosen = (one.overrides(params[one.name]) for one in self.dimensions)
        return [override for part in chosen for override in part]


class Job(NamedTuple):
    """One seed of a trial."""

    space: Space
    trial: int  # its number
    chosen: list[str]  # overrides
    seed: int
    earlier: int | None = None  # how many trials it is compared with; None: it runs to its end

    @property
    def overrides(self) -> list[str]:
        return [*self.space.fixed, *self.chosen, f"seed={self.seed}"]


class Outcome(NamedTuple):
    """What a job came to."""

    score: float | None  # None: it failed, or was stopped as hopeless
    curve: Sequence[float | None] = ()  # the score after each epoch


class CutOff(Exception):
    """Jobs did not run to an end of their own: the search stops here, to go on later."""


class RoundedRandom(RandomSampler):
    def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
        return _rounded(super().sample_independent(study, trial, name, distribution), distribution)


class RoundedTPE(TPESampler):
    def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
        return _rounded(super().sample_independent(study, trial, name, distribution), distribution)

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        """All settings at once, which is Optuna 5's default."""
        found = super().sample_relative(study, trial, search_space)
        return {name: _rounded(value, search_space[name]) for name, value in found.items()}


def _rounded(value: Any, distribution: BaseDistribution) -> Any:
    """Four significant digits: more say nothing, and nobody can type them."""
    if not isinstance(distribution, FloatDistribution):
        return value
    return min(max(float(f"{value:.4g}"), distribution.low), distribution.high)


class Settings(NamedTuple):
    """How to search."""

    score: str = "val_accuracy"
    n_trials: int = 20
    n_jobs: int = 4  # trials asked for at once
    sampler: str = "tpe"
    seed: int = 0
    pruner: str | None = None
    prune_after: int = 1  # epochs

    def make_study(self, name: str) -> optuna.Study:
        study = optuna.create_study(
            study_name=name,
            direction="maximize" if best(self.score) == "max" else "minimize",
            pruner=self.make_pruner(),
        )
        study.set_user_attr("score", self.score)
        return study

    def make_sampler(self, number: int) -> BaseSampler:
        """A new one for each trial: its choice depends on no earlier draw."""
        seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        if self.sampler == "random":
            return RoundedRandom(seed=seed)
        # Trials of the same batch count as bad ones: or all of them would lie at the same place.
        with warnings.catch_warnings():  # Optuna 4 calls that experimental, 5 does so by default
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return RoundedTPE(seed=seed, n_startup_trials=STARTUP, constant_liar=True)

    def make_pruner(self) -> BasePruner:
        if self.pruner == "median":
            return MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=self.prune_after)
        if self.pruner == "halving":
            after = max(self.prune_after, 1)
            return SuccessiveHalvingPruner(min_resource=after, reduction_factor=2)
        return NopPruner()


def settings_of(sweeper: Mapping[str, Any], *, score: str, epochs: int) -> Settings:
    """From hydra.sweeper. Raises UserError for what cannot be meant."""
    best(score)
    for key in ("n_trials", "n_jobs"):
        if not isinstance(sweeper[key], int) or sweeper[key] < 1:
            raise UserError(
                f"hydra.sweeper.{key} must be a whole number from 1 on, got {sweeper[key]}"
            )
    if not isinstance(sweeper["seed"], int) or sweeper["seed"] < 0:
        raise UserError(
            f"hydra.sweeper.seed must be a whole number from 0 on, got {sweeper['seed']}"
        )
    for key, known in (("sampler", SAMPLERS), ("pruner", (None, *PRUNERS))):
        if sweeper[key] not in known:
            names = " or ".join("null" if name is None else name for name in known)
            raise UserError(f"hydra.sweeper.{key} must be {names}, got {sweeper[key]}")
    after = sweeper["prune_after"]
    if not isinstance(after, int | float) or not 0 <= after <= 1:
        raise UserError(
            f"hydra.sweeper.prune_after is a fraction of the epochs, from 0 to 1, got {after}"
        )
    return Settings(
        score=score,
        prune_after=round(after * epochs),
        **{key: sweeper[key] for key in ("n_trials", "n_jobs", "sampler", "seed", "pruner")},
    )


def dimension(axis: Axis) -> Dimension:
    """The distribution that Hydra's syntax describes: interval, range, choice, with tag(log, ...).

    Raises UserError for an empty interval, and a logarithmic one that reaches to zero.
    """
    name = " ".join(axis.keys)
    sweep = axis.override.value() if axis.override else None
    key = axis.override.get_key_element() if axis.override else name
    if isinstance(sweep, IntervalSweep):
        return Dimension(key, _interval(sweep, axis.text))
    if isinstance(sweep, RangeSweep) and not sweep.shuffle:
        values = list(sweep.range())
        if len(values) > 1 and sweep.step > 0:
            return Dimension(key, _range(values, sweep.step))
    if not axis.points:
        raise UserError(f"{axis.text} has no values to choose from")
    labels = [
        point[0].partition("=")[2] if len(point) == 1 else " ".join(point) for point in axis.points
    ]
    points = dict(zip(labels, axis.points, strict=True))
    return Dimension(name, CategoricalDistribution(list(points)), points)


def _interval(sweep: IntervalSweep, text: str) -> BaseDistribution:
    low, high, log = sweep.start, sweep.end, "log" in sweep.tags
    if low is None or high is None or not low < high:
        raise UserError(f"{text} is empty: the first number must be the lower one")
    if log and low <= 0:
        raise UserError(f"{text} is logarithmic, so its lower end must be above 0, got {low}")
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)


def _range(values: Sequence[Any], step: Any) -> BaseDistribution:
    if all(isinstance(value, int) for value in values):
        return IntDistribution(values[0], values[-1], step=step)
    return FloatDistribution(values[0], values[-1], step=float(step))


def search(
    spaces: Sequence[Space],
    run: Callable[[list[Job]], list[Outcome]],
    settings: Settings,
    *,
    seeds: Sequence[int] = (0,),
    recorded: Mapping[str, Sequence[FrozenTrial]] | None = None,
    save: Callable[[list[optuna.Study]], None] | None = None,
) -> list[optuna.Study]:
    """As many trials of each space as `settings` ask for; a trial's value is the mean over `seeds`.

    `run` is given all jobs of a batch and may raise CutOff, after which the studies are returned as
    they are. `recorded` are the trials that a search before this one left, `save` keeps these.
    With a pruner the first seed of a trial decides whether it is worth its others.
    """
    recorded = recorded or {}
    studies = [_Study(space, settings, recorded.get(space.name, ())) for space in spaces]
    with suppress(CutOff):
        for start in range(0, settings.n_trials, settings.n_jobs):
            count = min(settings.n_jobs, settings.n_trials - start)
            trials = [(study, trial) for study in studies for trial in study.ask(count)]
            for study, trial, outcomes in _run(trials, run, settings, seeds, start):
                study.tell(trial, outcomes)
            if save and start + count >= max(
                (len(known) for known in recorded.values()), default=0
            ):
                save([study.optuna for study in studies])
    return [study.optuna for study in studies]


class _Study:
    def __init__(self, space: Space, settings: Settings, recorded: Sequence[FrozenTrial]) -> None:
        self.space = space
        self.settings = settings
        self.recorded = recorded
        self.optuna = settings.make_study(space.name)
        self._choices = {one.name: one.distribution for one in space.dimensions}
        for trial in recorded:
            if trial.distributions != self._choices:
                raise UserError(
                    f"this sweep holds a search over other settings ({', '.join(trial.distributions)}, "
                    "or other values of them); give it another name: sweep=NAME"
                )

    def ask(self, count: int) -> list[Trial]:
        trials = []
        for number in range(len(self.optuna.trials), len(self.optuna.trials) + count):
            self.optuna.sampler = self.settings.make_sampler(number)
            if number < len(self.recorded):
                self.optuna.enqueue_trial(self.recorded[number].params)
            trials.append(self.optuna.ask(self._choices))
        return trials

    def tell(self, trial: Trial, outcomes: Sequence[Outcome]) -> None:
        for epoch, score in enumerate(outcomes[0].curve, 1):
            if score is not None:
                trial.report(score, epoch)
                trial.should_prune()  # successive halving notes how far the trial came
        scores = [outcome.score for outcome in outcomes if outcome.score is not None]
        if len(scores) == len(outcomes):
            self.optuna.tell(trial, fmean(scores))
        else:  # also one that failed: as the worst, or the sampler would go there again and again
            self.optuna.tell(trial, state=TrialState.PRUNED)


def _run(
    trials: Sequence[tuple[_Study, Trial]],
    run: Callable[[list[Job]], list[Outcome]],
    settings: Settings,
    seeds: Sequence[int],
    start: int,
) -> Iterable[tuple[_Study, Trial, list[Outcome]]]:
    """The trials of one batch and what each of their jobs came to."""

    def jobs_of(
        study: _Study, trial: Trial, seeds: Sequence[int], earlier: int | None
    ) -> list[Job]:
        chosen = study.space.overrides(trial.params)
        return [Job(study.space, trial.number, chosen, seed, earlier) for seed in seeds]

    outcomes: list[list[Outcome]] = [[] for _ in trials]
    rounds = [(seeds[:1], start), (seeds[1:], None)] if settings.pruner else [(seeds, None)]
    for some_seeds, earlier in rounds:
        on = [i for i, got in enumerate(outcomes) if all(one.score is not None for one in got)]
        jobs = [jobs_of(*trials[i], some_seeds, earlier) for i in on]
        if any(jobs):
            got = iter(run([job for part in jobs for job in part]))
            for i, part in zip(on, jobs, strict=True):
                outcomes[i] += [next(got) for _ in part]
    return [(*trial, got) for trial, got in zip(trials, outcomes, strict=True)]


class Pruning:
    """Tells a job that runs whether it is worth going on with, by trials that ended before its batch.

    Only these: what it is compared with does not depend on which job runs faster.
    """

    def __init__(self, settings: Settings, earlier: Sequence[FrozenTrial]) -> None:
        study = settings.make_study("")
        study.add_trials(earlier)
        self.trial = study.ask()
        self.seen = 0

    def stop_after(self, curve: Sequence[float | None]) -> int | None:
        """After which epoch, of those that it went through so far. A score that is not known stops
        nothing."""
        for epoch in range(self.seen + 1, len(curve) + 1):
            self.seen = epoch
            score = curve[epoch - 1]
            if score is not None:
                self.trial.report(score, epoch)
                if self.trial.should_prune():
                    return epoch
        return None
