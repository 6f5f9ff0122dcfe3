"""A sweep at a glance: what is said of its jobs, and how long it may take."""

import re
import shlex
import sys

import pytest
import sweep_tasks
from sweep_tasks import is_alive, wait_until
from sweep_terminal import Terminal

from arcmargin.sweeps import state
from arcmargin.sweeps.display import Overview, format_duration
from arcmargin.sweeps.state import Job


def job(key, state, **more):
    return Job(key, "arcface m2=0.5", key, ["m2=0.5", f"seed={key}"], state=state, **more)


def test_the_time_left_follows_the_pace():
    seen = Overview(expected=4, swept=["seed"])
    seen.update(job("0", "running"), now=100.0)
    assert seen.seconds_left(110.0) is None
    seen.update(job("0", "finished", score=0.9), now=110.0)
    assert seen.seconds_left(110.0) == pytest.approx(30.0)
    seen.update(job("1", "running", first_epoch=4, epoch=6, epochs=8), now=115.0)
    assert seen.seconds_left(115.0) == pytest.approx(15 / 1.5 * 2.5)
    seen.update(job("2", "skipped", score=0.8), now=115.0)
    assert seen.seconds_left(115.0) == pytest.approx(15 / 1.5 * 1.5)
    assert seen.line(115.0) == (
        "2/4 done, 1 running, best 90.00 % (arcface m2=0.5 seed=0), about 15 s left"
    )


def test_a_repeated_job_does_not_count():
    seen = Overview(expected=3)
    seen.update(job("0", "finished", score=0.9), now=0.0)
    seen.update(job("0~1", "repeated"), now=0.0)
    assert seen.total == 2 and seen.done == 1 and seen.not_run == 1
    assert seen.line(0.0).startswith("1/2 done, best 90.00 %")


def test_the_best_is_so_by_the_score_that_chooses():
    seen = Overview(swept=["seed"])
    for key, eer in (("0", 0.2), ("1", 0.1)):
        name = "val_unseen_verification_eer"
        seen.update(job(key, "finished", score=eer, score_name=name), now=0.0)
    assert seen.line(1.0).endswith("best 10.00 % (arcface m2=0.5 seed=1)")


def test_a_search_knows_no_total():
    seen = Overview()
    seen.update(job("0", "finished", score=0.9), now=0.0)
    seen.update(job("1", "failed", error="why"), now=0.0)
    assert seen.line(10.0) == "1 done, 1 failed, best 90.00 % (arcface m2=0.5)"


def test_a_job_that_is_over_in_one_line():
    seen = Overview(swept=["m2", "optimizer.lr"])
    done = Job("0", "arcface m2=0.5", "0", ["m2=0.5", "optimizer.lr=0.1"], state="finished")
    done.score, done.seconds = 0.98765, 100.0
    assert seen.outcome(done) == "arcface m2=0.5 lr=0.1: validation accuracy 98.77 % in 2 min"
    done.score, done.score_name = 0.4321, "val_unseen_retrieval_map_at_r"
    assert "validation mAP@R 43.21 % in" in seen.outcome(done)
    done.state, done.error = "failed", "why"
    assert seen.outcome(done) == "arcface m2=0.5 lr=0.1 failed: why"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (0.5, "0.5 s"),
        (0.96, "1 s"),
        (89.0, "89 s"),
        (90.0, "2 min"),
        (9e3, "2.5 h"),
    ],
)
def test_a_duration_in_words(seconds, text):
    assert format_duration(seconds) == text


# In a terminal: small tasks in the place of training


def command(task, *arguments):
    here = ["--multirun", "hydra.sweep.dir=sweep", "logger=none"]
    return [sys.executable, sweep_tasks.__file__, task, *here, *arguments]


@pytest.mark.parametrize("columns", [120, 40])
def test_a_bar_that_goes_and_a_line_a_job(columns, tmp_path):
    arguments = ["seed=0,1,2", "epochs=2", "hydra.launcher.n_jobs=2"]
    terminal = Terminal(*command("together", *arguments), cwd=tmp_path, columns=columns)
    assert terminal.end() == 0, terminal.shown
    assert re.search(r"[0-3]/3 done", terminal.shown) and "|" in terminal.shown
    drawn = [part for part in re.split(r"[\r\n]", terminal.shown) if "done |" in part]
    assert drawn and all(len(part) <= columns for part in drawn), (
        "a longer line would wrap and stay"
    )
    ends = [line for line in terminal.lines() if "validation accuracy" in line]
    assert sorted(line.partition(":")[0] for line in ends) == [f"arcface seed={s}" for s in "012"]
    assert not any("elapsed" in line for line in terminal.lines()), "no leftovers"
    assert not (tmp_path / "sweep" / state.FOLDER).exists()


def processes(folder):
    return [int(path.read_text()) for path in folder.glob("sweep/*/process") if path.read_text()]


def test_ctrl_c_says_how_to_go_on_and_no_worker_stays(tmp_path):
    arguments = command("orphan", "seed=0,1,2", "hydra.launcher.n_jobs=2", "sweep=try")
    terminal = Terminal(*arguments, cwd=tmp_path)
    terminal.wait_for(lambda: len(processes(tmp_path)) == 2)
    terminal.press_ctrl_c()
    assert terminal.end() == 130, terminal.shown
    assert "Traceback" not in terminal.shown
    *_, what, how = terminal.lines()
    assert what.startswith("interrupted: 0/3 done") and shlex.split(how) == arguments
    wait_until(lambda: not any(is_alive(process) for process in processes(tmp_path)), 20)


def test_the_second_ctrl_c_ends_what_does_not_end_by_itself(tmp_path):
    arguments = command("stubborn", "seed=0,1", "hydra.launcher.n_jobs=2", "sweep=try")
    terminal = Terminal(*arguments, cwd=tmp_path)
    terminal.wait_for(lambda: len(processes(tmp_path)) == 2)
    terminal.press_ctrl_c()
    terminal.wait_for(lambda: len(list(tmp_path.glob("sweep/*/interrupted"))) == 2)
    # Two that come before Python has seen to the first are one.
    terminal.wait_for(lambda: state.stopped(tmp_path / "sweep"))
    terminal.press_ctrl_c()
    assert terminal.end() == 130, terminal.shown
    # Python's own resource tracker ends after it, and may say that it tidied up.
    lines = terminal.lines()
    how = lines[lines.index("stopped at once; to go on:") + 1]
    assert shlex.split(how) == arguments
    wait_until(lambda: not any(is_alive(process) for process in processes(tmp_path)), 20)
