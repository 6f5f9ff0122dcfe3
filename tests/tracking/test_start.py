"""How a W&B run begins, and what W&B is told that nobody asked for."""

import logging
import sys

import pytest
import wandb
from synthetic_records import make_result
from wandb_server import KEY

from arcmargin.errors import UserError
from arcmargin.record import Result
from arcmargin.tracking.mode import Decision, begin_group, read_group
from arcmargin.tracking.start import begin, remember, same_run, without_key


@pytest.fixture
def arguments(tmp_path):
    return {"project": "arcmargin", "dir": str(tmp_path), "name": "given"}


def test_the_command_is_the_runs_own_and_the_environment_goes_first(online, arguments, monkeypatch):
    monkeypatch.setenv("WANDB_NAME", "of a person")
    monkeypatch.setenv("WANDB_PROGRAM", "theirs.py")
    before = list(sys.argv)
    run = begin(Decision("online"), arguments, {"program": "ours.py"}, command=["m2=0.3", "seed=1"])
    assert sys.argv == before
    run.finish()
    assert online.metadata(run.id)["args"] == ["m2=0.3", "seed=1"]
    assert online.metadata(run.id)["program"] == "theirs.py"
    assert online.runs[run.id]["displayName"] == "of a person"


def test_no_word_goes_to_wandbs_own_telemetry(online, arguments):
    run = begin(Decision("online"), arguments, {})
    run.finish()
    wandb.teardown()  # it would be sent now at the latest
    assert not [request for request in online.requests if "otel" in request]


def test_a_server_that_does_not_take_the_run(online, arguments, tmp_path, caplog):
    online.forbidden = {"UpsertBucket"}
    begin_group(tmp_path, "auto", [])
    with pytest.raises(UserError, match="online, but W&B did not start"):
        begin(Decision("online", required=True), arguments, {})
    with caplog.at_level(logging.WARNING):
        run = begin(Decision("online"), arguments, {}, group=tmp_path)
    assert run.offline and "W&B did not start" in caplog.text and KEY not in caplog.text
    assert read_group(tmp_path).mode == "offline", "nor do the later ones ask"
    run.finish()


def test_disabled_is_no_run(arguments):
    assert begin(Decision("disabled"), arguments, {}) is None


def test_an_interrupted_run_goes_on_and_a_finished_one_does_not(tmp_path):
    assert same_run(None) == same_run(tmp_path) == {}
    remember("abc", tmp_path)
    assert same_run(tmp_path) == {"id": "abc", "resume": "allow"}
    make_result(status="failed").write(tmp_path)
    assert same_run(tmp_path)["id"] == "abc"
    make_result().write(tmp_path)
    assert Result.read(tmp_path).finished and same_run(tmp_path) == {}


def test_errors_are_told_without_the_key(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert without_key(RuntimeError(f"bad key\n{KEY}!")) == "bad key ***!"
