"""What the README and docs/ show of published runs is what docs/results/ holds."""

import re
from pathlib import Path

import pandas as pd
import publish
import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "docs" / "results").glob("*.csv"))
RESULTS = [path for path in FILES if not path.stem.endswith(("_roc", "_space", "_source"))]
PAGES = ("README.md", "docs/results.md", "docs/unseen.md")
each = pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)


@pytest.fixture
def copy(tmp_path):
    """The pages and what they are made from, to be changed."""
    for path in (*(ROOT / page for page in PAGES), *FILES):
        place = tmp_path / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    return tmp_path


def test_making_the_tables_anew_changes_nothing(copy):
    assert publish.rewrite(copy) == []


@each
def test_every_experiment_stands_on_a_page(path):
    assert any(f"results/{path.name})" in (ROOT / page).read_text() for page in PAGES)


@pytest.mark.parametrize(
    ("kind", "name", "page", "says"),
    [
        ("table", "digits_circle", "results", "| cosface | 1 | 0 | 0.1495 | 50.10 ± 0.10 |"),
        (
            "noise",
            "fashion_circle",
            "results",
            "- accuracy %: linear +2.23; cosface, m3 = 0.15 -35.24\n",
        ),
    ],
)
def test_a_changed_number_is_noticed(copy, kind, name, page, says):
    """One metric of one run decides the table."""
    path = copy / "docs" / "results" / f"{name}.csv"
    runs = publish.read(path)
    one = (runs["header"] == "cosface") & (runs["embedding_dim"] == runs["embedding_dim"].max())
    runs.loc[one, "accuracy"] = [0.5, 0.501, 0.502]
    path.write_text(runs.to_csv(index=False))
    changed = copy / "docs" / f"{page}.md"
    assert publish.rewrite(copy) == [changed]
    pattern = rf"<!-- {kind}: {name} -->.*?<!-- end -->"
    assert says in re.findall(pattern, changed.read_text(), re.DOTALL)[0]


def test_a_cell_is_the_mean_and_the_standard_deviation_over_the_seeds():
    runs = publish.read(ROOT / "docs" / "results" / "mnist_circle.csv").set_index("header")
    values = [100 * value for value in runs.loc["arcface", "accuracy"]]
    mean = sum(values) / 3
    sd = (sum((value - mean) ** 2 for value in values) / 2) ** 0.5
    assert f"| arcface | 1 | 0.4887 | 0 | {mean:.2f} ± {sd:.2f} |" in (ROOT / PAGES[0]).read_text()


@each
def test_a_comparison_has_its_baseline(path):
    runs = publish.read(path)
    swept = (runs[["m1", "m2", "m3"]] == [1, 0, 0]).all(axis="columns") & runs["in_formula"]
    assert {"linear", "normface"} <= set(runs["header"]) or swept.any() or "seeds" in path.stem


@each
def test_a_row_says_what_made_it_and_is_there_once(path):
    runs = publish.read(path)
    assert runs["run"].is_unique and not runs[["seed", "commit", "versions"]].isna().any(axis=None)
    assert runs["commit"].str.fullmatch("[0-9a-f]{40}(-dirty)?").all()
    curves = path.with_name(f"{path.stem}_roc.csv")
    assert not curves.exists() or set(publish.read(curves)["run"]) == set(runs["run"])


def test_none_of_ten_seeds_is_stuck():
    runs = publish.read(ROOT / "docs" / "results" / "mnist_circle_ten_seeds.csv")
    pairs = pd.MultiIndex.from_product([["arcface", "cosface", "sphereface"], range(10)])
    assert set(zip(runs["header"], runs["seed"], strict=True)) == set(pairs)
    assert runs["accuracy"].min() > 0.98 and runs["centre_gap_max_deg"].max() < 48
    uneven = runs.groupby("header")["centre_gap_max_deg"].mean()
    assert uneven.idxmax() == "sphereface"
