"""Shapes are checked in every test: jaxtyping reads the annotations, beartype enforces them."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

install_import_hook("arcmargin", "beartype.beartype")

# Two processes with two threads each would fight over the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.pop("WANDB_API_KEY", None)


@pytest.fixture(scope="session")
def mnist_dir() -> str:
    """Where torchvision finds MNIST; skips without it, unless ARCMARGIN_REQUIRE_DATA asks for it."""
    folder = Path(os.environ.get("ARCMARGIN_DATA_DIR", "data")).resolve()
    if (folder / "MNIST" / "raw" / "train-images-idx3-ubyte").exists():
        return str(folder)
    reason = f"no MNIST in {folder}; set ARCMARGIN_DATA_DIR"
    if os.environ.get("ARCMARGIN_REQUIRE_DATA"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def interrupt_training() -> Callable[..., tuple[int, str]]:
    """Runs the command line until its third epoch, then presses Ctrl-C: (exit code, what it said)."""

    def run(arguments: list[str], cwd: Path, env: dict[str, str] | None = None) -> tuple[int, str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "arcmargin.run", *arguments],
            cwd=cwd,
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # A shell starts its background jobs with Ctrl-C ignored, and the tests may be one.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 3/"):
                break
        os.killpg(process.pid, signal.SIGINT)
        said = process.stderr.read()
        return process.wait(60), said

    return run
