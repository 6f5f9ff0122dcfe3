"""Real sweeps under each launcher: killed and gone on with, workers that die, duplicates, searches."""

import csv
import importlib.util
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from joblib import Parallel, delayed
from omegaconf import OmegaConf

from arcmargin.errors import UserError
from arcmargin.job.schema import CONF, store
from arcmargin.record import Record, find_records
from arcmargin.sweeps import jobs, workers
from arcmargin.sweeps import launcher as launching
from arcmargin.sweeps.extras import check_extra

# Four combinations, of which linear's two are one job: it takes no m2. Shifts draw random numbers.
SWEEP = ["header=linear,arcface", "m2=0.2,0.3", "augment=shift", "epochs=40"]
QUICK = ["logger=none", "dataset.classes=4", "threads=1", "sweep=try"]
PLACE = Path("outputs") / "sweeps" / "try"

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="ray has no wheel for this Python"
)
LAUNCHERS = ["basic", "joblib", "submitit_local", pytest.param("ray", marks=needs_ray)]


def start(cwd, *arguments):
    """A sweep, and a word in the environment by which all its processes are known."""
    mark = f"ARCMARGIN_TEST={uuid.uuid4()}"
    name, value = mark.split("=")
    path = os.pathsep.join([str(cwd), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-m", "arcmargin.run", "--multirun", *QUICK, *arguments],
        cwd=cwd,
        env={**os.environ, name: value, "PYTHONPATH": path},
        stdout=(cwd / "said").open("a"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    return process, mark


def kill_all(mark):
    """kill -9 for the command, its workers and whatever they started."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                os.kill(int(folder.name), signal.SIGKILL)
        except OSError:  # it has ended, or is not ours
            continue


def finish(cwd, *arguments):
    """The sweep to its end: (exit code, what it said)."""
    (cwd / "said").unlink(missing_ok=True)
    process, mark = start(cwd, *arguments)
    try:
        code = process.wait(240)
    finally:
        kill_all(mark)
    return code, (cwd / "said").read_text()


def tables(cwd):
    """What the report says, less times and places."""
    report = cwd / PLACE / "report"
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
    code, said = finish(cwd, *SWEEP)
    assert code == 0, said
    assert len(find_records(cwd / PLACE).records) == 3, "duplicates run once"
    return cwd


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_killed_sweep_ends_like_an_undisturbed_one(launcher, undisturbed, tmp_path):
    chance = random.Random(launcher)
    command = [*SWEEP, f"hydra/launcher={launcher}"]
    for _ in range(2):
        began = time.time()
        process, mark = start(tmp_path, *command)
        while process.poll() is None and not any(
            jobs.begun_since(f, began) for f in (tmp_path / PLACE).glob("*_seed*")
        ):
            assert time.time() < began + 120, (tmp_path / "said").read_text()
            time.sleep(0.05)
        time.sleep(chance.uniform(0, 8))
        kill_all(mark)
        process.wait(10)
    code, said = finish(tmp_path, *command)
    assert code == 0, said
    assert "Traceback" not in said
    assert tables(tmp_path) == tables(undisturbed)


def test_damaged_files_are_said_and_their_job_runs_again(undisturbed):
    before = tables(undisturbed)
    damaged, cut_off = find_records(undisturbed / PLACE).records[:2]
    for path in (damaged.folder / "record.json", cut_off.folder / "checkpoints" / "last.ckpt"):
        path.write_bytes(path.read_bytes()[:-500])
    (cut_off.folder / "record.json").unlink()
    code, said = finish(undisturbed, *SWEEP)
    assert code == 0, said
    assert "record.json is not valid JSON" in said and "the job is run again" in said
    assert "last.ckpt is damaged; training starts from the beginning" in said
    assert tables(undisturbed) == before


@pytest.mark.parametrize("launcher", LAUNCHERS[1:])
def test_a_worker_that_dies_ends_its_own_job_only(launcher, tmp_path):
    (tmp_path / "poison.py").write_text(
        "import os, signal\ndef die(): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    retries = ["hydra.launcher.ray.remote.max_retries=0"] if launcher == "ray" else []
    code, said = finish(
        tmp_path,
        f"hydra/launcher={launcher}",
        *retries,
        "augment._target_=poison.die,torch.nn.Identity,torch.nn.Dropout",
        "epochs=2",
    )
    found = find_records(tmp_path / PLACE)
    assert code == 1, said
    assert [record.status for record in found.records] == ["finished"] * 2, said
    (lost,) = found.unfinished
    assert f"interrupted: {lost.relative_to(tmp_path)}" in said and "sweep=try" in said
    assert (tmp_path / PLACE / "report" / "summary.md").exists()


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_on_error_raise_begins_no_further_job(launcher, tmp_path):
    code, said = finish(
        tmp_path,
        f"hydra/launcher={launcher}",
        *(["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []),
        "m2=-1,0.1,0.2,0.3,0.4,0.5",
        "epochs=2",
        "on_error=raise",
    )
    records = find_records(tmp_path / PLACE).records
    assert code == 1, said
    assert [r.m2 for r in records if not r.finished] == [-1.0]
    assert len(records) <= (1 if launcher == "basic" else 2), "only what ran already ends"
    assert "not run" in said


def test_a_search_finds_its_jobs_again(tmp_path):
    pytest.importorskip("optuna")
    command = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "m2=interval(0.1,0.6)"]
    code, said = finish(tmp_path, *command, "epochs=2")
    assert code == 0, said
    records = find_records(tmp_path / PLACE).records
    best = max(records, key=lambda record: record.extra["score"])
    found = OmegaConf.load(tmp_path / PLACE / "optimization_results.yaml")
    assert len(records) == 3
    assert (found.best_params.m2, found.best_value) == (best.m2, best.extra["score"])
    code, said = finish(tmp_path, *command, "epochs=2")
    assert code == 0 and "all of 3" in said and "finished already" in said


@pytest.mark.parametrize(("margins", "finished"), [("-1,0.3", 1), ("-1,-2", 0)])
def test_a_search_goes_on_past_a_failed_job(margins, finished, tmp_path):
    pytest.importorskip("optuna")
    command = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=5", f"m2=choice({margins})"]
    code, said = finish(tmp_path, *command, "epochs=2")
    assert code == 1 and "Traceback" not in said and "study" not in said, said
    assert "failed: arcface m2=-1: m2 must be >= 0" in said and "to run only those again" in said
    records = find_records(tmp_path / PLACE).records
    assert len(records) == 2 and sum(record.finished for record in records) == finished
    results = tmp_path / PLACE / "optimization_results.yaml"
    assert results.exists() == bool(finished)
    assert not finished or OmegaConf.load(results).best_params.m2 == 0.3


@pytest.mark.parametrize("launcher", LAUNCHERS[1:])
def test_ctrl_c_ends_all_jobs_without_a_traceback(launcher, tmp_path, interrupt_training):
    sweep = ["--multirun", "header=linear,arcface", f"hydra/launcher={launcher}", *QUICK]
    code, said = interrupt_training([*sweep, "epochs=1000"], cwd=tmp_path)
    assert code == 130
    assert "Traceback" not in said and "interrupted: 0/2 done" in said
    assert {record.status for record in find_records(tmp_path / PLACE).records} <= {"interrupted"}


def test_one_process_at_a_time_in_a_folder(tmp_path):
    order = []

    def second():
        with jobs.alone(tmp_path):
            order.append("second")

    with jobs.alone(tmp_path):
        other = threading.Thread(target=second)
        other.start()
        time.sleep(0.2)
        order.append("first")
    other.join(10)
    assert order == ["first", "second"]


def test_a_missing_extra_is_named(monkeypatch):
    check_extra("launcher", "hydra_plugins.hydra_joblib_launcher.joblib_launcher")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'arcmargin\[ray\]'"):
        check_extra("launcher", "hydra_plugins.hydra_ray_launcher.ray_launcher")


@pytest.mark.parametrize(
    ("overrides", "threads"),
    [
        (["hydra/launcher=joblib"], 1),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], 4),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=3"], 2),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=50"], 1),
        (["hydra/launcher=ray", "hydra.launcher.ray.remote.num_cpus=3"], 3),
        (["hydra/launcher=submitit_local"], 1),
        (["hydra/launcher=submitit_slurm"], 4),
        ([], None),
    ],
)
def test_threads_of_all_jobs_together_fit_the_cores(overrides, threads, monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 8)
    monkeypatch.setattr("joblib.effective_n_jobs", lambda n: 8 if n == -1 else n)
    store()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides, return_hydra_config=True)
    assert launching.threads_per_job(config.hydra.launcher) == threads


class Loader:
    """Stands in for Hydra's: says how often it was asked."""

    def __init__(self):
        self.asked = 0

    def load_sweep_config(self, master, overrides):
        self.asked += 1
        return OmegaConf.create({"asked": self.asked, "overrides": overrides})


@pytest.mark.parametrize(("most", "apart", "asked"), [(2, False, 2), (1, False, 3), (2, True, 3)])
def test_a_worker_is_handed_the_composed_jobs_where_that_is_cheap(most, apart, asked, monkeypatch):
    monkeypatch.setattr(launching, "MOST_HANDED_ON", most)
    here = launching.Composer(Loader())
    master = OmegaConf.create({})
    first, *_ = [here.load_sweep_config(master, [f"m2={value}"]) for value in (1, 2, 1)]
    here.handed_on = not apart
    there = pickle.loads(pickle.dumps(here))
    config = there.load_sweep_config(master, ["m2=1"])
    assert (config == first) == (asked == 2)
    assert there.loader.asked == asked


def test_workers_load_the_libraries_before_their_first_job():
    settings = {"n_jobs": 2, "verbose": 0, "batch_size": "1", "pre_dispatch": "2*n_jobs"}
    workers.use(settings, 24, wandb=False)
    for thread in threading.enumerate():
        if thread.name == "waking workers":
            thread.join(60)
    seen = Parallel(n_jobs=2, backend="loky")(delayed(loaded)() for _ in range(2))
    assert seen == [True, True]
    workers.dismiss()


def loaded():
    time.sleep(0.5)  # so that each worker answers once
    return "pytorch_lightning" in sys.modules


def test_a_damaged_record_counts_as_none(tmp_path):
    Record(header="linear", dataset="digits", embedding_dim=2).write(tmp_path)
    assert jobs.result(tmp_path).finished
    (tmp_path / "record.json").write_text('{"header": "lin')
    assert jobs.result(tmp_path) is None and not (tmp_path / "record.json").exists()
