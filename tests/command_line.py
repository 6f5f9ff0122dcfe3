"""The command line as tests call it: in this process, or in one of its own where that is the point."""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from arcmargin import run

QUICK = ("epochs=1", "dataset.classes=4", "logger=none", "threads=1")


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def arcmargin(*arguments: str, cwd: Path) -> Done:
    """`python -m arcmargin.run ARGUMENTS` in `cwd`, without the process."""
    return in_process(run.main, *arguments, cwd=cwd)


def in_process(main: Callable[[], object], *arguments: str, cwd: Path) -> Done:
    """Any entry point that reads sys.argv and ends by returning or by SystemExit."""
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["arcmargin", *arguments]
    try:
        with (
            contextlib.chdir(cwd),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = main()
    except SystemExit as error:
        code = error.code
    finally:
        sys.argv = before
    if isinstance(code, str):
        err.write(f"{code}\n")
    return Done(
        code if isinstance(code, int) else int(code is not None), out.getvalue(), err.getvalue()
    )


def arcmargin_process(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 240
) -> Done:
    """The same as a process of its own; a traceback is never an answer."""
    command = [sys.executable, "-m", "arcmargin.run", *arguments]
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)
