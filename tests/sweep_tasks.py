"""Small Hydra applications in the place of training: what the launchers do with jobs, in a second."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import hydra
import psutil
from hydra.core.hydra_config import HydraConfig

from arcmargin.errors import Interrupted
from arcmargin.job.hydra_versions import main_arguments
from arcmargin.job.identity import identity
from arcmargin.job.schema import CONF
from arcmargin.record import Result, Settings
from arcmargin.sweeps import resolvers, state
from arcmargin.sweeps.state import Reporter

resolvers.register()


def reporter():
    settings = HydraConfig.get()
    folder, overrides = Path(settings.runtime.output_dir), list(settings.overrides.task)
    return Reporter(folder, name="arcface", overrides=overrides, number=settings.job.num)


def begin():
    """The job's folder; from now on the sweep knows that the job runs."""
    reporter().begin()
    return Path(HydraConfig.get().runtime.output_dir)


def settings_of(cfg):
    named = {"header": "arcface", "dataset": "digits", "embedding_dim": 2}
    return Settings(**named, epochs=cfg.epochs, identity=identity(cfg))


def finish(cfg, **more):
    """A finished result, whose score is the seed unless another is given, and a note of the process."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    validation = {"val_accuracy": float(cfg.seed)}
    result = Result(settings=settings_of(cfg), **{"validation": validation, **more})
    result.write(folder)
    note = {
        "process": os.getpid(),
        "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "attempts": len((folder / "attempts").read_text()) if (folder / "attempts").exists() else 0,
    }
    (folder / "note.json").write_text(json.dumps(note))
    reporter().end("finished", result)


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def is_alive(process):
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def folders():
    """All jobs' that have begun."""
    return list(Path(HydraConfig.get().runtime.output_dir).parent.glob("*_seed*"))


@hydra.main(config_path=str(CONF), config_name="config", **main_arguments())
def quick(cfg):
    begin()
    finish(cfg)


@hydra.main(config_path=str(CONF), config_name="config", **main_arguments())
def together(cfg):
    """A job ends when `cfg.epochs` jobs run beside one another."""
    folder = begin()
    (folder / "here").touch()
    wait_until(lambda: len(list(folder.parent.glob("*/here"))) >= cfg.epochs)
    finish(cfg)


@hydra.main(config_path=str(CONF), config_name="config", **main_arguments())
def deadly(cfg):
    """The job of seed 0 kills its process, the first `cfg.epochs` times, while another one works."""
    folder = begin()
    with (folder / "attempts").open("a") as file:
        file.write(".")
    if cfg.seed == 0 and len((folder / "attempts").read_text()) <= cfg.epochs:
        wait_until(lambda: len(folders()) > 1)
        os.kill(os.getpid(), signal.SIGKILL)
    if cfg.seed == 1:  # it is at work when the other one dies
        wait_until(lambda: len(folders()) > 2)
    finish(cfg)


@hydra.main(config_path=str(CONF), config_name="config", **main_arguments())
def orphan(cfg):
    """Says its process's id and sleeps until somebody ends it."""
    folder = begin()
    if state.stopped(folder.parent):
        return
    try:
        (folder / "process").write_text(str(os.getpid()))
        threading.Event().wait(600)
    except Interrupted:
        reporter().end("interrupted")


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def stubborn(cfg):
    """Like one whose checkpoint takes for ever."""
    folder = begin()
    (folder / "process").write_text(str(os.getpid()))
    try:
        threading.Event().wait(600)
    finally:
        (folder / "interrupted").touch()
        threading.Event().wait(600)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def measured(cfg):
    """A validation accuracy that is best at m2 = 0.3, and a gap that grows with m2. No more than
    $FINISHED jobs of the sweep finish, the others wait."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    most = int(os.environ.get("FINISHED", 10**6))
    wait_until(lambda: len(list(folder.parent.glob("*/record.json"))) < most, seconds=600)
    if cfg.m2 == 0.5:
        Result(settings=settings_of(cfg), status="failed", error="it fails").write(folder)
        reporter().end("failed", error="it fails")
        return
    accuracy = 0.9 - (cfg.m2 - 0.3) ** 2 + 0.001 * cfg.seed
    curves = {"val_accuracy": [0.5, accuracy], "val_gap_mean_deg": [0.0, 10 * cfg.m2]}
    validation = {name: values[-1] for name, values in curves.items()}
    finish(cfg, curves=curves, validation=validation, durations={"total_s": 4.0})


@hydra.main(config_path=str(CONF), config_name="config", **main_arguments())
def broken(cfg):
    raise RuntimeError("a fault of ours")


if __name__ == "__main__":
    import sweep_tasks  # workers import the tasks by this name

    from arcmargin.run import main

    main(getattr(sweep_tasks, sys.argv.pop(1)))
