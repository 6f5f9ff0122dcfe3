"""What the launchers of a multirun have in common, and the one for this machine.

Each job runs once, a finished one not again, and a process that dies ends its own job, not the sweep.
"""

import logging
import multiprocessing
import os
import subprocess
import traceback
from abc import abstractmethod
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from arcmargin.errors import UserError
from arcmargin.files import display_path
from arcmargin.job import processes
from arcmargin.job.folder import finished
from arcmargin.job.identity import identity
from arcmargin.job.user_errors import sentence, users_mistake
from arcmargin.sweeps import state
from arcmargin.sweeps.command_line import refuse
from arcmargin.sweeps.pruning import pruned
from arcmargin.sweeps.state import Reporter

log = logging.getLogger("arcmargin")


class ProcessDied(Exception):
    """A job's process came to an end before the job did; the message says what is known of it.

    `again`: whether a second try makes sense.
    """

    def __init__(self, message: str, *, again: bool = True) -> None:
        super().__init__(message)
        self.again = again


@dataclass(frozen=True, eq=False)
class Job:
    """A job to run: its number in the sweep, what was asked for, and what that was composed to."""

    number: int
    overrides: list[str]
    config: DictConfig
    folder: Path


class SweepLauncher(Launcher):
    """Composes the jobs, runs those that are neither finished nor the same as another one, and returns
    the scores that their records hold."""

    hydra_context: HydraContext
    task_function: TaskFunction
    config: DictConfig

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        self.first: dict[Path, Job] = {}  # of all asked for; a search may ask again later
        try:
            if (place := processes.started_together()) is not None:
                raise UserError(
                    f"a multirun starts its jobs itself, and {place.started_by} has started "
                    f"{place.size} processes of it; start it once, without {place.started_by}"
                )
            self.check()
        except UserError as error:
            refuse(error)

    def check(self) -> None:
        """Raises UserError for what would keep every job from beginning."""

    def close(self) -> None:
        """No further jobs come."""

    @abstractmethod
    def run(self, jobs: Sequence[Job]) -> dict[Job, Exception]:
        """Runs them all; returns those that could not be run to their end, and why."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        load = self.hydra_context.config_loader.load_sweep_config
        composed = [(list(one), load(self.config, list(one))) for one in job_overrides]
        return self.launch_composed(composed, initial_job_idx)

    def launch_composed(
        self, composed: Sequence[tuple[list[str], DictConfig]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """The same for jobs whose configurations our own sweepers have composed already."""
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        try:
            jobs = [_job(*one, initial_job_idx + i) for i, one in enumerate(composed)]
            todo = self._todo(jobs)
            if todo:
                todo[0].folder.parent.mkdir(parents=True, exist_ok=True)
                self._run(todo)
        except UserError as error:
            refuse(error)
        return [_returned(job) for job in jobs]

    def _todo(self, jobs: Sequence[Job]) -> list[Job]:
        todo = []
        for job in jobs:
            if self.first.setdefault(job.folder, job) is not job:
                _reporter(job).repeat()
            elif before := (
                finished(job.folder, identity(job.config))
                or pruned(job.config, job.config.hydra.sweeper, job.folder)
            ):
                _reporter(job).skip(before)
            else:
                todo.append(job)
        return todo

    def _run(self, todo: Sequence[Job]) -> None:
        """A job whose process died gets one more try, by itself: the memory may have been short."""
        for job, reason in self.run(todo).items():
            error: Exception | None = reason
            where = display_path(job.folder)
            stopped = state.stopped(job.folder.parent)
            if isinstance(error, ProcessDied) and error.again and not stopped:
                log.error("%s; once more: %s", error, where)
                error = self.run([job]).get(job)
            if isinstance(error, ProcessDied):
                log.error("interrupted: %s (%s)", where, error)
            elif error is not None:
                if users_mistake(error) is None:
                    log.error("%s", "".join(traceback.format_exception(error)))
                _reporter(job).end("failed", error=sentence(error))

    def payload(self, job: Job) -> tuple[Any, ...]:
        """The arguments of `worker.work`."""
        state_of_hydra = Singleton.get_state()
        return self.hydra_context, self.task_function, job.config, state_of_hydra, os.getcwd()


class ProcessLauncher(SweepLauncher):
    """Jobs in processes of this machine; each loads torch once and then takes job after job, those of a
    search's next batch too.

    One process a GPU, or a core where there is none, unless `n_jobs` says otherwise. A job that trains
    on several devices has as many.
    """

    def __init__(self, n_jobs: Any = -1) -> None:
        self.n_jobs = n_jobs
        self.workers: list[tuple[ProcessPoolExecutor, str | None]] = []

    def run(self, jobs: Sequence[Job]) -> dict[Job, Exception]:
        import cloudpickle

        sweep = jobs[0].folder.parent
        missing = self._devices(len(jobs))[len(self.workers) :]
        self.workers += [(_executor(device), device) for device in missing]
        lost: dict[Job, Exception] = {}
        waiting, idle = deque(jobs), list(self.workers)
        busy: dict[Future[None], tuple[ProcessPoolExecutor, str | None, Job]] = {}
        try:
            while waiting or busy:
                if state.stopped(sweep):
                    waiting.clear()
                while waiting and idle:
                    (executor, device), job = idle.pop(), waiting.popleft()
                    task = executor.submit(_work, cloudpickle.dumps(self.payload(job)))
                    busy[task] = executor, device, job
                for task in wait(busy, return_when=FIRST_COMPLETED).done:
                    executor, device, job = busy.pop(task)
                    error = task.exception()
                    if isinstance(error, BrokenExecutor):
                        error = ProcessDied("a worker died, perhaps for want of memory")
                        self.workers.remove((executor, device))
                        executor = _executor(device)
                        self.workers.append((executor, device))
                    if isinstance(error, Exception):
                        lost[job] = error
                    idle.append((executor, device))
        except KeyboardInterrupt:
            state.stop(sweep)
            while wait(busy, timeout=1).not_done:
                state.stop(sweep)  # a job may have begun meanwhile
            self.close()
            raise
        return lost

    def close(self) -> None:
        for executor, _ in self.workers:
            executor.shutdown(wait=False, cancel_futures=True)
        self.workers = []

    def check(self) -> None:
        if self.n_jobs != -1:
            check_count("n_jobs", self.n_jobs, "at least 1, or -1 for all")

    def _devices(self, jobs: int) -> list[str | None]:
        """The GPU of each process; None for the CPU."""
        import joblib

        gpus: list[str] = []
        if self.config.trainer.get("accelerator") in ("auto", "gpu", "cuda"):
            gpus = visible_gpus()
        each = self.config.trainer.get("devices")
        each = each if isinstance(each, int) and each > 0 else 1
        gpus = [",".join(gpus[i : i + each]) for i in range(0, len(gpus) - each + 1, each)]
        cores = max(1, joblib.cpu_count() // each)
        most = self.n_jobs if self.n_jobs > 0 else len(gpus) or cores
        return [gpus[i % len(gpus)] if gpus else None for i in range(min(most, jobs))]


def _executor(device: str | None) -> ProcessPoolExecutor:
    """One process: were it a pool's, the pool would end all the others with it."""
    from arcmargin.sweeps import worker

    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, mp_context=context, initializer=worker.begin, initargs=(device,))


def _work(pickled: bytes) -> None:
    """Hydra's objects need cloudpickle: it loads its plugins' classes twice, and `@hydra.main` hides the
    function that it decorates."""
    import pickle

    from arcmargin.sweeps import worker

    worker.work(*pickle.loads(pickled))


def visible_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES may name, one a GPU. torch is not asked: it takes seconds to load."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [device.strip() for device in given.split(",") if device.strip() not in ("", "-1")]
    command = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.split()


def check_count(key: str, value: Any, wanted: str = "at least 1") -> None:
    """Raises UserError unless a launcher's setting is a positive whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"hydra.launcher.{key} must be {wanted}, got {value}")


def _job(overrides: list[str], config: DictConfig, number: int) -> Job:
    with open_dict(config):
        config.hydra.job.num, config.hydra.job.id = number, str(number)
    folder = Path(config.hydra.sweep.dir) / config.hydra.sweep.subdir
    return Job(number, overrides, config, folder.absolute())


def _reporter(job: Job) -> Reporter:
    name = job.config.hydra.runtime.choices["header"]
    return Reporter(job.folder, name=name, overrides=job.overrides, number=job.number)


def has_ended(job: Job) -> bool:
    """By its own word, or by the result that it left."""
    now = state.read_job(job.folder.parent, job.folder.name)
    ended = now is not None and now.state != "running"
    return ended or finished(job.folder, identity(job.config)) is not None


def _returned(job: Job) -> JobReturn:
    """What a sweeper is told: the score, or None for a job that failed or was interrupted."""
    result = finished(job.folder, identity(job.config))
    done = JobReturn(overrides=job.overrides, cfg=job.config, status=JobStatus.COMPLETED)
    done.return_value = None if result is None else result.score
    return done
