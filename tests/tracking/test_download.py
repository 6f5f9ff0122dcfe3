"""Runs of many machines, as W&B has them, and the report on them."""

import numpy as np
import pytest
from command_line import in_process
from synthetic_records import make_result, write_sweep

from arcmargin.errors import UserError
from arcmargin.record import Embeddings, Result, Unseen, find_results
from arcmargin.report.write import write_report
from arcmargin.tracking.download import download, main

FILES = ("record.json", "embeddings.npz", "unseen.npz", "snapshots.npz", "embedding.png")


@pytest.fixture
def machine(tmp_path):
    """The sweep where it was run."""
    write_sweep(tmp_path / "machine" / "heads", ("linear", "arcface"), (20.0,), seeds=2, failed=1)
    return tmp_path / "machine" / "heads"


def log(server, folder, group="heads", **given):
    """As the run's tracker does."""
    run = {"displayName": folder.name, "jobType": "train", "groupName": group, "exit_code": 0}
    server.runs[given.pop("name", folder.name)] = {**run, "lines": {}, **given}
    for file in folder.iterdir():
        if file.name in FILES:
            server.files[f"{folder.name}/{file.name}"] = file.read_bytes()


def test_the_report_is_the_one_of_the_machine_that_made_the_runs(online, machine, tmp_path):
    unseen = Unseen(np.eye(2, dtype=np.float32), np.array([0, 1]), np.array(["8", "9"]))
    unseen.save(next(machine.glob("linear*")))
    for folder in machine.iterdir():
        log(online, folder)
    done = in_process(main, "--wandb", "tester/arcmargin", "--group", "heads", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "4 run(s) from W&B in outputs/wandb/arcmargin/heads" in done.stderr
    there = write_report([machine], formats=["png"])
    here = tmp_path / "outputs" / "wandb" / "arcmargin" / "heads" / "report"
    for name in ("summary.csv", "summary.md", "differences.csv", "summary.tex"):
        assert (here / name).read_text() == (machine / "report" / name).read_text(), name
    assert {file.name for file in there.files} <= {file.name for file in here.iterdir()}
    data = Embeddings.load(next(machine.glob("linear*")))
    fetched = Embeddings.load(next(here.parent.glob("linear*")))
    assert all(np.array_equal(a, b) for a, b in zip(data, fetched, strict=True))
    known = Unseen.load(next(here.parent.glob("linear*")))
    assert known and all(np.array_equal(a, b) for a, b in zip(unseen, known, strict=True))


def test_only_the_training_runs_of_the_group(online, machine, tmp_path):
    folders = sorted(machine.iterdir())
    log(online, folders[0])
    log(online, folders[1], group="other")
    log(online, folders[2], jobType="report")
    assert download("tester/arcmargin", tmp_path, "heads").folders == [
        tmp_path / "heads" / folders[0].name
    ]
    every = download("tester/arcmargin", tmp_path)
    assert [folder.parent.name for folder in every.folders] == ["heads", "other"]


def test_what_ended_without_a_record_is_named(online, machine, tmp_path):
    first, second = sorted(machine.iterdir())[:2]
    log(online, first)
    log(online, second, exit_code=None)
    del online.files[f"{second.name}/record.json"]
    found = download("tester/arcmargin", tmp_path, "heads")
    assert [folder.name for folder in found.folders] == [first.name]
    assert found.without_record == [f"{second.name} (running)"]
    assert [result.folder for result in find_results(tmp_path / "heads").results] == found.folders


def test_the_record_comes_last_and_a_second_time_brings_it_up_to_date(online, tmp_path):
    folder = tmp_path / "machine" / "run"
    make_result(metrics={"accuracy": 0.5}).write(folder)
    log(online, folder)
    (fetched,) = download("tester/arcmargin", tmp_path, "heads").folders
    (fetched / "mine.txt").write_text("a note")
    make_result(metrics={"accuracy": 0.75}).write(folder)
    log(online, folder)
    download("tester/arcmargin", tmp_path, "heads")
    assert Result.read(fetched).metrics == {"accuracy": 0.75}
    assert (fetched / "mine.txt").read_text() == "a note"


def test_names_from_the_server_are_no_paths(online, tmp_path):
    folder = tmp_path / "machine" / "run"
    make_result().write(folder)
    log(online, folder, group="../../up")
    (fetched,) = download("tester/arcmargin", tmp_path / "out").folders
    assert fetched.parent.parent == tmp_path / "out"
    assert (fetched / "record.json").exists()


def test_what_wandb_has_not_is_said_in_a_sentence(online, tmp_path):
    for project, group, words in (
        ("arcmargin", None, "expected a W&B project as ENTITY/PROJECT, got 'arcmargin'"),
        ("tester/other", None, "no project tester/other"),
        ("tester/arcmargin", "heads", "no training runs in group 'heads' of tester/arcmargin"),
    ):
        with pytest.raises(UserError, match=words):
            download(project, tmp_path, group)
    assert not list(tmp_path.iterdir())


def test_without_a_key_it_does_not_prompt(server, tmp_path):
    done = in_process(main, "--wandb", "tester/arcmargin", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "error: cannot ask W&B: there is no API key; run 'wandb login', or check the network\n"
    )


def test_folders_on_this_machine_need_no_wandb(machine, tmp_path):
    done = in_process(main, str(machine), "--out", "here", "--formats", "png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "here" / "index.html").exists()


def test_wandbs_own_directory_is_enough_for_a_report(machine, tmp_path):
    """Copied without the sweep's folder, from a machine that never was online."""
    for number, folder in enumerate(sorted(machine.iterdir())):
        files = tmp_path / "wandb" / f"offline-run-20260101_00000{number}-abc{number}" / "files"
        files.parent.mkdir(parents=True)
        folder.rename(files)
    done = in_process(main, str(tmp_path / "wandb"), "--formats", "png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "wandb" / "report" / "runs.csv").read_text().splitlines()
    assert len(rows) == 1 + 4
