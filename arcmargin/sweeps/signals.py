"""Ctrl-C and SIGTERM: the main process stops in good order, then at once; a worker ends its job."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

_STOPPING = (signal.SIGINT, signal.SIGTERM)
_received: int | None = None


def received() -> int | None:
    """The signal that this process was to stop by: a library may meet it in the middle of something, and
    raise another error for it."""
    return _received


@contextmanager
def stopping(last_words: Callable[[], None]) -> Iterator[None]:
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

    defaults = (signal.default_int_handler, signal.SIG_DFL)  # else a shell wants it ignored
    with _handled_by(stop, [one for one in _STOPPING if signal.getsignal(one) in defaults]):
        yield


@contextmanager
def raising(error: type[Exception]) -> Iterator[None]:
    """In a worker, while a job runs: they raise `error` in it, once; the worker lives on."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        global _received
        if _received is None:
            _received = number
            raise error(signal.Signals(number).name)

    with _handled_by(interrupt, _STOPPING):
        yield


@contextmanager
def _handled_by(
    handler: Callable[[int, FrameType | None], None], numbers: Iterable[int]
) -> Iterator[None]:
    """Python handles signals in the main thread alone."""
    global _received
    _received = None
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
