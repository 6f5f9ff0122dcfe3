"""Ctrl-C: the first stops in good order, the second at once."""

import multiprocessing
import os
import signal
from types import FrameType

from arcmargin.sweeps import watch


def install() -> None:
    """In the main thread of a process whose Ctrl-C still is Python's own."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        try:
            signal.signal(signal.SIGINT, _Interrupt())
        except ValueError:  # another thread: its launcher takes care of it
            return
        _mask("SIG_UNBLOCK")


def hold_back() -> None:
    """In this thread, and, until they `install`, in the processes that it starts: Ctrl-C ends the jobs,
    not what waits for them."""
    _mask("SIG_BLOCK")


def _mask(how: str) -> None:
    if hasattr(signal, "pthread_sigmask"):  # not on Windows
        signal.pthread_sigmask(getattr(signal, how), {signal.SIGINT})


def pressed() -> bool:
    """Whether Ctrl-C is what went wrong: a library may meet it in the middle of something, and raise
    another error for it."""
    return getattr(signal.getsignal(signal.SIGINT), "pressed", False)


class _Interrupt:
    def __init__(self) -> None:
        self.pressed = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.pressed:
            for child in multiprocessing.active_children():
                child.kill()
            watch.cut_short()
            os._exit(130)
        self.pressed = True
        raise KeyboardInterrupt
