"""Our sweepers as the command line has them: pairs, lists of what would run, searches that go on."""

import os
import re
import signal
import subprocess
import sys

import optuna
import pytest
import sweep_tasks
from command_line import arcmargin_process
from omegaconf import OmegaConf
from sweep_calls import HERE, QUIET, sweep, tree
from sweep_tasks import wait_until

from arcmargin.record import JOURNAL_FILE, find_results
from arcmargin.report import journal
from arcmargin.sweeps.command_line import expanded

SEARCH = ("hydra/sweeper=optuna", "m2=interval(0.1,0.6)")


def settings(cwd, *keys):
    """Of each job, as Hydra wrote them down."""
    files = sorted(cwd.glob("*/.hydra/config.yaml"))
    return sorted(tuple(OmegaConf.load(file)[key] for key in keys) for file in files)


def trials(cwd):
    return [
        (study.study_name, [(t.params, t.values, t.state) for t in study.trials])
        for study in journal.load(cwd / JOURNAL_FILE)
    ]


def scores(cwd):
    found = find_results(cwd)
    return {one.folder.name: one.curves["val_accuracy"] for one in found.results if one.finished}


@pytest.mark.parametrize("launcher", ["basic", pytest.param("joblib", marks=pytest.mark.long)])
def test_a_zip_runs_its_pairs_and_finds_them_again(launcher, tmp_path):
    command = ["zip(m2=0.2,0.4; m3=0,0.1)", "seeds=2", f"hydra/launcher={launcher}"]
    done = sweep(sweep_tasks.quick, *command, cwd=tmp_path)
    pairs = [(0.2, 0.0), (0.4, 0.1)]
    expected = sorted((*pair, seed) for pair in pairs for seed in (0, 1))
    assert settings(tmp_path, "m2", "m3", "seed") == expected, done.stderr
    folders = set(tmp_path.glob("*_seed*"))
    if launcher != "basic":
        again = sweep(sweep_tasks.quick, *command, cwd=tmp_path)
        assert "nothing to run: all of 4" in again.stderr
    assert set(tmp_path.glob("*_seed*")) == folders and len(folders) == 4


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["zip(m2=0.2,0.4; m3=0)"], "2 of m2, 1 of m3; list as many of each"),
        (["zip(m2=0.2,0.4; m9=0,1)"], "m9"),
        (["zip(m2=0.2,0.4"], "expected zip(header=arcface,cosface; m2=0.3,0)"),
        (["zip(m2=0.2,0.4; m3=0,1)", "m3=0.1"], "so m3=0.1 cannot be given too"),
        (["m2=interval(0.2,0.4)"], "search with hydra/sweeper=optuna"),
        ([*SEARCH, "m2=interval(0.6,0.1)"], "the first number must be the lower one"),
        ([*SEARCH, "m2=0.1"], "nothing to search"),
        ([*SEARCH, "seed=interval(0,9)"], "a search chooses no seed"),
        ([*SEARCH, "score=accuracy"], "would fit the test data"),
        ([*SEARCH, "score=train_loss"], "images that training has not seen; take one of val_"),
        ([*SEARCH, "score=val_acuracy"], "is measured by no validation; take one of val_acc"),
        ([*SEARCH, "hydra.sweeper.n_trials=0"], "n_trials must be a whole number from 1 on, got 0"),
        ([*SEARCH, "hydra.sweeper.sampler=best"], "must be tpe or random, got best"),
        ([*SEARCH, "hydra.sweeper.pruner=best"], "must be null or median or halving, got best"),
        ([*SEARCH, "hydra.sweeper.prune_after=3"], "a fraction of the epochs, from 0 to 1, got 3"),
        (
            [*SEARCH, "hydra.sweeper.each=header"],
            "each names header, of which no values are listed",
        ),
    ],
)
def test_a_mistake_is_said_before_anything_runs(arguments, sentence, tmp_path):
    done = sweep(sweep_tasks.quick, *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr and len(done.stderr.splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} <= {".lock"}


def rows(listed):
    """State, folder and what distinguishes the job, of each line of a list; then the rest."""
    *lines, total, estimate = listed.stdout.splitlines()
    return [re.split(r" {2,}", line.strip())[1:] for line in lines], total, estimate


@pytest.mark.long
def test_a_list_says_what_would_run_and_writes_nothing(tmp_path):
    sweep(sweep_tasks.measured, "seeds=2", "m2=0.2,0.5", "epochs=2", *QUIET, cwd=tmp_path)
    wider = ["header=linear,arcface", "m2=0.2,0.5,0.6", "seeds=2", "epochs=2", "--list"]
    jobs, *_ = rows(sweep(sweep_tasks.measured, *wider, cwd=tmp_path))
    begun = tmp_path / next(folder for state, folder, _ in jobs if state == "to run")
    (begun / "checkpoints").mkdir(parents=True)
    (begun / "checkpoints" / "last.ckpt").touch()
    before = tree(tmp_path)
    done = sweep(sweep_tasks.measured, *wider, cwd=tmp_path)
    assert tree(tmp_path) == before and (done.returncode, done.stderr) == (0, "")
    jobs, total, estimate = rows(done)
    # linear takes no m2: its three are one job.
    assert [(label, state) for state, _, label in jobs] == [
        ("header=linear m2=0.2 seed=0", "to resume"),
        ("header=linear m2=0.2 seed=1", "to run"),
        ("header=linear m2=0.5 seed=0", "same as 0"),
        ("header=linear m2=0.5 seed=1", "same as 1"),
        ("header=linear m2=0.6 seed=0", "same as 0"),
        ("header=linear m2=0.6 seed=1", "same as 1"),
        ("header=arcface m2=0.2 seed=0", "finished"),
        ("header=arcface m2=0.2 seed=1", "finished"),
        ("header=arcface m2=0.5 seed=0", "failed, to run again"),
        ("header=arcface m2=0.5 seed=1", "failed, to run again"),
        ("header=arcface m2=0.6 seed=0", "to run"),
        ("header=arcface m2=0.6 seed=1", "to run"),
    ]
    for state, folder, _ in jobs:
        there = (tmp_path / folder / "record.json").exists()
        assert there == (state in ("finished", "failed, to run again"))
    for part in ("12 jobs: ", "3 to run", "4 same as another", "2 finished", "1 to resume"):
        assert part in total
    # Two epochs took 4 s in the jobs that finished.
    assert estimate == "6 jobs left: about 24 s one after another, going by 2 that finished"


def test_a_list_of_a_new_sweep(tmp_path):
    done = sweep(sweep_tasks.quick, "seeds=2", "--list", cwd=tmp_path)
    assert "2 jobs: 2 to run\nno job has finished yet" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} <= {".lock"}


@pytest.mark.long
def test_a_search_is_a_sweep_of_ordinary_jobs_with_a_best_one(tmp_path):
    command = [*SEARCH, "hydra.sweeper.n_trials=9", "epochs=2"]
    done = sweep(sweep_tasks.measured, *command, "seeds=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    tried = settings(tmp_path, "m2", "seed")
    assert len(tried) == 18 and len({m2 for m2, _ in tried}) == 9
    best = min((m2 for m2, _ in tried), key=lambda m2: abs(m2 - 0.3))
    (kept,) = OmegaConf.load(tmp_path / "best.yaml")
    assert f"m2={best}" in kept.overrides
    assert kept.val_accuracy == pytest.approx(0.9 - (best - 0.3) ** 2 + 0.0005)
    assert f"best of 9 trials: validation accuracy {100 * kept.val_accuracy:.2f} %" in done.stderr
    page = (tmp_path / "report" / "search.html").read_text()
    assert f"Best of 9 trials: m2 = {best}, with a validation accuracy" in page
    again = sweep(sweep_tasks.measured, *command, "seeds=2", cwd=tmp_path)
    assert "all of 18" in again.stderr and "finished already" in again.stderr


@pytest.mark.long
def test_the_score_is_any_validation_metric(tmp_path):
    command = [*SEARCH, "score=val_gap_mean_deg", "hydra.sweeper.n_trials=8", "epochs=2"]
    done = sweep(sweep_tasks.measured, *command, cwd=tmp_path)
    (kept,) = OmegaConf.load(tmp_path / "best.yaml")
    largest = max(m2 for (m2,) in settings(tmp_path, "m2"))
    assert kept.val_gap_mean_deg == pytest.approx(10 * largest), done.stderr
    other = sweep(sweep_tasks.measured, *SEARCH, "score=val_gap_min_deg", cwd=tmp_path)
    assert other.returncode == 2
    assert "score=val_gap_min_deg is not measured by these runs; they have val_ac" in other.stderr


@pytest.mark.long
def test_failed_jobs_do_not_end_a_search(tmp_path):
    command = ["hydra/sweeper=optuna", "m2=0.3,0.5", "hydra.sweeper.n_trials=6"]
    done = sweep(sweep_tasks.measured, *command, "epochs=2", cwd=tmp_path)
    assert done.returncode == 1 and "to run only those again" in done.stderr
    assert "failed: arcface: it fails" in done.stderr
    (kept,) = OmegaConf.load(tmp_path / "best.yaml")
    assert "m2=0.3" in kept.overrides


def test_each_value_may_get_a_search_of_its_own(tmp_path):
    command = [*SEARCH, "header=arcface,combined", "hydra.sweeper.each=header", "epochs=2"]
    sweep(sweep_tasks.measured, *command, "hydra.sweeper.n_trials=3", *QUIET, cwd=tmp_path)
    (first, of_arcface), (second, of_combined) = trials(tmp_path)
    assert (first, second) == ("header=arcface", "header=combined")
    assert len(of_arcface) == len(of_combined) == 3
    assert {one.study for one in OmegaConf.load(tmp_path / "best.yaml")} == {first, second}


@pytest.mark.long
def test_a_list_of_a_search_shows_its_next_batch(tmp_path):
    command = [*SEARCH, "hydra.sweeper.n_trials=4", "epochs=2"]
    sweep(sweep_tasks.measured, *command, *QUIET, cwd=tmp_path)
    before = tree(tmp_path)
    more = [*SEARCH, "hydra.sweeper.n_trials=10", "epochs=2"]
    done = sweep(sweep_tasks.measured, *more, "--list", cwd=tmp_path)
    assert tree(tmp_path) == before
    assert "8 jobs: 4 finished, 4 to run; up to 2 more, whose settings follow" in done.stdout
    assert "6 jobs left: about 24 s" in done.stdout
    listed = {line.split()[-2].removeprefix("m2=") for line in done.stdout.splitlines()[:8]}
    sweep(sweep_tasks.measured, *more, *QUIET, cwd=tmp_path)
    ran = [str(params["m2"]) for params, *_ in trials(tmp_path)[0][1]]
    assert set(ran[:8]) == listed, "what was listed is what runs"


@pytest.mark.long
@pytest.mark.parametrize("finished", [1, 7])
def test_a_killed_search_ends_like_an_undisturbed_one(finished, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir(), killed.mkdir()
    command = [
        *SEARCH,
        "hydra.sweeper.n_trials=12",
        "hydra.launcher.n_jobs=2",
        "epochs=2",
        QUIET[1],
    ]
    sweep(sweep_tasks.measured, *command, cwd=whole)
    read = expanded(command)
    process = subprocess.Popen(
        [sys.executable, "-c", "import sweep_tasks; sweep_tasks.measured()", *HERE, *read],
        cwd=killed,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "FINISHED": str(finished)},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until(lambda: len(list(killed.glob("*/record.json"))) >= finished)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert len(scores(killed)) < 12
    done = sweep(sweep_tasks.measured, *command, cwd=killed)
    assert done.returncode == 0, done.stderr
    # A study bears its folder's name.
    assert [ran for _, ran in trials(killed)] == [ran for _, ran in trials(whole)]
    assert scores(killed) == scores(whole)
    best = (killed / "best.yaml").read_text().replace("study: killed", "study: whole")
    assert best == (whole / "best.yaml").read_text()


@pytest.mark.long
def test_real_jobs_are_stopped_at_the_same_epochs_under_every_launcher(tmp_path):
    """Not those that happen to run later: they are compared with trials before their batch only."""
    command = [
        "--multirun",
        *SEARCH,
        "s=tag(log,interval(0.5,64))",
        "hydra.sweeper.n_trials=12",
        "epochs=10",
    ]
    command += ["hydra.sweeper.pruner=median", "dataset.classes=5", "sweep=try", "logger=none"]
    found = {}
    for launcher in ("basic", "joblib"):
        cwd = tmp_path / launcher
        cwd.mkdir()
        done = arcmargin_process(*command, f"hydra/launcher={launcher}", cwd=cwd)
        assert done.returncode == 0, done.stderr
        place = cwd / "outputs" / "sweeps" / "try"
        results = find_results(place)
        epochs = {one.folder.name: len(one.curves["val_accuracy"]) for one in results.pruned}
        found[launcher] = [ran for _, ran in trials(place)], epochs
        assert epochs and all(3 <= count < 10 for count in epochs.values())
        assert f"{len(epochs)} stopped by the search" in done.stderr
        again = arcmargin_process(*command, cwd=cwd)
        assert "all of 12" in again.stderr or "finished already" in again.stderr, again.stderr
        assert len(find_results(place).pruned) == len(epochs)
    assert found["basic"] == found["joblib"]
    study = journal.load(tmp_path / "basic" / "outputs" / "sweeps" / "try" / JOURNAL_FILE)[0]
    pruned = study.get_trials(states=(optuna.trial.TrialState.PRUNED,))
    assert len(pruned) == len(found["basic"][1])
