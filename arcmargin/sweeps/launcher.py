"""What all launchers of a multirun have in common, whichever Hydra plugin it is.

Each job runs once, a finished one not again, and a worker that dies ends its own job, not the sweep.
"""

import logging
import os
import pickle
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, open_dict

from arcmargin.errors import UserError
from arcmargin.job.results import short
from arcmargin.sweeps import interrupts, jobs, workers
from arcmargin.sweeps import state as status
from arcmargin.sweeps.extras import check_extra

log = logging.getLogger("arcmargin")

MOST_HANDED_ON = 200  # composed jobs, 4 kB each, that travel with every job


class Job(NamedTuple):
    number: int
    overrides: list[str]
    folder: Path


class Composer:
    """Hydra's loader of configurations; composes a job once, though its sweeper, its launcher and the
    job's own process all ask."""

    def __init__(self, loader: Any, composed: dict[tuple[str, ...], bytes] | None = None) -> None:
        self.loader = loader
        self.composed = composed or {}
        self.handed_on = True

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> Any:
        key = tuple(sweep_overrides)
        if key in self.composed:
            return pickle.loads(zlib.decompress(self.composed[key]))
        # Hydra loads the plugins' schemas twice, so that pickle alone does not know their classes.
        from joblib.externals.loky.backend.reduction import dumps

        config = self.loader.load_sweep_config(master_config, sweep_overrides)
        self.composed[key] = zlib.compress(dumps(config))
        return config

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.__dict__["loader"], name)

    def __reduce__(self) -> Any:
        """To a worker, which composes its jobs itself where handing all of them on would cost more."""
        few = self.handed_on and len(self.composed) <= MOST_HANDED_ON
        return Composer, (self.loader, self.composed if few else None)


class Steady(Launcher):
    """Runs a launcher so that what it raises ends no sweep."""

    def __init__(self, launcher: Launcher) -> None:
        self.launcher: Any = launcher
        self.first: dict[Path, Job] = {}  # of all asked for; a search may ask again later

    def setup(self, **context: Any) -> None:
        """The launcher inside is set up already."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        asked = [self._job(list(o), initial_job_idx + i) for i, o in enumerate(job_overrides)]
        new = [job for job in asked if self.first.setdefault(job.folder, job) is job]
        for job in asked:
            if job not in new:
                _reporter(job).repeat()
        todo = [job for job in new if not _skip(job)]
        loader = self.launcher.hydra_context.config_loader
        # A job that is submitted by itself is a file: it would hold all the others' too.
        loader.handed_on = _submitted_at_once(self.launcher) is None
        if todo:
            self._run(todo, initial_job_idx)
        for job in todo:
            if status.state(job.folder.parent, job.folder.name) == "running":
                _skip(job)
        return [_returned(job) for job in asked]

    def _job(self, overrides: list[str], number: int) -> Job:
        context, master = self.launcher.hydra_context, self.launcher.config
        config = context.config_loader.load_sweep_config(master, overrides)
        with open_dict(config):
            config.hydra.job.num, config.hydra.job.id = number, str(number)
        folder = Path(config.hydra.sweep.dir) / config.hydra.sweep.subdir
        return Job(number, overrides, folder.absolute())

    def _run(self, todo: list[Job], number: int) -> None:
        """All of them; those that were running when a worker died get one more try, by themselves."""
        again: list[Job] = []
        sweep = todo[0].folder.parent
        while todo:
            moment = time.time()
            error = self._launch(todo, number)
            left = [job for job in todo if not jobs.ended_since(job.folder, moment)]
            if status.stopped(sweep):
                return
            if error is None or not left:
                break
            cut_off = [job for job in left if jobs.begun_since(job.folder, moment)]
            if not cut_off and len(left) == len(todo):
                raise UserError(f"the launcher could not start the jobs: {_line(error)}") from error
            if not cut_off:
                log.error("the launcher gave up: %s", _line(error))
                break
            log.error("a worker died: %s", _line(error))
            again += cut_off
            todo = [job for job in left if job not in cut_off]
        for job in again:
            log.error("once more: %s", short(job.folder))
            if error := self._launch([job], number):
                log.error("interrupted: %s (%s)", short(job.folder), _line(error))

    def _launch(self, todo: list[Job], number: int) -> Exception | None:
        """What the launcher raised, if anything; then some of the jobs may not have run."""
        width = _submitted_at_once(self.launcher)

        def one(batch: list[Job]) -> Exception | None:
            try:
                returned = self.launcher.launch([job.overrides for job in batch], number)
            except Exception as error:
                return error
            failed = [r._return_value for r in returned if r.status == JobStatus.FAILED]
            return failed[0] if failed else None

        if width is None:
            return one(todo)
        _wait_no_longer_than_needed()
        with ThreadPoolExecutor(width, initializer=interrupts.hold_back) as pool:
            try:
                return next(
                    (error for error in pool.map(one, ([job] for job in todo)) if error), None
                )
            except KeyboardInterrupt:
                status.stop(todo[0].folder.parent)  # or the pool would wait for their last epoch
                raise


def _submitted_at_once(launcher: Any) -> int | None:
    """submitit starts local jobs all at once and gives up at the first that dies: there each is
    submitted by itself, as many at a time as there are cores for, or as the cluster's limit says."""
    given = getattr(launcher, "params", {})
    if "submitit_folder" not in given:
        return None
    if "array_parallelism" in given:
        return int(given["array_parallelism"])
    return max(1, jobs.cores() // (given.get("cpus_per_task") or 1))


def _wait_no_longer_than_needed() -> None:
    """submitit gives the result of a job that ended 15 seconds to appear, for the sake of slow disks
    between machines; a local one that was killed or interrupted leaves none at all."""
    from submitit.local.local import LocalJob

    LocalJob._results_timeout_s = 1


def _skip(job: Job) -> bool:
    """Whether the job is finished already, which its status then says."""
    before = jobs.result(job.folder)
    if before is None or not before.finished:
        return False
    _reporter(job, before.name).skip(before.extra.get("score"))
    return True


def _reporter(job: Job, name: str = "") -> status.Reporter:
    return status.Reporter(job.folder, name=name, overrides=job.overrides, number=job.number)


def _returned(job: Job) -> JobReturn:
    """What a sweeper is told: the score, or None for a job that failed or was interrupted. NaN would
    end Optuna's search; None it counts as a failed trial."""
    record = jobs.result(job.folder)
    score = record.extra.get("score") if record and record.finished else None
    done = JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED)
    done.return_value = None if score is None else float(score)
    return done


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def prepare(config: DictConfig, count: int | None) -> None:
    """Before a multirun of `count` jobs, if that is known: wraps the launcher that Hydra will make."""
    check_extra("launcher", str(config.hydra.launcher.get("_target_")))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would call home
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # nor is a line that two jobs say one too many
    # A hint for administrators that its own cluster has a token; it would stand in the status line.
    logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel("ERROR")
    plugins: Any = Plugins.instance()
    make: Callable[..., Launcher] = type(plugins).instantiate_launcher
    wandb = config.logger is not None and config.wandb.mode != "disabled"
    new = not Path(config.hydra.sweep.dir).exists()

    def instantiate_launcher(**context: Any) -> Launcher:
        context["hydra_context"].config_loader = Composer(context["hydra_context"].config_loader)
        launcher: Any = make(plugins, **context)
        if hasattr(launcher, "joblib"):
            workers.use(launcher.joblib, count if new else 0, wandb=wandb)
        return Steady(launcher)

    plugins.instantiate_launcher = instantiate_launcher


def threads_per_job(launcher: Any) -> int | None:
    """CPU threads for a job of this `hydra.launcher`, so that all jobs together fit the cores."""
    if "n_jobs" in launcher:
        import joblib

        return int(max(1, jobs.cores() // joblib.effective_n_jobs(launcher.n_jobs)))
    given = launcher.get("cpus_per_task") or ((launcher.get("ray") or {}).get("remote") or {}).get(
        "num_cpus"
    )
    return max(1, int(given)) if given else None
