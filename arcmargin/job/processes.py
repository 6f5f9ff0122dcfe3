"""A run in several processes. That of rank 0 is the run: it writes, draws and tells. The others compute
their share of each step, on objects that the same configuration builds, and do nothing else.

torchrun and Slurm's srun start them all with one command line; otherwise rank 0 starts the others here.
They meet at a store of torch's, a table in the process of rank 0: it writes there what is to be trained,
and in the end its exit code.
"""

import itertools
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from arcmargin.errors import UserError
from arcmargin.job.user_errors import sentence, users_mistake

if TYPE_CHECKING:  # seconds that --help and a typo need not wait for
    from arcmargin.job.build import Choices

log = logging.getLogger("arcmargin")

FOREVER = timedelta(days=365)
SECONDS_TO_HEAR = 10.0  # for the others, of the end
HERE = "127.0.0.1"


@dataclass(frozen=True)
class Place:
    """Of a process among those that belong together."""

    rank: int
    size: int  # how many they are
    started_by: str | None = None  # torchrun or srun; None: by us


class Task(NamedTuple):
    """What the others have to know."""

    config: DictConfig
    choices: "Choices"
    folder: Path
    resume: Path | None


class Processes:
    """The processes of a run, as that of rank 0 sees them."""

    def __init__(self, place: Place, store: Any) -> None:
        self.place, self.store = place, store
        self.environment = _environment(place)

    def begin(self, task: Task) -> None:
        """The others build what this one has built, and all join."""
        _join(self.store, self.place, _tell(self.store, task))

    def failure(self) -> Exception | None:
        """Of another process: what this one met is then only that it was gone."""
        for key, kind in (("mistake", UserError), ("failed", RuntimeError)):
            if self.store.check([key]):
                return kind(self.store.get(key).decode())
        return None


def started_together() -> Place | None:
    """Where torchrun or srun has put this process; None for one that was started by itself."""
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        place = Place(int(env["RANK"]), int(env["WORLD_SIZE"]), "torchrun")
    else:  # SLURM_NTASKS stands in a batch script too, which is one process
        tasks = int(env.get("SLURM_STEP_NUM_TASKS", 1))
        place = Place(int(env.get("SLURM_PROCID", 0)), tasks, "srun")
    return place if place.size > 1 else None


@contextmanager
def together() -> Iterator[None]:
    """Around a whole command: of processes that torchrun or srun started together, rank 0 goes on
    and the others follow it, here, to their end. All end with the exit code of rank 0."""
    place = started_together()
    if place is None:
        yield
        return
    if place.started_by == "srun" and "SLURM_NTASKS_PER_NODE" not in os.environ:
        if place.rank == 0:  # Lightning does not take --ntasks
            said = f"srun started {place.size} processes; say so by --ntasks-per-node, not --ntasks"
            print(f"arcmargin: {said}", file=sys.stderr)
        sys.exit(2)
    store = _store(place)
    if place.rank > 0:
        sys.exit(_follow(store, place))
    code: Any = 1
    try:
        yield
        code = 0
    except SystemExit as end:
        code = end.code or 0
        raise
    finally:
        _tell(store, code if isinstance(code, int) else 1)
        deadline = time.monotonic() + SECONDS_TO_HEAR
        # The store goes with this process, unless it is torchrun's.
        while (
            place.started_by == "srun"
            and store.add("heard", 0) < place.size - 1
            and time.monotonic() < deadline
        ):
            time.sleep(0.05)


def place_of(cfg: DictConfig) -> Place | None:
    """Of this process in a run of this configuration; None where it is alone. Raises UserError where
    the configuration and torchrun or srun do not agree.

    Processes of one machine share its cores, unless `threads` says otherwise.
    """
    from hydra.utils import instantiate

    from arcmargin.job.build import quieten_lightning
    from arcmargin.training.train import number_of_processes

    quieten_lightning()

    started, nodes = started_together(), cfg.trainer.get("num_nodes") or 1
    count = 1
    if (cfg.trainer.get("devices"), nodes) != (1, 1):
        count = number_of_processes(instantiate(cfg.trainer))
    if started is not None and started.size != count:
        raise UserError(
            f"{started.started_by} started {started.size} processes, but trainer.devices and "
            f"trainer.num_nodes ask for {count}; let them be the same"
        )
    if started is None and nodes > 1:
        raise UserError(
            f"trainer.num_nodes={nodes} needs a process for each device, which srun or torchrun start; "
            "use one of them"
        )
    if cfg.batch_size < count:
        raise UserError(
            f"batch_size={cfg.batch_size} is less than an image for each of {count} processes; raise it"
        )
    if count == 1:
        if cfg.header.get("shard"):
            log.warning(
                "shard=true has no effect: it spreads classes over processes, and this is one alone; "
                "trainer.devices asks for more"
            )
        return None
    if started is None:
        _share_cores(cfg, count)
    return started or Place(0, count)


def _share_cores(cfg: DictConfig, count: int) -> None:
    import torch

    cfg.threads = cfg.threads or max(1, torch.get_num_threads() // count)


@contextmanager
def gathered(place: Place | None) -> Iterator[Processes | None]:
    """The processes of a run whose rank 0 has this place; None where one is enough."""
    if place is None:
        yield None
        return
    store = _store(place, client=True)
    processes = Processes(place, store)
    context = multiprocessing.get_context("spawn")
    ours = [
        context.Process(target=_start, args=(store.port, Place(rank, place.size)), daemon=True)
        for rank in range(1, place.size if place.started_by is None else 1)
    ]
    try:
        for process in ours:
            process.start()
        yield processes
    except Exception as error:
        failure = None
        if users_mistake(error) is None:
            failure = processes.failure() or _killed(ours, place)
        if failure is None:
            raise
        raise failure from error
    finally:
        _leave()
        for process in ours:
            process.kill()
            process.join()


def _killed(ours: Sequence[Any], place: Place) -> UserError | None:
    """What is known of a process that is gone without a word: that of rank 0 met a broken line."""
    connection.wait([process.sentinel for process in ours], timeout=1)
    for rank, process in enumerate(ours, start=1):
        if (code := process.exitcode) is not None and code < 0:
            return UserError(
                f"process {rank} of {place.size} was ended by {signal.Signals(-code).name}; the system "
                "does so where memory runs out; resume= goes on from the last checkpoint"
            )
    return None


def _store(place: Place, *, client: bool = False, port: int = 0) -> Any:
    """The table that all see. `client`: this process has made it already, where torchrun or srun did not
    leave that to us."""
    import torch.distributed as dist

    if place.started_by == "torchrun":
        return next(iter(dist.rendezvous("env://")))[0]
    if place.started_by is None:
        return dist.TCPStore(HERE, port, is_master=place.rank == 0, wait_for_workers=False)
    cluster = _environment(place)
    master = place.rank == 0 and not client
    return dist.TCPStore(
        cluster.main_address, cluster.main_port, is_master=master, wait_for_workers=False
    )


def _environment(place: Place) -> Any:
    """How Lightning sees them."""
    from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

    from arcmargin.training.processes import JoinedProcesses

    if place.started_by == "torchrun":
        return TorchElasticEnvironment()
    return SLURMEnvironment(auto_requeue=False) if place.started_by else JoinedProcesses()


def _tell(store: Any, what: Task | int) -> int:
    """Rank 0 to all others; returns the number of the message."""
    number = store.add("messages", 1)
    store.set(f"message {number}", pickle.dumps(what))
    return int(number)


def _join(store: Any, place: Place, number: int) -> None:
    """Lightning takes a process group that exists as it is."""
    import torch.distributed as dist

    group = dist.PrefixStore(f"group {number}", store)
    dist.init_process_group(store=group, rank=place.rank, world_size=place.size)


def _leave() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


def _start(port: int, place: Place) -> None:
    """In a process that rank 0 has started."""
    sys.exit(_follow(_store(place, port=port), place))


def _follow(store: Any, place: Place) -> int:
    """Does what rank 0 says and prints nothing; its exit code in the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all, and rank 0 ends the others
    logging.disable()
    warnings.simplefilter("ignore")
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        for number in itertools.count(1):
            try:
                store.wait([f"message {number}"], FOREVER)
                what = pickle.loads(store.get(f"message {number}"))
            except RuntimeError:  # rank 0 is gone without a word
                return 1
            if isinstance(what, int):
                store.add("heard", 1)
                return what
            try:
                _join(store, place, number)
                _take_part(what, place)
            except Exception as error:
                kind = "failed" if users_mistake(error) is None else "mistake"
                store.set(kind, f"process {place.rank} of {place.size}: {sentence(error)}")
            finally:
                _leave()
    return 1


def _take_part(task: Task, place: Place) -> None:
    from arcmargin.job.build import build
    from arcmargin.job.schema import AUTO
    from arcmargin.training.train import fit

    cfg = task.config
    data, module, settings = build(cfg, task.choices)
    fit(
        module,
        data,
        trainer_of(cfg, several=True),
        epochs=cfg.epochs,
        batch_size=settings.batch_size or cfg.batch_size,
        seed=cfg.seed,
        folder=task.folder,
        score=None if cfg.score == AUTO else cfg.score,
        test=not settings.is_trial,
        environment=_environment(place),
        resume=task.resume,
    )


def task_of(cfg: DictConfig, choices: "Choices", folder: Path, resume: Path | None) -> Task:
    """Without interpolations, which the others may have no resolvers for."""
    plain: Any = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    return Task(plain, choices, folder.absolute(), resume and resume.absolute())


def trainer_of(cfg: DictConfig, *, several: bool) -> Any:
    """The factory of the trainer; one process has no use for a strategy."""
    from hydra.utils import instantiate

    given = cfg.trainer.get("strategy") or "auto"
    several_by = "ddp" if given == "auto" else given
    return instantiate(cfg.trainer, strategy=several_by if several else "auto")
