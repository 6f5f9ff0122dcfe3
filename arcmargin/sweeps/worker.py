"""A process that runs jobs of a sweep for its main process, on this machine or another."""

import multiprocessing
import os
import signal
import threading
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from arcmargin.errors import Interrupted
from arcmargin.sweeps import resolvers, signals

SECONDS_TO_END = 20.0  # for a job whose main process has died: it writes its checkpoint
_at_work = threading.Lock()


def begin(device: str | None) -> None:
    """Once in a worker on this machine, before torch is loaded. `device`: the one GPU that it sees."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    threading.Thread(target=_end_with_parent, name="end with parent", daemon=True).start()


def _end_with_parent() -> None:
    """Nobody would hear of this process's work any more."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)  # a job ends with a checkpoint
        _at_work.acquire(timeout=SECONDS_TO_END)
        os._exit(1)


def work(
    context: HydraContext,
    task: TaskFunction,
    config: DictConfig,
    singletons: dict[Any, Any],
    directory: str,
) -> None:
    """Runs the job that `config` was composed for, as Hydra's launchers do; relative paths begin at
    `directory`. What becomes of it stands in files; what is raised here is a fault of ours."""
    with _at_work:
        os.chdir(directory)
        resolvers.register()
        setup_globals()
        Singleton.set_state(singletons)
        HydraConfig.instance().set_config(config)
        with signals.raising(Interrupted):  # Ctrl-C, SIGTERM
            done = run_job(
                hydra_context=context,
                task_function=task,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
        _ = done.return_value  # raises what the task raised, as Hydra's sweeper does
