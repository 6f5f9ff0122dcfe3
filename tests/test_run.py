"""The entry point as a process: its start, its terminal, its end."""

import os
import pty
import re
import subprocess
import sys
import termios

import pytest

ROOT_OPTIONS = ("--help", "header=arcfaze", "m2=abc")
# conftest.py keeps W&B offline for all tests; this wants to see what the product decides itself.
WITHOUT_MODE = {key: value for key, value in os.environ.items() if key != "WANDB_MODE"}


def command(*arguments):
    return [sys.executable, "-m", "arcmargin.run", *arguments]


@pytest.mark.parametrize("argument", ROOT_OPTIONS)
def test_help_and_typos_answer_without_loading_torch(tmp_path, argument):
    code = (
        f"import sys, arcmargin.run as run; sys.argv[1:] = [{argument!r}]\n"
        "try: run.main()\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'wandb' not in sys.modules, 'loaded too early'"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_ctrl_c_says_how_to_go_on_and_the_run_can_be_resumed(tmp_path, interrupt_training):
    arguments = ["logger=none", "threads=1", "epochs=1000", "hydra.run.dir=x"]
    code, rest = interrupt_training(arguments, cwd=tmp_path)
    assert code == 130
    assert "resume=x" in rest and "Traceback" not in rest
    assert not (tmp_path / "x" / "record.json").exists()
    done = subprocess.run(
        command("logger=none", "threads=1", "epochs=60", "resume=x"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "epoch 1/60" not in done.stderr and "epoch 60/60" in done.stderr


@pytest.mark.long
def test_a_terminal_gets_a_bar_and_no_prompt(tmp_path):
    parent, child = pty.openpty()
    termios.tcsetwinsize(child, (24, 80))
    process = subprocess.Popen(
        command("epochs=30", "threads=1", "dataset.classes=4"),
        cwd=tmp_path,
        stdin=child,
        stdout=child,
        stderr=child,
        env=WITHOUT_MODE,
    )
    os.close(child)
    shown = b""
    while True:
        try:
            part = os.read(parent, 4096)
        except OSError:  # the terminal closes with its last process
            break
        if not part:
            break
        shown += part
    assert process.wait(60) == 0, shown.decode()
    assert re.search(rb"epoch \d+/30 \|", shown)
    assert b"Enter your choice" not in shown
