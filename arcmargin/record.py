"""One run as a typed object, `Result`, and as files: record.json and the arrays beside it.

Read without torch. record.json is written last and atomically: its presence is what "this run ended"
means.
"""

import json
import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8

from arcmargin.errors import UserError
from arcmargin.files import write_atomically

SCHEMA = 2
RECORD_FILE = "record.json"
JOURNAL_FILE = "study.journal"  # of a search, in its sweep's folder
STATUSES = ("finished", "failed", "pruned")
TOO_LARGE = 1e100  # no metric or setting is; what is made of such numbers overflows
NO_MARGIN = {"m1": 1.0, "m2": 0.0, "m3": 0.0}
NO_RUNS_BELOW = {"checkpoints", ".hydra", "wandb", ".git"}


class Damaged(UserError):
    """A file of a run that cannot be used; the message names it and says why."""


# ---- arrays ----------------------------------------------------------------------------------------


class Embeddings(NamedTuple):
    """The test split as the run left it; `centres` are the header's unit class directions, and
    `predicted` the classes that it takes the images for."""

    embeddings: Float[np.ndarray, "n d"]
    labels: Int[np.ndarray, "n"]
    centres: Float[np.ndarray, "c d"]
    predicted: Int[np.ndarray, "n"] | None = None

    def save(self, folder: Path | str) -> Path:
        return _save(Path(folder) / "embeddings.npz", self._asdict())

    @classmethod
    def load(cls, folder: Path | str) -> "Embeddings":
        """Raises Damaged when the file is missing, cannot be read or does not fit together."""
        path = Path(folder) / "embeddings.npz"
        axes = {"embeddings": "nd", "labels": "n", "centres": "cd", "predicted": "n"}
        return cls(**_load(path, axes, optional=("predicted",)))


class Unseen(NamedTuple):
    """Images of classes that training has not seen. A negative label is an unknown class."""

    embeddings: Float[np.ndarray, "n d"]
    labels: Int[np.ndarray, "n"]
    class_names: Shaped[np.ndarray, "c"]

    def save(self, folder: Path | str) -> Path:
        return _save(Path(folder) / "unseen.npz", self._asdict())

    @classmethod
    def load(cls, folder: Path | str) -> "Unseen | None":
        """None when the run had no unseen classes. Raises Damaged when the file cannot be used."""
        path = Path(folder) / "unseen.npz"
        if not path.exists():
            return None
        return cls(**_load(path, {"embeddings": "nd", "labels": "n", "class_names": "c"}))


class Snapshots(NamedTuple):
    """A bounded sample of the test split after some of the epochs, for the replay of training."""

    epochs: Int[np.ndarray, "e"]
    embeddings: Float[np.ndarray, "e n d"]
    labels: Int[np.ndarray, "n"]
    centres: Float[np.ndarray, "e c d"]
    rows: Int[np.ndarray, "n"]  # which of the test split's these are
    metric_names: Shaped[np.ndarray, "k"]  # accuracy and geometry of the sample at each moment
    metrics: Float[np.ndarray, "e k"]  # NaN where not defined
    thumbnails: UInt8[np.ndarray, "n h w ..."] | None = None  # (n, h, w) or (n, h, w, 3)

    def metric(self, name: str) -> Float[np.ndarray, "e"]:
        """Through the epochs; NaN where it is not defined."""
        names = self.metric_names.tolist()
        if name not in names:
            return np.full(len(self.epochs), np.nan)
        return self.metrics[:, names.index(name)]

    def save(self, folder: Path | str) -> Path:
        return _save(Path(folder) / "snapshots.npz", self._asdict())

    @classmethod
    def load(cls, folder: Path | str) -> "Snapshots | None":
        """None when the run left no snapshots. Raises Damaged when the file cannot be used."""
        path = Path(folder) / "snapshots.npz"
        if not path.exists():
            return None
        axes = {"epochs": "e", "embeddings": "end", "labels": "n", "centres": "ecd", "rows": "n"}
        axes |= {"metric_names": "k", "metrics": "ek"}
        return cls(**_load(path, {**axes, "thumbnails": "n…"}, optional=("thumbnails",)))


class Arrays(NamedTuple):
    """What is left of a run besides its numbers."""

    embeddings: Embeddings
    snapshots: Snapshots
    unseen: Unseen | None = None

    def save(self, folder: Path | str) -> None:
        self.embeddings.save(folder)
        self.snapshots.save(folder)
        if self.unseen is not None:
            self.unseen.save(folder)


_DTYPES: dict[str, type] = {  # the rest: float32
    "epochs": np.int64,
    "labels": np.int64,
    "predicted": np.int64,
    "rows": np.int64,
    "thumbnails": np.uint8,
    "class_names": np.str_,
    "metric_names": np.str_,
}


def _save(path: Path, arrays: Mapping[str, Any]) -> Path:
    typed: dict[str, Any] = {
        name: np.asarray(array, _DTYPES.get(name, np.float32))
        for name, array in arrays.items()
        if array is not None
    }
    write_atomically(path, lambda file: np.savez_compressed(file, **typed))
    return path


def _load(
    path: Path, axes: Mapping[str, str], optional: Iterable[str] = ()
) -> dict[str, np.ndarray]:
    """The arrays of a file. `axes` names each one's axes by a letter: the same letter, the same
    length; … stands for any further axes."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in axes if name in file}
    except FileNotFoundError as error:
        raise Damaged(f"{path} is missing") from error
    except Exception as error:  # zipfile, zlib and numpy each raise their own
        raise Damaged(f"{path} cannot be read: {error}") from error
    missing = [name for name in axes if name not in arrays and name not in optional]
    if missing:
        raise Damaged(f"{path} has no {', '.join(missing)}")
    lengths: dict[str, int] = {}
    for name, array in arrays.items():
        letters = axes[name].removesuffix("…")
        fits = array.ndim == len(letters) or (axes[name] != letters and array.ndim > len(letters))
        known = zip(letters, array.shape, strict=False)
        if not fits or any(lengths.setdefault(letter, n) != n for letter, n in known):
            raise Damaged(f"{path} has {name} of shape {array.shape}, which does not fit the rest")
        if array.dtype.kind not in {"i": "iu", "U": "U"}.get(_kind(name), "fiu"):
            raise Damaged(f"{path} has {name} of type {array.dtype}")
    labels, classes = arrays["labels"], lengths.get("c", 0)
    if labels.size and labels.max() >= max(classes, 1):
        raise Damaged(f"{path} has the label {labels.max()}, but only {classes} classes")
    return arrays


def _kind(name: str) -> str:
    return np.dtype(_DTYPES.get(name, np.float32)).kind


# ---- what a run is ---------------------------------------------------------------------------------


def formula_name(m1: float, m2: float, m3: float) -> str:
    """What the formula is called with these margins: by its paper where a single one acts."""
    acting = [
        key for key, value in zip(NO_MARGIN, (m1, m2, m3), strict=True) if value != NO_MARGIN[key]
    ]
    if not acting:
        return "normface"
    papers = {"m1": "sphereface", "m2": "arcface", "m3": "cosface"}
    return papers[acting[0]] if len(acting) == 1 else "combined"


@dataclass(frozen=True, kw_only=True)
class Study:
    """A run's part in a fair comparison."""

    stage: str  # "trial" of a choice of settings, or "test" of what was chosen
    score: str  # the validation metric that chooses
    trials: int  # that each header had
    epochs: int | None = None  # of a trial, where not as many as of a test
    tuned: list[str] = field(default_factory=list)  # settings that each header chose for itself


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What acted in a run, as its objects were built; None for what the head does not take."""

    header: str  # a head of the formula is named by its margins, any other by its configuration
    dataset: str
    embedding_dim: int
    backbone: str | None = None
    optimizer: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    seed: int | None = None
    threads: int | None = None
    s: float | None = None
    m1: float | None = None
    m2: float | None = None  # radians
    m3: float | None = None
    in_formula: bool = (
        False  # exactly s·(cos(m1·θ + m2) − m3): what is predicted holds for no other
    )
    matched: str | None = None  # the margin that gap_deg sets
    gap_deg: float | None = None
    num_classes: int | None = None
    class_names: list[str] = field(default_factory=list)
    validation_classes: list[str] = field(default_factory=list)  # further ones, to choose by
    overrides: list[str] = field(default_factory=list)
    study: Study | None = None
    identity: str = ""  # equal where two runs compute the same

    @property
    def is_trial(self) -> bool:
        """Whether the run is there to choose settings by: then it is not tested."""
        return self.study is not None and self.study.stage == "trial"

    @property
    def name(self) -> str:
        """`arcface m2=0.5`: the head and the margins that act."""
        margins = {key: getattr(self, key) for key in NO_MARGIN}
        acting = (f"{k}={v:.4g}" for k, v in margins.items() if v not in (None, NO_MARGIN[k]))
        return " ".join([self.header, *acting])


@dataclass(kw_only=True)
class OpenSet:
    """What belongs to the metrics of classes that training has not seen."""

    images: int
    classes: int | None = None
    genuine_pairs: int | None = None
    impostor_pairs: int | None = None
    folds: int | None = None
    how: str = ""  # which pairs, and what was drawn again for the intervals
    far: list[float] = field(default_factory=list)  # of the ROC, the same in every run
    tar: list[float | None] = field(default_factory=list)  # None: too few pairs
    thresholds: dict[str, float] = field(default_factory=dict)  # cosines
    notes: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Result:
    """What a run was and what came of it."""

    settings: Settings
    status: str = "finished"  # "failed", and then `error` says why; "pruned" by a search
    error: str | None = None
    metrics: dict[str, float | None] = field(default_factory=dict)  # of the test
    validation: dict[str, float | None] = field(default_factory=dict)  # with the weights tested
    score_name: str = "val_accuracy"  # the one of these that settings are chosen by
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)  # 95 %
    curves: dict[str, list[float | int | None]] = field(default_factory=dict)  # a value an epoch
    open_set: OpenSet | None = None
    durations: dict[str, float] = field(default_factory=dict)  # seconds
    checkpoint: str | None = None  # the file in checkpoints/ whose weights were tested
    wandb: dict[str, str | None] | None = None
    versions: dict[str, str] = field(default_factory=dict)
    git_commit: str | None = None
    schema: int = SCHEMA
    arrays: Arrays | None = None  # as training leaves them; files of their own, not read back
    folder: Path | None = None  # where the file is; not part of it
    sweep: str = ""  # what a report calls the sweep it belongs to; not part of it

    @property
    def finished(self) -> bool:
        return self.status == "finished"

    @property
    def score(self) -> float | None:
        return self.validation.get(self.score_name)

    def write(self, folder: Path | str) -> Path:
        """Write folder/record.json; NaN and infinity become null."""
        content = {
            f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NOT_WRITTEN
        }
        content["settings"] = asdict(self.settings)
        content["open_set"] = self.open_set and asdict(self.open_set)
        text = json.dumps(_plain(content), indent=2, allow_nan=False) + "\n"
        path = Path(folder) / RECORD_FILE
        write_atomically(path, lambda file: file.write(text.encode()))
        self.folder = path.parent
        return path

    @classmethod
    def read(cls, folder: Path | str) -> "Result":
        """Raises Damaged when folder/record.json is missing, cut short or of another schema."""
        path = Path(folder) / RECORD_FILE
        try:
            content = json.loads(
                path.read_bytes(),
                parse_constant=lambda _: None,
                parse_int=_parse_int,
                parse_float=_parse_float,
            )
            json.dumps(content, ensure_ascii=False).encode()  # half a surrogate pair is no text
        except OSError as error:
            raise Damaged(f"{path} cannot be read: {error.strerror}") from error
        except RecursionError as error:
            raise Damaged(f"{path} is nested too deeply to be a record") from error
        except ValueError as error:  # not JSON, or not UTF-8
            raise Damaged(f"{path} is not valid JSON: {error}") from error
        if not isinstance(content, dict):
            raise Damaged(f"{path} holds a {type(content).__name__}, not an object")
        if content.get("schema") != SCHEMA:
            raise Damaged(
                f"{path} has schema {content.get('schema')!r}, but this version reads {SCHEMA}"
            )
        if content.get("status", "finished") not in STATUSES:
            raise Damaged(f"{path} has status {content['status']!r}, not {' or '.join(STATUSES)}")
        settings = _settings(content.get("settings"), path)
        open_set = content.get("open_set")
        parts: dict[str, Any] = {"settings": settings}
        parts |= {"open_set": _checked(OpenSet, open_set, path)} if open_set else {}
        result = _checked(cls, {**content, **parts}, path)
        result.folder = path.parent
        return result


_NOT_WRITTEN = {"arrays", "folder", "sweep"}
_HINTS = {kind: get_type_hints(kind) for kind in (Study, Settings, OpenSet, Result)}
T = TypeVar("T", Study, Settings, OpenSet, Result)


def _settings(content: Any, path: Path) -> Settings:
    if isinstance(content, dict) and content.get("study") is not None:
        content = {**content, "study": _checked(Study, content["study"], path)}
    return _checked(Settings, content, path)


def _checked(kind: type[T], content: Any, path: Path) -> T:
    """The content as an object of this kind; what a later version added is left aside."""
    if not isinstance(content, dict):
        raise Damaged(f"{path} has no {kind.__name__.lower()}")
    hints = _HINTS[kind]
    known = {f.name for f in fields(kind)} - _NOT_WRITTEN
    values = {key: value for key, value in content.items() if key in known}
    for key, value in values.items():
        if isinstance(value, int) and float in get_args(hints[key]):
            values[key] = value = float(value)  # JSON written elsewhere may say 3 for 3.0
        if not _fits(value, hints[key]):
            shown = repr(value) if len(repr(value)) < 80 else f"{repr(value)[:77]}…"
            raise Damaged(f"{path} has {key} = {shown}, but it must be {_in_words(hints[key])}")
    if "intervals" in values:  # JSON has no tuples
        values["intervals"] = {name: tuple(pair) for name, pair in values["intervals"].items()}
    try:
        return kind(**values)
    except TypeError as error:  # names what is missing
        raise Damaged(f"{path} is not whole: {error}") from error


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value from JSON is of the annotated type, to the bottom."""
    if isinstance(hint, UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    origin, inner = get_origin(hint), get_args(hint)
    if origin is list:
        return isinstance(value, list) and _all_fit(value, inner[0])
    if origin is tuple:
        return isinstance(value, list | tuple) and [*map(type, value)] == [*inner]
    if origin is dict:
        return isinstance(value, dict) and _all_fit(value.values(), inner[1])
    if hint is float:
        return isinstance(value, float | int) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _all_fit(values: Collection[Any], hint: Any) -> bool:
    """Of values that hold no others one of each type answers for all."""
    kinds = {type(value): value for value in values}
    if kinds.keys() & {list, dict, tuple}:
        return all(_fits(value, hint) for value in values)
    return all(_fits(value, hint) for value in kinds.values())


def _in_words(hint: Any) -> str:
    return str(hint if get_origin(hint) or isinstance(hint, UnionType) else hint.__name__)


def _parse_int(digits: str) -> int | float | None:
    """Python's integers have no end, those of the tables do."""
    return int(digits) if len(digits) < 19 else _parse_float(digits)


def _parse_float(digits: str) -> float | None:
    value = float(digits)
    return value if abs(value) < TOO_LARGE else None


class Found(NamedTuple):
    """What find_results came across."""

    results: list[Result]  # finished and failed, sorted by folder
    damaged: list[str]  # one sentence each
    unfinished: list[Path]  # run folders without a record: interrupted or still running
    pruned: Sequence[Result] = ()  # stopped by a search, and neither finished nor failed


def find_results(*folders: Path | str) -> Found:
    """Every result in and below these folders. Raises UserError for a folder that is missing."""
    results: dict[Path, Result] = {}
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
                    results[place] = Result.read(here)
                except Damaged as error:
                    damaged[place] = str(error)
            elif ".hydra" in below:
                unfinished.add(Path(here))
            below[:] = sorted(set(below) - NO_RUNS_BELOW)
    ordered = [results[place] for place in sorted(results)]
    pruned = [one for one in ordered if one.status == "pruned"]
    ended = [one for one in ordered if one.status != "pruned"]
    return Found(ended, list(damaged.values()), sorted(unfinished), pruned)


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
