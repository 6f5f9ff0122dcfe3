"""A run in two processes as a user types it: by itself, in a sweep, under torchrun and srun."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from command_line import QUICK, arcmargin, arcmargin_process

TWO = ("trainer=cpu", "trainer.devices=2", *QUICK)


def started_by_srun(rank: int, cwd: Path, *arguments: str) -> subprocess.Popen[str]:
    slurm = {
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NAME": "train",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_NODEID": "0",
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "arcmargin.run", *arguments],
        cwd=cwd,
        env={**os.environ, **slurm},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def records(cwd: Path, where: str = "outputs/runs/*") -> list[dict[str, dict[str, list[float]]]]:
    return [json.loads(path.read_text()) for path in cwd.glob(f"{where}/record.json")]


@pytest.mark.long
def test_a_run_in_two_processes_is_one_run(tmp_path: Path) -> None:
    done = arcmargin_process(*TWO, "shard=true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch 1/1") == done.stdout.count("accuracy") == 1
    alone = arcmargin("trainer=cpu", *QUICK, cwd=tmp_path)
    assert alone.returncode == 0
    one, two = records(tmp_path)
    assert one["curves"]["train_loss"] == pytest.approx(two["curves"]["train_loss"], rel=1e-4)


@pytest.mark.long
def test_a_job_of_a_sweep_trains_in_two_processes(tmp_path: Path) -> None:
    done = arcmargin_process("--multirun", "seed=1", "sweep=two", *TWO, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(records(tmp_path, "outputs/sweeps/two/*")) == 1


@pytest.mark.long
def test_processes_that_srun_started_end_alike_and_write_once(tmp_path: Path) -> None:
    for arguments, code in ((TWO, 0), (("trainer=cpu", *QUICK), 2)):
        both = [started_by_srun(rank, tmp_path, *arguments) for rank in (0, 1)]
        said = [process.communicate(timeout=240) for process in both]
        assert [process.returncode for process in both] == [code, code], said
        assert said[1] == ("", "")
        if code:
            assert "srun started 2 processes, but trainer.devices and" in said[0][1]
    assert len(records(tmp_path)) == 1 == len(list((tmp_path / "outputs/runs").iterdir()))


@pytest.mark.long
def test_fewer_classes_than_processes_cannot_be_spread(tmp_path: Path) -> None:
    few = (*TWO, "trainer.devices=3", "dataset.classes=2", "shard=true")
    done = arcmargin_process(*few, cwd=tmp_path)
    assert done.returncode == 2 and "got 2 classes for 3 processes" in done.stderr, done.stderr


@pytest.mark.long
def test_a_process_that_is_killed_ends_the_run_with_a_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "arcmargin.run", *TWO, "epochs=100000"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        assert any(line.startswith("epoch 2/") for line in run.stderr)
        for child in psutil.Process(run.pid).children():
            if any("spawn_main" in part for part in child.cmdline()):
                child.kill()
        said = run.stderr.read()
    assert run.returncode == 2 and "process 1 of 2 was ended by SIGKILL" in said, said
    assert "Traceback" not in said
    assert list(tmp_path.glob("outputs/runs/*/checkpoints/last.ckpt"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trainer.strategy=fsdp"], "trainer.strategy must be 'auto' or 'ddp'"),
        (["trainer.num_nodes=2"], "needs a process for each device, which srun or torchrun start"),
        (["trainer.devices=3", "batch_size=2"], "less than an image for each of 3 processes"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = arcmargin("trainer=cpu", *QUICK, *arguments, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr, done.stderr
    assert not list(tmp_path.glob("outputs/runs/*"))
