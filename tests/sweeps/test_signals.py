"""Ctrl-C and SIGTERM, once and twice."""

import signal
import subprocess
import sys

import pytest
from sweep_tasks import is_alive, wait_until

from arcmargin.errors import Interrupted
from arcmargin.sweeps import signals


@pytest.fixture
def as_a_shell_leaves_them():
    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in defaults.items()}
    yield defaults
    assert {number: signal.getsignal(number) for number in defaults} == defaults
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_main_process_stops_in_good_order(number, as_a_shell_leaves_them):
    with signals.stopping(lambda: None):
        assert signals.received() is None
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert signals.received() == number


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_job_is_interrupted_once(number, as_a_shell_leaves_them):
    with signals.raising(Interrupted):
        with pytest.raises(Interrupted, match=signal.Signals(number).name):
            signal.raise_signal(number)
        signal.raise_signal(number)  # the user presses it again while the checkpoint is written


def test_what_a_shell_wants_ignored_is_ignored(as_a_shell_leaves_them):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with signals.stopping(lambda: None):
        signal.raise_signal(signal.SIGINT)
        assert signals.received() is None
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_the_second_kills_the_workers_and_ends_at_once(tmp_path):
    code = (
        "import multiprocessing, os, signal, time\n"
        "from arcmargin.sweeps import signals\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "child = multiprocessing.get_context('fork').Process(target=time.sleep, args=(600,))\n"
        "child.start()\nprint(child.pid, flush=True)\n"
        "with signals.stopping(lambda: os.write(2, b'how to go on')):\n"
        "    try:\n        signal.raise_signal(signal.SIGINT)\n"
        "    except KeyboardInterrupt:\n        print('first', flush=True)\n"
        "    signal.raise_signal(signal.SIGINT)\n    print('never')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    child, *rest = done.stdout.split()
    assert (done.returncode, rest, done.stderr) == (130, ["first"], "how to go on")
    wait_until(lambda: not is_alive(int(child)))
