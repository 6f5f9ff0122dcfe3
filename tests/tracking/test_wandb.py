"""The real W&B client against a server on this machine: what a person sees in the dashboard."""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import wandb
import yaml
from command_line import arcmargin, arcmargin_process, in_process
from wandb_server import KEY, FakeWandb

from arcmargin.record import Result, find_results
from arcmargin.tracking import download

pytestmark = pytest.mark.long
ROOT = Path(__file__).resolve().parents[2]
QUICK = ("dataset.classes=4", "epochs=2", "threads=1")
ONE_BY_ONE = "hydra/launcher=basic"


@contextlib.contextmanager
def environment(**variables):
    """For W&B in this process, which reads it once."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        for name, value in {"NETRC": os.devnull, "WANDB_CONFIG_DIR": "/none", **variables}.items():
            patch.setenv(name, value)
        wandb.teardown()
        yield
        wandb.teardown()


def command(arguments, cwd, **variables):
    """`wandb ARGUMENTS` in a shell."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        f'"{sys.executable}" -m wandb {arguments}',
        shell=True,
        cwd=cwd,
        env={**os.environ, "PATH": path, **variables},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def by_name(server):
    return {run.get("displayName", run["name"]): name for name, run in server.runs.items()}


class Sweep:
    """An online sweep in which the first job fails, both in this process."""

    def __init__(self, cwd):
        extras = ["wandb.table_rows=20", "wandb.checkpoint=true", "wandb.tags=[mine]"]
        extras += ["wandb.notes=for a paper", "trainer.gradient_clip_val=null"]
        self.cwd = cwd
        self.folder = cwd / "outputs" / "sweeps" / "try"
        with FakeWandb() as self.server, environment(**self.server.environment()):
            self.done = arcmargin(
                *("--multirun", "optimizer.lr=1e30,0.1", "sweep=try", ONE_BY_ONE),
                *(*QUICK, *extras),
                cwd=cwd,
            )
            self.fetched = in_process(
                download.main,
                *("--wandb", "tester/arcmargin", "--group", "try", "--formats", "png"),
                cwd=cwd,
            )
        self.ids = by_name(self.server)
        self.failed = self.ids["arcface m2=0.5 lr=1e+30"]
        self.finished = self.ids["arcface m2=0.5 lr=0.1"]
        self.report = self.ids["report try"]
        results = {result.status: result for result in find_results(self.folder).results}
        self.result, self.error = results["finished"], results["failed"].error


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    return Sweep(tmp_path_factory.mktemp("sweep"))


def test_each_job_is_a_run_of_the_sweeps_group(sweep):
    assert not sweep.server.unknown
    assert set(sweep.ids) == {"arcface m2=0.5 lr=1e+30", "arcface m2=0.5 lr=0.1", "report try"}
    run = sweep.server.runs[sweep.finished]
    assert (run["groupName"], run["jobType"], run["project"]) == ("try", "train", "arcmargin")
    assert run["tags"] == ["arcface", "digits", "2-D", "mine"]
    assert run["exit_code"] == 0
    assert sweep.result.wandb["id"] == sweep.finished and sweep.result.wandb["mode"] == "online"
    config = run["config"]
    assert [config[key] for key in ("m1", "m2", "m3", "s")] == [1.0, 0.5, 0.0, 30.0]
    assert config["header"]["name"] == "arcface" and config["header"]["ramp"] == 0.5
    assert Path(config["folder"]).resolve() == sweep.result.folder.resolve()


def test_the_command_and_the_commit_are_the_jobs_own(sweep):
    shown = sweep.server.metadata(sweep.finished)
    assert shown["program"] == "-m arcmargin.run"
    assert shown["args"][:3] == ["optimizer.lr=0.1", "sweep=try", "dataset.classes=4"]
    commit = sweep.result.git_commit
    assert shown["git"]["commit"] == commit.removesuffix("-dirty")
    assert sweep.server.runs[sweep.finished]["config"]["git_commit"] == commit


def test_the_curves_are_those_of_the_record_on_the_axis_of_epochs(sweep):
    history, summary = sweep.server.history(sweep.finished), sweep.server.summary(sweep.finished)
    curves = sweep.result.curves
    for ours, theirs in (("train_loss", "train/loss"), ("val_gap_mean_deg", "val/gap_mean_deg")):
        logged = [(row["epoch"], row[theirs]) for row in history if theirs in row]
        assert [e for e, _ in logged] == [1, 2]
        assert [v for _, v in logged] == pytest.approx(curves[ours])
    for name in ("train/learning_rate", "train/gradient_norm", "train/images_per_s"):
        assert all(row[name] > 0 for row in history if name in row)
        assert any(name in row for row in history), name
    assert summary["val/accuracy"]["max"] == pytest.approx(max(curves["val_accuracy"]))
    assert summary["train/loss"]["min"] == pytest.approx(min(curves["train_loss"]))
    assert summary["val/intra_angle_deg"]["min"] == pytest.approx(
        min(curves["val_intra_angle_deg"])
    )
    assert summary["test/accuracy"] == pytest.approx(sweep.result.metrics["accuracy"])


def test_every_panel_has_a_section(sweep):
    own = {"epoch", "_step", "_runtime", "_timestamp", "_wandb"}
    sections = {name.partition("/")[0] for name in sweep.server.summary(sweep.finished)} - own
    assert sections == {"train", "val", "validation", "test"}
    assert {name.partition("/")[0] for name in sweep.server.summary(sweep.report)} - own == {
        "report"
    }


def test_pictures_and_tables_come_with_it(sweep):
    history, summary = sweep.server.history(sweep.finished), sweep.server.summary(sweep.finished)
    kinds = {name: part["_type"] for name, part in summary.items() if "_type" in str(part)}
    assert kinds["test/angles"] == kinds["test/embedding"] == "image-file"
    assert kinds["test/plot"] == "plotly-file"
    assert kinds["test/embeddings"] == kinds["test/confusion_matrix_table"] == "table-file"
    assert [row["epoch"] for row in history if "test/embedding" in row] == [0, 1, 2, 2]
    assert summary["test/embeddings"]["nrows"] == 20
    files = sweep.server.files
    for name in ("test/embedding", "test/plot", "test/embeddings"):
        assert len(files[f"{sweep.finished}/{summary[name]['path']}"]) == summary[name]["size"]
    cells = next(f for n, f in files.items() if "confusion_matrix_table" in n)
    total = sum(row[2] for row in json.loads(cells)["data"])
    assert total == 144, "the confusion matrix counts every test image once"


def test_each_job_has_its_own_log(sweep):
    """W&B hears only the streams that it found when it was imported: those of the first job."""
    log = sweep.server.log(sweep.finished)
    assert [line for line in log if line.startswith("epoch ")] == [
        line
        for line in (sweep.result.folder / "run.log").read_text().splitlines()
        if "epoch " in line
    ]
    assert sum("epoch 2/2" in line for line in log) == 1
    assert "arcface m2=0.5 on digits, 2-D, seed 0, s=30: test split" in log
    failed = sweep.server.log(sweep.failed)
    assert sweep.error in failed[-1] and "Traceback (most recent call last):" in failed
    assert not any("test split" in line for line in failed)


def test_a_failed_job_shows_as_failed_and_why(sweep):
    assert sweep.server.runs[sweep.failed]["exit_code"] == 1
    assert sweep.server.summary(sweep.failed)["error"] == sweep.error


def test_the_report_is_a_run_and_the_runs_are_linked(sweep):
    run, url = sweep.server.runs[sweep.report], f"{sweep.server.url}/tester/arcmargin"
    assert (run["jobType"], run["groupName"], run["exit_code"]) == ("report", "try", 0)
    shown = {
        name: part.get("_type")
        for name, part in sweep.server.history(sweep.report)[0].items()
        if isinstance(part, dict)
    }
    assert shown["report/grid"] == "image-file" and shown["report/summary"] == "table-file"
    group = f"[all runs of try]({url}/groups/try/workspace)"
    link = f"- [arcface m2=0.5 lr=0.1]({url}/runs/{sweep.finished})"
    assert run["notes"] == f"for a paper\n\n{group}\n\n{link}"
    notes = sweep.server.runs[sweep.finished]["notes"]
    assert notes.startswith("for a paper\n\n")
    assert f"]({url}/runs/{sweep.report})" in notes and f"]({url}/groups/try/workspace)" in notes


def test_artifacts_hold_the_report_and_the_checkpoint(sweep):
    artifacts = {one["artifactTypeName"]: one["files"] for one in sweep.server.artifacts}
    assert {"index.html", "grid.png", "summary.csv"} <= set(artifacts["report"])
    (name,) = set(artifacts["model"]) - {"wandb_manifest.json"}
    assert artifacts["model"][name] == (sweep.result.folder / "checkpoints" / name).read_bytes()
    assert "code" not in artifacts, "code goes up only when asked for"


def test_the_same_report_can_be_made_from_what_went_up(sweep):
    assert sweep.fetched.returncode == 0, sweep.fetched.stderr
    folder = sweep.cwd / "outputs" / "wandb" / "arcmargin" / "try"
    fetched = {result.status: result for result in find_results(folder).results}
    assert fetched["finished"].metrics == sweep.result.metrics
    assert fetched["finished"].settings == sweep.result.settings
    assert fetched["failed"].error == sweep.error
    for name in ("summary.md", "summary.csv"):
        text = (folder / "report" / name).read_text()
        assert text == (sweep.folder / "report" / name).read_text()


def test_the_key_stays_secret(sweep):
    assert sweep.server.keys == {KEY}
    told = sweep.done.stdout + sweep.done.stderr
    for path in (sweep.cwd / "outputs").rglob("*"):
        if path.is_file() and path.suffix in (".json", ".log", ".yaml", ".txt", ".csv", ".md"):
            told += path.read_text(errors="replace")
    assert KEY not in told


def test_an_offline_sweep_is_uploaded_by_one_command_and_only_once(tmp_path):
    with environment(WANDB_PROJECT="mine", WANDB_NAME=""):
        arguments = ("--multirun", "m2=choice(0.1)", "sweep=a b", ONE_BY_ONE, *QUICK)
        done = arcmargin(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = done.stdout + done.stderr
    (line,) = [line for line in told.splitlines() if "W&B" in line]
    assert line.startswith("W&B: offline (there is no API key); to browse: wandb leet 'outputs/")
    directory = tmp_path / "outputs" / "sweeps" / "a b" / "wandb"
    assert len(list(directory.glob("offline-run-*"))) == 2, "one directory: the job, the report"
    with FakeWandb() as server:
        for _ in range(2):
            upload = line.partition("to upload: wandb ")[2]
            command(upload, tmp_path, **server.environment())
    assert not server.unknown
    names = by_name(server)
    assert set(names) == {"arcface m2=0.1", "report a b"}
    run = server.runs[names["arcface m2=0.1"]]
    assert (run["project"], run["groupName"], run["exit_code"]) == ("mine", "a b", 0)
    assert any("val/accuracy" in row for row in server.history(run["name"]))
    assert any("epoch 2/2" in line for line in server.log(run["name"]))
    assert f"{run['name']}/record.json" in server.files
    uploads = [request for request in server.requests if request.startswith("/upload/")]
    assert len(uploads) == len(set(uploads)), "the second sync has nothing left to upload"


def test_offline_nobody_is_called(tmp_path):
    """Neither the server nor W&B's telemetry, which would go to the same place."""
    with FakeWandb() as server, environment(**server.environment() | {"WANDB_MODE": "offline"}):
        done = arcmargin(*QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert server.asked == 0, server.requests


def test_after_a_server_died_one_command_uploads_all_that_it_missed(tmp_path):
    with FakeWandb() as server:
        server.last_words = "CreateRunFiles"  # of the first run, when it has ended
        with environment(**server.environment(), WANDB_FINISH_TIMEOUT="2"):
            arguments = ("--multirun", "m2=0.1,0.2", "sweep=try", ONE_BY_ONE, *QUICK)
            done = arcmargin(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    directory = tmp_path / "outputs" / "sweeps" / "try" / "wandb"
    assert len(list(directory.glob("run-*"))) == 1, "the second job did not wait for the server"
    assert len(list(directory.glob("offline-run-*"))) == 2
    told = done.stdout + done.stderr
    assert told.count("W&B failed") == 1
    upload = told.partition("to upload what a server missed: wandb ")[2].partition("\n")[0]
    with FakeWandb() as other:
        command(upload, tmp_path, **other.environment())
        names = by_name(other)
        assert set(names) == {"arcface m2=0.1", "arcface m2=0.2", "report try"}
        for name in ("arcface m2=0.1", "arcface m2=0.2"):
            epochs = [row["epoch"] for row in other.history(names[name]) if "val/accuracy" in row]
            assert epochs == [1, 2]
            assert f"{names[name]}/record.json" in other.files
        assert "No runs to sync" in command(upload, tmp_path, **other.environment())


def test_a_server_that_dies_in_mid_training_costs_a_warning_and_no_result(tmp_path):
    arguments = (*QUICK, "epochs=12", "hydra.run.dir=x")
    with FakeWandb() as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "arcmargin.run", *arguments],
            cwd=tmp_path,
            env={**os.environ, **server.environment(), "WANDB_FINISH_TIMEOUT": "2"},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        told = ""
        for line in process.stderr:
            told += line
            if line.startswith("epoch 2/"):
                server.die()
    process.stderr.close()
    assert process.wait(60) == 0
    assert told.count("W&B failed") == 1 and "Traceback" not in told, told
    result = Result.read(tmp_path / "x")
    assert result.finished and result.metrics["accuracy"] > 0.8
    assert len(result.curves["val_accuracy"]) == 12
    with FakeWandb() as other:  # and nothing is lost for W&B either
        upload = re.search(r"sync --include-online x/wandb/run-\S+", told)[0]
        command(upload, tmp_path, **other.environment())
    epochs = [row["epoch"] for row in other.history(result.wandb["id"]) if "val/accuracy" in row]
    assert epochs[-1] == 12


def test_a_run_by_itself_is_heard_by_wandb(tmp_path):
    """In a process of its own W&B finds the terminal's streams."""
    with FakeWandb() as server:
        done = arcmargin_process("m2=0.2", *QUICK, cwd=tmp_path, env=server.environment())
        assert done.returncode == 0, done.stderr
        assert f"W&B: {server.url}" in done.stderr
    (name,) = server.runs
    assert server.metadata(name)["args"] == ["m2=0.2", *QUICK]
    assert sum("epoch 2/2" in line for line in server.log(name)) == 1
    assert "notes" not in server.runs[name] or not server.runs[name]["notes"]


def test_code_goes_up_when_asked_for(tmp_path, monkeypatch):
    """What was imported from the working directory, such as a head of one's own."""
    head = "from arcmargin.headers.margin import MarginHeader\nclass Mine(MarginHeader): pass\n"
    (tmp_path / "my_head.py").write_text(head)
    (tmp_path / "not_used.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with FakeWandb() as server, environment(**server.environment()):
        own = ("header._target_=my_head.Mine", "wandb.save_code=true")
        done = arcmargin(*own, *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (code,) = [one for one in server.artifacts if one["artifactTypeName"] == "code"]
    assert set(code["files"]) == {"my_head.py", "wandb_manifest.json"}
    assert code["files"]["my_head.py"].decode() == head


def test_a_sweep_of_wandb_runs_through_the_entry_point(tmp_path):
    path = ROOT / "conf" / "wandb_sweep.yaml"
    with FakeWandb() as server:
        env = server.environment()
        command(f"sweep {path}", tmp_path, **env)
        sent = yaml.safe_load(server.sweeps[0]["config"])
        assert sent == yaml.safe_load(path.read_text())
        values = {name: part["values"][0] for name, part in sent["parameters"].items()}
        values |= {"gap_deg": 20, "epochs": 1, "dataset.classes": 4, "threads": 1}
        given = {name: {"value": value} for name, value in values.items()}
        server.jobs = [{"type": "run", "run_id": "job1", "program": sent["program"], "args": given}]
        command("agent tester/arcmargin/sw1", tmp_path, **env)
    run = server.runs["job1"]
    assert run["sweep"] == "sw1" and run["exit_code"] == 0
    (result,) = find_results(tmp_path / "outputs").results
    assert result.finished and result.wandb["id"] == "job1"
    assert run["config"]["m2"] == pytest.approx(result.settings.m2) and result.settings.m2 > 0.3
    assert server.summary("job1")["val/accuracy"]["max"] == result.score, "the sweep's goal"


def test_an_interrupted_job_goes_on_as_the_same_run(tmp_path, interrupt_training):
    with FakeWandb() as server:
        env = {**os.environ, **server.environment()}
        sweep = ["--multirun", "m2=choice(0.2)", "sweep=try", "dataset.classes=4", "threads=1"]
        code, _ = interrupt_training([*sweep, "epochs=1000"], cwd=tmp_path, env=env)
        assert code == 130
        (run,) = server.runs.values()
        assert run["exit_code"] == 255
        (folder,) = (tmp_path / "outputs" / "sweeps" / "try").glob("arcface*")
        before = server.history(run["name"])
        # 1,000 epochs are too many for a test: the same folder, shorter.
        arguments = [*QUICK, "m2=0.2", "epochs=60", f"hydra.run.dir={folder}"]
        done = arcmargin_process(*arguments, cwd=tmp_path, env=server.environment())
        assert done.returncode == 0, done.stderr
    assert "epoch 1/60" not in done.stderr and "epoch 60/60" in done.stderr
    assert list(server.runs) == [run["name"]]
    assert server.runs[run["name"]]["exit_code"] == 0
    after = server.history(run["name"])
    assert after[: len(before)] == before, "the history goes on, it is not replaced"
    assert max(row["epoch"] for row in after[len(before) :]) == 60
    assert [row["_step"] for row in after] == list(range(len(after)))


def test_online_without_a_key_stops_a_sweep_before_it_trains(tmp_path):
    with environment():
        arguments = ("--multirun", "m2=0.1,0.2", "wandb.mode=online", "sweep=try", *QUICK)
        done = arcmargin(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "wandb.mode=online, but there is no API key" in done.stderr
    assert not list(tmp_path.rglob("checkpoints"))
