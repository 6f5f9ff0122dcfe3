"""A Slurm cluster of one node with two CPUs, on free ports, in a folder of its own. Two devices that
are everywhere pass for GPUs, which Slurm lends to jobs as it would lend real ones."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=10
SchedulerParameters=sched_interval=1,bf_interval=1
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 Gres=gpu:2 State=UNKNOWN
PartitionName=small Nodes={host} Default=YES MaxTime=01:00:00 State=UP
"""


def missing() -> str | None:
    """Why there can be no cluster here; None where there can."""
    if any(shutil.which(name, path=_path()) is None for name in ("slurmctld", "slurmd", "sbatch")):
        return "Slurm is not installed (Debian's slurm-wlm)"
    return None if os.geteuid() == 0 else "slurmd must be started by root"


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which Slurm's commands reach it."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    configuration = folder / "slurm.conf"
    ports = {name: _free_port() for name in ("controller_port", "node_port")}
    host = socket.gethostname().partition(".")[0]
    configuration.write_text(CONFIGURATION.format(folder=folder, host=host, **ports))
    environment = {"SLURM_CONF": str(configuration), "PATH": _path()}
    inherited = {**os.environ, **environment}
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
    daemons = [
        subprocess.Popen([*command, "-f", configuration], env=inherited, stderr=subprocess.DEVNULL)
        for command in (["slurmctld", "-D"], ["slurmd", "-D", "-N", host])
    ]
    try:
        _wait_until_idle(inherited)
        yield environment
    finally:
        subprocess.run(["scancel", "--me"], env=inherited, check=False)
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(30)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait_until_idle(environment: dict[str, str]) -> None:
    deadline = time.monotonic() + 60
    command = ["sinfo", "--noheader", "--format=%T"]
    while True:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.stdout.strip() == "idle":
            return
        assert time.monotonic() < deadline, f"no idle node: {done.stdout} {done.stderr}"
        time.sleep(0.2)
