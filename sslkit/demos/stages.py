"""What a demo spends its time on, and how far it is in a file."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import TypeVar

Item = TypeVar("Item")
Progress = Callable[[int, int, str], None]
_GIVE_BACK_EVERY = 20
"""Items after which memory that was freed is given back: often enough to hold little of it, and no work to speak of."""


class Stages:
    """Seconds on the wall of each stage of the work on one file. progress: called with (done, total, what)."""

    def __init__(self, progress: Progress | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """What happens within belongs to a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    def drawn(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """The items, each of which is got while the one before is worked on; waiting for one belongs to a stage."""
        source = iter(items)
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(next, source, None)
            for number in count(1):
                with self.stage(name):
                    item = coming.result()
                if item is None:
                    return
                coming = pool.submit(next, source, None)
                yield item
                if number % _GIVE_BACK_EVERY == 0:
                    _give_back()

    def reached(self, done: int, total: int, what: str) -> None:
        """Tell how far the work is."""
        if self._progress is not None:
            self._progress(min(done, total), total, what)


def _give_back() -> None:
    """Give memory that was freed back to the system.

    glibc keeps what lies below something that is still used: over the first hour of a file, a fifth of all memory.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
