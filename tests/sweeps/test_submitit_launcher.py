"""Jobs by submitit: as processes of this machine, and on a real Slurm cluster of one node."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest
import slurm_cluster
from command_line import arcmargin
from sweep_process import TRAINING, Sweep
from sweep_tasks import wait_until

from arcmargin.record import Result, find_results

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    if reason := slurm_cluster.missing():
        pytest.skip(reason)
    with slurm_cluster.cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


class SlurmSweep(Sweep):
    def __init__(self, task, *arguments, cwd, env):
        super().__init__(task, *arguments, launcher="submitit_slurm", cwd=cwd, env=env)

    def slurm(self, *command):
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        return done.stdout

    def queue(self):
        """{job: its state}"""
        lines = self.slurm("squeue", "--me", "--array", "--noheader", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)

    def begin_again(self, job):
        """Slurm makes a job that is queued again wait for two minutes."""
        wait_until(lambda: self.queue().get(job) == "PENDING", 60)
        self.slurm("scontrol", "update", f"JobId={job}", "StartTime=now")


def test_a_job_asks_for_one_cpu_and_as_long_as_the_partition_allows(slurm, tmp_path):
    # Both end only when they run beside each other, on two CPUs.
    sweep = SlurmSweep("together", "zip(seed=0,1; epochs=2,2)", cwd=tmp_path, env=slurm)
    wait_until(lambda: "RUNNING" in sweep.queue().values(), 60)
    limits = sweep.slurm("squeue", "--me", "--noheader", "--format=%l").split()
    code, said = sweep.end()
    assert len(find_results(tmp_path / "sweep").results) == 2 and code == 0, said
    assert set(limits) == {"1:00:00"}
    assert "sacct" not in said and "srun" not in said and "Traceback" not in said


def test_jobs_have_a_gpu_each_where_they_ask_for_one(slurm, tmp_path):
    arguments = ["zip(seed=0,1; epochs=2,2)", "hydra.launcher.gpus_per_node=1"]
    code, said = SlurmSweep("together", *arguments, cwd=tmp_path, env=slurm).end()
    notes = [json.loads(note.read_text()) for note in tmp_path.glob("sweep/*/note.json")]
    assert sorted(note["gpu"] for note in notes) == ["0", "1"] and code == 0, said


def test_a_requeued_job_goes_on_and_the_sweep_is_a_success(slurm, tmp_path):
    sweep = SlurmSweep(None, *TRAINING, "epochs=80", "seed=0", cwd=tmp_path, env=slurm)
    sweep.wait_for_epoch(5)
    (job,) = sweep.queue()
    sweep.slurm("scontrol", "requeue", job)
    sweep.begin_again(job)
    code, said = sweep.end()
    (result,) = find_results(tmp_path / "sweep").results
    assert code == 0 and result.finished, said
    assert "1 finished" in said and "stopped" not in said
    log = (result.folder / "run.log").read_text()
    assert log.count("epoch 1/80") == 1, "it went on where it was"


def test_a_job_whose_time_is_over_is_queued_again(slurm, tmp_path):
    sweep = SlurmSweep(None, *TRAINING, "epochs=80", "seed=0", cwd=tmp_path, env=slurm)
    sweep.wait_for_epoch(5)
    (job,) = sweep.queue()
    sweep.slurm("scancel", "--signal=USR2", f"{job}.0")  # as Slurm does shortly before
    sweep.begin_again(job)
    code, said = sweep.end()
    (result,) = find_results(tmp_path / "sweep").results
    assert code == 0 and result.finished, said
    assert (result.folder / "run.log").read_text().count("epoch 1/80") == 1


def test_jobs_go_on_without_their_command_which_finds_what_they_did(slurm, tmp_path):
    arguments = [*TRAINING, "epochs=20", "seed=0,1"]
    sweep = SlurmSweep(None, *arguments, cwd=tmp_path, env=slurm)
    sweep.wait_for_epoch(1, "*seed0*")
    os.killpg(sweep.process.pid, signal.SIGKILL)
    sweep.end()
    assert sweep.queue()
    wait_until(lambda: not sweep.queue(), 120)
    results = find_results(tmp_path / "sweep").results
    written = {
        result.folder: (result.folder / "record.json").stat().st_mtime_ns for result in results
    }
    assert len(written) == 2
    code, said = Sweep(None, *arguments, launcher="basic", cwd=tmp_path).end()
    assert code == 0 and "nothing to run: all of 2 in sweep finished already" in said, said
    assert written == {path: (path / "record.json").stat().st_mtime_ns for path in written}


def test_a_cancelled_job_is_stopped_and_the_others_go_on(slurm, tmp_path):
    sweep = SlurmSweep(None, *TRAINING, "epochs=80", "seed=0,1", cwd=tmp_path, env=slurm)
    folder = sweep.wait_for_epoch(5, "*seed0*")
    sweep.slurm("scancel", next(job for job in sweep.queue() if job.endswith("_0")))
    code, said = sweep.end()
    (result,) = find_results(tmp_path / "sweep").results
    assert code == 1 and result.settings.seed == 1, said
    assert "1 finished, 1 stopped" in said and "once more" not in said
    assert "stopped: linear seed=0 after epoch" in said
    assert list((folder / "checkpoints").glob("last.ckpt"))


def test_ctrl_c_cancels_what_is_queued_and_says_so(slurm, tmp_path):
    sweep = SlurmSweep("orphan", "seed=0,1,2,3", cwd=tmp_path, env=slurm)
    wait_until(lambda: sorted(sweep.queue().values()) == ["PENDING"] * 2 + ["RUNNING"] * 2, 60)
    sweep.process.send_signal(signal.SIGINT)
    began = time.monotonic()
    code, said = sweep.end(60)
    assert code == 130, said
    assert time.monotonic() - began < 30, "it does not wait for the jobs"
    assert "cancelled 4 Slurm jobs: " in said and "interrupted: 0/4 done" in said
    assert "seed=0,1,2,3" in said.splitlines()[-1], "how to go on"
    wait_until(lambda: not sweep.queue(), 60)


def test_why_nothing_begins(slurm, tmp_path):
    sweep = SlurmSweep("quick", "seed=0", "hydra.launcher.timeout_min=600", cwd=tmp_path, env=slurm)
    wait_until(lambda: "no job has begun" in sweep.said.read_text(), 90)
    sweep.process.send_signal(signal.SIGINT)
    code, said = sweep.end(60)
    assert "Slurm says PartitionTimeLimit, the partition grants less than" in said
    assert code == 130 and not sweep.queue()


def test_what_slurm_refuses_is_one_sentence(slurm, tmp_path):
    code, said = SlurmSweep("quick", "hydra.launcher.partition=none", cwd=tmp_path, env=slurm).end()
    assert code == 2
    assert said.splitlines()[-1].startswith("arcmargin: Slurm takes no job: invalid partition")


@pytest.mark.parametrize("launcher", ["submitit_slurm", "submitit_local"])
def test_a_job_that_dies_is_tried_again_and_its_last_words_are_shown(launcher, slurm, tmp_path):
    arguments = ["seed=0,1,2", "epochs=1"]
    code, said = Sweep("deadly", *arguments, launcher=launcher, cwd=tmp_path, env=slurm).end()
    assert len(find_results(tmp_path / "sweep").results) == 3 and code == 0, said
    assert "the end of sweep/.submitit/" in said and "once more: sweep/" in said
    assert launcher == "submitit_local" or "FAILED (NonZeroExitCode)" in said


def test_sigterm_stops_the_job_it_is_sent_to(tmp_path):
    arguments = [*TRAINING, "epochs=80", "seed=0,1"]
    sweep = Sweep(None, *arguments, launcher="submitit_local", cwd=tmp_path)
    folder = sweep.wait_for_epoch(3, "*seed0*")
    os.kill(sweep.states()[folder.name]["process"], signal.SIGTERM)
    code, said = sweep.end()
    (result,) = find_results(tmp_path / "sweep").results
    assert code == 1 and result.settings.seed == 1, said
    assert "1 finished, 1 stopped" in said


# --- several tasks a job --------------------------------------------------------------------------

TWO = ("trainer=cpu", "trainer.devices=2")
GENTLE = ("header=linear", "optimizer.lr=0.01", "threads=1")  # rounding stays small


def batch_script(command, *options, cwd, env):
    """Runs it as a Slurm job of its own; the exit code and all that was said."""
    environment = {**os.environ, **env, "PYTHONPATH": os.pathsep.join(sys.path)}
    sbatch = ["sbatch", "--wait", "--output=said", *options, f"--wrap={command}"]
    done = subprocess.run(sbatch, cwd=cwd, env=environment, check=False)
    return done.returncode, (cwd / "said").read_text()


RUN = ("logger=none", "epochs=2", "dataset.classes=4", "hydra.run.dir=x")


def run(*settings):
    return shlex.join([sys.executable, "-m", "arcmargin.run", *RUN, *settings])


def test_a_run_within_a_job_of_several_tasks(slurm, tmp_path):
    code, said = batch_script(run(), "--ntasks=2", cwd=tmp_path, env=slurm)
    assert code == 0 and "Traceback" not in said and "srun" not in said, said
    assert (tmp_path / "x" / "record.json").exists()


def test_two_tasks_train_one_run_to_the_curves_of_one_process(slurm, tmp_path):
    code, said = batch_script(
        f"srun {run(*TWO, *GENTLE)}", "--ntasks-per-node=2", cwd=tmp_path, env=slurm
    )
    assert code == 0 and "Traceback" not in said, said
    assert said.count("epoch 2/2") == 1, "only one of the two says it"
    alone = arcmargin(*RUN, "trainer=cpu", *GENTLE, "hydra.run.dir=alone", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    two, one = (Result.read(tmp_path / name) for name in ("x", "alone"))
    assert two.curves["train_loss"] == pytest.approx(one.curves["train_loss"], rel=1e-4)
    assert two.metrics["accuracy"] == pytest.approx(one.metrics["accuracy"], abs=0.02)


def test_a_job_of_a_sweep_has_two_tasks(slurm, tmp_path):
    tasks = ("hydra.launcher.tasks_per_node=2", "epochs=2")
    code, said = SlurmSweep(None, *TRAINING, *TWO, *tasks, cwd=tmp_path, env=slurm).end()
    (result,) = find_results(tmp_path / "sweep").results
    assert code == 0 and result.finished, said
    assert (result.folder / "run.log").read_text().count("epoch 2/2") == 1
