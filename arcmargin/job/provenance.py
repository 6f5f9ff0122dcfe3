"""What a record says about the software that made it."""

import functools
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

SOURCE_TREE = Path(__file__).resolve().parents[2]
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
def git_commit(root: Path = SOURCE_TREE) -> str | None:
    """The commit of the source tree this runs from, with '-dirty' for local changes; None in a wheel.
    What was written or deleted in outputs/ changes no result."""
    if not (root / ".git").exists() or not (commit := _git(root, "rev-parse", "HEAD")):
        return None
    changes = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ":!outputs")
    return commit if changes == "" else f"{commit}-dirty"


def _git(root: Path, *arguments: str) -> str | None:
    """What git says; None where it cannot."""
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
