"""What each job of a sweep says of itself, in small files that the sweep's main process reads.

They lie in <sweep>/.progress, one a job, named like its folder: the same under every launcher and
on other machines, as long as they share the disk.
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

FOLDER = ".progress"
LOG = "run.log"
TRACEBACK = "traceback.txt"
STOP_FILE = ".stop"
_SECONDS_BETWEEN = 0.5


class Stopped(Exception):
    """The sweep is to end: somebody pressed Ctrl-C, or a job failed under on_error=raise."""


@dataclass
class Job:
    """One job's state. `state` is running, finished, skipped (finished before), repeated (another
    job of the sweep computes the same), failed or interrupted."""

    key: str  # the name of its folder; a repeat of that job has a further part
    name: str  # the header and its margins
    folder: str
    overrides: list[str] = field(default_factory=list)
    state: str = "running"
    first_epoch: int = 0  # a resumed job begins later than at 0
    epoch: int = 0
    epochs: int = 0
    score: float | None = None  # validation accuracy
    seconds: float = 0.0
    error: str | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        return self.state != "running"

    def label(self, keys: Iterable[str]) -> str:
        """`arcface m2=0.5 seed=1`: the name and which of the keys that vary it leaves out."""
        told = set(keys) - {"header", "m1", "m2", "m3"}
        pairs = (override.lstrip("+~").partition("=") for override in self.overrides)
        return " ".join(
            [self.name, *(f"{k.rpartition('.')[2]}={v}" for k, _, v in pairs if k in told)]
        )


class Reporter:
    """Writes a job's state where the main process looks for it; a full disk costs only the display.

    `number` tells a job from another that would compute the same.
    """

    def __init__(
        self, folder: Path, *, name: str, overrides: Sequence[str] = (), number: int = 0
    ) -> None:
        self.sweep = folder.parent
        self.job = Job(folder.name, name, str(folder), list(overrides))
        self._number = number
        self._started = self._written = time.perf_counter()

    def begin(self) -> None:
        self._write()

    def epoch(self, epoch: int, epochs: int) -> None:
        """After each epoch. Raises Stopped when the sweep is to end."""
        if not self.job.epoch:
            self.job.first_epoch = epoch - 1
        self.job.epoch, self.job.epochs = epoch, epochs
        if epoch == epochs or time.perf_counter() - self._written > _SECONDS_BETWEEN:
            self._write()
            if stopped(self.sweep) and epoch < epochs:
                raise Stopped

    def skip(self, score: float | None) -> None:
        """The job is finished already: by an earlier attempt, or by another process, which may have
        died before it could say so."""
        before = state(self.sweep, self.job.key)
        if before in (None, "running"):
            self.end("finished" if before else "skipped", score=score)

    def repeat(self) -> None:
        """Another job of this sweep computes the same."""
        self.job.key += f"~{self._number}"
        self.end("repeated")

    def end(self, state: str, *, score: float | None = None, error: str | None = None) -> None:
        self.job.state, self.job.score, self.job.error = state, score, error
        self.job.seconds = time.perf_counter() - self._started
        self._write()

    def _write(self) -> None:
        self._written = time.perf_counter()
        path = self._path
        temporary = path.with_suffix(f".{os.getpid()}")
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(asdict(self.job)))
            os.replace(temporary, path)

    @property
    def _path(self) -> Path:
        return self.sweep / FOLDER / f"{self.job.key}.json"


@contextmanager
def own_output(folder: Path, job: Job) -> Iterator[None]:
    """What the job prints goes to its own log: several at once would garble the terminal. Warnings
    are noted in the job's state as well."""
    root = logging.getLogger()
    root.handlers = [h for h in root.handlers if isinstance(h, logging.FileHandler)]
    notes = _Notes(job.warnings)
    logging.getLogger("arcmargin").addHandler(notes)
    try:
        with (
            open(folder / LOG, "a", buffering=1, encoding="utf-8") as file,
            redirect_stdout(file),
            redirect_stderr(file),
        ):
            yield
    finally:
        logging.getLogger("arcmargin").removeHandler(notes)


class _Notes(logging.Handler):
    def __init__(self, notes: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        self.notes.append(record.getMessage())


def read_jobs(sweep: Path, known: Mapping[str, Job]) -> list[Job]:
    """The jobs whose state may have changed since `known`: one folder listing, and a look into the
    files of those that have not ended."""
    changed = []
    with suppress(OSError), os.scandir(sweep / FOLDER) as entries:
        for entry in entries:
            key, suffix = os.path.splitext(entry.name)
            if suffix != ".json" or (key in known and known[key].ended):
                continue
            with suppress(OSError, ValueError, TypeError):  # it vanished, or is not one of ours
                changed.append(Job(**json.loads(Path(entry.path).read_bytes())))
    return sorted(changed, key=lambda job: (not job.ended, job.key))


def state(sweep: Path, key: str) -> str | None:
    """What a job last said; None for one that said nothing yet."""
    with suppress(OSError, ValueError, TypeError):
        return Job(**json.loads((sweep / FOLDER / f"{key}.json").read_bytes())).state
    return None


def forget(sweep: Path) -> None:
    """What an earlier attempt left, a wish to stop included."""
    shutil.rmtree(sweep / FOLDER, ignore_errors=True)
    (sweep / STOP_FILE).unlink(missing_ok=True)


def stop(sweep: Path) -> None:
    """Ask the jobs in flight to stop after their epoch, wherever they run, and others not to begin."""
    with suppress(OSError):
        (sweep / STOP_FILE).touch()


def stopped(sweep: Path) -> bool:
    return (sweep / STOP_FILE).exists()
