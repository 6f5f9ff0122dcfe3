"""A run's settings, to train it anew: as a command, and as a YAML of the group `experiment`."""

import shlex
from typing import Any

import yaml

from arcmargin.metrics.table import number
from arcmargin.record import Result

RECIPE = "experiment/winner.yaml"
GROUPS = (
    *("header", "dataset", "embedding_dim", "backbone", "augment"),
    *("optimizer", "schedule", "trainer", "logger"),
)
OF_THE_SWEEP = ("study", "sweep", "seed", "hydra")  # keys that say how it was run, not what


def command(run: Result) -> str:
    return f"python -m arcmargin.run {shlex.join(overrides(run))}"


def overrides(run: Result) -> list[str]:
    """Those that make the run what it is, but for its seed."""
    return [
        text
        for text in run.settings.overrides
        if text.lstrip("+~").partition("=")[0].partition(".")[0].partition("/")[0]
        not in OF_THE_SWEEP
    ]


def recipe(run: Result, about: str) -> str:
    """A YAML that makes the same of `+experiment=NAME`; `about` is its comment."""
    defaults: list[Any] = []
    values: dict[str, Any] = {}
    for text in overrides(run):
        key, _, value = text.lstrip("+").partition("=")
        if text.startswith("+") and "." not in key:
            defaults.insert(0, {f"/{key}": value})
        elif key in GROUPS:
            defaults.append({f"override /{key}": value})
        else:
            _put(values, key.split("."), _value(value))
    content = yaml.safe_dump({"defaults": [*defaults, "_self_"], **values}, sort_keys=False)
    comment = "\n".join(f"# {line}" for line in about.splitlines())
    return f"# @package _global_\n{comment}\n{content}"


def _put(values: dict[str, Any], path: list[str], value: Any) -> None:
    for key in path[:-1]:
        values = values.setdefault(key, {})
    values[path[-1]] = value


def _value(text: str) -> Any:
    """Hydra's words are YAML's, but for numbers such as 1e-05."""
    read = yaml.safe_load(text)
    return number(text, read) if isinstance(read, str) else read
