"""What a user sees of a sweep: its progress, its failures, Ctrl-C, and how it ends."""

import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from arcmargin.errors import UserError
from arcmargin.job.user_errors import sentence
from arcmargin.record import find_records
from arcmargin.sweeps.command_line import expanded
from arcmargin.sweeps.overview import Overview
from arcmargin.sweeps.state import Job, Reporter, Stopped, read_jobs, state, stop

QUICK = ["logger=none", "dataset.classes=4", "epochs=2", "threads=1"]
ENTRY = [sys.executable, "-m", "arcmargin.run"]


def arcmargin(*arguments, cwd, env=None):
    return subprocess.run(
        [*ENTRY, *arguments], cwd=cwd, capture_output=True, text=True, check=False, env=env
    )


class Terminal:
    """A command in a real terminal, in whose foreground it is."""

    def __init__(self, *arguments, cwd, columns=80):
        self.parent, child = pty.openpty()
        termios.tcsetwinsize(child, (24, columns))
        self.process = subprocess.Popen(
            ["setsid", "-c", "-w", *ENTRY, *arguments],
            cwd=cwd,
            stdin=child,
            stdout=child,
            stderr=child,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        os.close(child)
        self.shown = ""

    def until(self, pattern, seconds=150):
        """Reads until `pattern` was shown, or to the end."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.shown) and time.monotonic() < deadline:
            if select.select([self.parent], [], [], 0.2)[0]:
                try:
                    self.shown += os.read(self.parent, 65536).decode()
                except OSError:  # the terminal closes with its last process
                    return self

        return self

    def press_ctrl_c(self):
        os.write(self.parent, b"\x03")

    def lines(self):
        """What stands there at the end: of a line that was rewritten, the last state."""
        shown = self.shown.replace("\r\n", "\n").split("\n")
        return [re.split(r"\r\x1b\[K|\^C", line)[-1] for line in shown]


def working_in(folder):
    """The processes whose current directory it is."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").readlink() == folder:
                found.append((process / "cmdline").read_text())
    return found


def test_a_terminal_shows_one_line_that_goes_and_a_line_a_job(tmp_path):
    # The command line's headers and seeds win over the experiment's.
    arguments = ["+experiment=digits_circle", "header=linear,arcface", "seeds=2", "sweep=try"]
    arguments += QUICK
    terminal = Terminal(*arguments, cwd=tmp_path).until("no such text")
    assert terminal.process.wait(60) == 0, terminal.shown
    assert re.search("[0-4]/4 done, 1 running", terminal.shown) and "elapsed" in terminal.shown
    lines = terminal.lines()
    assert not any("elapsed" in line or "epoch" in line for line in lines), "no leftovers"
    ends = [line for line in lines if "validation accuracy" in line]
    assert len(ends) == 4 and any(line.startswith("arcface m2=0.4887 seed=1: ") for line in ends)
    drawn = [part for part in terminal.shown.split("\r\x1b[K") if "elapsed" in part]
    assert all(len(part) < 80 for part in drawn), "a longer line would wrap and stay"
    assert not (tmp_path / "outputs" / "sweeps" / "try" / ".progress").exists()


def test_a_log_gets_a_line_a_job_and_says_why_and_how_to_go_on(tmp_path):
    arguments = ["--multirun", "m2=-1,0.2", "optimizer.lr=0.1,1e30", *QUICK]
    arguments += ["trainer.gradient_clip_val=null", "+note='two words'"]
    done = arcmargin(*arguments, cwd=tmp_path)
    (folder,) = (tmp_path / "outputs" / "sweeps").iterdir()
    said = done.stderr.splitlines()
    assert done.returncode == 1 and "\r" not in done.stderr and "epoch 1/" not in done.stderr
    (finished,) = (line for line in said if "validation accuracy" in line)
    assert finished.startswith("arcface m2=0.2 lr=0.1: ") and "done, 2 failed" in finished
    summary = said[-7:]
    assert summary[0] == "failed: arcface m2=-1 lr=0.1: m2 must be >= 0, got -1.0"
    assert summary[2].startswith("failed: arcface m2=0.2 lr=1e+30: the training loss became nan")
    assert "4 jobs" in summary[4] and "1 finished, 3 failed" in summary[4]
    given = shlex.split(summary[6])
    assert given == [*ENTRY, *arguments, f"sweep={folder.name}"], "to be pasted into a shell"
    for record in find_records(folder).records:
        text = record.folder / "traceback.txt"
        assert text.exists() == (not record.finished)
        if not record.finished:
            assert record.error in " ".join(text.read_text().split())
            assert "Traceback" in (record.folder / "run.log").read_text()
            assert "\n" not in record.error
    # Just those again: the finished job is left as it is.
    written = [r.folder / "record.json" for r in find_records(folder).records]
    before = {path: path.stat().st_mtime_ns for path in written}
    again = subprocess.run(given, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 1 and "1 finished already, 3 failed" in again.stderr
    assert sum(path.stat().st_mtime_ns != at for path, at in before.items()) == 3


def test_all_finished_is_said_and_the_report_is_written_again(tmp_path):
    arguments = ["header=linear", "m2=0.1,0.2", "seeds=1", "sweep=try", *QUICK]
    done = arcmargin(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 job in outputs/sweeps/try: 1 finished" in done.stderr, "m2 is nothing to linear"
    assert "; 1/1 done, best" in done.stderr, "and is known to be nothing before the job ran"
    table = tmp_path / "outputs" / "sweeps" / "try" / "report" / "summary.md"
    table.unlink()
    again = arcmargin(*arguments, cwd=tmp_path)
    assert again.returncode == 0 and table.exists()
    assert "nothing to run: all of 1 in outputs/sweeps/try finished already" in again.stderr
    assert "| linear |" in again.stdout


def test_a_report_that_cannot_be_written_hides_nothing(tmp_path):
    folder = tmp_path / "outputs" / "sweeps" / "try"
    folder.mkdir(parents=True)
    (folder / "report").write_text("a file where the folder should be")
    command = ["--multirun", "sweep=try", *QUICK]
    done = arcmargin(*command, "m2=-1,0.2", cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "no report: cannot write outputs/sweeps/try/report" in done.stderr
    assert "1 finished, 1 failed" in done.stderr and "failed: arcface m2=-1: m2" in done.stderr
    done = arcmargin(*command, "m2=0.2", cwd=tmp_path)
    assert done.returncode == 1 and "1 in outputs/sweeps/try finished already" in done.stderr


def test_on_error_raise_stops_at_the_first_failure(tmp_path):
    arguments = ["--multirun", "m2=-1,0.1,0.2", "on_error=raise", "sweep=try", *QUICK]
    done = arcmargin(*arguments, cwd=tmp_path, env={**os.environ, "HYDRA_FULL_ERROR": "1"})
    assert done.returncode == 1
    assert "1 failed, 2 not run" in done.stderr
    assert "arcmargin.errors.UserError: m2 must be" in done.stderr, "HYDRA_FULL_ERROR=1"
    assert len(find_records(tmp_path / "outputs" / "sweeps" / "try").records) == 1


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_ctrl_c_stops_the_sweep_and_says_how_to_go_on(tmp_path, launcher):
    arguments = ["header=linear,arcface", "seeds=2", "sweep=try", "logger=none", "threads=1"]
    arguments += ["epochs=2000", f"hydra/launcher={launcher}"]
    terminal = Terminal(*arguments, cwd=tmp_path, columns=120)
    folder = tmp_path / "outputs" / "sweeps" / "try"
    deadline = time.monotonic() + 120
    while not list(folder.glob("*/checkpoints/last.ckpt")) and time.monotonic() < deadline:
        terminal.until("no such text", seconds=0.5)
    assert working_in(tmp_path)
    terminal.press_ctrl_c()
    terminal.until("no such text", seconds=60)
    assert terminal.process.wait(60) == 130, terminal.shown
    assert "Traceback" not in terminal.shown
    *_, what, how = (line for line in terminal.lines() if line.strip())
    assert what.startswith("interrupted: 0/4 done")
    assert shlex.split(how) == [*ENTRY, *arguments]
    assert list(folder.glob("*/checkpoints/last.ckpt")) and not find_records(folder).records
    deadline = time.monotonic() + 20
    while working_in(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not working_in(tmp_path), "no worker stays behind"


def test_a_second_ctrl_c_kills_at_once(tmp_path):
    code = (
        "import os, signal, time, pathlib\nfrom arcmargin.sweeps import interrupts, overview, watch\n"
        "watch.begin(pathlib.Path.cwd(), overview.Overview(), again='the same command')\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\ninterrupts.install()\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT); time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    print('first', flush=True); os.kill(os.getpid(), signal.SIGINT); time.sleep(60)\n"
        "finally:\n    print('never')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout) == (130, "first\n"), done.stderr
    assert done.stderr == "stopped at once; to go on:\n  the same command\n"


def test_seeds_in_hydras_words():
    assert expanded(["a=1", "seeds=3"]) == ["--multirun", "a=1", "seed=range(3)"]
    assert expanded(["-m", "seeds=3", "a=1"]) == ["-m", "seed=range(3)", "a=1"]
    assert expanded(["embedding_dim=7"]) == ["embedding_dim.size=7"]
    for wrong in ("0", "abc", "-1", "1.5", "1,2", ""):
        with pytest.raises(
            UserError, match=f"seeds must be a whole number from 1 on, got '{wrong}'"
        ):
            expanded([f"seeds={wrong}"])
    with pytest.raises(UserError, match="seed=1 cannot be given too"):
        expanded(["seed=1", "seeds=2"])


def test_out_of_memory_is_one_sentence():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2 * 10**14)
    assert sentence(caught.value).startswith("out of memory (can't allocate memory: you tried")
    cuda = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a")
    assert sentence(cuda).startswith("out of memory (Tried to allocate 20.00 GiB); try a smaller")
    assert sentence(MemoryError()).startswith("out of memory")
    assert sentence(RuntimeError("a\n b")) == "RuntimeError: a b"


# The state of a sweep, without one


def job(key, state, **more):
    return Job(key, "arcface m2=0.5", key, ["m2=0.5", f"seed={key}"], state, **more)


def test_the_time_left_follows_the_pace():
    seen = Overview(expected=4, swept=["seed"])
    seen.update([job("0", "running")], now=100.0)
    assert seen.seconds_left(110.0) is None
    seen.update([job("0", "finished", score=0.9)], now=110.0)
    assert seen.seconds_left(110.0) == pytest.approx(30.0)
    seen.update([job("1", "running", first_epoch=4, epoch=6, epochs=8)], now=115.0)
    assert seen.seconds_left(115.0) == pytest.approx(15 / 1.5 * 2.5)
    seen.update([job("2", "skipped", score=0.8)], now=115.0)
    assert seen.seconds_left(115.0) == pytest.approx(15 / 1.5 * 1.5)
    assert seen.line(115.0) == "2/4 done, best 90.00 % (arcface m2=0.5 seed=0), about 15 s left"


def test_a_repeated_job_does_not_count():
    seen = Overview(expected=3)
    seen.update([job("0", "finished", score=0.9)], now=0.0)
    seen.update([Job("0~1", "arcface m2=0.5", "0", state="repeated")], now=0.0)
    assert seen.total == 2 and len(seen.among("finished", "skipped")) == 1 and seen.not_run == 1
    assert seen.line(0.0).startswith("1/2 done, best 90.00 %")


@pytest.mark.parametrize("width", range(10, 160, 10))
def test_a_status_line_fits_its_terminal(width):
    seen = Overview(expected=1000, swept=["seed", "optimizer.lr"])
    seen.update([job(str(i), "finished", score=0.5 + i / 1000) for i in range(300)], now=0.0)
    seen.update([job("x", "failed"), job("y", "running", epoch=3, epochs=30)], now=0.0)
    text = seen.status(1000.0, 5000.0, width)
    assert (len(text) < width and text.startswith("300/1000 done"[: width - 1])) or width > 100
    assert "seed=299" in text or width < 80
    assert text.endswith(("done", "failed", "left", "%", "=299", "/30")) or width < 20, (
        "no half words"
    )


def test_the_folder_tells_how_the_jobs_are(tmp_path):
    reporters = [Reporter(tmp_path / name, name=name, overrides=[f"seed={name}"]) for name in "abc"]
    for reporter in reporters:
        reporter.begin()
    known = {one.key: one for one in read_jobs(tmp_path, {})}
    assert {one.state for one in known.values()} == {"running"} and len(known) == 3
    reporters[0].end("finished", score=0.5)
    reporters[1].end("failed", error="why")
    known |= {one.key: one for one in read_jobs(tmp_path, known)}
    assert [known[name].state for name in "abc"] == ["finished", "failed", "running"]
    assert [one.key for one in read_jobs(tmp_path, known)] == ["c"], "the others are not read again"
    Reporter(tmp_path / "a", name="a").skip(0.5)
    assert not [one for one in read_jobs(tmp_path, known) if one.ended], "it said so itself"
    Reporter(tmp_path / "a", name="a", number=7).repeat()
    assert [one.folder for one in read_jobs(tmp_path, known) if one.ended] == [str(tmp_path / "a")]
    assert [one.state for one in read_jobs(tmp_path, known) if one.ended] == ["repeated"]
    reporters[2].skip(0.7)  # its worker died between its record and its last word
    assert (known["c"].state, state(tmp_path, "c")) == ("running", "finished")
    Reporter(tmp_path / "z", name="z").skip(0.5)
    assert (state(tmp_path, "z"), state(tmp_path, "y")) == ("skipped", None)
    (tmp_path / ".progress" / "d.json").write_text(json.dumps({"key": "d"}))
    (tmp_path / ".progress" / "e.json").write_text("{")
    assert {one.key for one in read_jobs(tmp_path, {})} == {"a", "a~7", "b", "c", "z"}


def test_a_job_in_flight_stops_when_the_sweep_is_to_end(tmp_path):
    reporter = Reporter(tmp_path / "a", name="a")
    reporter.begin()
    reporter.epoch(1, 3)
    stop(tmp_path)
    reporter._written -= 1
    with pytest.raises(Stopped):
        reporter.epoch(2, 3)
    reporter.epoch(3, 3)  # it is done all the same


def test_what_nobody_reads_or_can_be_written_does_not_stop_a_job(tmp_path):
    (tmp_path / ".progress").write_text("a file where the folder should be")
    reporter = Reporter(tmp_path / "a", name="a")
    reporter.begin()
    reporter.end("finished", score=1.0)
    assert read_jobs(tmp_path, {}) == []
