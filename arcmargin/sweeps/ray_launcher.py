"""Jobs as Ray tasks: on a cluster that runs, else on one of this machine for the sweep."""

import importlib.util
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from threading import Timer
from typing import Any

from omegaconf import DictConfig, OmegaConf

from arcmargin.errors import UserError
from arcmargin.sweeps import state
from arcmargin.sweeps.launcher import Job, ProcessDied, SweepLauncher

log = logging.getLogger("arcmargin")

SECONDS_TO_END = 20.0  # for jobs that are to stop, before we go
SECONDS_SILENT = 15.0
_UNHEARD = "the Ray cluster %s does not answer yet; `ray stop` forgets one that has died"


class RayLauncher(SweepLauncher):
    """`init` are the arguments of ray.init, `local` further ones for a cluster of the sweep's own,
    `remote` those of ray.remote: what one job takes."""

    def __init__(self, ray: DictConfig) -> None:
        settings: Any = OmegaConf.to_container(ray, resolve=True)
        self.init: dict[str, Any] = settings["init"]
        self.local: dict[str, Any] = settings["local"]
        self.remote: dict[str, Any] = settings["remote"]

    def check(self) -> None:
        if importlib.util.find_spec("ray") is None:
            raise UserError(
                "hydra/launcher=ray needs the extra 'ray': pip install 'arcmargin[ray]'"
            )

    def run(self, jobs: Sequence[Job]) -> dict[Job, Exception]:
        import ray

        from arcmargin.sweeps import worker

        self._join()
        try:
            task = ray.remote(**self.remote)(worker.work)
        except (TypeError, ValueError) as error:
            raise UserError(f"Ray cannot take hydra.launcher.ray.remote: {error}") from error
        self._warn(ray.cluster_resources())
        asked = {task.remote(*self.payload(job)): job for job in jobs}
        sweep = jobs[0].folder.parent
        lost: dict[Job, Exception] = {}
        waiting = list(asked)
        try:
            while waiting:
                done, waiting = ray.wait(waiting, timeout=1)
                for reference in done:
                    try:
                        ray.get(reference)
                    except ray.exceptions.RayTaskError as error:  # raised by the job
                        lost[asked[reference]] = error
                    except ray.exceptions.RayError as error:
                        reason = str(error).strip().splitlines()[0]
                        lost[asked[reference]] = ProcessDied(f"its process died ({reason})")
                if state.stopped(sweep):
                    self._stop(waiting)
                    break
        except KeyboardInterrupt:
            state.stop(sweep)
            self._stop(waiting)
            raise
        return lost

    def _warn(self, there: Mapping[str, float]) -> None:
        """Ray would wait for a larger cluster, in silence."""
        for key, name in (("num_cpus", "CPU"), ("num_gpus", "GPU")):
            wanted, most = self.remote.get(key) or 0, there.get(name, 0)
            if wanted > most:
                log.warning(
                    "a job asks for hydra.launcher.ray.remote.%s=%g, and the whole cluster has %g: none "
                    "begins before it has grown",
                    *(key, wanted, most),
                )

    def _stop(self, waiting: Sequence[Any]) -> None:
        """Those that run end as interrupted, the others do not begin."""
        import ray

        for reference in waiting:
            ray.cancel(reference)
        if waiting:
            ray.wait(list(waiting), num_returns=len(waiting), timeout=SECONDS_TO_END)

    def _join(self) -> None:
        """The cluster at `init.address` or RAY_ADDRESS, or one that `ray start` began on this machine;
        one of our own where there is none."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would call home
        import ray

        if ray.is_initialized():
            return
        logging.getLogger("ray").setLevel(logging.ERROR)
        given = self.init.get("address") or os.environ.get("RAY_ADDRESS")
        if given:
            _check_that_somebody_listens(given)
        # Ray asks for minutes, in silence, for a cluster that died without a word.
        unheard = Timer(SECONDS_SILENT, log.warning, [_UNHEARD, given or "of this machine"])
        unheard.start()
        try:
            try:
                ray.init(**({} if given else self.local), **self.init)
            except ValueError:  # what is for a cluster of its own, and one runs
                ray.init(**self.init)
        except (ConnectionError, RuntimeError) as error:
            raise UserError(
                f"there is no Ray cluster at {given} that lets us in; where `ray start` said that it "
                f"asks for a token, set RAY_AUTH_MODE=token ({error})"
                if given
                else "Ray does not start here; where an earlier `ray start` left a dead cluster, "
                f"`ray stop` clears it away ({error})"
            ) from error
        finally:
            unheard.cancel()


def _check_that_somebody_listens(address: str) -> None:
    """Ray would ask for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():  # `auto`, or a name of Ray's
        return
    try:
        socket.create_connection((host, int(port)), timeout=SECONDS_SILENT).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"there is no Ray cluster at {address}: {error}") from error
