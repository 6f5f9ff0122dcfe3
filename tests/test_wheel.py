"""A real wheel in an environment of its own, run from an empty folder."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from arcmargin.record import find_results

# One wheel for all of them: in one process.
pytestmark = pytest.mark.long
ROOT = Path(__file__).resolve().parent.parent


def run(*command, **kwargs):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A function that runs a command of the wheel in a folder, and where the package lies."""
    folder = tmp_path_factory.mktemp("wheel")
    python = sys.executable
    run(python, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    run(python, "-m", "venv", "--without-pip", folder / "venv")
    fresh = folder / "venv" / "bin" / "python"
    run(python, "-m", "pip", "--python", fresh, "install", "--quiet", "--no-deps", wheel)
    site = Path(run(fresh, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # The dependencies of these tests, but not their source tree: what makes an editable install
    # findable counts in a site folder only, and this line makes none.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def command(name, *arguments, cwd):
        return run(fresh.with_name(name), *arguments, cwd=cwd, env=environment)

    return command, site


def test_it_carries_the_package_its_configuration_and_its_plugin(installed, tmp_path):
    command, site = installed
    where = "import arcmargin, hydra_plugins.arcmargin_launchers as launchers; "
    where += "print(arcmargin.__file__, launchers.__file__)"
    package, plugin = command("python", "-c", where, cwd=tmp_path).split()
    assert package == str(site / "arcmargin" / "__init__.py")
    assert plugin == str(site / "hydra_plugins" / "arcmargin_launchers" / "__init__.py")
    assert (site / "arcmargin" / "conf" / "config.yaml").exists()
    assert not {"conf", "tests", "scripts"} & {path.name for path in site.iterdir()}


def test_a_run_is_embedded_and_exported(installed, tmp_path):
    command, _ = installed
    command("arcmargin", "header=cosface", "+debug=fast", "logger=none", cwd=tmp_path)
    (result,) = find_results(tmp_path / "outputs").results
    assert result.finished and result.git_commit is None
    said = command("arcmargin-export", str(result.folder), cwd=tmp_path)
    assert "backbone.pt2" in said


def test_a_sweep_finds_the_launcher_and_is_reported(installed, tmp_path):
    command, _ = installed
    settings = ("header=arcface,cosface", "+debug=fast", "logger=none", "sweep=heads")
    command("arcmargin", "--multirun", *settings, cwd=tmp_path)
    sweep = tmp_path / "outputs" / "sweeps" / "heads"
    results = find_results(sweep).results
    assert {result.settings.header for result in results} == {"arcface", "cosface"}
    command("arcmargin-report", str(sweep), "--out", "report", cwd=tmp_path)
    assert (tmp_path / "report" / "index.html").exists()


@pytest.mark.parametrize("name", ["", "-report", "-embed", "-verify", "-export"])
def test_every_command_says_how_it_is_used(installed, tmp_path, name):
    command, _ = installed
    assert "arcmargin" in command(f"arcmargin{name}", "--help", cwd=tmp_path)
