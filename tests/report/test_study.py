"""The verdict of a fair comparison: its sentence, its table, its limits and what it advises."""

from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import yaml
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial
from synthetic_records import make_result

from arcmargin.record import JOURNAL_FILE, Result, Study
from arcmargin.report import intervals, journal
from arcmargin.report.contest import contest
from arcmargin.report.frame import configurations
from arcmargin.report.labels import labels
from arcmargin.report.margin_axes import contexts
from arcmargin.report.ranks import figure
from arcmargin.report.recipe import command, recipe
from arcmargin.report.study import Judged, judge
from arcmargin.report.study_text import advice, by_other_metrics, chosen, limits, sentence
from arcmargin.report.write import write_report

TUNED = ["m2", "m3", "optimizer.lr", "s"]
OWN: dict[str, dict[str, float]] = {
    "linear": {},
    "normface": {"s": 12.0},
    "arcface": {"m2": 0.31, "s": 22.0},
    "cosface": {"m3": 0.2, "s": 25.0},
}


def study(seeds: int = 5, dataset: str = "digits", **gains: float) -> list[Result]:
    """Runs that were tested after ten trials each; the validation likes what the test likes."""
    rng = np.random.default_rng(0)
    luck = rng.normal(0, 0.002, seeds)
    part = Study(stage="test", score="val_accuracy", trials=10, tuned=TUNED)
    runs = []
    for place, (header, own) in enumerate(OWN.items()):
        lr = {"optimizer.lr": round(0.1 + place / 100, 2)}
        given = [f"{key}={value}" for key, value in {**own, **lr}.items()]
        for seed in range(seeds):
            value = 0.9 + gains.get(header, 0.0) + luck[seed] + rng.normal(0, 0.002)
            overrides = ["+study=fair", f"header={header}", *given, f"seed={seed}", "sweep=try"]
            runs.append(
                make_result(
                    header,
                    seed=seed,
                    dataset=dataset,
                    metrics={"accuracy": value},
                    validation={"val_accuracy": value},
                    study=part,
                    overrides=[*overrides, "study.stage=test", f"dataset={dataset}"],
                    num_classes=10,
                    **own,
                )
            )
    return runs


def judged(runs: list[Result]) -> list[Judged]:
    found = configurations(runs)
    return judge(found, labels(found), contexts(found), ["accuracy"], "accuracy")


def test_seeds_that_do_not_differ_tell_no_noise() -> None:
    runs = study(seeds=3)
    for run in runs:
        run.metrics["accuracy"] = 1.0
    (one,) = judged(runs)
    assert sentence(one).startswith("Whether a head beats the baselines cannot be said: every seed")


def test_the_picture_has_each_head_with_its_mean_and_the_better_baselines() -> None:
    (one,) = judged(study(arcface=0.05, cosface=0.03))
    (axes,) = intervals.figure(one.contest).axes
    heads = [label.get_text().removesuffix(" (baseline)") for label in axes.get_yticklabels()]
    assert heads == [head.label for head in one.contest.heads] and heads[0] == "arcface"
    means = [bar.lines[0].get_xdata()[0] for bar in axes.containers]
    assert means == pytest.approx([100 * head.mean for head in one.contest.heads])
    (dashed,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert dashed.get_xdata()[0] == pytest.approx(100 * one.contest.best_baseline.mean)


def test_the_heads_that_beat_every_baseline_are_named() -> None:
    (one,) = judged(study(arcface=0.05, cosface=0.03))
    said = sentence(one)
    assert said.startswith("2 of 2 heads beat both tuned baselines (linear 9")
    assert (
        "arcface by +" in said
        and "cosface by +" in said
        and "p < 0.001" in said
        and "accuracy: over " in said
    )
    assert "5 fresh seeds, 10 trials each" in said and one.winner == "arcface"
    assert len(labels(configurations(study()))) == len(OWN) == len(one.runs)


def test_by_other_metrics_the_same_winners_are_named_once() -> None:
    runs = study(arcface=0.05, cosface=0.03)
    for run in runs:
        accuracy, place = run.metrics["accuracy"], (*OWN,).index(run.settings.header)
        run.metrics["retrieval_recall_at_1"] = run.metrics["retrieval_map_at_r"] = accuracy
        run.metrics["verification_auc"] = accuracy - 0.05 * (place == 3)  # cosface loses here
        run.metrics["verification_eer"] = 0.1 - 0.01 * place + accuracy / 100
        run.metrics["identification_rank_1"] = 0.5 - 0.1 * place + accuracy / 100
    found = configurations(runs)
    names = sorted(runs[0].metrics)
    (one,) = judge(found, labels(found), contexts(found), names, "accuracy")
    assert by_other_metrics(one) == [
        "By other metrics these beat all baselines, each corrected by itself: all 2 (mAP@R, recall@1, "
        "EER); arcface (AUC)."
    ]


def test_by_other_metrics_few_losers_are_named_instead_of_the_winners() -> None:
    rng = np.random.default_rng(0)
    gains = {"linear": 0.0, "normface": 0.0, "lost": 0.0} | {f"won{k}": 0.1 for k in range(4)}
    values = {
        head: dict(enumerate((0.5 + gain + rng.normal(0, 0.001, 5)).tolist()))
        for head, gain in gains.items()
    }
    other = contest(values, ("linear", "normface"), "retrieval_map_at_r")
    (said,) = by_other_metrics(judged(study())[0]._replace(others=[other]))
    assert said.endswith("each corrected by itself: all but lost (mAP@R).")


def test_where_none_does_that_is_what_is_said() -> None:
    (one,) = judged(study(arcface=-0.05, cosface=-0.03))
    said = sentence(one)
    assert said.startswith("None of 2 heads beats both tuned baselines")
    assert one.winner in ("linear", "normface")
    assert f"Take {one.winner}" in advice(one, Path("report"))[0]


@pytest.mark.parametrize(
    ("left_out", "seeds", "words"),
    [
        ({"linear", "normface"}, 5, "No baseline is among these heads"),
        ({"arcface", "cosface"}, 5, "Only baselines were compared"),
        (set(), 1, "cannot be said from one seed"),
    ],
)
def test_what_cannot_be_said_is_said(left_out: set[str], seeds: int, words: str) -> None:
    runs = [run for run in study(seeds, arcface=0.1) if run.settings.header not in left_out]
    (one,) = judged(runs)
    assert words in sentence(one) and not one.contest.winners


def test_the_limits_are_named() -> None:
    (three,), (ten,) = judged(study(3)), judged(study(10))
    assert any("3 seeds can show large differences only" in text for text in limits(three))
    assert not any("large differences only" in text for text in limits(ten))
    assert all("one fixed split" in limits(one)[0] for one in (three, ten))


def test_the_table_shows_four_digits_of_a_choice() -> None:
    runs = study()
    for run in runs:
        long = [text.replace("lr=0.12", "lr=0.1234567890123") for text in run.settings.overrides]
        run.settings.overrides[:] = long
    (one,) = judged(runs)
    assert "optimizer.lr = 0.1235" in chosen(one, "arcface") and "s = 22" in chosen(one, "arcface")


def test_the_recipe_is_the_runs_settings() -> None:
    run = next(run for run in study() if run.settings.header == "arcface")
    run.settings.overrides[:] = [*run.settings.overrides, "dataset.unseen=[7,8]", "x.tiny=1e-05"]
    assert command(run) == (
        "python -m arcmargin.run header=arcface m2=0.31 s=22.0 optimizer.lr=0.12 dataset=digits "
        "'dataset.unseen=[7,8]' x.tiny=1e-05"
    )
    text = recipe(run, "why")
    assert text.startswith("# @package _global_\n# why\n")
    read: dict[str, Any] = yaml.safe_load(text)
    assert read["defaults"][:2] == [
        {"override /header": "arcface"},
        {"override /dataset": "digits"},
    ]
    assert read["m2"] == 0.31 and read["optimizer"] == {"lr": 0.12}
    assert read["dataset"] == {"unseen": [7, 8]} and read["x"] == {"tiny": 1e-5}


def test_trials_are_in_no_table(tmp_path: Path) -> None:
    runs = study(3, arcface=0.05)
    trial = Study(stage="trial", score="val_accuracy", trials=10, tuned=TUNED)
    runs += [make_result("arcface", seed=9, metrics={"accuracy": 0.1}, study=trial, m2=0.7)]
    for number, run in enumerate(runs):
        run.write(tmp_path / f"run{number}")
    report = write_report([tmp_path], formats=["png"])
    assert len(report.verdict) == 1 and "arcface by +" in report.verdict[0]
    assert len((tmp_path / "report" / "runs.csv").read_text().splitlines()) == 1 + 12
    page = (tmp_path / "report" / "verdict.md").read_text()
    assert page.startswith(f"# Verdict\n\n> {report.verdict[0]}")
    assert report.verdict[0] in (tmp_path / "report" / "verdict.html").read_text()
    assert (tmp_path / "report" / "verdict.png").exists()
    assert "verdict.html" in (tmp_path / "report" / "index.html").read_text()
    assert (tmp_path / "report" / "experiment" / "winner.yaml").exists()


@pytest.mark.parametrize("name", ["verdict", "search"])
def test_the_pages_draw_their_plots(name: str, browser: Any, tmp_path: Path) -> None:
    for number, run in enumerate(study(3, arcface=0.05)):
        run.write(tmp_path / f"run{number}")
    searched = optuna.create_study(study_name="header=arcface", direction="maximize")
    searched.set_user_attr("score", "val_accuracy")
    space = {"s": FloatDistribution(1.0, 64.0, log=True)}
    for s, score in ((2.0, 0.3), (20.0, 0.5), (8.0, 0.4)):
        trial = {"params": {"s": s}, "distributions": space, "intermediate_values": {1: score}}
        searched.add_trial(create_trial(value=score, **trial))
    journal.save([searched], tmp_path / JOURNAL_FILE)
    write_report([tmp_path], formats=["png"])
    errors: list[str] = []
    tab = browser.new_page(viewport={"width": 400, "height": 900})
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto((tmp_path / "report" / f"{name}.html").as_uri())
    assert tab.title() == f"{name.title()} · arcmargin" and not errors
    places = tab.locator("[data-figure]").count()
    assert places >= 3 and tab.locator("[data-figure] .main-svg >> nth=0").is_visible()
    assert tab.locator("[data-figure].js-plotly-plot").count() == places
    assert tab.evaluate("document.documentElement.scrollWidth") <= 400
    tab.close()


def test_several_data_sets_have_their_ranks() -> None:
    pytest.importorskip("scikit_posthocs")
    places = [judged(study(3, dataset, arcface=0.05))[0] for dataset in ("a", "b", "c", "d")]
    assert figure([one.contest for one in places]) is not None
    assert figure([one.contest for one in places[:2]]) is None
