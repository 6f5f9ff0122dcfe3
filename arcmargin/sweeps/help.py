"""What --help shows: the options of the groups, the keys, and what the YAML files say of them."""

import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from arcmargin.job.schema import CONF

_LINE = re.compile(r"( *)(\w+):(?: |$)(?:.*?#\s+(.*))?")
_FOLLOWS = re.compile(r"\$\{[\w.]+\}")  # another key
_WIDEST, _WIDEST_KEY = 100, 30  # columns


def groups(*names: str, _root_: DictConfig) -> str:
    """A line or more for each group: its options, the one in use in brackets."""
    chosen, folders = _root_.hydra.runtime.choices, _folders(_root_)
    width = max(map(len, names)) + 4
    lines = []
    for name in names:
        files = {file.stem for folder in folders for file in (folder / name).glob("*.yaml")}
        options = sorted(files, key=_natural)
        shown = [f"[{one}]" if one == chosen.get(name) else one for one in options]
        called = f"{'' if name in chosen else '+'}{name}"
        lines += _wrapped(f"  {called}", " ".join(shown), width)
    return "\n".join(lines)


def keys(*names: str, _root_: DictConfig) -> str:
    """A line or more for each key, of these or of all that are not set by another one: its value, and
    the comment beside it where it is declared."""
    raw, said = OmegaConf.to_container(_root_), _comments(_root_)
    shown = {key: f"  {key}={_shown(_root_, key)}" for key in names or _settable(raw)}
    width = min(max(map(len, shown.values())), _WIDEST_KEY) + 2
    lines, before = [], ""
    for key, text in shown.items():
        group = key.rpartition(".")[0].partition(".")[0]
        lines += [""] * (group != before)
        before = group
        lines += _wrapped(text, said.get(key, ""), width)
    return "\n".join(lines)


def _natural(name: str) -> tuple[int, str]:
    """2d, 3d, 16d; names without a number by themselves."""
    number = re.match(r"\d+", name)
    return (int(number[0]) if number else 0, name)


def _shown(config: DictConfig, key: str) -> str:
    """The value as it is written; … for one that is found when a run begins."""
    parent, _, name = key.rpartition(".")
    within = OmegaConf.select(config, parent) if parent else config
    if OmegaConf.is_interpolation(within, name):
        return "…"
    value = OmegaConf.select(config, key, default="???")
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _wrapped(beginning: str, text: str, width: int) -> list[str]:
    """The text in a column that begins at `width`."""
    columns = min(shutil.get_terminal_size().columns, _WIDEST)
    first = beginning.ljust(width - 1) + " "
    return textwrap.wrap(text, columns, initial_indent=first, subsequent_indent=" " * width) or [
        beginning
    ]


def _settable(config: Any, prefix: str = "") -> Iterator[str]:
    """Top-level keys first, then those of groups; none that follows another key."""
    hidden = ("hydra", "space")  # a study's space is a head's own
    own = {
        f"{prefix}{k}": v for k, v in config.items() if k not in hidden and not k.startswith("_")
    }
    plain = (key for key, value in own.items() if not isinstance(value, dict))
    yield from (key for key in plain if not _FOLLOWS.fullmatch(str(own[key])))
    for key, value in own.items():
        if isinstance(value, dict):
            yield from _settable(value, f"{key}.")


def _comments(config: DictConfig) -> dict[str, str]:
    """What stands beside each key in the files that this configuration is composed of."""
    found: dict[str, str] = {}
    choices, folders = config.hydra.runtime.choices, _folders(config)
    for file in ("config", *(f"{group!s}/{choices[group]}" for group in choices)):
        found |= _comments_of(file, folders)
    return found


def _comments_of(file: str, folders: Sequence[Path]) -> dict[str, str]:
    """`file`: `dataset/digits`. What it begins with comes first."""
    group = file.rpartition("/")[0]
    found: dict[str, str] = {}
    for path in (folder / f"{file}.yaml" for folder in folders):
        if path.is_file():
            content: Any = OmegaConf.load(path)
            for other in content.get("defaults") or ():
                if isinstance(other, str) and other != "_self_":
                    name = other[1:] if other[0] == "/" else f"{group}/{other}"
                    found |= _comments_of(name, folders)
            found |= _comments_in(path.read_text(encoding="utf-8"), group)
    return found


def _folders(config: DictConfig) -> Sequence[Path]:
    """Where the configuration comes from, the user's own after ours."""
    return [CONF, *(Path(one.removeprefix("file://")) for one in config.hydra.searchpath)]


def _comments_in(text: str, group: str) -> dict[str, str]:
    """By the whole key, as on the command line: `dataset.classes`. A comment may go on in lines of its
    own below."""
    within = [] if "# @package _global_" in text or not group else [group]
    path: list[tuple[int, str]] = []
    found: dict[str, str] = {}
    key = ""
    for line in text.splitlines():
        if match := _LINE.fullmatch(line):
            depth = len(match[1])
            path = [*[part for part in path if part[0] < depth], (depth, match[2])]
            key = ".".join([*within, *(name for _, name in path)])
            if match[3]:
                found[key] = match[3]
        elif (further := re.fullmatch(r" +#\s+(.*)", line)) and key in found:
            found[key] += f" {further[1]}"
        else:
            key = ""
    return found
