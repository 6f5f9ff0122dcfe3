"""Progress of work that is not training: a bar in a terminal, now and then a line elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def counted(items: Iterable[T], total: int, doing: str, *, every_s: float = 10.0) -> Iterator[T]:
    """The items, while someone watches how many of `total` there were."""
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=doing, delay=1, leave=False)
        return
    said = time.perf_counter()
    for done, item in enumerate(items, start=1):
        yield item
        if time.perf_counter() - said >= every_s and done < total:
            said = time.perf_counter()
            print(f"{doing}: {done:,} of {total:,}", file=sys.stderr, flush=True)
