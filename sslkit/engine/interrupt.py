"""SIGINT and SIGTERM: let the step finish and be saved, then stop."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

_SAME_S = 1.0
"""A terminal and torchrun both pass an interrupt on: what follows so soon is the same one."""


class Interrupt:
    """Within `with Interrupt() as interrupt`, signals set `interrupt.requested`; the old handlers come back after it.

    A second SIGINT raises KeyboardInterrupt at once. Outside the main thread, where signals cannot be caught, it does
    nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self._at_once = False
        self._first_s = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Within, there is nothing to save, and an interrupt raises KeyboardInterrupt where it arrives."""
        self._at_once = True
        try:
            if self.requested:
                raise KeyboardInterrupt
            yield
        finally:
            self._at_once = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again = self.requested and number == signal.SIGINT and time.monotonic() > self._first_s + _SAME_S
        if not self.requested:
            self.requested, self._first_s = True, time.monotonic()
        if self._at_once or again:
            raise KeyboardInterrupt
