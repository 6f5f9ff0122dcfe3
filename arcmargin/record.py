"""One run's result as files: record.json, embeddings.npz, snapshots.npz; read without torch.

`record.json` is written last and atomically: its presence is what "this run ended" means.
"""

import dataclasses
import json
import math
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import IO, Any, NamedTuple, get_args, get_origin

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8

from arcmargin.errors import UserError

SCHEMA = 1
RECORD_FILE = "record.json"
NO_RUNS_BELOW = {"checkpoints", ".hydra", "wandb", ".git"}


class Damaged(UserError):
    """A file of a run that cannot be used; the message names it and says why."""


@dataclass(kw_only=True)
class Record:
    """What a run was and what came of it. Heads that take no margin have m1=1, m2=m3=0, s=None."""

    header: str
    dataset: str
    embedding_dim: int
    name: str = ""
    status: str = "finished"  # or "failed", and then `error` says why
    error: str | None = None
    schema: int = SCHEMA
    backbone: str | None = None
    optimizer: str | None = None
    epochs: int | None = None
    seed: int | None = None
    s: float | None = None
    m1: float = 1.0
    m2: float = 0.0  # radians
    m3: float = 0.0
    num_classes: int | None = None
    class_names: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, Any] = field(default_factory=dict)
    durations: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)
    git_commit: str | None = None
    wandb: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    unknown: dict[str, Any] = field(
        default_factory=dict
    )  # a later writer's keys, kept as they came
    folder: Path | None = None  # where the file is; not part of it
    sweep: str = ""  # what a report calls the sweep it belongs to; not part of it

    @property
    def finished(self) -> bool:
        return self.status == "finished"

    @property
    def settings(self) -> "Record":
        return self

    @property
    def score(self) -> float | None:
        return self.extra.get("score")

    def takes(self, margin: str) -> bool:
        """Whether m1, m2, m3 or s means anything to the header: as extra["takes"] lists them, or
        else all four unless there is no scale (plain softmax)."""
        listed = self.extra.get("takes")
        return margin in listed if isinstance(listed, list) else self.s is not None

    def write(self, folder: Path | str) -> Path:
        """Write folder/record.json; NaN and infinity become null."""
        content = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        content |= content.pop("unknown")
        del content["folder"], content["sweep"]
        text = json.dumps(_plain(content), indent=2, allow_nan=False) + "\n"
        path = Path(folder) / RECORD_FILE
        write_whole(path, lambda file: file.write(text.encode()))
        self.folder = path.parent
        return path

    @classmethod
    def read(cls, folder: Path | str) -> "Record":
        """Raises Damaged when folder/record.json is missing, cut short or of another schema."""
        path = Path(folder) / RECORD_FILE
        try:
            content = json.loads(path.read_bytes(), parse_constant=lambda _: None)
        except OSError as error:
            raise Damaged(f"{path} cannot be read: {error.strerror}") from error
        except ValueError as error:  # not JSON, or not UTF-8
            raise Damaged(f"{path} is not valid JSON: {error}") from error
        problem = _problem(content)
        if problem:
            raise Damaged(f"{path} {problem}")
        for key in ("s", "m1", "m2", "m3"):
            if isinstance(content.get(key), int):  # JSON written elsewhere may say 3 for 3.0
                content[key] = float(content[key])
        unknown = {key: content.pop(key) for key in list(content) if key not in _KINDS}
        return cls(**content, unknown=unknown, folder=path.parent)


Result = Record


def display_path(path: Path) -> str:
    """Relative to where the user is, when it lies below."""
    path, here = path.resolve(), Path.cwd().resolve()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _kinds(annotation: Any) -> tuple[type, ...]:
    """`float | None` -> (float, NoneType, int), `list[str]` -> (list,): for isinstance."""
    parts = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    kinds = tuple(get_origin(part) or part for part in parts)
    return (*kinds, int) if float in kinds else kinds


_KINDS = {
    f.name: _kinds(f.type)
    for f in dataclasses.fields(Record)
    if f.name not in ("unknown", "folder", "sweep")
}


def _problem(content: Any) -> str | None:
    """What makes this unusable as a record, or None."""
    if not isinstance(content, dict):
        return f"holds a {type(content).__name__}, not an object"
    if content.get("schema", SCHEMA) != SCHEMA:
        return f"has schema {content['schema']!r}, but this version reads schema {SCHEMA}"
    for key in ("header", "dataset", "embedding_dim"):
        if key not in content:
            return f"has no {key}"
    for key, kinds in _KINDS.items():
        if key in content and not isinstance(content[key], kinds):
            names = " or ".join(kind.__name__ for kind in kinds)
            return f"has {key} = {content[key]!r}, but it must be {names}"
    for key in ("class_names", "overrides"):
        for item in content.get(key, []):
            if not isinstance(item, str):
                return f"has {item!r} in {key}, but each must be str"
    if content.get("status", "finished") not in ("finished", "failed"):
        return f"has status {content['status']!r}, but it must be finished or failed"
    return None


class Found(NamedTuple):
    """What find_records came across."""

    records: list[Record]  # finished and failed, sorted by folder
    damaged: list[str]  # one sentence each
    unfinished: list[Path]  # run folders without a record: interrupted or still running


def find_records(*folders: Path | str) -> Found:
    """Every record in and below these folders. Raises UserError for a folder that is missing."""
    records: dict[Path, Record] = {}
    damaged: dict[Path, str] = {}
    unfinished: set[Path] = set()
    for folder in folders:
        if not Path(folder).is_dir():
            raise UserError(
                f"no folder {folder}: expected a run or sweep folder, such as outputs/<name>"
            )
        for here, below, files in os.walk(folder):
            place = Path(here).resolve()  # a folder given twice counts once
            if RECORD_FILE in files:
                try:
                    records[place] = Record.read(here)
                except Damaged as error:
                    damaged[place] = str(error)
            elif ".hydra" in below:
                unfinished.add(Path(here))
            below[:] = sorted(set(below) - NO_RUNS_BELOW)
    ordered = [records[place] for place in sorted(records)]
    return Found(ordered, list(damaged.values()), sorted(unfinished))


class Embeddings(NamedTuple):
    """The test split as the run left it; `centres` are the header's unit class directions."""

    embeddings: Float[np.ndarray, "n d"]
    labels: Int[np.ndarray, "n"]
    centres: Float[np.ndarray, "c d"]

    def save(self, folder: Path | str) -> Path:
        return _save(Path(folder) / "embeddings.npz", self._asdict())

    @classmethod
    def load(cls, folder: Path | str) -> "Embeddings":
        """Raises Damaged when the file is missing or cannot be read."""
        return cls(**_load(Path(folder) / "embeddings.npz", cls._fields))


class Unseen(NamedTuple):
    """Images of classes that training has not seen. A negative label is an unknown class."""

    embeddings: Float[np.ndarray, "n d"]
    labels: Int[np.ndarray, "n"]
    class_names: Shaped[np.ndarray, "c"]

    def save(self, folder: Path | str) -> Path:
        return _save(Path(folder) / "unseen.npz", self._asdict())

    @classmethod
    def load(cls, folder: Path | str) -> "Unseen | None":
        """None when the run had no unseen classes. Raises Damaged when the file cannot be read."""
        path = Path(folder) / "unseen.npz"
        return cls(**_load(path, cls._fields)) if path.exists() else None


class Snapshots(NamedTuple):
    """A bounded sample of the test split after some of the epochs, for the replay of training."""

    epochs: Int[np.ndarray, "e"]
    embeddings: Float[np.ndarray, "e n d"]
    labels: Int[np.ndarray, "n"]
    centres: Float[np.ndarray, "e c d"]
    thumbnails: UInt8[np.ndarray, "n h w ..."] | None = None  # (n, h, w) or (n, h, w, 3)

    def save(self, folder: Path | str) -> Path:
        return _save(Path(folder) / "snapshots.npz", self._asdict())

    @classmethod
    def load(cls, folder: Path | str) -> "Snapshots | None":
        """None when the run left no snapshots. Raises Damaged when the file cannot be read."""
        path = Path(folder) / "snapshots.npz"
        if not path.exists():
            return None
        return cls(**_load(path, cls._fields, optional=("thumbnails",)))


_DTYPES: dict[str, type] = {  # the rest: float32
    "epochs": np.int64,
    "labels": np.int64,
    "thumbnails": np.uint8,
    "class_names": np.str_,
}


def _save(path: Path, arrays: dict[str, Any]) -> Path:
    typed: dict[str, Any] = {
        name: np.asarray(array, _DTYPES.get(name, np.float32))
        for name, array in arrays.items()
        if array is not None
    }
    write_whole(path, lambda file: np.savez_compressed(file, **typed))
    return path


def _load(path: Path, names: Iterable[str], optional: Iterable[str] = ()) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in names if name in file}
    except FileNotFoundError as error:
        raise Damaged(f"{path} is missing") from error
    except Exception as error:  # zipfile, zlib and numpy each raise their own
        raise Damaged(f"{path} cannot be read: {error}") from error
    missing = [name for name in names if name not in arrays and name not in optional]
    if missing:
        raise Damaged(f"{path} has no {', '.join(missing)}")
    return arrays


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> Path:
    """Write a file beside `path`, flush it to disk, then rename it: readers see the old file or the
    whole new one. Raises UserError when the folder is full or read-only."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"cannot write {path}: {reason}; free some space or choose another folder"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    return path


def _plain(value: Any) -> Any:
    """JSON's own types: numpy converted, NaN and infinity as None."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
