import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_records import make_result

from arcmargin.errors import UserError
from arcmargin.record import Embeddings, Result
from arcmargin.report import layout
from arcmargin.report import write as report
from arcmargin.report.configurations import Configuration
from arcmargin.report.frame import configurations
from arcmargin.report.output import FILES_WRITTEN
from arcmargin.report.tables import read_csv, summary_table
from arcmargin.report.text_tables import markdown, rows_of

ROOT = Path(report.__file__).parents[2]
OWN = {"arcface": "m2", "cosface": "m3", "sphereface": "m1"}


def run(header: str = "arcface", **changes: Any) -> Result:
    metrics = {"accuracy": 0.98, "gap_min_deg": 20.0, "gap_mean_deg": 25.0}
    return make_result(header, **{"dataset": "mnist", "metrics": metrics} | changes)


def save(root: Path, records: list[Result], *, embeddings: bool = True) -> Path:
    rng = np.random.default_rng(0)
    for index, record in enumerate(records):
        folder = root / f"run-{index:04d}"
        if embeddings and record.finished:
            labels = rng.integers(0, 3, 60)
            angle = labels * 2 * np.pi / 3 + rng.normal(0, 0.1, 60)
            circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
            third = np.radians([0, 120, 240])
            Embeddings(circle, labels, np.stack([np.cos(third), np.sin(third)], axis=1)).save(
                folder
            )
        record.write(folder)
    return root


def titles(records: list[Result], **chosen: Any) -> tuple[list[str], list[str]]:
    found = configurations(
        records, extra=[*(chosen.get("rows") or []), *(chosen.get("cols") or [])]
    )
    (page,), _ = layout.place(found, layout.axes(found, **chosen))
    return page.row_titles, page.col_titles


def only_page(found: list[Configuration], **chosen: Any) -> layout.Page:
    (page,), left_out = layout.place(found, layout.axes(found, **chosen))
    assert left_out == ""
    return page


def six() -> list[Result]:
    """header=linear,arcface,cosface,sphereface m2=0.2,0.5; linear ran once."""
    heads = {"arcface": {}, "cosface": {"m3": 0.35}, "sphereface": {"m1": 3.0}}
    margins = (0.2, 0.5)
    return [
        run("linear"),
        *(run(head, m2=m2, **own) for head, own in heads.items() for m2 in margins),
    ]


def matched() -> list[Result]:
    """One predicted gap: the margin follows from the header."""
    margins = {"arcface": {"m2": 0.3}, "cosface": {"m3": 0.1}, "sphereface": {"m1": 3.0}}
    runs = [run(head, seed=seed, **own) for head, own in margins.items() for seed in range(3)]
    return runs + [run(head, seed=seed) for head in ("normface", "linear") for seed in range(3)]


def test_headers_down_and_the_margin_across() -> None:
    rows, cols = titles(six())
    assert rows == ["linear", "arcface", "cosface, m3 = 0.35", "sphereface, m1 = 3"]
    assert cols == ["m2 = 0.2", "m2 = 0.5"]


def test_a_head_without_margin_stands_in_every_column() -> None:
    found = configurations(six())
    cells = only_page(found).cells
    assert [[cell.results[0].settings.header for cell in line] for line in cells[:2]] == [
        ["linear", "linear"],
        ["arcface", "arcface"],
    ]
    assert [cell.results[0].settings.m2 for cell in cells[1]] == [0.2, 0.5]
    assert all(len(cell.results) == 1 and not cell.note for line in cells for cell in line)


def test_a_head_that_takes_the_scale_only_is_a_baseline_too() -> None:
    baseline = run("adaface", s=30.0)
    rows, cols = titles([baseline, *six()])
    assert rows[-1] == "adaface"
    assert cols == ["m2 = 0.2", "m2 = 0.5"]


def test_a_scale_of_its_own_is_stated_with_the_header() -> None:
    records = [run("linear"), run("arcface", m2=0.3, s=64.0), run("cosface", m3=0.2, s=30.0)]
    rows, cols = titles(records)
    assert (rows, cols[1:]) == ([""], ["arcface, m2 = 0.3, s = 64", "cosface, m3 = 0.2, s = 30"])


def test_matched_margins_are_no_axis_but_are_stated() -> None:
    rows, cols = titles(matched())
    assert rows == [""]
    assert cols == [
        "linear",
        "normface",
        "arcface, m2 = 0.3",
        "cosface, m3 = 0.1",
        "sphereface, m1 = 3",
    ]
    found = configurations(matched())
    assert [len(one.results) for one in found] == [3] * 5


@pytest.mark.parametrize(
    ("records", "rows", "cols"),
    [
        ([run()], [""], ["arcface"]),
        ([run(m2=m2) for m2 in (0.5, 0.1, 1.0)], [""], ["m2 = 0.1", "m2 = 0.5", "m2 = 1"]),
        (
            [run(m2=m2, s=s) for m2 in (0.1, 0.5) for s in (8.0, 30.0)],
            ["m2 = 0.1", "m2 = 0.5"],
            ["s = 8", "s = 30"],
        ),
        (
            [run(h, embedding_dim=d) for h in ("cosface", "linear") for d in (16, 2)],
            ["linear", "cosface"],
            ["2-D", "16-D"],
        ),
        (
            [run(h, dataset=d, epochs=e) for h in OWN for d, e in (("mnist", 20), ("digits", 60))],
            ["arcface", "cosface", "sphereface"],
            ["digits", "mnist"],
        ),
        ([run(overrides=[f"+optimizer.lr={lr}"]) for lr in (0.1, 0.01)], [""], None),
        (
            [
                run(head, **{own: g / 50}, gap_deg=float(g))
                for head, own in OWN.items()
                for g in (60, 90)
            ],
            ["arcface", "cosface", "sphereface"],
            ["gap_deg = 60", "gap_deg = 90"],
        ),
    ],
    ids=["one", "margin", "margin x scale", "dims", "tied", "override", "gap_deg"],
)
def test_axes_follow_from_what_varies(
    records: list[Result], rows: list[str], cols: list[str] | None
) -> None:
    cols = cols or ["optimizer.lr = 0.01", "optimizer.lr = 0.1"]
    assert titles(records) == (rows, cols)


def test_rows_and_cols_override() -> None:
    assert titles(six(), rows=["m2"])[0] == ["m2 = 0.2", "m2 = 0.5"]
    assert titles(six(), rows=["m2"])[1][0] == "linear"
    assert titles(six(), cols=["header"])[1][0] == "linear"
    rows, cols = titles(matched(), rows=["seed"], cols=["header"])
    assert rows == ["seed = 0", "seed = 1", "seed = 2"]
    assert len(cols) == 5
    found = configurations(six())
    cells = only_page(found, rows=[], cols=["m2"]).cells
    assert cells[0][0].note == "1 of 4 configurations"


def test_a_grid_too_large_for_a_page_shows_an_even_choice_and_says_so() -> None:
    records = [run(h, m2=m2 / 100) for h in OWN for m2 in range(1, 41)] + [run("linear")]
    found = configurations(records)
    pages, left_out = layout.place(found, layout.axes(found))
    assert left_out == "15 of 40 columns"
    assert [page.col_titles[0] for page in pages] == ["m2 = 0.01", "m2 = 0.15", "m2 = 0.29"]
    assert pages[-1].col_titles[-1] == "m2 = 0.4"
    for page in pages:
        assert page.row_titles == ["linear", "arcface", "cosface", "sphereface"]
        assert [cell.results[0].settings.header for cell in page.cells[0]] == ["linear"] * 5


def test_a_third_axis_gets_pages_when_one_would_be_too_small() -> None:
    heads, margins = [*OWN, "normface"], (0.1, 0.2, 0.3, 0.4, 0.5)
    records = [
        run(h, m2=m2, dataset=d) for h in heads for m2 in margins for d in ("mnist", "digits")
    ]
    few = configurations([record for record in records if record.settings.m2 < 0.35])
    assert len(only_page(few).row_titles) == 8
    found = configurations(records)
    pages, left_out = layout.place(found, layout.axes(found))
    assert ([page.title for page in pages], left_out) == (["digits", "mnist"], "")
    for page in pages:
        assert page.row_titles == ["normface", "arcface", "cosface", "sphereface"]
        assert {c.results[0].settings.dataset for line in page.cells for c in line} == {page.title}
    chosen = layout.axes(few, pages=["header"])
    assert chosen.pages == ["header"]
    pages, left_out = layout.place(few, chosen)
    assert ([page.title for page in pages], left_out) == (
        ["normface", "arcface", "cosface", "sphereface"],
        "",
    )
    many = [run(h, m2=m2, seed=seed) for h in heads for m2 in margins for seed in range(9)]
    found = configurations(many, extra=["seed"])
    pages, left_out = layout.place(found, layout.axes(found))
    assert [page.title for page in pages] == ["seed = 0", "seed = 4", "seed = 8"]
    assert left_out == "3 of 9 pages"


def test_a_page_leaves_out_what_none_of_its_runs_has() -> None:
    records = [run(m2=m2, s=s) for m2 in (0.1, 0.2) for s in (8.0, 16.0)]
    records += [run("cosface", m2=0.5, m3=0.2, s=16.0), run("linear")]
    found = configurations(records)
    pages, _ = layout.place(found, layout.axes(found, rows=["header"], cols=["m2"], pages=["s"]))
    assert [(page.title, page.row_titles, page.col_titles) for page in pages] == [
        ("s = 8", ["linear", "arcface"], ["m2 = 0.1", "m2 = 0.2"]),
        (
            "s = 16",
            ["linear", "arcface", "cosface, m3 = 0.2"],
            ["m2 = 0.1", "m2 = 0.2", "m2 = 0.5"],
        ),
    ]


def test_a_wanted_gap_says_nothing_of_a_head_without_margin() -> None:
    """normface ran once, with the first of the gaps, and stands in every column."""
    records = [run("normface", overrides=["gap_deg=10"])]
    records += [run(m2=g / 57, gap_deg=float(g)) for g in (10, 20)]
    page = only_page(configurations(records))
    assert page.col_titles == ["gap_deg = 10", "gap_deg = 20"]
    assert [cell.results[0].settings.header for cell in page.cells[0]] == ["normface", "normface"]


def test_summary_is_mean_deviation_and_interval_over_seeds() -> None:
    accuracies = [0.97, 0.98, 0.995]
    records = [
        run(seed=i, metrics={"accuracy": a, "x": float(i)}) for i, a in enumerate(accuracies)
    ]
    records.append(run(seed=3, status="failed", error="NaN", metrics={}))
    (row,) = rows_of(summary_table(configurations(records)))
    mean = sum(accuracies) / 3
    deviation = (sum((a - mean) ** 2 for a in accuracies) / 2) ** 0.5
    assert row["accuracy"] == pytest.approx(mean)
    assert row["accuracy_sd"] == pytest.approx(deviation)
    assert row["accuracy_ci95"] == pytest.approx(4.302653 * deviation / 3**0.5)  # t, 2 degrees
    assert (row["runs"], row["failed"], row["x"]) == (3, 1, 1.0)


def test_a_repeat_with_the_same_seed_counts_once() -> None:
    older, newer = run(metrics={"accuracy": 0.5}), run(metrics={"accuracy": 0.9})
    failed = run(status="failed", error="killed")
    (one,) = configurations([older, newer, failed])
    assert [record.metrics["accuracy"] for record in one.results] == [0.9]
    assert one.values("accuracy") == {0: 0.9}
    without_seed = [run(seed=None, folder=Path(str(i))) for i in range(2)]
    assert len(configurations(without_seed)[0].results) == 2


def test_markdown_table() -> None:
    records = matched()
    for record in records:
        record.metrics["accuracy"] = 0.98 + (record.settings.seed or 0) / 100
    table = markdown(summary_table(configurations(records)))
    lines = table.splitlines()
    assert lines[0] == "| header | m1 | m2 | m3 | accuracy % | smallest gap | mean gap |"
    assert lines[2] == "| linear | – | – | – | 99.00 ± 1.00 | 20.0 ± 0.0 | 25.0 ± 0.0 |"
    assert lines[4] == "| arcface | 1 | 0.3 | 0 | 99.00 ± 1.00 | 20.0 ± 0.0 | 25.0 ± 0.0 |"
    assert lines[-1].startswith("Test split, mean ± standard deviation over 3 seeds")


def test_markdown_states_failures() -> None:
    records = [run(), run(seed=1, status="failed", metrics={}), run("linear")]
    table = markdown(summary_table(configurations(records)))
    assert "| arcface | 98.00 | 20.0 | 25.0 | 1 of 2 |" in table
    assert "| linear | 98.00 | 20.0 | 25.0 | 1 of 1 |" in table


def test_report_writes_everything_and_the_csv_gives_the_same_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [
        *matched(),
        run("cosface", m3=0.1, seed=7, status="failed", error="boom\nNaN loss", metrics={}),
    ]
    folder = save(tmp_path / "sweep", records)
    (folder / "broken").mkdir()
    (folder / "broken" / "record.json").write_text('{"header"')
    (folder / "lost" / ".hydra").mkdir(parents=True)
    assert report.main([str(folder), "--formats", "png,svg"]) == 0
    said = capsys.readouterr()
    names = {"grid.png", "grid.svg", "angles.png", "angles.svg", "index.html", "compare.html"}
    names |= {"plotly.min.js"}
    names |= {
        "runs.csv",
        "summary.csv",
        "summary.md",
        "summary.tex",
        "differences.csv",
        "differences.md",
    }
    assert {path.name for path in (folder / "report").iterdir()} == names | {FILES_WRITTEN}
    for name in names:
        assert str(folder / "report" / name) in said.out
    assert f"skipped: {folder / 'broken' / 'record.json'} is not valid JSON" in said.err
    assert f"skipped: {folder / 'lost'} has no record.json" in said.err
    assert "run-0015: NaN loss" in said.err
    table = (folder / "report" / "summary.md").read_text()
    assert table in said.out
    assert markdown(read_csv(folder / "report" / "summary.csv")) == table
    rows = rows_of(read_csv(folder / "report" / "runs.csv"))
    assert len(rows) == 16
    failed = next(row for row in rows if row["status"] == "failed")
    assert (failed["error"], failed["folder"], failed["accuracy"]) == ("NaN loss", "run-0015", None)
    linear = next(row for row in rows if row["header"] == "linear")
    assert (linear["m2"], linear["s"]) == (None, None)


def test_a_choice_of_runs_holds_every_header() -> None:
    headers = ["normface"] * 20 + ["arcface"] * 30 + ["cosface", "linear"] + ["sphereface"] * 2
    chosen = report.representative(headers, 28)
    assert len(chosen) == 28 and chosen == sorted(set(chosen))
    counts = {name: sum(headers[i] == name for i in chosen) for name in dict.fromkeys(headers)}
    assert counts == {"normface": 12, "arcface": 12, "cosface": 1, "linear": 1, "sphereface": 2}
    assert report.representative(headers, 100) == list(range(len(headers)))


def test_the_best_run_of_each_header_turns_first() -> None:
    runs = [run(metrics={"accuracy": a}) for a in (0.7, 0.9)] + [run("linear"), run("cosface")]
    assert report.in_turns(range(4), runs, "accuracy") == [2, 1, 3, 0]


def test_a_single_run_folder_and_several_folders(tmp_path: Path) -> None:
    folder = save(tmp_path / "sweep", [run(), run("linear")])
    one = report.write_report([folder / "run-0000"])
    assert (folder / "run-0000" / "report" / "grid.png") in one.files
    both = report.write_report([folder / "run-0000", folder / "run-0001"], out=tmp_path / "both")
    assert len(both.found.results) == 2
    assert (tmp_path / "both" / "summary.md").read_text().count("\n| ") == 3


def test_only_failed_runs_still_make_a_report(tmp_path: Path) -> None:
    folder = save(tmp_path, [run(status="failed", error="NaN", metrics={}) for _ in range(2)])
    assert report.main([str(folder)]) == 0
    assert "0 of 1" in (folder / "report" / "summary.md").read_text()


def broken(folder: Path) -> Path:
    (folder / "record.json").write_text("{")
    return folder


@pytest.mark.parametrize(
    ("prepare", "arguments", "sentence"),
    [
        (lambda folder: folder / "nowhere", [], "no folder"),
        (lambda folder: folder, [], "no runs in"),
        (broken, [], "is not valid JSON"),
        (lambda f: save(f, [run()]), ["--rows", "colour"], "unknown key 'colour': choose from"),
        (lambda f: save(f, [run()]), ["--formats", "gif"], "choose from png, pdf, svg"),
        (lambda f: save(f, [run()]), ["--out", "/dev/null/x"], "cannot write /dev/null/x"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    prepare: Any,
    arguments: list[str],
    sentence: str,
) -> None:
    assert report.main([str(prepare(tmp_path)), *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert sentence in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "report").exists()


def test_umap_without_its_package_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert report.main([str(save(tmp_path, [run()])), "--projection", "umap"]) == 2
    said = capsys.readouterr()
    assert "pip install 'arcmargin[umap]'" in said.err and said.err.count("\n") == 1
    assert not (tmp_path / "report").exists()


def test_the_script(tmp_path: Path) -> None:
    folder = save(tmp_path / "sweep", [run(), run("linear")])
    script = [sys.executable, str(ROOT / "scripts" / "report.py")]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [*script, str(folder)], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "report" / "grid.png").exists()
    wrong = subprocess.run(
        [*script, "nowhere"], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert wrong.returncode == 2
    assert wrong.stderr == (
        "error: no folder nowhere: expected a run or sweep folder, such as outputs/<name>\n"
    )


def test_two_sweeps_keep_the_same_runs_apart(tmp_path: Path) -> None:
    both = tmp_path / "a" / "demo", tmp_path / "b" / "demo"
    for place, accuracy in zip(both, (0.9, 0.8), strict=True):
        records = [run(m2=0.3, seed=s, metrics={"accuracy": accuracy}) for s in range(2)]
        save(place, [*records, run("linear", metrics={"accuracy": accuracy / 2})])
    made = report.write_report(both, out=tmp_path / "out")
    assert made.repeats == 0
    rows = read_csv(tmp_path / "out" / "summary.csv")
    assert rows[["header", "sweep", "accuracy", "runs"]].values.tolist() == [
        ["linear", "a/demo", 0.45, 1],
        ["linear", "b/demo", 0.4, 1],
        ["arcface", "a/demo", 0.9, 2],
        ["arcface", "b/demo", 0.8, 2],
    ]
    page = only_page(configurations(made.found.results))
    assert (page.row_titles, page.col_titles) == (
        ["linear", "arcface, m2 = 0.3"],
        ["a/demo", "b/demo"],
    )
    lines = read_csv(tmp_path / "out" / "differences.csv")["difference"].tolist()
    assert lines[:2] == pytest.approx([0.45, 0.4])  # arcface less the baseline of its own sweep


def test_sweeps_of_different_runs_make_one_comparison(tmp_path: Path) -> None:
    save(tmp_path / "a", [run("linear"), run(m2=0.2)])
    save(tmp_path / "b", [run(m2=0.5)])
    made = report.write_report([tmp_path / "a", tmp_path / "b"])
    assert "sweep" not in read_csv(tmp_path / "a" / "report" / "summary.csv")
    assert {*read_csv(tmp_path / "a" / "report" / "runs.csv")["sweep"]} == {"a", "b"}
    assert made.markdown.count("\n| ") == 4


def test_only_what_a_report_wrote_is_deleted(tmp_path: Path) -> None:
    folder = save(tmp_path / "sweep", [run(m2=0.1 * i) for i in range(30)], embeddings=False)
    out = tmp_path / "out"
    out.mkdir()
    mine = ("roc_mine.png", "heatmap.png", "grid_9.png", "angles_2.svg", "compare.html", "notes.md")
    for name in mine:
        (out / name).write_text("mine")
    report.write_report([folder], out, formats=["png"])
    assert (out / "grid_2.png").exists()
    for further in range(2, 30):
        (folder / f"run-{further:04d}" / "record.json").unlink()
    report.write_report([folder], out, formats=["png"])
    assert not (out / "grid_2.png").exists()
    assert [(out / name).read_text() for name in mine] == ["mine"] * len(mine)


def test_a_file_of_the_users_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save(tmp_path / "sweep", [run()], embeddings=False)
    out = tmp_path / "out"
    out.mkdir()
    (out / "summary.md").write_text("mine")
    (tmp_path / "precious").write_text("mine")
    (out / FILES_WRITTEN).write_text("../precious\n..\nrecord.json\n")
    assert report.main([str(folder), "--out", str(out)]) == 2
    assert "summary.md is there already and no report wrote it" in capsys.readouterr().err
    assert {path.name for path in out.iterdir()} == {"summary.md", FILES_WRITTEN}
    (out / "summary.md").unlink()
    assert report.main([str(folder), "--out", str(out)]) == 0
    assert (tmp_path / "precious").read_text() == "mine"


def test_cells_do_not_begin_like_formulas(tmp_path: Path) -> None:
    names = ["=1+1", "+a", "-a", "@a", "a", "-1"]
    records = [run(overrides=[f"backbone.note={name}"], seed=i) for i, name in enumerate(names)]
    report.write_report([save(tmp_path, records, embeddings=False)], formats=["png"])
    text = (tmp_path / "report" / "summary.csv").read_text()
    for name in names[:4]:
        assert f",'{name}," in text
    cells = read_csv(tmp_path / "report" / "summary.csv")["backbone.note"]
    assert sorted(map(str, cells)) == sorted(names)


def test_no_rows_make_no_table() -> None:
    with pytest.raises(UserError):
        markdown(summary_table([]))
