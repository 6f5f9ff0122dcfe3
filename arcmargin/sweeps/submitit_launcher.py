"""Each job a process of its own on this machine, or a job of a Slurm cluster, by submitit."""

import contextlib
import importlib.util
import io
import logging
import os
import re
import subprocess
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from arcmargin.errors import UserError
from arcmargin.files import display_path
from arcmargin.job import processes
from arcmargin.sweeps import state
from arcmargin.sweeps.launcher import Job, ProcessDied, SweepLauncher, check_count, has_ended

log = logging.getLogger("arcmargin")

SECONDS_TO_END = 8.0  # for jobs that are to stop, before we go
SECONDS_PENDING = 20.0  # then it is said why nothing begins
LINES_SHOWN = 5  # of a dead job's log

# What Slurm's reasons ask of the user; squeue's manual has them all.
REASONS = {
    "PartitionConfig": "the partition cannot have what a job asks for",
    "PartitionNodeLimit": "the partition has not so many nodes",
    "PartitionTimeLimit": "the partition grants less than hydra.launcher.timeout_min",
    "Resources": "the nodes are busy; the jobs begin when there is room",
    "Priority": "other jobs go first",
    "ReqNodeNotAvail": "the nodes are down or reserved",
    "BadConstraints": "no node can have what a job asks for",
    "AssocGrpCpuLimit": "your account uses all CPUs that it may",
    "QOSMaxJobsPerUserLimit": "you run as many jobs as you may",
}


class Submission:
    """What submitit is to call; a job that is to move to another machine is submitted again as it is."""

    def __init__(self, *payload: Any) -> None:
        self.payload = payload

    def __call__(self) -> None:
        from arcmargin.sweeps import worker

        with processes.together():
            worker.work(*self.payload)

    def checkpoint(self) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class SubmititLauncher(SweepLauncher):
    """`parameters` are submitit's."""

    cluster: str

    def __init__(self, submitit_folder: str, **parameters: Any) -> None:
        self.folder = submitit_folder
        self.parameters: dict[str, Any] = {
            key: OmegaConf.to_container(value, resolve=True)
            if OmegaConf.is_config(value)
            else value
            for key, value in parameters.items()
        }

    def check(self) -> None:
        if importlib.util.find_spec("submitit") is None:
            raise UserError(
                "this hydra/launcher needs the extra 'submitit': pip install 'arcmargin[submitit]'"
            )
        check_count("cpus_per_task", self.parameters.get("cpus_per_task", 1))

    @abstractmethod
    def executor(self) -> Any:
        """submitit's."""


class LocalLauncher(SubmititLauncher):
    """As many at once as there are cores for: submitit itself would start them all."""

    def check(self) -> None:
        super().check()
        if (tasks := self.parameters.get("tasks_per_node") or 1) != 1:
            raise UserError(
                f"hydra.launcher.tasks_per_node={tasks} is for a cluster; here a job with "
                f"trainer.devices={tasks} starts its processes itself"
            )

    def executor(self) -> Any:
        import submitit

        executor = submitit.AutoExecutor(self.folder, cluster="local")
        with _settings_checked():
            executor.update_parameters(**self.parameters)
        return executor

    def run(self, jobs: Sequence[Job]) -> dict[Job, Exception]:
        import joblib

        executor = self.executor()
        at_once = max(1, joblib.cpu_count() // (self.parameters.get("cpus_per_task") or 1))
        waiting, running = list(jobs), dict[Any, Job]()
        lost: dict[Job, Exception] = {}
        sweep = jobs[0].folder.parent
        try:
            while waiting or running:
                if state.stopped(sweep):
                    waiting.clear()
                while waiting and len(running) < at_once:
                    job = waiting.pop(0)
                    running[executor.submit(Submission(*self.payload(job)))] = job
                for submitted in [one for one in running if one.done()]:
                    job = running.pop(submitted)
                    if not has_ended(job):
                        lost[job] = ProcessDied(
                            f"its process died{_last_lines(submitted.paths.stdout)}"
                        )
                time.sleep(0.1)
        except KeyboardInterrupt:
            state.stop(sweep)
            deadline = time.monotonic() + SECONDS_TO_END
            while not all(one.done() for one in running) and time.monotonic() < deadline:
                time.sleep(0.1)
            raise
        return lost


class Queued(NamedTuple):
    """A job as the cluster sees it."""

    state: str  # PENDING, RUNNING, COMPLETING ...
    reason: str


class SlurmLauncher(SubmititLauncher):
    """Job arrays, of `array_parallelism` jobs in the queue at once.

    Slurm says whether a job is over, the files what came of it: sacct, which submitit would ask, has
    no answer on a cluster without accounting.
    """

    def __init__(
        self, submitit_folder: str, array_parallelism: int = 256, **parameters: Any
    ) -> None:
        super().__init__(submitit_folder, **parameters)
        self.at_once = array_parallelism

    def check(self) -> None:
        super().check()
        check_count("array_parallelism", self.at_once)
        if not _answer(["sinfo", "--version"]):
            raise UserError(
                "hydra/launcher=submitit_slurm needs Slurm's commands, and there is no sinfo here; run "
                "it on a login node of the cluster"
            )

    def executor(self) -> Any:
        import submitit

        given = dict(self.parameters)
        generic = {"timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb"}
        generic |= {"nodes", "name", "stderr_to_stdout"}
        minutes = given["timeout_min"] = given.get("timeout_min") or _time_limit(
            given.get("partition")
        )
        # Where a job may run for minutes only, a signal two minutes before its end comes too early.
        given["signal_delay_s"] = min(given.get("signal_delay_s") or 120, minutes * 60 // 4)
        executor = submitit.AutoExecutor(
            self.folder, cluster="slurm", slurm_max_num_timeout=given.pop("max_num_timeout", 3)
        )
        names = {key: key if key in generic else f"slurm_{key}" for key in given}
        with _settings_checked():
            executor.update_parameters(
                **{names[key]: value for key, value in given.items()},
                slurm_array_parallelism=self.at_once,
            )
        return executor

    def run(self, jobs: Sequence[Job]) -> dict[Job, Exception]:
        executor = self.executor()
        waiting, running = list(jobs), dict[Any, Job]()
        lost: dict[Job, Exception] = {}
        sweep = jobs[0].folder.parent
        watch = _PendingWatch()
        try:
            while waiting or running:
                if state.stopped(sweep):
                    waiting.clear()
                    _cancel(running)
                if waiting and len(running) <= self.at_once // 2:
                    room = self.at_once - len(running)
                    running |= self._submit(executor, waiting[:room])
                    del waiting[:room]
                time.sleep(0.5)
                if (queue := watch.look(running)) is not None:
                    for submitted in [one for one in running if one.job_id not in queue]:
                        job = running.pop(submitted)
                        if not has_ended(job):
                            lost[job] = _what_became_of(submitted)
        except KeyboardInterrupt:
            state.stop(sweep)
            _cancel(running, aloud=True)
            deadline = time.monotonic() + SECONDS_TO_END
            while running and (_queue() or {}).keys() & {one.job_id for one in running}:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.5)
            raise
        return lost

    def _submit(self, executor: Any, jobs: Sequence[Job]) -> dict[Any, Job]:
        import submitit

        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):  # sbatch's words come with the error
                submitted = executor.submit_array([Submission(*self.payload(job)) for job in jobs])
        except submitit.core.utils.FailedJobError as error:
            raise UserError(
                f"Slurm takes no job: {_sbatch_error(error, said.getvalue())}"
            ) from error
        return dict(zip(submitted, jobs, strict=True))


class _PendingWatch:
    """Asks Slurm every few seconds, and says why nothing begins."""

    def __init__(self) -> None:
        self.asked = 0.0
        self.silent = 0  # answers of Slurm's that did not come
        self.waiting_since = time.monotonic()
        self.said = ""

    def look(self, running: Mapping[Any, Job]) -> dict[str, Queued] | None:
        """The queue, or None while it is not known."""
        now = time.monotonic()
        over = sum(has_ended(job) for job in running.values())
        if now - self.asked < (1.0 if over else 3.0):
            return None
        self.asked = now
        queue = _queue()
        if queue is None:
            self.silent += 1
            if self.silent == 10:
                log.warning("Slurm does not answer (squeue fails); waiting for it")
            return None
        self.silent = 0
        ours = [queue[one.job_id] for one in running if one.job_id in queue]
        pending = [one for one in ours if one.state == "PENDING"]
        if len(pending) < len(ours) or not pending:
            self.waiting_since = now
        elif now - self.waiting_since > SECONDS_PENDING and pending[0].reason != self.said:
            self.said = pending[0].reason
            why = REASONS.get(self.said)
            log.warning(
                "no job has begun: Slurm says %s%s (%d pending; squeue --me shows them)",
                *(self.said, f", {why}" if why else "", len(pending)),
            )
        return queue


@contextlib.contextmanager
def _settings_checked() -> Iterator[None]:
    """submitit checks them by assertions."""
    try:
        yield
    except (AssertionError, NameError, TypeError, ValueError) as error:
        raise UserError(
            f"submitit cannot take these settings of hydra.launcher: {error}"
        ) from error


def _answer(command: Sequence[str]) -> str:
    """What a command of Slurm's says; nothing where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _queue() -> dict[str, Queued] | None:
    """The user's jobs that are not over; None where Slurm does not answer."""
    answer = _answer(["squeue", "--me", "--array", "--format=%i|%T|%r"])
    lines = answer.splitlines()
    if not lines:
        return None  # not even a head line
    rows = (line.split("|") for line in lines[1:])
    return {row[0]: Queued(*row[1:3]) for row in rows if len(row) == 3}


def _time_limit(partition: str | None) -> int:
    """The partition's, in minutes; a month where it has none."""
    chosen = ["--partition", partition] if partition else []
    rows = _answer(["sinfo", "--noheader", "--format=%P|%l", *chosen]).split()
    limits = dict(row.split("|") for row in rows)
    default = next((name for name in limits if name.endswith("*")), None)
    return _minutes(limits.get(partition or default or "", next(iter(limits.values()), "")))


def _minutes(limit: str) -> int:
    """`2-00:00:00`, `1:00:00`, `30:00` or `infinite`, as sinfo prints them."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit)
    if found is None:
        return 30 * 24 * 60
    days, hours, minutes, _ = (int(part or 0) for part in found.groups())
    return max(1, (days * 24 + hours) * 60 + minutes)


def _cancel(running: Mapping[Any, Job], *, aloud: bool = False) -> None:
    ids = [one.job_id for one in running]
    if ids:
        subprocess.run(["scancel", *ids], check=False, capture_output=True)
        if aloud:
            few = ids if len(ids) < 4 else [ids[0], "...", ids[-1]]
            log.warning("cancelled %d Slurm jobs: %s", len(ids), " ".join(few))


def _what_became_of(submitted: Any) -> ProcessDied:
    """Of a job that left the queue without a word of its own: Slurm's, and the end of its log."""
    answer = _answer(["scontrol", "show", "job", submitted.job_id, "--oneliner"])
    facts = dict(part.split("=", 1) for part in answer.split() if "=" in part)
    known = facts.get("JobState", "of which Slurm knows nothing more")
    reason = facts.get("Reason", "None")
    text = f"Slurm job {submitted.job_id} {known}{'' if reason == 'None' else f' ({reason})'}"
    again = known not in ("CANCELLED", "TIMEOUT", "DEADLINE")
    return ProcessDied(text + _last_lines(submitted.paths.stdout), again=again)


def _last_lines(path: Path) -> str:
    """Of a log, and where it lies."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4000))
            lines = file.read().decode(errors="replace").splitlines()[-LINES_SHOWN:]
    except OSError:
        return f"; it left no log in {display_path(path.parent)}"
    return f"; the end of {display_path(path)}:" + "".join(f"\n  {line}" for line in lines)


def _sbatch_error(error: Exception, said: str) -> str:
    lines = [line for line in f"{said}\n{error}".splitlines() if "error:" in line]
    return lines[0].partition("error:")[2].strip() if lines else str(error).strip()
