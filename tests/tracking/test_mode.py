"""Where runs go, and what a failure costs: no server but one that never answers."""

import errno
import logging
import time
from pathlib import Path

import numpy as np
import pytest
from wandb_server import KEY, FakeWandb

from arcmargin.errors import UserError
from arcmargin.record import Embeddings, Record
from arcmargin.tracking import mode as wandb_mode
from arcmargin.tracking import start as wandb_start
from arcmargin.tracking.tracker import Tracker, run_config, run_name


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    for name in ("MODE", "API_KEY", "DISABLED", "PROJECT", "RUN_ID", "SWEEP_ID"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    # Set and deleted, so that what a test leaves there is taken away.
    for name in (wandb_mode.DECIDED, wandb_mode.SWEPT):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")


@pytest.fixture
def server(monkeypatch):
    with FakeWandb() as fake:
        monkeypatch.setenv("WANDB_BASE_URL", fake.url)
        yield fake


def test_without_a_key_nobody_is_asked(server):
    start = time.perf_counter()
    assert wandb_mode.resolve("auto") == "offline"
    assert time.perf_counter() - start < 0.5
    assert not server.requests


def test_with_a_key_the_server_is_asked_once_a_sweep(server, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert [wandb_mode.resolve("auto") for _ in range(3)] == ["online"] * 3
    assert wandb_mode.resolve("online") == "online"
    assert server.requests == ["Viewer"] and server.keys == {KEY}


def test_the_key_may_be_in_the_netrc_file(server, tmp_path):
    host = server.url.removeprefix("http://")
    (tmp_path / "netrc").write_text(f"machine {host}\n  login user\n  password {KEY}\n")
    assert wandb_mode.resolve("auto") == "online"
    assert server.keys == {KEY}


def test_a_server_that_never_answers_is_given_three_seconds_for_all_jobs(server, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    server.silent = True
    start = time.perf_counter()
    assert [wandb_mode.resolve("auto") for _ in range(5)] == ["offline"] * 5
    assert 2.5 < time.perf_counter() - start < 5


def test_a_name_server_that_never_answers_is_given_no_longer(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(wandb_mode, "PROBE_SECONDS", 0.2)

    def never(*_, **__):
        time.sleep(4)
        raise OSError("Temporary failure in name resolution")

    monkeypatch.setattr("socket.getaddrinfo", never)
    monkeypatch.setenv("WANDB_BASE_URL", "http://wandb.invalid")
    start = time.perf_counter()
    assert wandb_mode.problem() == "http://wandb.invalid does not answer"
    assert time.perf_counter() - start < 2


def test_online_fails_loudly(monkeypatch):
    with pytest.raises(UserError, match="no API key"):
        wandb_mode.resolve("online")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9 cannot be reached") as error:
        wandb_mode.resolve("online")
    assert KEY not in str(error.value)


def test_a_key_that_the_server_refuses_is_said(server, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    server._do_Viewer = lambda given: {"viewer": None}
    assert wandb_mode.problem() == f"{server.url} refuses the API key"
    assert wandb_mode.resolve("auto") == "offline"


@pytest.mark.parametrize(
    ("variable", "value", "mode", "expected"),
    [
        ("WANDB_MODE", "offline", "online", "offline"),
        ("WANDB_MODE", "dryrun", "online", "offline"),
        ("WANDB_MODE", "disabled", "online", "disabled"),
        ("WANDB_DISABLED", "true", "online", "disabled"),
        ("WANDB_MODE", "auto", "online", "offline"),
        ("WANDB_MODE", "", "disabled", "disabled"),
    ],
)
def test_the_environment_goes_first(monkeypatch, variable, value, mode, expected):
    monkeypatch.setenv(variable, value)
    assert wandb_mode.resolve(mode) == expected


def test_an_unknown_mode_is_refused():
    with pytest.raises(UserError, match="must be one of auto, online, offline, disabled"):
        wandb_mode.resolve("sometimes")


def test_errors_are_told_without_the_key(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert wandb_start.without_key(RuntimeError(f"bad key\n{KEY}!")) == "bad key ***!"


def record(**more):
    names = {"header": "arcface", "dataset": "digits", "name": "arcface m2=0.5"}
    return Record(
        **names,
        embedding_dim=2,
        m2=0.5,
        s=30.0,
        epochs=20,
        class_names=["a", "b"],
        num_classes=2,
        **more,
    )


class FullDisk:
    """A W&B run on a disk that is full."""

    offline, id, url, project, dir = True, "abc", None, "arcmargin", "x/wandb/offline-run/files"

    def __init__(self):
        self.calls = []
        self.summary = self

    def log(self, values):
        self.calls.append("log")
        raise OSError(errno.ENOSPC, "No space left on device")

    def finish(self, exit_code):
        self.calls.append(f"finish {exit_code}")
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_said_once(caplog):
    run = FullDisk()
    tracker = Tracker(run, record(), pictures=8, table_rows=0, checkpoint=False)
    with caplog.at_level(logging.WARNING):
        for epoch in range(3):
            tracker.log_metrics({"epoch": epoch, "train_loss": 1.0})
        tracker.close(0)
    assert run.calls == ["log", "finish 0"]
    assert len(caplog.records) == 1 and "No space left" in caplog.text


class Recorder:
    offline, id, url, project, dir = True, "abc", None, "arcmargin", "x/wandb/offline-run/files"

    def __init__(self):
        self.rows = []

    def log(self, values):
        self.rows.append(values)


@pytest.mark.parametrize(("pictures", "epochs"), [(4, [0, 5, 10, 15, 20]), (0, []), (1, [0, 20])])
def test_the_media_slider_has_a_bounded_number_of_places(pictures, epochs):
    run = Recorder()
    tracker = Tracker(run, record(), pictures=pictures, table_rows=0, checkpoint=False)
    rng = np.random.default_rng(0)
    points = rng.normal(size=(20, 2)).astype(np.float32)
    data = Embeddings(points, np.arange(20) % 2, np.eye(2, dtype=np.float32))
    for epoch in range(21):
        tracker.watch(epoch, data, 0.5)
    assert [row["epoch"] for row in run.rows] == epochs


def test_a_run_is_named_by_what_varies(monkeypatch):
    overrides = ["header=arcface", "m2=0.5", "seed=1", "optimizer.lr=0.2", "threads=1", "sweep=a"]
    assert run_name(record(overrides=overrides)) == "arcface m2=0.5 seed=1 lr=0.2"
    monkeypatch.setenv(wandb_mode.SWEPT, "header,seed")
    assert run_name(record(overrides=overrides)) == "arcface m2=0.5 seed=1"


def test_the_config_is_plain_and_has_the_margins_that_act_on_top():
    config = {"header": {"s": 30.0}, "dataset": {}, "m2": 0.7, "wandb": {"mode": "auto"}}
    plain = run_config(record(backbone="convnet", optimizer="sgd"), config, Path("out"))
    assert (plain["m1"], plain["m2"], plain["m3"], plain["s"]) == (1.0, 0.5, 0.0, 30.0)
    assert plain["header"] == {"name": "arcface", "s": 30.0}
    assert plain["folder"] == "out" and "wandb" not in plain


def test_the_report_page_is_in_the_artifact_only(tmp_path):
    """Its pictures lie beside the runs, so W&B could not show it whole."""
    from arcmargin.tracking.comparison import shown

    for name in ("index.html", "compare.html", "summary.tex", "grid.pdf"):
        (tmp_path / name).write_text("<p>text</p>")
    assert shown(tmp_path / "index.html") is None
    assert shown(tmp_path / "summary.tex") is None and shown(tmp_path / "grid.pdf") is None
    assert shown(tmp_path / "compare.html") is not None


@pytest.mark.parametrize("name", ["WANDB_RUN_ID", "WANDB_SWEEP_ID"])
def test_a_multirun_that_would_be_one_run_is_refused(name, monkeypatch):
    wandb_mode.check_one_run_a_job()
    monkeypatch.setenv(name, "abc")
    with pytest.raises(UserError, match=f"{name} is set, so all jobs"):
        wandb_mode.check_one_run_a_job()
