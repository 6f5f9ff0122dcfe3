"""Ctrl-C and SIGTERM: the main process stops in good order, then at once; a worker ends its job."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_STOPPING = (signal.SIGINT, signal.SIGTERM)
_received: int | None = None


def received() -> int | None:
    """The signal that this process was to stop by: a library may meet it in the middle of something, and
    raise another error for it."""
    return _received


def install(last_words: Callable[[], None]) -> None:
    """In the main process: they raise KeyboardInterrupt, once. A further one says `last_words`, kills
    the workers and ends this process."""

    def stop(number: int, frame: FrameType | None) -> None:
        global _received
        if _received is not None:
            for child in multiprocessing.active_children():
                child.kill()
            last_words()
            os._exit(128 + number)
        _received = number
        raise KeyboardInterrupt

    global _received
    _received = None
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _STOPPING:  # a shell starts its background jobs with Ctrl-C ignored
        if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
            signal.signal(number, stop)


@contextmanager
def raising(error: type[Exception]) -> Iterator[None]:
    """In a worker, while a job runs: they raise `error` in it, once; the worker lives on."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        global _received
        if _received is None:
            _received = number
            raise error(signal.Signals(number).name)

    global _received
    _received = None
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, interrupt) for number in _STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
