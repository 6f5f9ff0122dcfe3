"""A real wheel, installed apart from the source tree and run from an empty folder."""

import os
import subprocess
import sys
from pathlib import Path

from arcmargin.record import find_records

ROOT = Path(__file__).resolve().parent.parent


def run(*command, **kwargs):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_the_wheel_runs_the_main_job_from_an_empty_folder(tmp_path):
    wheels, site, empty = (tmp_path / name for name in ("wheels", "site", "empty"))
    empty.mkdir()
    python = sys.executable
    run(python, "-m", "build", "--wheel", "--no-isolation", "--outdir", wheels, cwd=ROOT)
    (wheel,) = wheels.glob("*.whl")
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel)
    assert (site / "arcmargin" / "conf" / "config.yaml").exists()
    assert not (site / "conf").exists()
    environment = {**os.environ, "PYTHONPATH": str(site)}
    where = run(
        python, "-c", "import arcmargin; print(arcmargin.__file__)", env=environment, cwd=empty
    )
    assert where.stdout.startswith(str(site))
    command = [python, "-m", "arcmargin.run", "header=cosface", "+debug=fast", "logger=none"]
    run(*command, env=environment, cwd=empty)
    (record,) = find_records(empty / "outputs").records
    assert record.finished and record.git_commit is None
    run(python, "-m", "arcmargin.report", "outputs", env=environment, cwd=empty)
    assert (empty / "outputs" / "report" / "grid.png").exists()
