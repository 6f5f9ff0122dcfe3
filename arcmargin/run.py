"""The entry point: a Hydra application that trains one run, or each job of a multirun.

python -m arcmargin.run header=cosface
python -m arcmargin.run --multirun header=arcface,cosface,sphereface m2=0.2,0.5
"""

import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from arcmargin.job import processes
from arcmargin.job.hydra_versions import main_arguments
from arcmargin.job.schema import CONF
from arcmargin.sweeps import command_line, display, resolvers, signals, summary

resolvers.register()


def main(task: Callable[[], None] | None = None) -> None:
    """The command line: a user's mistake ends in one sentence and exit code 2. `task`: another Hydra
    application in the place of training."""
    with processes.together(), signals.stopping(display.last_words):
        try:
            sys.argv[1:] = command_line.prepare(sys.argv[1:], CONF)
            (task or _task)()
        except KeyboardInterrupt:
            summary.interrupted()
            sys.exit(128 + (signals.received() or 2))
        except SystemExit as end:
            if end.code == 1:  # Hydra's own, after it printed the error that it met
                command_line.refuse_mistake(end.__context__)
            raise
        except Exception as error:
            command_line.refuse_mistake(error)
            raise
        finally:
            display.end()


@hydra.main(config_path=str(CONF), config_name="config", **main_arguments())
def _task(cfg: DictConfig) -> float | None:
    # torch and Lightning come with these: --help and a typo answer at once.
    from arcmargin.sweeps import job

    folder = Path(HydraConfig.get().runtime.output_dir)
    multirun = HydraConfig.get().mode == RunMode.MULTIRUN
    return job.run_in_sweep(cfg, folder) if multirun else job.run_alone(cfg, folder)


if __name__ == "__main__":
    # Through the module's own name: worker processes import the task by it.
    import arcmargin.run as entry

    entry.main()
