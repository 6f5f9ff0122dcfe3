"""A sweep at a glance: a bar at the bottom of a terminal, lines above it, plain lines in a log."""

import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from io import TextIOBase
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from arcmargin.files import alone
from arcmargin.metrics.score import best
from arcmargin.metrics.table import metric
from arcmargin.sweeps import state
from arcmargin.sweeps.state import Job

_SECONDS_BETWEEN = 0.5
_SECONDS_SILENT = 120.0  # then a log says that the sweep is alive


@dataclass
class Overview:
    """What the jobs of a sweep came to so far. Times are in seconds.

    A job that repeats another (a header that does not take the margin that varies) does not count.
    """

    expected: int | None = None  # how many jobs there are to be; None where nobody knows
    swept: Sequence[str] = ()  # the keys that vary
    jobs: dict[str, Job] = field(default_factory=dict)
    since: float | None = None  # when the first job that was not skipped was seen

    def update(self, job: Job, now: float) -> None:
        self.jobs[job.key] = job
        if self.since is None and job.state not in ("skipped", "repeated"):
            self.since = now

    @property
    def total(self) -> int | None:
        return None if self.expected is None else self.expected - len(self.among("repeated"))

    def among(self, *states: str) -> list[Job]:
        return [job for job in self.jobs.values() if job.state in states]

    @property
    def not_run(self) -> int:
        """How many never began."""
        return max((self.expected or 0) - len(self.jobs), 0)

    @property
    def best(self) -> Job | None:
        scored = [job for job in self.among("finished", "skipped") if job.score is not None]
        if not scored:
            return None
        choose = min if best(scored[0].score_name) == "min" else max
        return choose(scored, key=lambda job: job.score or 0.0)

    @property
    def done(self) -> float:
        """In jobs, parts of running ones included."""
        ended = float(len(self.among("finished", "skipped", "pruned", "failed")))
        return ended + sum(_fraction(job) for job in self.among("running"))

    def label(self, job: Job) -> str:
        return job.label(self.swept)

    def seconds_left(self, now: float) -> float | None:
        """From the pace so far, parts of running jobs included; None before there is one."""
        ended = len(self.among("finished", "pruned", "failed"))
        skipped = len(self.among("skipped"))
        worked = self.done - skipped
        if self.total is None or self.since is None or worked < (0.1 if ended else 0.5):
            return None
        return (now - self.since) * max(self.total - skipped - worked, 0.0) / worked

    def outcome(self, job: Job) -> str:
        """One line for a job that is over."""
        if job.state == "failed":
            return f"{self.label(job)} failed: {job.error}"
        if job.state == "pruned":
            return f"{self.label(job)}: stopped by the search after epoch {job.epoch}"
        score = f"{metric(job.score_name).title} {_score(job)}"
        return f"{self.label(job)}: {score} in {format_duration(job.seconds)}"

    def counts(self) -> str:
        """3/12 done, 1 failed, 2 running"""
        done, failed = len(self.among("finished", "skipped", "pruned")), len(self.among("failed"))
        of = "" if self.total is None else f"/{self.total}"
        running = len(self.among("running"))
        parts = [f"{done}{of} done"]
        parts += [f"{failed} failed"] * bool(failed) + [f"{running} running"] * bool(running)
        return ", ".join(parts)

    def line(self, now: float, *, left: bool = True) -> str:
        """3/12 done, 1 failed, best 98.21 % (arcface seed=0), about 4 min left"""
        parts = [self.counts()]
        if self.best is not None:
            parts.append(f"best {_score(self.best)} ({self.label(self.best)})")
        if left and (seconds := self.seconds_left(now)):
            parts.append(f"about {format_duration(seconds)} left")
        return ", ".join(parts)


def _fraction(job: Job) -> float:
    """How much of its own work a running job has done."""
    return (job.epoch - job.first_epoch) / max(job.epochs - job.first_epoch, 1)


def _score(job: Job) -> str:
    return "unknown" if job.score is None else metric(job.score_name).with_unit(job.score)


def format_duration(seconds: float) -> str:
    """0.5 s, 12 s, 4 min, 2.5 h"""
    if seconds < 0.95:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


class Display:
    """A thread that reads what the jobs of a sweep say of themselves, and tells the user.

    `again` is the command that goes on with the sweep. Raises UserError while another process runs it.
    """

    def __init__(self, sweep: Path, overview: Overview, *, again: str) -> None:
        self.sweep = sweep
        self.overview = overview
        self.again = again
        self._alone = ExitStack()
        self._alone.enter_context(alone(sweep, wait=False))
        self.stream = sys.stderr  # a job in this process redirects what it says itself
        self.live = self.stream.isatty() and os.environ.get("TERM") != "dumb"
        self.started = self._spoken = time.monotonic()
        self._reader = state.Reader(sweep)
        self._over = threading.Event()
        self._warned: set[str] = set()
        self._thread = threading.Thread(target=self._follow, name="sweep display", daemon=True)
        self._bar = tqdm(
            total=overview.total,
            bar_format="{desc} |{bar:12}| {elapsed} elapsed{postfix}",
            disable=not self.live,
            dynamic_ncols=True,
            leave=False,
            file=self.stream,
        )

    def start(self) -> None:
        state.forget(self.sweep)
        self._bar.set_description_str("starts")
        self._thread.start()

    def stop(self) -> None:
        """The last look at the files; then the bar is gone."""
        if not self._over.is_set():
            self._over.set()
            self._thread.join()
            self._look()
            self._bar.close()
            self._alone.close()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def _follow(self) -> None:
        wait = _SECONDS_BETWEEN
        while not self._over.wait(wait):
            start = time.monotonic()
            self._look()
            self._draw()
            now = time.monotonic()
            wait = max(_SECONDS_BETWEEN, 20 * (now - start))  # a slow disk is asked less often
            if not self.live and now - self._spoken > _SECONDS_SILENT:
                self.say(self.overview.line(now))

    def _look(self) -> None:
        now = time.monotonic()
        for job in self._reader.changed():
            self.overview.update(job, now)
            for warning in job.warnings:
                if warning not in self._warned:
                    self._warned.add(warning)
                    self.say(f"warning: {warning}")
            if job.state in ("finished", "pruned", "failed"):
                line = self.overview.outcome(job)
                self.say(line if self.live else f"{line}; {self.overview.line(now)}")

    def _draw(self) -> None:
        best, left = self.overview.best, self.overview.seconds_left(time.monotonic())
        parts = [f"~{format_duration(left)} left"] if left else []
        parts += [f"best {_score(best)} {self.overview.label(best)}"] if best else []
        self._bar.total, self._bar.n = self.overview.total, self.overview.done
        self._bar.set_description_str(self.overview.counts(), refresh=False)
        self._bar.set_postfix_str(", ".join(parts), refresh=False)
        with suppress(OSError, ValueError):  # nobody reads any more: the sweep goes on
            self._bar.refresh()

    def say(self, text: str) -> None:
        """A line above the bar."""
        self._spoken = time.monotonic()
        write_line(text, self.stream)


def write_line(text: str, stream: TextIO | TextIOBase) -> None:
    """To the terminal or the log, above a bar that stands there."""
    with suppress(OSError, ValueError):  # nobody reads any more: the sweep goes on
        tqdm.write(text, file=stream)


class ConsoleHandler(logging.StreamHandler):
    """For what is logged while a bar may stand in the terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        write_line(self.format(record), self.stream)


# The sweep of this process. Hydra makes the callback that begins it, and gives nobody else a hold of it.
_current: Display | None = None


def begin(sweep: Path, overview: Overview, *, again: str) -> None:
    global _current
    end()
    _current = Display(sweep.absolute(), overview, again=again)
    _current.start()


def end() -> Display | None:
    """The sweep's display, stopped; None where there is no sweep, or no more."""
    global _current
    if _current is not None:
        _current.stop()
    ended, _current = _current, None
    return ended


def last_words() -> None:
    """Of a sweep that waits for nothing any more, no lock either."""
    if _current is not None:
        erase = "\r\x1b[K" if _current.live else ""
        with suppress(OSError, ValueError):
            text = f"{erase}stopped at once; to go on:\n  {_current.again}\n"
            os.write(_current.stream.fileno(), text.encode())
