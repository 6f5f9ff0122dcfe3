"""What the launchers do with jobs, whatever the jobs are: small tasks in the place of training."""

import json
import os
import signal
import subprocess
import sys

import pytest
import sweep_tasks
from command_line import in_process
from sweep_tasks import is_alive, wait_until

from arcmargin.files import alone
from arcmargin.sweeps import state

HERE = ("--multirun", "hydra.sweep.dir=.", "logger=none")


def sweep(task, *arguments, cwd):
    return in_process(task, *HERE, *arguments, cwd=cwd)


def notes(cwd):
    """By seed, what each job's process said."""
    return {
        int(path.parent.name.split("_seed")[1].split("_")[0]): json.loads(path.read_text())
        for path in cwd.glob("*/note.json")
    }


def test_by_default_jobs_run_beside_one_another(tmp_path, monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 3)
    sweep(sweep_tasks.together, "seed=0,1,2", "epochs=3", cwd=tmp_path)
    assert len({note["process"] for note in notes(tmp_path).values()}) == 3


def test_as_many_jobs_at_once_as_n_jobs_says_and_each_process_takes_several(tmp_path):
    sweep(
        sweep_tasks.together, "seed=0,1,2,3,4", "epochs=2", "hydra.launcher.n_jobs=2", cwd=tmp_path
    )
    found = notes(tmp_path)
    assert len(found) == 5 and len({note["process"] for note in found.values()}) == 2


def test_basic_is_one_after_the_other_in_this_process(tmp_path):
    sweep(sweep_tasks.quick, "seed=0,1", "hydra/launcher=basic", cwd=tmp_path)
    assert {note["process"] for note in notes(tmp_path).values()} == {os.getpid()}


@pytest.mark.parametrize(
    ("gpus", "n_jobs", "seen"),
    [
        ("GPU-a\nGPU-b\n", -1, ["GPU-a", "GPU-b"]),
        ("GPU-a\nGPU-b\n", 4, ["GPU-a", "GPU-a", "GPU-b", "GPU-b"]),
        ("GPU-a\n", 2, ["GPU-a", "GPU-a"]),
    ],
)
def test_each_job_is_pinned_to_one_gpu(gpus, n_jobs, seen, tmp_path, monkeypatch):
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nprintf '{gpus}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    jobs = len(seen)
    command = [f"seed=range({jobs})", f"epochs={jobs}", f"hydra.launcher.n_jobs={n_jobs}"]
    sweep(sweep_tasks.together, *command, cwd=tmp_path)
    assert sorted(note["gpu"] for note in notes(tmp_path).values()) == seen
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_the_gpus_that_the_user_chose_are_the_ones_used(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    sweep(sweep_tasks.together, "seed=0,1", "epochs=2", cwd=tmp_path)
    assert sorted(note["gpu"] for note in notes(tmp_path).values()) == ["2", "5"]


def test_on_the_cpu_no_gpu_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    sweep(sweep_tasks.together, "seed=0,1", "epochs=2", "trainer=cpu", cwd=tmp_path)
    assert len(notes(tmp_path)) == 2, "two at once, though there is one GPU"


def test_finished_jobs_and_those_that_are_the_same_do_not_run(tmp_path):
    sweep(sweep_tasks.quick, "seed=0", cwd=tmp_path)
    (first,) = tmp_path.glob("*/note.json")
    first.unlink()
    sweep(sweep_tasks.quick, "seed=0,1", "header=linear,arcface", "m2=0.5,0.5", cwd=tmp_path)
    assert len(list(tmp_path.glob("*/record.json"))) == 4
    assert len(list(tmp_path.glob("*/note.json"))) == 3


def test_a_worker_that_dies_ends_its_own_job_only_and_that_one_is_tried_again(tmp_path):
    done = sweep(
        *(sweep_tasks.deadly, "seed=0,1,2", "epochs=1", "hydra.launcher.n_jobs=2"), cwd=tmp_path
    )
    attempts = {seed: note["attempts"] for seed, note in notes(tmp_path).items()}
    assert attempts == {0: 2, 1: 1, 2: 1}, done.stderr
    assert "a worker died" in done.stderr and "once more: arcface" in done.stderr


def test_a_job_whose_process_always_dies_is_named(tmp_path):
    done = sweep(
        *(sweep_tasks.deadly, "seed=0,1,2", "epochs=9", "hydra.launcher.n_jobs=2"), cwd=tmp_path
    )
    assert set(notes(tmp_path)) == {1, 2}
    assert (
        "interrupted: arcface m2=0.5_seed0" in done.stderr
        or "interrupted: arcface_seed0" in done.stderr
    )
    assert done.returncode == 1


def test_a_fault_of_ours_is_a_failure_with_its_traceback(tmp_path):
    done = sweep(sweep_tasks.broken, "seed=0,1", cwd=tmp_path)
    assert done.returncode == 1 and "2 failed" in done.stderr
    assert "a fault of ours" in done.stderr and "once more" not in done.stderr


def test_workers_end_when_the_main_process_is_killed(tmp_path):
    command = [
        sys.executable,
        sweep_tasks.__file__,
        "orphan",
        *HERE,
        "seed=0,1",
        "hydra.launcher.n_jobs=2",
    ]
    path = os.pathsep.join(sys.path)
    main = subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: len([p for p in tmp_path.glob("*/process") if p.read_text()]) == 2)
        workers = [int(path.read_text()) for path in tmp_path.glob("*/process")]
        assert all(is_alive(worker) for worker in workers)
        main.kill()
        main.wait()
        wait_until(lambda: not any(is_alive(worker) for worker in workers), seconds=10)
    finally:
        main.kill()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["hydra.launcher.n_jobs=0"], "n_jobs must be at least 1, or -1 for all, got 0"),
        (["hydra.launcher.n_jobs=-2"], "n_jobs must be at least 1, or -1 for all, got -2"),
        (["hydra.launcher.n_jobs=many"], "n_jobs must be at least 1, or -1 for all, got many"),
        (["hydra/launcher=sweep_local", "hydra.launcher.cpus_per_task=0"], "cpus_per_task must be"),
        (["hydra/launcher=sweep_slurm", "hydra.launcher.array_parallelism=0"], "array_parallelism"),
        (["hydra/launcher=sweep_local", "hydra.launcher.timeout_min=soon"], "submitit cannot take"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_one_sentence(arguments, said, tmp_path):
    done = sweep(sweep_tasks.quick, *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("arcmargin: ") and said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("launcher", "extra"),
    [("sweep_ray", "ray"), ("sweep_local", "submitit"), ("sweep_slurm", "submitit")],
)
def test_a_missing_extra_is_named(launcher, extra, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = sweep(sweep_tasks.quick, f"hydra/launcher={launcher}", cwd=tmp_path)
    assert done.returncode == 2 and f"pip install 'arcmargin[{extra}]'" in done.stderr


def test_a_second_process_of_the_same_sweep_is_refused(tmp_path):
    with alone(tmp_path):
        done = sweep(sweep_tasks.quick, "seed=0,1", cwd=tmp_path)
    assert done.returncode == 2 and not list(tmp_path.glob("*/note.json"))
    assert done.stderr.startswith("arcmargin: another process works in ")
    assert sweep(sweep_tasks.quick, "seed=0,1", cwd=tmp_path).returncode == 0
    assert len(list(tmp_path.glob("*/note.json"))) == 2


def test_a_wish_to_stop_reaches_the_jobs_of_this_machine(tmp_path):
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    reporter = state.Reporter(tmp_path / "a", name="a")
    reporter.begin()
    job = state.read_job(tmp_path, "a")
    path = tmp_path / state.FOLDER / "a.json"
    path.write_text(
        path.read_text().replace(f'"process": {os.getpid()}', f'"process": {sleeper.pid}')
    )
    state.stop(tmp_path)
    assert job is not None and state.stopped(tmp_path)
    assert sleeper.wait(10) == -signal.SIGTERM
