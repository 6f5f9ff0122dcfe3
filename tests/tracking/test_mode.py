"""Where runs go, decided without W&B's client and without a long wait."""

import threading

import pytest
from wandb_server import KEY, FakeWandb

from arcmargin.errors import UserError
from arcmargin.tracking import mode as wandb_mode
from arcmargin.tracking.mode import begin_group, decide, give_up, read_group


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)


def test_without_a_key_nobody_is_asked(server):
    assert decide("auto") == ("offline", "there is no API key", False)
    assert not server.requests


def test_with_a_key_the_server_is_asked(server, key):
    assert decide("auto").mode == "online"
    assert server.requests == ["Viewer"] and server.keys == {KEY}


def test_a_group_asks_once_for_all_of_its_runs(server, key, tmp_path):
    begin_group(tmp_path, "auto", ["header", "seed"])
    assert [decide("auto", tmp_path).mode for _ in range(3)] == ["online"] * 3
    assert decide("online", tmp_path).mode == "online"
    assert server.requests == ["Viewer"]
    assert read_group(tmp_path).varying == ["header", "seed"]
    assert read_group(None) is None and read_group(tmp_path / "elsewhere") is None


def test_the_key_may_be_in_the_netrc_file(server, tmp_path, monkeypatch):
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    host = server.url.removeprefix("http://")
    (tmp_path / "netrc").write_text(f"machine {host}\n  login user\n  password {KEY}\n")
    assert decide("auto").mode == "online"
    assert server.keys == {KEY}


def test_a_server_that_never_answers_is_waited_for_once(server, key, tmp_path, monkeypatch):
    monkeypatch.setattr(wandb_mode, "PROBE_SECONDS", 0.3)
    server.silent = True
    begin_group(tmp_path, "auto", [])
    decisions = {decide("auto", tmp_path) for _ in range(5)}
    # Whichever of the two limits, the socket's or ours, is met first.
    reasons = {f"{server.url} {what}" for what in ("does not answer", "cannot be reached")}
    assert {(one.mode, one.required) for one in decisions} == {("offline", False)}
    assert {one.reason for one in decisions} <= reasons and len(decisions) == 1
    assert server.asked == 1


def test_nor_is_a_name_server(key, monkeypatch):
    given_up = threading.Event()

    def never(*_, **__):
        assert given_up.wait(20), "nobody waits that long"
        raise OSError("Temporary failure in name resolution")

    monkeypatch.setattr(wandb_mode, "PROBE_SECONDS", 0.2)
    monkeypatch.setattr("socket.getaddrinfo", never)
    monkeypatch.setenv("WANDB_BASE_URL", "http://wandb.invalid")
    assert wandb_mode.problem() == "http://wandb.invalid does not answer"
    given_up.set()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_gets_the_key(server, key, status):
    with FakeWandb() as other:
        server.redirect = (status, f"{other.url}/graphql")
        assert wandb_mode.problem() == f"{server.url} answers with HTTP {status}"
    assert server.keys == {KEY}
    assert not other.asked and not other.keys


def test_online_fails_loudly(monkeypatch):
    with pytest.raises(UserError, match="no API key"):
        decide("online")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9 cannot be reached") as error:
        decide("online")
    assert KEY not in str(error.value)


def test_a_key_that_the_server_refuses_is_said(server, key):
    server.viewer = None
    assert decide("auto") == ("offline", f"{server.url} refuses the API key", False)


@pytest.mark.parametrize(
    ("variable", "value", "mode", "expected"),
    [
        ("WANDB_MODE", "offline", "online", "offline"),
        ("WANDB_MODE", "dryrun", "online", "offline"),
        ("WANDB_MODE", "disabled", "online", "disabled"),
        ("WANDB_DISABLED", "true", "online", "disabled"),
        ("WANDB_MODE", "", "disabled", "disabled"),
    ],
)
def test_the_environment_goes_first(monkeypatch, variable, value, mode, expected):
    monkeypatch.setenv(variable, value)
    assert decide(mode).mode == expected


def test_an_unknown_mode_is_refused(monkeypatch):
    with pytest.raises(UserError, match="must be one of auto, online, offline, disabled"):
        decide("sometimes")
    monkeypatch.setenv("WANDB_MODE", "auto")
    with pytest.raises(UserError, match="means nothing to W&B itself"):
        decide("auto")


@pytest.mark.parametrize("mode", ["auto", "online"])
def test_after_a_failure_the_later_runs_of_a_group_go_offline(server, key, tmp_path, mode):
    begin_group(tmp_path, mode, ["seed"])
    give_up(tmp_path)
    server.die()
    assert decide(mode, tmp_path).mode == "offline", "and nobody is asked again"
    assert read_group(tmp_path).varying == ["seed"]
    give_up(None)
    give_up(tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


def test_a_group_begun_again_decides_anew_and_keeps_its_report(server, tmp_path, monkeypatch):
    begin_group(tmp_path, "auto", ["seed"])
    before = read_group(tmp_path)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    begin_group(tmp_path, "auto", ["m2"])
    after = read_group(tmp_path)
    assert (before.mode, after.mode) == ("offline", "online")
    assert after.varying == ["m2"] and after.report_id == before.report_id


def test_a_group_without_wandb_leaves_nothing(tmp_path):
    begin_group(tmp_path, "disabled", ["seed"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["WANDB_RUN_ID", "WANDB_SWEEP_ID"])
def test_a_group_that_would_be_one_run_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.setenv(name, "abc")
    with pytest.raises(UserError, match=f"{name} is set, so all jobs"):
        begin_group(tmp_path, "offline", [])
    begin_group(tmp_path, "disabled", [])
