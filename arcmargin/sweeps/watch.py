"""Follows a sweep from its main process: a status line in a terminal, plain lines everywhere else."""

import importlib
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from arcmargin.sweeps import state as status
from arcmargin.sweeps.overview import Overview
from arcmargin.sweeps.state import Job

TRACEBACKS = "ARCMARGIN_TRACEBACKS"  # 1: also a user's mistake comes with its traceback
_SECONDS_BETWEEN = 0.5
_SECONDS_SILENT = 120.0  # then a log says that the sweep is alive


class Screen:
    """Lines, and below them in a terminal one that is rewritten in place."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.live = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._shown = ""
        self._lock = threading.RLock()

    @property
    def width(self) -> int:
        with suppress(OSError, ValueError):
            return os.get_terminal_size(self.stream.fileno()).columns or 80
        return shutil.get_terminal_size().columns

    def say(self, text: str) -> None:
        with self._lock:
            self._write(f"{self._clear()}{text}\n")

    def status(self, text: str) -> None:
        """At the bottom of a terminal; nothing elsewhere."""
        with self._lock:
            if self.live and text != self._shown:
                self._write(f"{self._clear()}{text}")
                self._shown = text

    def clear(self) -> None:
        with self._lock:
            self._write(self._clear())

    @property
    def erase(self) -> str:
        return "\r\x1b[K" if self.live else ""

    def _clear(self) -> str:
        self._shown = ""
        return self.erase

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # nobody reads any more: the sweep goes on
            self.stream.write(text)
            self.stream.flush()


class Watch:
    """A thread that reads what the jobs of a sweep say of themselves, and tells the user.

    `again` is the command that goes on with the sweep.
    """

    def __init__(self, sweep: Path, overview: Overview, *, again: str, stream: TextIO) -> None:
        self.sweep = sweep
        self.overview = overview
        self.again = again
        self.screen = Screen(stream)
        self.started = self._told = time.monotonic()
        self._over = threading.Event()
        self._warned: set[str] = set()
        self._thread = threading.Thread(target=self._follow, name="sweep", daemon=True)

    def start(self) -> None:
        status.forget(self.sweep)
        self._thread.start()

    def stop(self) -> None:
        """The last look at the files; then the status line is gone."""
        if not self._over.is_set():
            self._over.set()
            self._thread.join()
            self._look()
            self.screen.clear()

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """Says in a terminal what the wait is for."""
        self.screen.status(f"{what} ...")
        try:
            yield
        finally:
            self.screen.clear()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def _follow(self) -> None:
        wait = _SECONDS_BETWEEN
        while not self._over.wait(wait):
            start = time.monotonic()
            self._look()
            now = time.monotonic()
            wait = max(_SECONDS_BETWEEN, 20 * (now - start))  # a slow disk is asked less often
            self.screen.status(self.overview.status(now, self.elapsed, self.screen.width))
            if not self.screen.live and now - self._told > _SECONDS_SILENT:
                self._say(f"{self.overview.line(now)}, {_running(self.overview)}")

    def _look(self) -> None:
        now = time.monotonic()
        for job in status.read_jobs(self.sweep, self.overview.jobs):
            self.overview.update([job], now)
            for warning in job.warnings:
                if warning not in self._warned:
                    self._warned.add(warning)
                    self._say(f"warning: {warning}")
            if job.state in ("finished", "failed"):
                self._tell(job, now)
            if job.state == "finished":  # there will be a report: what it needs is loaded meanwhile
                with suppress(Exception):  # it will say so itself
                    importlib.import_module("arcmargin.report.write")

    def _tell(self, job: Job, now: float) -> None:
        line = self.overview.ended(job)
        self._say(line if self.screen.live else f"{line}; {self.overview.line(now)}")
        if os.environ.get(TRACEBACKS) == "1" and job.state == "failed":
            with suppress(OSError):
                self._say((Path(job.folder) / status.TRACEBACK).read_text().rstrip())

    def _say(self, text: str) -> None:
        self._told = time.monotonic()
        self.screen.say(text)


def _running(overview: Overview) -> str:
    running = overview.among("running")
    first = [f"{overview.label(job)} epoch {job.epoch}/{job.epochs}" for job in running[:1]]
    more = [f"{len(running) - 1} more"] if len(running) > 1 else []
    return (
        " and ".join(["running: " + first[0], *more]) if running else "waiting for a job to begin"
    )


# A module's variable: callbacks are pickled for the workers, and a thread cannot be.
_current: Watch | None = None


def begin(sweep: Path, overview: Overview, *, again: str) -> None:
    global _current
    _current = Watch(sweep, overview, again=again, stream=sys.stderr)
    _current.start()


def end() -> Watch | None:
    """The sweep's watch, stopped; None when there is no sweep."""
    if _current is not None:
        _current.stop()
    return _current


def cut_short() -> None:
    """The last words of a sweep that waits for nothing any more, not even for the screen's lock."""
    if _current is not None:
        told = f"stopped at once; to go on:\n  {_current.again}\n"
        with suppress(OSError, ValueError):
            os.write(_current.screen.stream.fileno(), (_current.screen.erase + told).encode())


class Lines(logging.StreamHandler):
    """For what is logged while the status line stands."""

    def emit(self, record: logging.LogRecord) -> None:
        if _current is None:
            super().emit(record)
        else:
            _current.screen.say(self.format(record))
