"""The search itself, with a formula in place of training: reproducible and resumable."""

import itertools
import math
from statistics import fmean, median

import numpy as np
import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from arcmargin.errors import UserError
from arcmargin.record import JOURNAL_FILE
from arcmargin.report import journal
from arcmargin.sweeps.axes import axes
from arcmargin.sweeps.search import (
    CutOff,
    Dimension,
    Outcome,
    Pruning,
    Settings,
    Space,
    dimension,
    search,
)

EPOCHS = 6


def dimensions(*texts) -> list[Dimension]:
    return [dimension(axis) for axis in axes(texts)]


MARGINS = Space(
    "margins", ["epochs=6"], dimensions("m2=interval(0.1,0.6)", "s=tag(log,interval(4,64))")
)


def value_of(job) -> dict[str, str]:
    return dict(override.split("=", 1) for override in job.overrides)


def score(job) -> float:
    """Best at m2 = 0.3 and s = 16; each seed has its luck."""
    got = value_of(job)
    luck = 0.01 * math.sin(1000 * float(got["seed"]))
    return 1 - (float(got["m2"]) - 0.3) ** 2 - 0.1 * math.log(float(got["s"]) / 16) ** 2 + luck


def rising(job) -> Outcome:
    return Outcome(score(job), [score(job) * epoch / EPOCHS for epoch in range(1, EPOCHS + 1)])


class Bench:
    """Runs jobs by a formula; may be cut off in the middle of a batch, and remembers what it ran."""

    def __init__(self, outcome=rising, cut_off_after=math.inf):
        self.outcome = outcome
        self.left = cut_off_after
        self.batches = []

    def __call__(self, jobs):
        self.batches.append(jobs)
        self.left -= len(jobs)
        if self.left < 0:
            raise CutOff
        return [self.outcome(job) for job in jobs]


def trials(study) -> list[tuple]:
    return [(t.params, t.values, t.state, t.intermediate_values) for t in study.trials]


def test_the_same_seed_asks_for_the_same_trials():
    first, second = (search([MARGINS], Bench(), Settings(n_trials=12)) for _ in range(2))
    assert trials(first[0]) == trials(second[0]) and len(first[0].trials) == 12
    (other,) = search([MARGINS], Bench(), Settings(n_trials=12, seed=1))
    assert trials(other) != trials(first[0])


@pytest.mark.parametrize("pruner", [None, "median", "halving"])
@settings(max_examples=6, deadline=None)
@given(cut_off_after=st.integers(0, 30), sampler=st.sampled_from(["tpe", "random"]))
def test_a_search_that_was_cut_off_ends_like_an_undisturbed_one(
    pruner, cut_off_after, sampler, tmp_path_factory
):
    path = tmp_path_factory.mktemp("sweep") / JOURNAL_FILE
    how = Settings(n_trials=15, n_jobs=4, sampler=sampler, pruner=pruner, prune_after=2)
    seeds = (0, 1)

    def go_on(bench):
        recorded = {study.study_name: study.trials for study in journal.load(path)}

        def keep(studies):
            return journal.save(studies, path)

        return search([MARGINS], bench, how, seeds=seeds, recorded=recorded, save=keep)

    (whole,) = search([MARGINS], Bench(), how, seeds=seeds)
    (cut_off,) = go_on(Bench(cut_off_after=cut_off_after))
    assert len(cut_off.trials) <= len(whole.trials)
    (ended,) = go_on(Bench())
    assert trials(ended) == trials(whole)
    assert [trials(kept) for kept in journal.load(path)] == [trials(whole)]


def test_a_longer_search_goes_on_with_a_shorter_one(tmp_path):
    path = tmp_path / JOURNAL_FILE
    (short,) = search([MARGINS], Bench(), Settings(n_trials=7))
    journal.save([short], path)
    recorded = {study.study_name: study.trials for study in journal.load(path)}
    # Another seed and another sampler: trials that are recorded stay what they are.
    (long,) = search(
        [MARGINS], Bench(), Settings(n_trials=15, seed=5, sampler="random"), recorded=recorded
    )
    assert trials(long)[:7] == trials(short) and len(long.trials) == 15


def test_optunas_own_tools_read_the_journal(tmp_path):
    (study,) = search([MARGINS], Bench(), Settings(n_trials=5))
    journal.save([study], tmp_path / JOURNAL_FILE)
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / JOURNAL_FILE))
    storage = optuna.storages.JournalStorage(backend)
    read = optuna.load_study(study_name="margins", storage=storage)
    assert trials(read) == trials(study) and read.best_value == study.best_value
    assert [path.name for path in tmp_path.iterdir()] == [JOURNAL_FILE]


def test_a_damaged_journal_is_said(tmp_path):
    path = tmp_path / JOURNAL_FILE
    path.write_text("no journal\nat all\n")
    with pytest.raises(UserError, match=r"study\.journal cannot be read .* delete it"):
        journal.load(path)


def test_a_trials_value_is_the_mean_over_the_seeds():
    bench = Bench()
    (study,) = search([MARGINS], bench, Settings(n_trials=4, n_jobs=2), seeds=(3, 7, 8))
    assert [len(batch) for batch in bench.batches] == [6, 6]
    for trial in study.trials:
        jobs = [job for batch in bench.batches for job in batch if job.trial == trial.number]
        assert [value_of(job)["seed"] for job in jobs] == ["3", "7", "8"]
        assert {value_of(job)["epochs"] for job in jobs} == {"6"}
        assert trial.value == fmean(score(job) for job in jobs)
        assert list(trial.intermediate_values.values()) == pytest.approx(rising(jobs[0]).curve)


SCORES = [(1, "val_accuracy"), (-1, "val_intra_angle_deg")]


@pytest.mark.parametrize(("direction", "name"), SCORES)
def test_the_sampler_goes_where_the_score_is_better(direction, name):

    def outcome(job):
        return Outcome(direction * score(job))

    how = Settings(score=name, n_trials=60)
    (study,) = search([MARGINS], Bench(outcome), how)
    late = study.trials[40:]
    assert abs(study.best_params["m2"] - 0.3) < 0.06
    assert median(abs(t.params["m2"] - 0.3) for t in late) < 0.1  # uniform draws: 0.13
    assert median(abs(math.log(t.params["s"] / 16)) for t in late) < 0.5  # uniform draws: 0.7


def test_five_trials_are_drawn_at_random_and_the_next_are_not():
    drawn = {}
    for sampler in ("tpe", "random"):
        how = Settings(n_trials=8, n_jobs=1, sampler=sampler)
        (study,) = search([MARGINS], Bench(lambda job: Outcome(score(job))), how)
        drawn[sampler] = [trial.params for trial in study.trials]
    same = [ours == other for ours, other in zip(drawn["tpe"], drawn["random"], strict=True)]
    assert same == [True] * 5 + [False] * 3


def test_failed_jobs_count_as_the_worst():
    def outcome(job):
        return Outcome(None) if float(value_of(job)["m2"]) > 0.35 else Outcome(score(job))

    (study,) = search([MARGINS], Bench(outcome), Settings(n_trials=40))
    failed = [trial.params["m2"] > 0.35 for trial in study.trials]
    assert [trial.state for trial in study.trials] == [
        TrialState.PRUNED if one else TrialState.COMPLETE for one in failed
    ]
    assert sum(failed[20:]) < sum(failed[:10]), "the sampler keeps away from them"


def test_one_failed_seed_is_a_failed_trial():

    def outcome(job):
        return Outcome(None if job.seed == 1 and job.trial == 2 else 0.5)

    (study,) = search([MARGINS], Bench(outcome), Settings(n_trials=4), seeds=(0, 1))
    assert [t.value for t in study.trials if t.state is TrialState.COMPLETE] == [0.5] * 3
    assert study.trials[2].state is TrialState.PRUNED


def test_studies_share_their_batches_and_nothing_else():

    def header(name):
        return Space(name, [f"header={name}"], MARGINS.dimensions)

    other = Space("cosface", ["header=cosface", "m2=0.3"], dimensions("s=interval(4,64)"))
    spaces = [header("arcface"), header("combined"), other]
    bench = Bench()
    together = search(spaces, bench, Settings(n_trials=10, n_jobs=4), seeds=(0, 1))
    assert [len(batch) for batch in bench.batches] == [24, 24, 12], "three studies, two seeds"
    alone = [search([one], Bench(), Settings(n_trials=10), seeds=(0, 1))[0] for one in spaces]
    assert [trials(study) for study in together] == [trials(study) for study in alone]
    assert [study.study_name for study in together] == ["arcface", "combined", "cosface"]
    assert {value_of(job)["header"] for job in bench.batches[0]} == {
        "arcface",
        "combined",
        "cosface",
    }


def curves(seed, count) -> np.ndarray:
    return np.random.default_rng(seed).random((count, EPOCHS)).round(3)


@pytest.mark.parametrize(("direction", "name"), SCORES)
@pytest.mark.parametrize("seed", range(5))
def test_median_pruning_is_what_its_name_says(direction, name, seed):
    earlier, running = curves(seed, 7), curves(seed + 100, 20)
    study = Settings(score=name).make_study("")
    for curve in earlier:
        trial = study.ask()
        for epoch, value in enumerate(curve, 1):
            trial.report(value, epoch)
        study.tell(trial, curve[-1])
    for curve in running:
        how = Settings(score=name, pruner="median", prune_after=2)
        pruning = Pruning(how, study.trials)
        best = np.maximum.accumulate(direction * curve)
        behind = best < np.median(direction * earlier, axis=0)
        expected = next((epoch for epoch in range(2, EPOCHS + 1) if behind[epoch - 1]), None)
        steps = [Pruning(how, study.trials).stop_after(list(curve[:n])) for n in range(EPOCHS + 1)]
        assert steps == [
            expected if expected and expected <= n else None for n in range(EPOCHS + 1)
        ]
        # Asked after each epoch, as a job does.
        asked = (pruning.stop_after(list(curve[:n])) for n in range(EPOCHS + 1))
        assert next((epoch for epoch in asked if epoch), None) == expected


def test_too_few_trials_prune_nothing():
    (study,) = search([MARGINS], Bench(), Settings(n_trials=4))
    pruning = Pruning(Settings(pruner="median", prune_after=0), study.trials)
    assert pruning.stop_after([0.0] * EPOCHS) is None


@pytest.mark.parametrize("pruner", ["median", "halving"])
def test_a_pruned_trial_is_not_worth_its_other_seeds(pruner):
    how = Settings(n_trials=24, n_jobs=4, pruner=pruner, prune_after=2)
    ended, stopped = [], []

    class Pruned(Bench):
        """As a job does it: what it is compared with are the trials before its batch."""

        def __call__(self, jobs):
            self.batches.append(jobs)
            return [self.one(job) for job in jobs]

        def one(self, job):
            if job.earlier is None:
                return rising(job)
            pruning = Pruning(how, ended[-1].trials[: job.earlier] if ended else [])
            curve = rising(job).curve
            if epoch := pruning.stop_after(curve):
                stopped.append((job.trial, epoch))
                return Outcome(None, curve[:epoch])
            return rising(job)

    bench = Pruned()

    def keep(studies):
        return ended.append(studies[0])

    (study,) = search([MARGINS], bench, how, seeds=(0, 1, 2), save=keep)
    pruned = {trial.number for trial in study.trials if trial.state is TrialState.PRUNED}
    assert pruned == {number for number, _ in stopped} and 4 <= len(pruned) <= 20
    assert all(epoch > 1 for _, epoch in stopped)
    seeds = {trial.number: set() for trial in study.trials}
    for batch in bench.batches:
        for job in batch:
            seeds[job.trial].add(job.seed)
    assert all(got == ({0} if n in pruned else {0, 1, 2}) for n, got in seeds.items())
    assert not pruned & {study.best_trial.number}


def test_another_space_in_the_same_journal_is_refused():
    (study,) = search([MARGINS], Bench(), Settings(n_trials=2))
    wider = Space("margins", [], dimensions("m2=interval(0.1,0.7)", "s=tag(log,interval(4,64))"))
    with pytest.raises(UserError, match=r"other settings .* sweep=NAME"):
        search([wider], Bench(), Settings(), recorded={"margins": study.trials})


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("m2=interval(0.1,0.6)", lambda v: 0.1 <= float(v) <= 0.6),
        ("m2=tag(log,interval(0.001,0.1))", lambda v: 0.001 <= float(v) <= 0.1),
        ("s=interval(4,64)", lambda v: 4 <= float(v) <= 64),
        ("s=int(interval(4,64))", lambda v: int(v) in range(4, 65)),
        ("s=range(4,64,10)", lambda v: int(v) in range(4, 64, 10)),
        ("m2=range(0.1,0.6,0.1)", lambda v: v in {"0.1", "0.2", "0.3", "0.4", "0.5"}),
        ("m2=0.1,0.3", lambda v: v in {"0.1", "0.3"}),
        ("header=choice(linear,arcface)", lambda v: v in {"linear", "arcface"}),
        ("init='a b',c", lambda v: v in {"'a b'", "c"}),
    ],
)
def test_hydras_syntax_is_the_space(text, allowed):
    key = text.partition("=")[0]
    space = Space("", [], dimensions(text))
    bench = Bench(lambda job: Outcome(0.5))
    search([space], bench, Settings(n_trials=30, sampler="random"))
    values = [value_of(job)[key] for batch in bench.batches for job in batch]
    assert all(map(allowed, values)) and len(set(values)) > 1
    OverridesParser.create().parse_overrides([f"{key}={value}" for value in values])


def test_a_zip_is_one_choice():
    (pair,) = axes([], params={"heads": "zip(header=arcface,cosface; m2=0.3,0)"})
    bench = Bench(lambda job: Outcome(0.5))
    search([Space("", [], [dimension(pair)])], bench, Settings(n_trials=12))
    chosen = {tuple(job.chosen) for batch in bench.batches for job in batch}
    assert chosen == {("header=arcface", "m2=0.3"), ("header=cosface", "m2=0")}


@settings(max_examples=20, deadline=None)
@given(low=st.floats(1e-6, 1e3), factor=st.floats(1.0001, 1e3), number=st.integers(0, 1000))
def test_values_have_four_digits_and_stay_inside(low, factor, number):
    text = f"m2=interval({low!r},{low * factor!r})"
    bench = Bench(lambda job: Outcome(0.5))
    search([Space("", [], dimensions(text))], bench, Settings(n_trials=12, seed=number))
    for job in itertools.chain(*bench.batches):  # the last of them TPE's
        value = float(value_of(job)["m2"])
        assert low <= value <= low * factor
        assert value in (float(f"{value:.4g}"), low, low * factor)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "m2=interval(0.6,0.1)",
            "m2=interval(0.6,0.1) is empty: the first number must be the lower",
        ),
        ("m2=interval(0.1,0.1)", "is empty"),
        ("m2=tag(log,interval(0,0.1))", "must be above 0, got 0"),
    ],
)
def test_an_impossible_interval_is_refused_in_a_sentence(text, sentence):
    with pytest.raises(UserError) as error:
        dimensions(text)
    assert sentence in str(error.value)
