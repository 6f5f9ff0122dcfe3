"""Shapes are checked in every test: jaxtyping reads the annotations, beartype enforces them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import joblib
import pytest
import torch

jaxtyping.install_import_hook("arcmargin", "beartype.beartype")

# Two processes with two threads each would fight over the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.pop("WANDB_API_KEY", None)


def pytest_xdist_auto_num_workers() -> int:
    """One more than cores: a test that waits for a browser or a process leaves its core idle."""
    return joblib.cpu_count() + 1


@pytest.fixture(autouse=True)
def seeded() -> None:
    """No test's random weights depend on what ran before it. Not a seed that a test draws data with."""
    torch.manual_seed(271828)


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
        said = cwd / "said"
        with said.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "arcmargin.run", *arguments],
                cwd=cwd,
                env=env,
                stdout=subprocess.DEVNULL,
                stderr=file,
                start_new_session=True,
                # A shell starts its background jobs with Ctrl-C ignored, and the tests may be one.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        while process.poll() is None and not any(  # a job of a sweep has a log of its own
            "epoch 3/" in log.read_text() for log in (said, *cwd.glob("outputs/sweeps/*/*/run.log"))
        ):
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        return process.wait(60), said.read_text()

    return run


# Without a GPU, yet with WebGL; and it asks nothing of the network.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]


def _unavailable(reason: str) -> None:
    if os.environ.get("ARCMARGIN_REQUIRE_BROWSER"):
        pytest.fail(f"{reason}, and ARCMARGIN_REQUIRE_BROWSER is set")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((found for found in map(shutil.which, names) if found), None)
    if program is None:
        _unavailable(f"no browser: none of {', '.join(names)} is on the PATH")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _unavailable("no playwright: pip install playwright")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def unchecked_shapes() -> Iterator[None]:
    """Users have no jaxtyping hook: they meet the library's own errors."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
