"""A multirun as a process of its own, of a small task or of training, to be watched and disturbed."""

import json
import os
import signal
import subprocess
import sys

import sweep_tasks
from sweep_tasks import wait_until

from arcmargin.sweeps.command_line import PRESETS
from arcmargin.sweeps.state import FOLDER

# Four classes and small random shifts: the order of the random numbers shows in the result.
TRAINING = ("dataset.classes=4", "augment=shift", "header=linear")


class Sweep:
    """Its folder is `sweep` in `cwd`. `task`: a name in sweep_tasks, or None for training."""

    def __init__(self, task, *arguments, launcher, cwd, env=None):
        program = [sys.executable, "-m", "arcmargin.run"]
        if task is not None:
            program = [sys.executable, sweep_tasks.__file__, task]
        command = ["--multirun", "hydra.sweep.dir=sweep", "logger=none"]
        preset = PRESETS.get(f"hydra/launcher={launcher}", f"hydra/launcher={launcher}")
        self.folder = cwd / "sweep"
        self.environment = {**os.environ, **(env or {}), "PYTHONPATH": os.pathsep.join(sys.path)}
        self.said = cwd / "said"
        with self.said.open("w") as file:
            self.process = subprocess.Popen(
                [*program, *command, preset, *arguments],
                cwd=cwd,
                env=self.environment,
                stdout=file,
                stderr=file,
                start_new_session=True,
                # A shell starts its background jobs with Ctrl-C ignored, and the tests may be one.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def end(self, seconds=300):
        """The exit code and all that was said."""
        try:
            code = self.process.wait(seconds)
        finally:
            self.process.kill()
        return code, self.said.read_text()

    def states(self):
        """What the jobs say of themselves."""
        states = [json.loads(path.read_text()) for path in self.folder.glob(f"{FOLDER}/*.json")]
        return {state["key"]: state for state in states}

    def wait_for_epoch(self, epoch, job="*", seconds=240):
        """Until a job of training has come so far; returns its folder."""

        def there():
            logs = self.folder.glob(f"{job}/run.log")
            return [log.parent for log in logs if f"epoch {epoch}/" in log.read_text()]

        wait_until(lambda: there() or self.process.poll() is not None, seconds)
        assert there(), self.said.read_text()
        return there()[0]
