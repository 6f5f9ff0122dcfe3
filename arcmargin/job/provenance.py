"""What a record says about the software that made it."""

import functools
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "arcmargin",
    "torch",
    "torchvision",
    "pytorch-lightning",
    "hydra-core",
    "wandb",
    "numpy",
)


@functools.cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a source tree that is not installed
            continue
    return found


def versions() -> dict[str, str]:
    """Python's version and those of the packages that decide a result."""
    return dict(_versions())


@functools.cache
def git_commit() -> str | None:
    """The commit of the source tree this runs from, with '-dirty' for local changes; None in a wheel."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = [
        "git",
        "-C",
        str(root),
        "describe",
        "--always",
        "--abbrev=40",
        "--dirty",
        "--exclude=*",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
