"""What may be published, and what it becomes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import publish
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial
from publishing import reported

from arcmargin.errors import UserError
from arcmargin.record import JOURNAL_FILE, OpenSet, Result, Settings, Study
from arcmargin.report import journal
from arcmargin.report.write import write_report

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "publish.py"
COMMIT = "0123456789" * 4


def write(sweep, header, seed, *, commit=COMMIT, status="finished", accuracy=None, **settings):
    folder = sweep / f"{header}_seed{seed}"
    settings = {"dataset": "digits", "embedding_dim": 2, "seed": seed, **settings}
    Result(
        settings=Settings(header=header, **settings),
        status=status,
        metrics={"accuracy": accuracy or 0.9 + seed / 100, "verification_eer": None},
        intervals={"accuracy": (0.8, 0.95)},
        open_set=OpenSet(images=9, far=[0.001, 0.1], tar=[None, seed / 7]),
        validation={"val_accuracy": 0.5},
        versions={"python": "3.12", "torch": "2.9"},
        git_commit=commit,
    ).write(folder)


@pytest.fixture
def sweep(tmp_path):
    return tmp_path / "sweeps" / "tried"


def test_a_row_a_run_sorted_by_its_settings(sweep, tmp_path):
    names = [("zeta", 0), ("arcface", 1), ("arcface", 0), ("linear", 0)]
    for header, seed in names:
        margins = {} if header == "linear" else {"m2": 0.5, "s": 30.0}
        write(
            sweep,
            header,
            seed,
            **margins,
            overrides=[f"header={header}", f"seed={seed}", "sweep=tried", "optimizer.lr=0.3"],
        )
    table, roc = publish.publish(sweep, tmp_path)
    assert table == tmp_path / "docs" / "results" / "tried.csv"
    runs = publish.read(table)
    order = list(zip(runs["header"], runs["seed"], strict=True))
    assert order == [("linear", 0), ("arcface", 0), ("arcface", 1), ("zeta", 0)]
    assert runs["accuracy"].tolist() == [0.9, 0.9, 0.91, 0.9] and set(runs["accuracy_low"]) == {0.8}
    assert set(runs["overrides"]) == {"optimizer.lr=0.3"}
    assert set(runs["versions"]) == {"python=3.12 torch=2.9"} and set(runs["commit"]) == {COMMIT}
    assert runs["m2"].isna().tolist() == [True, False, False, False]
    assert "m3" not in runs and "verification_eer" not in runs  # empty throughout
    curves = publish.read(roc).set_index("run")
    assert curves.loc["arcface_seed1", "0.1"] == pytest.approx(1 / 7, abs=1e-5)
    assert curves["0.001"].isna().all()


@pytest.mark.parametrize(
    ("odd", "says"),
    [
        ({"commit": f"{COMMIT}-dirty"}, f"runs of {COMMIT}-dirty: with local changes"),
        ({"commit": None}, "runs of no known commit"),
        ({"commit": "f" * 40}, "runs of 2 commits: .*linear_seed0.*run the sweep anew"),
        ({"status": "failed"}, "is not whole: arcface_seed1 failed"),
    ],
)
def test_what_is_not_published_is_named_and_nothing_is_written(sweep, tmp_path, odd, says):
    write(sweep, "linear", 0)
    write(sweep, "arcface", 1, **odd)
    with pytest.raises(UserError, match=says) as refused:
        publish.publish(sweep, tmp_path)
    assert "arcface_seed1" in str(refused.value) and not (tmp_path / "docs").exists()


def test_a_run_that_was_cut_off_is_named(sweep, tmp_path):
    write(sweep, "linear", 0)
    (sweep / "arcface_seed0" / ".hydra").mkdir(parents=True)
    with pytest.raises(UserError, match="arcface_seed0 has no record"):
        publish.publish(sweep, tmp_path)


@pytest.fixture
def study(sweep):
    """Two heads, one trial each; of three tests arcface wins each by six points and a bit."""
    for place, header in enumerate(("linear", "arcface")):
        part = {"score": "val_accuracy", "trials": 1, "tuned": ["s"]}
        given = [f"header={header}", f"s={8 + place}", "sweep=tried"]
        write(sweep, header, 0, study=Study(stage="trial", **part), overrides=given, s=8.0 + place)
        for seed in (1, 2, 3):
            write(
                sweep,
                header,
                seed,
                study=Study(stage="test", **part),
                overrides=given,
                s=8.0 + place,
                accuracy=0.9 + 0.06 * place + 0.001 * seed * (1 + place),
            )
    return sweep


def test_a_fair_comparison_says_what_its_report_says(study, tmp_path):
    page = tmp_path / "README.md"
    page.write_text(
        "<!-- sentence: tried -->\n<!-- end -->\n\n<!-- verdict: tried -->\n<!-- end -->\n"
    )
    tests, roc, trials = publish.publish(study, tmp_path)
    assert publish.read(trials)["seed"].tolist() == [0, 0] and "accuracy" not in publish.read(
        trials
    )
    assert publish.read(trials)["score"].tolist() == [0.5, 0.5]
    assert publish.read(tests)["seed"].tolist() == [1, 2, 3] * 2 and roc.exists()
    assert publish.rewrite(tmp_path) == [page]
    said = write_report([study], tmp_path / "report").verdict[0]
    assert said.startswith("1 of 1 head beats the tuned baseline (linear 90.20 %) in accuracy")
    text = page.read_text()
    assert text.count(f"> {said}") == 2 and "| arcface | 96.40 (" in text
    assert "s = 9" in text and "beats it" in text
    assert publish.rewrite(tmp_path) == []


def test_what_was_searched_is_published_and_a_choice_at_its_end_is_said(study, tmp_path):
    searched = optuna.create_study(study_name="header=arcface", direction="maximize")
    searched.set_user_attr("score", "val_accuracy")
    space = {"s": FloatDistribution(1.0, 64.0, log=True), "m2": FloatDistribution(0.0, 0.8)}
    for s, m2, score in ((2.0, 0.4, 0.3), (63.0, 0.0, 0.5), (8.0, 0.1, 0.4)):
        params = {"s": s, "m2": m2}
        searched.add_trial(create_trial(params=params, distributions=space, value=score))
    journal.save([searched], study / JOURNAL_FILE)
    page = tmp_path / "README.md"
    page.write_text("<!-- verdict: tried -->\n<!-- end -->\n")
    space = publish.read(publish.publish(study, tmp_path)[-1])
    assert dict(zip(space["setting"], space["chosen"], strict=True)) == {
        "s": 63.0,
        "m2": 0.0,
    } and set(space["score"]) == {0.5}
    publish.rewrite(tmp_path)
    assert "beyond what was searched: s from 1 to 64 (arcface 63)." in page.read_text()


def test_a_reported_row_lies_where_a_further_run_would_or_does_not(sweep, tmp_path):
    for seed, accuracy in enumerate((0.971, 0.974, 0.972, 0.975, 0.973)):
        write(sweep, "normface", seed, s=1.0, m1=1.0, m2=0.0, m3=0.0, accuracy=accuracy)
        write(sweep, "arcface", seed, s=4.0, m1=1.0, m2=0.3, m3=0.0, accuracy=accuracy + 0.01)
        write(sweep, "linear", seed, accuracy=accuracy)
    page = tmp_path / "README.md"
    page.write_text("<!-- reported: tried -->\n<!-- end -->\n")
    publish.publish(sweep, tmp_path)
    with pytest.raises(UserError, match=r"expected the reported table in .*tried_source\.csv"):
        publish.rewrite(tmp_path)
    source = "row,header,s,m2,m3,accuracy\nsoftmax,linear,,,,97.7\nnorm,normface,1,0,0,96\n"
    (tmp_path / "docs" / "results" / "tried_source.csv").write_text(source)
    publish.rewrite(tmp_path)
    text = page.read_text()
    # sd 0.158 points, t = 2.776 of four degrees of freedom: 0.158 · 2.776 · sqrt(1.2) = 0.48
    ours = "97.30 ± 0.16 | 96.82 to 97.78"
    assert f"| softmax | linear | – | – | – | 97.70 | {ours} | yes |" in text
    assert f"| norm | normface | 1 | 0 | 0 | 96.00 | {ours} | no |" in text
    assert "| – | arcface | 4 | 0.3 | 0 | – | 98.30 ± 0.16 | 97.82 to 98.78 | – |" in text
    assert "1 of 2 reported rows lie in it. [Each run](docs/results/tried.csv)" in text


def test_a_further_value_lies_in_the_prediction_interval_in_95_of_100_cases():
    drawn = np.random.default_rng(0).normal(0.9, 0.01, (4000, 6))
    inside = 0
    for *seen, new in drawn:
        low, high = reported.prediction(pd.Series(seen))
        inside += low <= new <= high
    assert inside / len(drawn) == pytest.approx(0.95, abs=0.01)


def test_a_trial_may_have_failed_but_no_test(study, tmp_path):
    part = {"score": "val_accuracy", "trials": 1, "tuned": ["s"]}
    write(study, "arcface", 7, status="failed", study=Study(stage="trial", **part))
    _, _, trials = publish.publish(study, tmp_path)
    assert set(publish.read(trials)["seed"]) == {0, 7}
    write(study, "arcface", 8, status="failed", study=Study(stage="test", **part))
    with pytest.raises(UserError, match="is not whole: arcface_seed8 failed"):
        publish.publish(study, tmp_path)


def test_a_page_that_shows_what_was_never_published_is_named(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("<!-- table: tried -->\n<!-- end -->\n")
    with pytest.raises(UserError, match=r"README\.md shows tried, but there is no .*tried\.csv"):
        publish.rewrite(tmp_path)


def test_the_command_line_says_a_mistake_in_a_sentence(tmp_path):
    command = [sys.executable, SCRIPT, tmp_path / "nothing"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("error: no folder")
