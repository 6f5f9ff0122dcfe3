"""Sweeps of training that are stopped, damaged and gone on with; test_kills.py kills them."""

import csv
import os
import signal

import pytest
from sweep_process import Sweep

from arcmargin.record import find_results

pytestmark = pytest.mark.long

# Four combinations, of which linear's two are one job: it takes no m2. Shifts draw random numbers.
SWEEP = ["header=linear,arcface", "m2=0.2,0.3", "augment=shift", "epochs=40", "dataset.classes=4"]


def finish(launcher, cwd):
    code, said = Sweep(None, *SWEEP, launcher=launcher, cwd=cwd).end()
    assert code == 0 and "Traceback" not in said, said
    return said


def tables(cwd):
    """What the report says, less times and places."""
    report = cwd / "sweep" / "report"
    with (report / "runs.csv").open() as file:
        rows = [
            {k: v for k, v in row.items() if not k.endswith("_s") and k != "folder"}
            for row in csv.DictReader(file)
        ]
    rows.sort(key=str)
    return rows, (report / "summary.csv").read_text(), (report / "summary.md").read_text()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("whole")
    finish("basic", cwd)
    assert len(find_results(cwd / "sweep").results) == 3, "duplicates run once"
    return cwd


def test_damaged_files_are_said_and_their_job_runs_again(undisturbed):
    before = tables(undisturbed)
    damaged, cut_off = find_results(undisturbed / "sweep").results[:2]
    for path in (damaged.folder / "record.json", cut_off.folder / "checkpoints" / "last.ckpt"):
        path.write_bytes(path.read_bytes()[:-500])
    (cut_off.folder / "record.json").unlink()
    said = finish("basic", undisturbed)
    assert "record.json is not valid JSON" in said and "the run is made again" in said
    assert "last.ckpt is damaged; training starts from the beginning" in said
    assert tables(undisturbed) == before


def test_sigterm_to_a_worker_stops_its_job_which_goes_on_the_next_time(undisturbed, tmp_path):
    sweep = Sweep(None, *SWEEP, "hydra.launcher.n_jobs=2", launcher="joblib", cwd=tmp_path)
    folder = sweep.wait_for_epoch(3)
    os.kill(sweep.states()[folder.name]["process"], signal.SIGTERM)
    code, said = sweep.end()
    assert code == 1 and "2 finished, 1 stopped" in said and "Traceback" not in said, said
    assert f"stopped: {folder.name.partition('_')[0]}" in said
    assert list(folder.glob("checkpoints/last.ckpt")) and not list(folder.glob("record.json"))
    finish("joblib", tmp_path)
    assert tables(tmp_path) == tables(undisturbed)
    assert (folder / "run.log").read_text().count("epoch 1/40 ") == 1, "it went on where it was"


def test_sigterm_to_the_main_process_stops_all_with_checkpoints(undisturbed, tmp_path):
    sweep = Sweep(None, *SWEEP, launcher="joblib", cwd=tmp_path)
    folder = sweep.wait_for_epoch(3)
    sweep.process.terminate()
    code, said = sweep.end(60)
    assert code == 128 + signal.SIGTERM and "Traceback" not in said, said
    assert "interrupted: 0/" in said and (folder / "checkpoints" / "last.ckpt").exists()
    assert "running" not in {state["state"] for state in sweep.states().values()}
    finish("joblib", tmp_path)
    assert tables(tmp_path) == tables(undisturbed)


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_on_error_raise_begins_no_further_job(launcher, tmp_path):
    arguments = ["optimizer.lr=1e30,0.1", "seed=0,1,2", "trainer.gradient_clip_val=null"]
    arguments += ["dataset.classes=4", "epochs=400", "on_error=raise"]
    code, said = Sweep(None, *arguments, launcher=launcher, cwd=tmp_path).end()
    results = find_results(tmp_path / "sweep").results
    assert code == 1 and results and {result.status for result in results} == {"failed"}, said
    assert "not run" in said and "to go on:" in said
