"""A multirun of real training, as a user types it."""

import gc
import math

import pytest
from command_line import QUICK, arcmargin, arcmargin_process

from arcmargin.data.image_data import ImageData
from arcmargin.record import find_results

HERE = "hydra/launcher=basic"  # in this process


@pytest.mark.long
def test_a_named_sweep_runs_every_job_once_and_skips_what_is_finished(tmp_path):
    sweep = ["--multirun", "header=linear,arcface", "m2=0.2,0.3", "sweep=try", *QUICK]
    done = arcmargin(*sweep, HERE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "outputs" / "sweeps" / "try"
    results = find_results(folder).results
    assert sorted(r.settings.name for r in results) == [
        "arcface m2=0.2",
        "arcface m2=0.3",
        "linear",
    ]
    assert "linear takes no m2: m2=0.2 has no effect" in done.stderr
    before = {r.folder: (r.folder / "record.json").stat().st_mtime_ns for r in results}
    again = arcmargin(*sweep, HERE, cwd=tmp_path)
    assert again.returncode == 0 and "finished already" in again.stderr
    assert before == {f: (f / "record.json").stat().st_mtime_ns for f in before}
    assert (folder / "report" / "grid.png").exists() and (folder / "report" / "summary.md").exists()


def test_hybrids_are_named_by_what_acts_and_two_ways_to_one_run_are_one_job(tmp_path):
    command = ["--multirun", "header=normface,arcface,cosface", "m2=0.2", "sweep=try", *QUICK]
    done = arcmargin(*command, HERE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = find_results(tmp_path / "outputs").results
    names = sorted(result.settings.name for result in results)
    assert names == ["arcface m2=0.2", "combined m2=0.2 m3=0.35"]
    assert done.stderr.count("header=cosface with these margins is combined m2=0.2 m3=0.35") == 1


def test_a_failing_job_is_recorded_and_the_others_go_on(tmp_path):
    done = arcmargin("--multirun", "m2=0.2,-1", "sweep=try", *QUICK, HERE, cwd=tmp_path)
    assert done.returncode == 1
    by_status = {r.status: r for r in find_results(tmp_path / "outputs").results}
    assert set(by_status) == {"finished", "failed"}
    assert "m2 must be >= 0, got -1" in by_status["failed"].error
    assert "m2 must be >= 0, got -1" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failed_job_is_recorded_with_its_matched_margin(tmp_path):
    diverging = ["gap_deg=20", "optimizer.lr=1e30", "trainer.gradient_clip_val=null"]
    command = ["--multirun", *diverging, "seed=choice(0)", "sweep=try", *QUICK]
    done = arcmargin(*command, HERE, cwd=tmp_path)
    (result,) = find_results(tmp_path / "outputs").results
    assert done.returncode == 1 and result.status == "failed"
    assert math.degrees(result.settings.m2) == pytest.approx(20)
    assert result.settings.name in done.stderr


def test_a_sweep_does_not_keep_the_images_of_its_jobs(tmp_path):
    gc.collect()
    before = sum(isinstance(thing, ImageData) for thing in gc.get_objects())
    done = arcmargin("--multirun", "seed=0,1", "sweep=try", *QUICK, HERE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sum(isinstance(thing, ImageData) for thing in gc.get_objects()) <= before


@pytest.mark.long
def test_every_launcher_of_this_machine_gives_the_same_numbers(tmp_path):
    """One thread a job, unless `threads` says otherwise."""
    command = ["--multirun", "seed=0,1", "epochs=3", "dataset.classes=4", "logger=none"]
    metrics = []
    for name in ("basic", "joblib"):
        launcher = [f"hydra/launcher={name}", f"sweep={name}"]
        done = arcmargin_process(*command, *launcher, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        results = find_results(tmp_path / "outputs" / "sweeps" / name).results
        assert [result.settings.threads for result in results] == [1, 1]
        metrics.append([result.metrics for result in results])
    assert metrics[0] == metrics[1]
