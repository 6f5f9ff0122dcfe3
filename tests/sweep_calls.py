"""Sweeps as tests start them in this process, and what they leave."""

import sys

from command_line import in_process

from arcmargin.errors import UserError
from arcmargin.sweeps.command_line import expanded, refuse

HERE = ("--multirun", "hydra.sweep.dir=.", "logger=none")
# In this process, with neither a display nor a report.
QUIET = ("hydra/launcher=basic", "~hydra.callbacks.sweep")


def sweep(task, *arguments, cwd):
    """The command line's shorthands are ours, not Hydra's."""

    def main():
        try:
            sys.argv[1:] = expanded(sys.argv[1:])
        except UserError as error:
            refuse(error)
        task()

    return in_process(main, *HERE, *arguments, cwd=cwd)


def tree(folder):
    """Every file with its content and time."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in folder.rglob("*")
    }
