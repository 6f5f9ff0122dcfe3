"""The real client against a small server on this machine: what a person sees in the dashboard."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from wandb_server import KEY, FakeWandb

from arcmargin.record import Record, find_records

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["dataset.classes=4", "epochs=2", "threads=1"]
PATH = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
# W&B's own word for where the user's key and settings are: not this machine's.
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}


@pytest.fixture
def server():
    with FakeWandb() as fake:
        yield fake
    assert not fake.unknown, "the client asked for something that the server does not know"


def environment(server=None, **more):
    home = {"NETRC": os.devnull, "WANDB_CONFIG_DIR": os.devnull + "/none"}
    return {**CLEAN, **PATH, **home, **(server.environment() if server else {}), **more}


def arcmargin(*arguments, cwd, env):
    command = [sys.executable, "-m", "arcmargin.run", *arguments]
    done = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, timeout=240, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def wandb(*arguments, cwd, env):
    command = [sys.executable, "-m", "wandb", *arguments]
    done = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def by_name(server):
    return {run.get("displayName", run["name"]): name for name, run in server.runs.items()}


def test_each_job_of_an_online_sweep_is_a_run_and_the_sweep_has_its_report(tmp_path, server):
    extras = ["wandb.table_rows=20", "wandb.checkpoint=true", "wandb.tags=[mine]"]
    command = ["--multirun", "m2=-1,0.3", "seed=choice(0)", "sweep=try", *QUICK, *extras]
    done = arcmargin(*command, cwd=tmp_path, env=environment(server))
    assert done.returncode == 1, "one of the two jobs fails"
    names = by_name(server)
    assert set(names) == {"arcface m2=-1 seed=0", "arcface m2=0.3 seed=0", "report try"}

    run_id = names["arcface m2=0.3 seed=0"]
    run, history, summary = server.runs[run_id], server.history(run_id), server.summary(run_id)
    assert (run["groupName"], run["jobType"], run["project"]) == ("try", "train", "arcmargin")
    assert run["tags"] == ["arcface", "digits", "mine"]
    assert run["exit_code"] == 0
    record = next(r for r in find_records(tmp_path / "outputs").records if r.finished)
    assert record.wandb["id"] == run_id and record.wandb["mode"] == "online"
    config = run["config"]
    assert [config[key] for key in ("m1", "m2", "m3", "s")] == [1.0, 0.3, 0.0, 30.0]
    assert config["header"]["name"] == "arcface" and config["header"]["ramp"] == 0.5
    assert config["git_commit"] == record.git_commit
    assert Path(config["folder"]).resolve() == record.folder.resolve()

    # The curves are those of the record, on the axis of epochs.
    for ours, theirs in (("train_loss", "train/loss"), ("val_gap_mean_deg", "val/gap_mean_deg")):
        logged = [(row["epoch"], row[theirs]) for row in history if theirs in row]
        wanted = list(zip([1, 2], record.curves[ours], strict=True))
        assert [e for e, _ in logged] == [1, 2]
        assert [v for _, v in logged] == pytest.approx([v for _, v in wanted])
    for name in ("train/learning_rate", "train/gradient_norm", "train/images_per_s"):
        assert all(row[name] > 0 for row in history if name in row)
        assert any(name in row for row in history), name
    best = max(record.curves["val_accuracy"])
    assert summary["val/accuracy"]["max"] == pytest.approx(best)
    assert summary["train/loss"]["min"] == pytest.approx(min(record.curves["train_loss"]))
    assert summary["test/accuracy"] == pytest.approx(record.metrics["accuracy"])
    kinds = {name: part["_type"] for name, part in summary.items() if "_type" in str(part)}
    assert kinds["embedding"] == kinds["test/angles"] == kinds["test/embedding"] == "image-file"
    assert kinds["test/plot"] == "plotly-file"
    assert kinds["test/embeddings"] == kinds["test/confusion_matrix_table"] == "table-file"
    assert [row["epoch"] for row in history if "embedding" in row] == [0, 1, 2]
    assert summary["test/embeddings"]["nrows"] == 20
    for part in (summary["embedding"], summary["test/plot"], summary["test/embeddings"]):
        assert len(server.files[f"{run_id}/{part['path']}"]) == part["size"]
    cells = next(f for n, f in server.files.items() if "confusion_matrix_table" in n)
    total = sum(row[2] for row in json.loads(cells)["data"])
    assert total == 144, "the confusion matrix counts every test image once"
    kinds_sent = {artifact["input"]["artifactTypeName"] for artifact in server.artifacts}
    assert {"model", "report"} <= kinds_sent, server.artifacts[0]

    failed = names["arcface m2=-1 seed=0"]
    assert server.runs[failed]["exit_code"] == 1
    assert "m2 must be >= 0" in server.summary(failed)["error"]

    report = names["report try"]
    assert server.runs[report]["jobType"] == "report" and server.runs[report]["groupName"] == "try"
    assert server.runs[report]["exit_code"] == 0
    shown = {
        name: part.get("_type")
        for name, part in server.history(report)[0].items()
        if isinstance(part, dict)
    }
    assert shown["grid_png"] == "image-file" and shown["summary_csv"] == "table-file"

    assert server.keys == {KEY}
    told = done.stdout + done.stderr
    for path in (tmp_path / "outputs").rglob("*"):
        if path.is_file() and path.suffix in (".json", ".log", ".yaml", ".txt", ".csv", ".md"):
            told += path.read_text(errors="replace")
    assert KEY not in told, "the API key must stay secret"


def test_an_offline_sweep_is_uploaded_by_one_command_and_only_once(tmp_path, server):
    env = environment(WANDB_PROJECT="mine", WANDB_NAME="")
    command = ["--multirun", "m2=choice(0.1)", "sweep=a b", *QUICK]
    done = arcmargin(*command, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("W&B: offline, there is no API key") == 1
    lines = [line for line in done.stdout.splitlines() if "wandb sync" in line]
    assert len(lines) == 1 and "wandb leet" in done.stdout
    assert "wandb sync" not in done.stderr
    directory = tmp_path / "outputs" / "sweeps" / "a b" / "wandb"
    assert len(list(directory.glob("offline-run-*"))) == 2, "one directory: the job, the report"
    upload = lines[0].partition("wandb ")[2]
    shell = f'"{sys.executable}" -m wandb {upload}'
    for _ in range(2):
        subprocess.run(
            shell,
            shell=True,
            cwd=tmp_path,
            env=environment(server),
            check=True,
            timeout=120,
            capture_output=True,
            stdin=subprocess.DEVNULL,
        )
    names = by_name(server)
    assert set(names) == {"arcface m2=0.1", "report a b"}
    run = server.runs[names["arcface m2=0.1"]]
    assert (run["project"], run["groupName"], run["exit_code"]) == ("mine", "a b", 0)
    assert any("val/accuracy" in row for row in server.history(run["name"]))
    assert any("/media/images/embedding" in name for name in server.files)
    uploads = [request for request in server.requests if request.startswith("/upload/")]
    assert len(uploads) == len(set(uploads)), "the second sync has nothing left to upload"


def test_a_sweep_of_wandb_runs_through_the_entry_point(tmp_path, server):
    env = environment(server)
    path = ROOT / "conf" / "wandb_sweep.yaml"
    wandb("sweep", str(path), cwd=tmp_path, env=env)
    sent = yaml.safe_load(server.sweeps[0]["config"])
    assert sent == yaml.safe_load(path.read_text())
    values = {name: part["values"][0] for name, part in sent["parameters"].items()}
    values |= {"gap_deg": 20, "epochs": 1, "dataset.classes": 4, "threads": 1}
    arguments = {name: {"value": value} for name, value in values.items()}
    server.jobs = [{"type": "run", "run_id": "job1", "program": sent["program"], "args": arguments}]
    wandb("agent", "tester/arcmargin/sw1", cwd=tmp_path, env=env)
    run = server.runs["job1"]
    assert run["sweep"] == "sw1" and run["exit_code"] == 0
    (record,) = find_records(tmp_path / "outputs").records
    assert record.finished and record.wandb["id"] == "job1"
    assert run["config"]["m2"] == pytest.approx(record.m2) and record.m2 > 0.3
    assert server.summary("job1")["val/accuracy"]["max"] == record.extra["score"], (
        "the sweep's goal"
    )


def test_a_server_that_dies_costs_a_warning_and_no_result(tmp_path, server):
    env = environment(server, WANDB_FINISH_TIMEOUT="2")
    command = [sys.executable, "-m", "arcmargin.run", *QUICK, "epochs=12", "hydra.run.dir=x"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    told = ""
    for line in process.stderr:
        told += line
        if line.startswith("epoch 2/"):
            server.die()
    assert process.wait(60) == 0
    assert told.count("W&B failed") == 1 and "Traceback" not in told, told
    assert "wandb sync --include-online x/wandb/run-" in told
    record = Record.read(tmp_path / "x")
    assert record.finished and record.metrics["accuracy"] > 0.8
    assert len(record.curves["val_accuracy"]) == 12

    with FakeWandb() as other:  # and nothing is lost for W&B either
        upload = re.search(r"sync --include-online \S+", told)[0].split()
        wandb(*upload, cwd=tmp_path, env=environment(other))
        assert [row["epoch"] for row in other.history(record.wandb["id"]) if "val/accuracy" in row][
            -1
        ] == 12


def test_an_interrupted_job_goes_on_as_the_same_run(tmp_path, server, interrupt_training):
    sweep = ["--multirun", "m2=choice(0.2)", "sweep=try", "dataset.classes=4", "threads=1"]
    env = environment(server)
    code, _ = interrupt_training([*sweep, "epochs=1000"], cwd=tmp_path, env=env)
    assert code == 130
    (run,) = server.runs.values()
    assert run["exit_code"] == 255
    (folder,) = (
        path
        for path in (tmp_path / "outputs/sweeps/try").iterdir()
        if path.name.startswith("arcface")
    )
    before = server.history(run["name"])
    # 1,000 epochs are too many for a test: the same folder, shorter.
    arguments = [*QUICK, "m2=0.2", "epochs=60", f"hydra.run.dir={folder}"]
    done = arcmargin(*arguments, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert "epoch 1/60" not in done.stderr and "epoch 60/60" in done.stderr
    assert list(server.runs) == [run["name"]]
    assert server.runs[run["name"]]["exit_code"] == 0
    after = server.history(run["name"])
    assert after[: len(before)] == before, "the history goes on, it is not replaced"
    assert max(row["epoch"] for row in after[len(before) :]) == 60
    assert [row["_step"] for row in after] == list(range(len(after)))


def test_online_without_a_key_stops_a_sweep_before_it_trains(tmp_path):
    command = ["--multirun", "m2=0.1,0.2", "wandb.mode=online", "sweep=try", *QUICK]
    done = arcmargin(*command, cwd=tmp_path, env=environment())
    assert done.returncode == 2
    assert "wandb.mode=online, but there is no API key" in done.stderr
    assert not list(tmp_path.rglob("checkpoints"))
