"""Jobs as Ray tasks: on a cluster that runs, else on one of this machine for the sweep."""

import importlib.util
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from arcmargin.errors import UserError
from arcmargin.sweeps import state
from arcmargin.sweeps.launcher import Job, ProcessDied, SweepLauncher


class RayLauncher(SweepLauncher):
    """`init` are the arguments of ray.init, `remote` those of ray.remote: what one job takes."""

    def __init__(self, ray: DictConfig) -> None:
        settings: Any = OmegaConf.to_container(ray, resolve=True)
        self.init: Mapping[str, Any] = settings["init"]
        self.remote: Mapping[str, Any] = settings["remote"]

    def check(self) -> None:
        if importlib.util.find_spec("ray") is None:
            raise UserError(
                "hydra/launcher=ray needs the extra 'ray': pip install 'arcmargin[ray]'"
            )

    def run(self, jobs: Sequence[Job]) -> dict[Job, Exception]:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would call home
        import ray

        from arcmargin.sweeps import worker

        logging.getLogger("ray").setLevel(logging.WARNING)
        if not ray.is_initialized():
            ray.init(**self.init)
        task = ray.remote(**self.remote)(worker.work)
        asked = {task.remote(*self.payload(job)): job for job in jobs}
        lost: dict[Job, Exception] = {}
        waiting = list(asked)
        try:
            while waiting:
                done, waiting = ray.wait(waiting)
                for reference in done:
                    try:
                        ray.get(reference)
                    except ray.exceptions.RayTaskError as error:  # raised by the job
                        lost[asked[reference]] = error
                    except ray.exceptions.RayError as error:
                        lost[asked[reference]] = ProcessDied(f"a worker died ({one_line(error)})")
        except KeyboardInterrupt:
            state.stop(jobs[0].folder.parent)
            for reference in waiting:
                ray.cancel(reference)
            ray.wait(waiting, num_returns=len(waiting), timeout=30)
            raise
        return lost


def one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
