"""docs/extending.md as a reader uses it: its files in an empty folder, its commands run there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import arcmargin, arcmargin_process

from arcmargin.backbones import Backbone
from arcmargin.headers import Header
from arcmargin.record import find_results

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
FILES = {
    text.partition("\n")[0].removeprefix("# "): text
    for text in re.findall(r"^```(?:python|yaml)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
}
COMMANDS = re.findall(r"^    (python -m arcmargin\.run|arcmargin) (.+)$", PAGE, re.MULTILINE)
# What the console script does: Python puts the script's folder on the path, not the current one.
SCRIPT = "import sys; from arcmargin.run import main; sys.argv[0] = 'arcmargin'; sys.exit(main())"


def in_processes(program: str, written: str) -> bool:
    return program == "arcmargin" or "--multirun" in written


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("reader")
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def test_every_part_has_its_files():
    groups = {Path(name).parent.name for name in FILES if name.endswith(".yaml")}
    assert groups == {"header", "dataset", "backbone", "optimizer"}
    assert len(FILES) == 9 and len(COMMANDS) == 7


@pytest.mark.parametrize(
    "index",
    [
        pytest.param(number, marks=[pytest.mark.long] if in_processes(*command) else [])
        for number, command in enumerate(COMMANDS)
    ],
)
def test_a_command_runs_as_it_is_written(index, folder):
    program, written = COMMANDS[index]
    arguments = shlex.split(written)
    before = {run.folder for run in find_results(folder).results}
    if program == "arcmargin":
        command = [sys.executable, "-P", "-c", SCRIPT, *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    elif "--multirun" in arguments:  # its jobs are processes of their own
        done = arcmargin_process(*arguments, cwd=folder)
    else:
        done = arcmargin(*arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    runs = [run for run in find_results(folder).results if run.folder not in before]
    assert len(runs) == (2 if "--multirun" in arguments else 1)
    for run in runs:
        assert run.metrics["accuracy"] > 0.5, run.settings.name
    if written.startswith("--config-dir own header=wide"):
        assert runs[0].settings.name == "combined m1=1.2 m2=0.2"


def test_the_parts_keep_the_contracts(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    from own_backbone import tiny
    from own_header import AngleHeader

    head = AngleHeader(3, 5, s=2.0, m2=0.25)
    embeddings, labels = torch.randn(7, 3), torch.arange(7) % 5
    margin = head.logits(embeddings) - head(embeddings, labels)
    expected = torch.zeros(7, 5)
    expected[torch.arange(7), labels] = 2.0 * 0.25
    torch.testing.assert_close(margin, expected)
    assert isinstance(head, Header)
    backbone = tiny(image_shape=(3, 12, 12), embedding_dim=4, width=2)
    assert isinstance(backbone, Backbone) and backbone(torch.randn(2, 3, 12, 12)).shape == (2, 4)
