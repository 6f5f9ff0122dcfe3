"""+study=fair as the command line has it: equal budgets, fresh seeds, both stages found again."""

import shutil

import pytest
import sweep_tasks
from command_line import arcmargin
from sweep_calls import QUIET, sweep, tree

from arcmargin.margins import largest_feasible
from arcmargin.record import JOURNAL_FILE, find_results
from arcmargin.report import journal
from arcmargin.report.write import write_report

STUDY = ("+study=fair", "study.trials=3", "study.seeds=2", "epochs=2")
HEADS = ("linear", "normface", "arcface")


def listed(*arguments, cwd):
    """What distinguishes each job, by its stage."""
    done = sweep(sweep_tasks.measured, *STUDY, *arguments, "--list", cwd=cwd)
    assert (done.returncode, done.stderr) == (0, "")
    jobs = [
        line.split("  ")[-1] for line in done.stdout.splitlines() if ": " in line and "=" in line
    ]
    return [j for j in jobs if "trial" in j], [j for j in jobs if ", test: " in j], done.stdout


@pytest.mark.long
def test_every_head_has_as_many_trials_and_then_fresh_seeds(tmp_path):
    heads = f"header={','.join(HEADS)}"
    trials, tests, said = listed(heads, cwd=tmp_path)
    assert len(trials) == 9 and not tests
    assert "to follow: 6 tests of the settings chosen" in said
    done = sweep(sweep_tasks.measured, *STUDY, heads, *QUIET, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    studies = journal.load(tmp_path / JOURNAL_FILE)
    assert [study.study_name for study in studies] == [f"header={one}" for one in HEADS]
    assert {len(study.trials) for study in studies} == {3}
    chosen_from = [set(study.trials[0].params) for study in studies]
    assert chosen_from == [{"optimizer.lr"}, {"optimizer.lr", "s"}, {"optimizer.lr", "s", "m2"}]
    trials, tests, said = listed(heads, cwd=tmp_path)
    assert len(trials) == 9 and len(tests) == 6 and "15 jobs: 15 finished" in said
    assert all(one.endswith("seed=0") for one in trials), "the tuning's seed"
    assert {one.rpartition(" ")[2] for one in tests} == {"seed=1", "seed=2"}
    best = studies[2].best_params
    assert all(f"m2={best['m2']}" in one and f"s={best['s']}" in one for one in tests[4:])
    before = tree(tmp_path)
    sweep(sweep_tasks.measured, *STUDY, heads, *QUIET, cwd=tmp_path)
    after = {path for path in tree(tmp_path) if path.name == "record.json"}
    assert after == {path for path in before if path.name == "record.json"}


@pytest.mark.long
def test_several_seeds_count_by_their_mean_and_none_of_them_is_tested(tmp_path):
    command = ("seeds=2", "header=linear,normface", "study.trials=2")
    done = sweep(sweep_tasks.measured, *STUDY, *command, *QUIET, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    trials, tests, _ = listed(*command, cwd=tmp_path)
    assert [one.rpartition(" ")[2] for one in trials] == ["seed=0", "seed=1"] * 4
    assert [one.rpartition(" ")[2] for one in tests] == ["seed=2", "seed=3"] * 2
    scores = [
        trial.value for study in journal.load(tmp_path / JOURNAL_FILE) for trial in study.trials
    ]
    assert scores == pytest.approx([0.81 + 0.0005] * 4), "0.81 + 0.001 x seed, at m2 = 0"


@pytest.mark.long
def test_ranges_end_where_the_classes_cannot_keep_them(tmp_path):
    """Ten digits on a circle allow 0.628 rad and 0.191; in 128 dimensions the YAML's ends hold."""
    command = (*STUDY, "header=arcface,cosface", *QUIET)
    for size in ("2d", "128d"):
        (tmp_path / size).mkdir()
        done = sweep(sweep_tasks.measured, *command, f"embedding_dim={size}", cwd=tmp_path / size)
        assert done.returncode == 0, done.stderr
    ends = {
        size: [
            study.trials[0].distributions[name].high
            for study, name in zip(
                journal.load(tmp_path / size / JOURNAL_FILE), ("m2", "m3"), strict=True
            )
        ]
        for size in ("2d", "128d")
    }
    assert ends["128d"] == [1.2, 0.8]
    bounds = largest_feasible(10, 2)
    assert ends["2d"] == pytest.approx([bounds["m2"], bounds["m3"]], abs=1e-3)
    assert ends["2d"][0] <= bounds["m2"] and ends["2d"][1] <= bounds["m3"]


def test_what_is_given_is_not_searched_and_an_interval_takes_the_place_of_the_yamls(tmp_path):
    command = (*STUDY, "header=arcface,cosface", "s=16", "m2=interval(0.1,0.2)")
    done = sweep(sweep_tasks.measured, *command, "study.lr=null", *QUIET, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = journal.load(tmp_path / JOURNAL_FILE)
    assert set(first.trials[0].params) == {"m2"} and set(second.trials[0].params) == {"m2", "m3"}
    assert all(0.1 <= trial.params["m2"] <= 0.2 for trial in first.trials)


def test_without_trials_it_is_the_yamls_own_settings(tmp_path):
    command = (*STUDY, "study.trials=0", "header=linear,arcface")
    done = sweep(sweep_tasks.measured, *command[:1], *command[2:], *QUIET, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / JOURNAL_FILE).exists()
    folders = sorted(path.name.rpartition("_")[0] for path in tmp_path.glob("*_seed*"))
    assert folders == ["arcface_seed0", "arcface_seed1", "linear_seed0", "linear_seed1"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["+study=fair", "study.trials=-1"], "study.trials must be >= 0, got -1"),
        (["+study=fair", "study.seeds=0"], "study.seeds must be >= 1, got 0"),
        (["+study=fair", "study.lr=1"], "study.lr must be > 1, got 1"),
        (["+study=fair", "header=linear,linear"], "lists a value twice"),
        (["+study=fair", "score=accuracy"], "would fit the test data"),
        (["study.trials=3"], "belong to +study=fair; give that too"),
    ],
)
def test_a_mistake_is_said_before_anything_runs(arguments, sentence, tmp_path):
    done = arcmargin(*arguments, "logger=none", cwd=tmp_path)
    assert done.returncode == 2 and sentence in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1 and not list(tmp_path.rglob("record.json"))


@pytest.mark.long
def test_a_study_ends_with_its_verdict(tmp_path):
    """Real jobs: their records know their part, and the report begins with what they come to."""
    command = ("+study=fair", "study.trials=2", "study.seeds=2", "study.epochs=1", "epochs=2")
    more = ("header=linear,arcface", "dataset.classes=4", "logger=none", "sweep=try")
    done = arcmargin(*command, *more, "hydra/launcher=basic", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    place = tmp_path / "outputs" / "sweeps" / "try"
    parts = [run.settings.study for run in find_results(place).results]
    assert sorted(part.stage for part in parts) == ["test"] * 4 + ["trial"] * 4
    assert {part.score for part in parts} == {"val_accuracy"}
    assert {tuple(part.tuned) for part in parts} == {("m2", "optimizer.lr", "s")}
    verdict = (place / "report" / "verdict.md").read_text()
    assert "2 trials of 1 epochs each" in verdict and "2 fresh seeds" in verdict
    assert (place / "report" / "verdict.html").exists()
    rows = (place / "report" / "runs.csv").read_text().splitlines()
    assert len(rows) == 5, "trials are in no table"
    recipe = ("--config-dir", str(place / "report"), "+experiment=winner")
    trained = arcmargin(*recipe, "epochs=1", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "test split" in trained.stdout

    for run in find_results(place).results:
        if run.settings.study.stage == "test":
            shutil.rmtree(run.folder)
            continue
        measured = {name for name, value in run.metrics.items() if value is not None}
        assert measured <= {"gap_predicted_deg"} and run.score is not None, "it is not tested"
        assert {path.name for path in run.folder.iterdir() if path.suffix} == {
            "record.json",
            "run.log",
        }
        assert "validation split, not tested\n  accuracy " in (run.folder / "run.log").read_text()
    left = write_report([place], tmp_path / "trials")
    assert not [path for path in left.files if path.suffix == ".png"], "no test image to draw"
    assert left.verdict[0].startswith("No test yet, only trials") and not left.damaged_arrays
    assert "Nothing here was tested." in (tmp_path / "trials" / "summary.md").read_text()
