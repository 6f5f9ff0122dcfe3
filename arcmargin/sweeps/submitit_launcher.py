"""Each job a process of its own, or a job of a Slurm cluster, by submitit."""

import importlib.util
import time
from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from arcmargin.errors import UserError
from arcmargin.sweeps import state
from arcmargin.sweeps.launcher import Job, ProcessDied, SweepLauncher


class Submission:
    """What submitit is to call; a job that is to move to another machine is submitted again as it is."""

    def __call__(self, *payload: Any) -> None:
        from arcmargin.sweeps import worker

        worker.work(*payload)

    def checkpoint(self, *payload: Any) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *payload)


class SubmititLauncher(SweepLauncher):
    """`parameters` are submitit's; those that only Slurm has are ignored by the local executor."""

    def __init__(
        self,
        cluster: str,
        submitit_folder: str,
        array_parallelism: int | None = None,
        **parameters: Any,
    ) -> None:
        self.cluster = cluster
        self.folder = submitit_folder
        self.at_once = array_parallelism
        self.parameters = {
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

    def run(self, jobs: Sequence[Job]) -> dict[Job, Exception]:
        executor = self._executor()
        at_once = self.at_once or self._local_jobs()
        waiting, running = list(jobs), dict[Any, Job]()
        lost: dict[Job, Exception] = {}
        sweep = jobs[0].folder.parent
        try:
            while waiting or running:
                if state.stopped(sweep):
                    waiting.clear()
                while waiting and len(running) < at_once:
                    job = waiting.pop(0)
                    running[executor.submit(Submission(), *self.payload(job))] = job
                for submitted in [one for one in running if one.done()]:
                    job = running.pop(submitted)
                    now = state.read_job(sweep, job.folder.name)
                    if now is None or now.state == "running":
                        lost[job] = ProcessDied(f"a process died, {submitted.state}")
                time.sleep(0.2)
        except KeyboardInterrupt:
            state.stop(sweep)
            deadline = time.monotonic() + 30
            while not all(one.done() for one in running) and time.monotonic() < deadline:
                time.sleep(0.2)
            raise
        return lost

    def _executor(self) -> Any:
        import submitit

        executor = submitit.AutoExecutor(self.folder, cluster=self.cluster)
        executor.update_parameters(**self.parameters)
        return executor

    def _local_jobs(self) -> int:
        import joblib

        return max(1, joblib.cpu_count() // (self.parameters.get("cpus_per_task") or 1))
