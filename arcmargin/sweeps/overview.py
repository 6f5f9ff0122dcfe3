"""A sweep at a glance: what its jobs came to so far, as text for a terminal or a log."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from arcmargin.sweeps.state import Job

_BAR = 12  # characters


@dataclass
class Overview:
    """The state of a sweep. Times are in seconds.

    A job that repeats another (a header that does not take the margin that varies) does not count.
    """

    expected: int | None = None  # how many jobs there are to be; None where nobody knows
    swept: Sequence[str] = ()  # the keys that vary
    jobs: dict[str, Job] = field(default_factory=dict)
    since: float | None = None  # when the first job that was not skipped was seen

    def update(self, jobs: Sequence[Job], now: float) -> None:
        for job in jobs:
            self.jobs[job.key] = job
        if self.since is None and any(job.state not in ("skipped", "repeated") for job in jobs):
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
        return max(scored, key=lambda job: job.score or 0.0, default=None)

    def label(self, job: Job) -> str:
        return job.label(self.swept)

    def seconds_left(self, now: float) -> float | None:
        """From the pace so far, parts of running jobs included; None before there is one."""
        ended = len(self.among("finished", "failed"))
        worked = ended + sum(_fraction(job) for job in self.among("running"))
        if self.total is None or self.since is None or worked < (0.1 if ended else 0.5):
            return None
        to_run = self.total - len(self.among("skipped"))
        return (now - self.since) * max(to_run - worked, 0.0) / worked

    def ended(self, job: Job) -> str:
        """One line for a job that is over."""
        if job.state == "failed":
            return f"{self.label(job)} failed: {job.error}"
        return f"{self.label(job)}: validation accuracy {_percent(job)} in {spoken(job.seconds)}"

    def line(self, now: float, *, left: bool = True) -> str:
        """For a log: `3/12 done, 1 failed, best 98.21 % (arcface seed=0), about 4 min left`."""
        parts = self._counts()
        if self.best is not None:
            parts.append(f"best {_percent(self.best)} ({self.label(self.best)})")
        if left and (seconds := self.seconds_left(now)):
            parts.append(f"about {spoken(seconds)} left")
        return ", ".join(parts)

    def status(self, now: float, elapsed: float, width: int) -> str:
        """For the last line of a terminal `width` columns wide: what fits, the best job's name
        before the bar, the bar before the epoch."""
        running = self.among("running")
        left = self.seconds_left(now)
        best = self.best
        told = ", ".join([*self._counts(), *([f"{len(running)} running"] if running else [])])
        clock = [f"{_clock(elapsed)} elapsed", *([f"~{spoken(left)} left"] if left else [])]
        score = f"best {_percent(best)}" if best else ""
        named = f"{score} {self.label(best)}" if best else ""
        now_running = f"{self.label(running[0])} {_epoch(running[0])}" if len(running) == 1 else ""
        short = ", ".join(self._counts())
        candidates = [
            (self._bar(), told, ", ".join(clock), named, now_running),
            (told, ", ".join(clock), named, now_running),
            (self._bar(), told, ", ".join(clock), named),
            (told, ", ".join(clock), named),
            (short, ", ".join(clock), named),
            (short, clock[-1], named),
            (short, clock[-1], score),
            (short,),
            self._counts()[:1],
        ]
        texts = [" | ".join(part for part in parts if part) for parts in candidates]
        return next((text for text in texts if len(text) < width), texts[-1][: max(width - 1, 0)])

    def _counts(self) -> list[str]:
        done, failed = len(self.among("finished", "skipped")), len(self.among("failed"))
        of = "" if self.total is None else f"/{self.total}"
        return [f"{done}{of} done", *([f"{failed} failed"] if failed else [])]

    def _bar(self) -> str:
        if not self.total:
            return ""
        ended = len(self.among("finished", "skipped", "failed"))
        worked = ended + sum(_fraction(job) for job in self.among("running"))
        filled = int(_BAR * min(worked / self.total, 1.0))
        return "#" * filled + "." * (_BAR - filled)


def _fraction(job: Job) -> float:
    """How much of its own work a running job has done."""
    return (job.epoch - job.first_epoch) / max(job.epochs - job.first_epoch, 1)


def _epoch(job: Job) -> str:
    return f"epoch {job.epoch}/{job.epochs}" if job.epoch else "starts"


def _percent(job: Job) -> str:
    return "unknown" if job.score is None else f"{100 * job.score:.2f} %"


def spoken(seconds: float) -> str:
    """0.5 s, 12 s, 4 min, 2.5 h"""
    if seconds < 0.95:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
