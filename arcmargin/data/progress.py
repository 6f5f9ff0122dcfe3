"""How far work other than training has come: a bar in a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def with_progress(
    items: Iterable[T], total: int, title: str, *, seconds_between_lines: float = 10.0
) -> Iterator[T]:
    """The items as they come; stderr shows how many of `total` are done."""
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=title, delay=1, leave=False)
        return
    last_line = time.perf_counter()
    for done, item in enumerate(items, start=1):
        yield item
        if time.perf_counter() - last_line >= seconds_between_lines and done < total:
            last_line = time.perf_counter()
            print(f"{title}: {done:,} of {total:,}", file=sys.stderr, flush=True)
