"""Jobs as Ray tasks: on a cluster of the sweep's own, and on one of two nodes that the test starts."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from sweep_process import TRAINING, Sweep
from sweep_tasks import is_alive, wait_until

from arcmargin.record import find_results

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def no_cluster():
    """An environment in which Ray finds neither a cluster of this machine nor a token in the home."""
    with tempfile.TemporaryDirectory(prefix="ray") as short:  # a socket's path is short
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
        yield {"RAY_ADDRESS": "", "RAY_TMPDIR": short, **token}


class Cluster:
    """Two nodes on this machine, on a free port, that ask for a token; each says that it has a GPU."""

    def __init__(self, environment):
        self.environment = {**os.environ, **environment, "PYTHONPATH": os.pathsep.join(sys.path)}
        self.environment |= {"RAY_USAGE_STATS_ENABLED": "0"}
        del self.environment["RAY_ADDRESS"]
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{found.getsockname()[1]}"
        self.joining = {**environment, "RAY_ADDRESS": self.address}
        self.nodes = []

    def start(self, folder):
        port = self.address.partition(":")[2]
        self._start(folder, "--head", f"--port={port}", "--include-dashboard=false")
        self.wait_for_nodes(1)
        self._start(folder, f"--address={self.address}")
        self.wait_for_nodes(2)

    def _start(self, folder, *arguments):
        program = [str(Path(sys.executable).parent / "ray"), "start", "--block"]
        has = ["--num-cpus=1", "--num-gpus=1", "--object-store-memory=80000000"]
        with (folder / "said").open("a") as file:
            node = subprocess.Popen(
                [*program, *has, "--disable-usage-stats", *arguments],
                env=self.environment,
                cwd=folder,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        self.nodes.append(node)

    def wait_for_nodes(self, count):
        code = (
            "import ray, time\n"
            "while True:\n    try:\n"
            f"        ray.init({self.address!r}, logging_level='error', log_to_driver=False)\n"
            f"        break\n    except ConnectionError:\n        time.sleep(0.5)\n"
            f"while sum(node['Alive'] for node in ray.nodes()) < {count}:\n    time.sleep(0.2)"
        )
        asked = [sys.executable, "-c", code]
        subprocess.run(asked, env=self.environment, capture_output=True, check=True, timeout=300)

    def stop(self):
        for node in self.nodes:
            os.killpg(node.pid, signal.SIGTERM)
        for node in self.nodes:
            try:
                node.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(node.pid, signal.SIGKILL)
                node.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, no_cluster):
    folder = tmp_path_factory.mktemp("cluster")
    found = Cluster(no_cluster)
    try:
        found.start(folder)
        yield found
    finally:
        found.stop()


def test_a_cluster_of_the_sweeps_own(no_cluster, tmp_path):
    pairs = "zip(seed=0,1,2; epochs=1,2,1)"
    sweep = Sweep("quick", pairs, launcher="ray", cwd=tmp_path, env=no_cluster)
    code, said = sweep.end()
    assert code == 0 and "3 finished" in said, said
    assert "ray" not in said.replace("ray_", ""), "it speaks in our words alone"


@pytest.mark.parametrize("how", ["RAY_ADDRESS", "hydra.launcher.ray.init.address", "ray start"])
def test_a_cluster_that_runs_is_joined_and_all_its_nodes_work(how, cluster, tmp_path):
    environment = cluster.joining
    if how != "RAY_ADDRESS":
        environment = {**environment, "RAY_ADDRESS": ""}
    further = [f"{how}='{cluster.address}'"] if how.startswith("hydra") else []
    # Two jobs that end only beside each other need both nodes.
    arguments = ["seed=0,1", "epochs=2", *further]
    code, said = Sweep("together", *arguments, launcher="ray", cwd=tmp_path, env=environment).end()
    assert code == 0 and "2 finished" in said, said


def test_jobs_have_a_gpu_each_where_they_ask_for_one(cluster, tmp_path):
    environment = cluster.joining
    arguments = ["seed=0,1", "epochs=2", "hydra.launcher.ray.remote.num_gpus=1"]
    code, said = Sweep("together", *arguments, launcher="ray", cwd=tmp_path, env=environment).end()
    notes = [json.loads(note.read_text()) for note in tmp_path.glob("sweep/*/note.json")]
    assert [note["gpu"] for note in notes] == ["0", "0"] and code == 0, said


def test_another_sweeps_own_cluster_is_not_joined(no_cluster, tmp_path):
    sweeps = []
    for name, epochs in (("first", 2000), ("second", 60)):
        cwd = tmp_path / name
        cwd.mkdir()
        arguments = [*TRAINING, f"epochs={epochs}"]
        sweeps.append(Sweep(None, *arguments, launcher="ray", cwd=cwd, env=no_cluster))
        sweeps[-1].wait_for_epoch(2)
    os.killpg(sweeps[0].process.pid, signal.SIGKILL)
    sweeps[0].end()
    code, said = sweeps[1].end()
    assert code == 0 and "1 finished" in said, said


def test_no_cluster_where_one_is_named(tmp_path):
    environment = {"RAY_ADDRESS": "127.0.0.1:1"}
    code, said = Sweep("quick", launcher="ray", cwd=tmp_path, env=environment).end()
    assert code == 2 and "arcmargin: there is no Ray cluster at 127.0.0.1:1" in said, said


def test_a_cluster_that_asks_for_a_token(cluster, tmp_path):
    environment = {**cluster.joining, "RAY_AUTH_MODE": "disabled"}
    code, said = Sweep("quick", launcher="ray", cwd=tmp_path, env=environment).end()
    assert code == 2 and "set RAY_AUTH_MODE=token" in said, said


def test_a_dead_cluster_of_this_machine_is_said(no_cluster, tmp_path):
    folder = tmp_path / "ray"
    folder.mkdir()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    (folder / "ray_current_cluster").write_text(address)
    environment = {
        **no_cluster,
        "RAY_TMPDIR": str(tmp_path),
        "RAY_gcs_server_port_wait_time_s": "1",
    }
    code, said = Sweep("quick", launcher="ray", cwd=tmp_path, env=environment).end()
    assert code == 2 and "Traceback" not in said, said
    assert "`ray stop` clears it away" in said


def test_a_worker_that_dies_ends_its_own_job_only(no_cluster, tmp_path):
    arguments = ["seed=0,1,2", "epochs=9", "hydra.launcher.ray.remote.max_retries=0"]
    sweep = Sweep("deadly", *arguments, launcher="ray", cwd=tmp_path, env=no_cluster)
    code, said = sweep.end()
    assert code == 1 and "2 finished, 1 stopped" in said, said
    assert "interrupted: sweep/arcface" in said


def test_ctrl_c_ends_the_jobs_with_a_checkpoint(no_cluster, tmp_path):
    arguments = [*TRAINING, "epochs=2000", "seed=0,1,2"]
    sweep = Sweep(None, *arguments, launcher="ray", cwd=tmp_path, env=no_cluster)
    folder = sweep.wait_for_epoch(5)
    workers = [state["process"] for state in sweep.states().values()]
    os.killpg(sweep.process.pid, signal.SIGINT)
    code, said = sweep.end(60)
    assert code == 130 and "interrupted: 0/3 done" in said and "Traceback" not in said, said
    assert (
        json.loads((folder.parent / ".progress" / f"{folder.name}.json").read_text())["state"]
        == "interrupted"
    )
    assert (folder / "checkpoints" / "last.ckpt").exists()
    wait_until(lambda: not any(is_alive(worker) for worker in workers), 30)


def test_jobs_of_a_node_that_dies_go_on_elsewhere(cluster, tmp_path):
    # The last test of this cluster.
    environment = cluster.joining
    arguments = ["epochs=80", "seed=0,1"]
    sweep = Sweep(None, *TRAINING, *arguments, launcher="ray", cwd=tmp_path, env=environment)
    sweep.wait_for_epoch(5, "*seed0*")
    sweep.wait_for_epoch(5, "*seed1*")
    os.killpg(cluster.nodes[1].pid, signal.SIGKILL)
    code, said = sweep.end()
    results = find_results(tmp_path / "sweep").results
    assert code == 0 and len(results) == 2 and "stopped" not in said, said
    for result in results:
        assert (result.folder / "run.log").read_text().count("epoch 1/80 ") == 1
