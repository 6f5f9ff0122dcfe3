"""Shapes are checked in every test: jaxtyping reads the annotations, beartype enforces them."""

import os
from pathlib import Path

from jaxtyping import install_import_hook

install_import_hook("arcmargin", "beartype.beartype")

import pytest  # noqa: E402

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
