"""What each job of a sweep says of itself, in small files that the sweep's main process reads.

They lie in <sweep>/.progress, one a job, named like its folder: the same under every launcher and
on other machines, as long as they share the disk.
"""

import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from arcmargin.metrics.score import DEFAULT
from arcmargin.record import Result

FOLDER = ".progress"
STOP_FILE = ".stop"
LOG = "run.log"  # of a job, in its folder
TRACEBACK = "traceback.txt"
_SECONDS_BETWEEN = 0.5


@dataclass
class Job:
    """One job's state. `state` is running, finished, skipped (finished before), repeated (another
    job of the sweep computes the same), pruned (by a search), failed or interrupted."""

    key: str  # the name of its folder; a repeat of that job has a further part
    name: str  # the header and its margins
    folder: str
    overrides: list[str] = field(default_factory=list)
    number: int = 0  # Hydra's
    state: str = "running"
    first_epoch: int = 0  # a resumed job begins later than at 0
    epoch: int = 0
    epochs: int = 0
    score: float | None = None
    score_name: str = DEFAULT
    seconds: float = 0.0
    error: str | None = None
    warnings: list[str] = field(default_factory=list)
    host: str = ""
    process: int = 0

    def label(self, keys: Iterable[str]) -> str:
        """`arcface m2=0.5 seed=1`: the name and which of the keys that vary it leaves out."""
        shown = set(keys) - {"header", "m1", "m2", "m3"}
        pairs = (override.lstrip("+~").partition("=") for override in self.overrides)
        return " ".join(
            [self.name, *(f"{k.rpartition('.')[2]}={v}" for k, _, v in pairs if k in shown)]
        )


class Reporter:
    """Writes a job's state where the main process looks for it; a full disk costs only the display.

    `number` tells a job from another that would compute the same.
    """

    def __init__(
        self, folder: Path, *, name: str, overrides: Sequence[str] = (), number: int = 0
    ) -> None:
        self.sweep = folder.parent
        self.job = Job(folder.name, name, str(folder), list(overrides), number)
        self._started = self._written = time.perf_counter()

    def begin(self) -> None:
        self.job.host, self.job.process = socket.gethostname(), os.getpid()
        self._write()

    def epoch(self, epoch: int, epochs: int) -> None:
        """After each epoch."""
        if not self.job.epoch:
            self.job.first_epoch = epoch - 1
        self.job.epoch, self.job.epochs = epoch, epochs
        if epoch == epochs or time.perf_counter() - self._written > _SECONDS_BETWEEN:
            self._write()

    def skip(self, result: Result) -> None:
        """The job is finished already: before this sweep began; or by another job of it that computes
        the same; or by a process that died before it could say so."""
        before = read_job(self.sweep, self.job.key)
        if before is None or before.state == "running":
            self.end("finished" if before else "skipped", result)
        elif before.number != self.job.number:
            self.repeat()

    def repeat(self) -> None:
        """Another job of this sweep computes the same."""
        self.job.key += f"~{self.job.number}"
        self.end("repeated")

    def end(self, state: str, result: Result | None = None, *, error: str | None = None) -> None:
        self.job.state, self.job.error = state, error
        if result is not None:
            self.job.name = result.settings.name
            self.job.score, self.job.score_name = result.score, result.score_name
        self.job.seconds = time.perf_counter() - self._started
        self._write()

    def _write(self) -> None:
        self._written = time.perf_counter()
        path = self.sweep / FOLDER / f"{self.job.key}.json"
        temporary = path.with_suffix(f".{os.getpid()}")
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(asdict(self.job)))
            os.replace(temporary, path)


class Reader:
    """Reads the states that have changed since it last looked; whatever a file says now counts."""

    def __init__(self, sweep: Path) -> None:
        self.sweep = sweep
        self._seen: dict[str, tuple[int, int]] = {}

    def changed(self) -> list[Job]:
        """Those that have ended first, in the order in which they were asked for."""
        jobs = []
        with suppress(OSError), os.scandir(self.sweep / FOLDER) as entries:
            for entry in entries:
                if not entry.name.endswith(".json"):
                    continue
                with suppress(OSError, ValueError, TypeError):  # it vanished, or is not one of ours
                    stat = entry.stat()
                    stamp = (stat.st_mtime_ns, stat.st_ino)
                    if self._seen.get(entry.name) != stamp:
                        jobs.append(Job(**json.loads(Path(entry.path).read_bytes())))
                        self._seen[entry.name] = stamp
        return sorted(jobs, key=lambda job: (job.state == "running", job.number))


def read_job(sweep: Path, key: str) -> Job | None:
    """What a job last said; None for one that said nothing yet."""
    with suppress(OSError, ValueError, TypeError):
        return Job(**json.loads((sweep / FOLDER / f"{key}.json").read_bytes()))
    return None


def forget(sweep: Path) -> None:
    """What an earlier attempt left, a wish to stop included."""
    shutil.rmtree(sweep / FOLDER, ignore_errors=True)
    (sweep / STOP_FILE).unlink(missing_ok=True)


def stop(sweep: Path) -> None:
    """Ask the jobs in flight to stop, wherever they run, and others not to begin: those of this machine
    now, the rest after their epoch."""
    with suppress(OSError):
        (sweep / STOP_FILE).touch()
    for job in Reader(sweep).changed():
        local = job.host == socket.gethostname() and job.process not in (0, os.getpid())
        if job.state == "running" and local:
            with suppress(OSError):
                os.kill(job.process, signal.SIGTERM)


def stopped(sweep: Path) -> bool:
    return (sweep / STOP_FILE).exists()
