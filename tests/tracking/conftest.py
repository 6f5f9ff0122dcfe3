"""A W&B server on this machine, and an environment that knows no other."""

import os

import pytest
import wandb
from wandb_server import KEY, FakeWandb


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path_factory):
    """Neither this machine's key nor its settings; and a server that is not there."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    nothing = tmp_path_factory.mktemp("no_account")
    monkeypatch.setenv("NETRC", str(nothing / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(nothing))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")


@pytest.fixture
def server(monkeypatch):
    """It is asked by whoever reads the environment; a key there is not."""
    with FakeWandb() as fake:
        monkeypatch.setenv("WANDB_BASE_URL", fake.url)
        yield fake
    assert not fake.unknown, "the client asked for something that the server does not know"


@pytest.fixture
def online(server, monkeypatch):
    """The server with a key for it, for W&B in this process."""
    wandb.teardown()  # W&B reads the environment once a process
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    yield server
    wandb.teardown()
