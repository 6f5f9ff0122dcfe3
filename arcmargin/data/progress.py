"""How far work other than training has come: a bar in a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 10.0


def with_progress(
    items: Iterable[T], total: int, title: str, *, count: Callable[[T], int] = lambda _: 1
) -> Iterator[T]:
    """The items as they come; stderr shows how many of `total` are done. `count`: of how many an item
    consists."""
    if sys.stderr.isatty():
        with tqdm(total=total, desc=title, delay=1, leave=False) as bar:
            for item in items:
                yield item
                bar.update(count(item))
        return
    done, last_line = 0, time.perf_counter()
    for item in items:
        yield item
        done += count(item)
        if time.perf_counter() - last_line >= SECONDS_BETWEEN_LINES and done < total:
            last_line = time.perf_counter()
            print(f"{title}: {done:,} of {total:,}", file=sys.stderr, flush=True)
