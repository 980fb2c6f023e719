"""SIGINT and SIGTERM: let the step finish and be saved, then stop; but let nobody wait for long."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from sslkit.errors import SslkitError

PATIENCE_S = 4.0
"""How long a step may go on after an interrupt: batch systems kill some seconds after they have asked."""

_LEAVING_S = 3.0
"""How long the main thread may take to leave a step that is given up."""

_SAME_S = 1.0
"""A terminal and torchrun both pass an interrupt on: what follows so soon is the same one."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Within `with Interrupt() as interrupt`, signals set `interrupt.requested`; the old handlers come back after it.

    The loop is to look there after each step. When a step goes on for longer than `patience_s` after the signal, it is
    given up, where that can be done; see `at_rest`. A second SIGINT raises KeyboardInterrupt at once. Outside the main
    thread, where signals cannot be caught, it does nothing.
    """

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self.requested = False
        self._patience_s = patience_s
        self._at_once = self._given_up = self._left = self._holds = False
        self._first_s = 0.0
        self._before: dict[signal.Signals, Any] = {}
        self._save: Callable[[], None] | None = None
        self._failure: SslkitError | None = None
        self._moving = threading.Lock()
        self._ended = threading.Event()

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._handle)
            # The system writes the number of a signal there at once, whatever the main thread is busy with.
            heard, self._wakeup = socket.socketpair()
            self._wakeup.setblocking(False)
            self._wakeup_before = signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
            self._holds = self._moving.acquire()
            threading.Thread(target=self._watch, args=(heard,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._before:
            signal.set_wakeup_fd(self._wakeup_before)
            self._wakeup.shutdown(socket.SHUT_RDWR)  # closing is not enough where forked workers have it too
            self._wakeup.close()
            if self._holds:
                self._moving.release()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Within, there is nothing to save, and an interrupt raises KeyboardInterrupt where it arrives."""
        self._at_once = True
        try:
            if self.requested:
                raise KeyboardInterrupt
            with self.at_rest(lambda: None):
                yield
        finally:
            self._at_once = False

    @contextlib.contextmanager
    def at_rest(self, save: Callable[[], None]) -> Iterator[None]:
        """Within, the state is that of the last step: `save`, called from another thread, may save it.

        It does when an interrupt has waited for too long; KeyboardInterrupt follows. A main thread that is deep inside
        a library cannot be reached so: after SIGTERM the process then ends without it, with exit code 130.
        """
        if not self._before:
            yield
            return
        self._save, self._holds = save, False
        self._moving.release()
        try:
            yield
        finally:
            self._holds = self._moving.acquire()  # waits while the other thread saves
            self._save = None
            if self._given_up and not self._left:
                self._left = True
                raise self._failure or KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again = self.requested and number == signal.SIGINT and time.monotonic() > self._first_s + _SAME_S
        if not self.requested:
            self.requested, self._first_s = True, time.monotonic()
        if self._given_up and not self._left:
            self._left = True
            raise self._failure or KeyboardInterrupt
        if self._at_once or again:
            raise KeyboardInterrupt

    def _watch(self, heard: socket.socket) -> None:
        """Wait for a signal, and then for the main thread to end by itself."""
        with heard:
            while numbers := heard.recv(64):  # nothing more once the other side is closed
                asked = [number for number in numbers if number in _SIGNALS]
                if asked and not self._ended.wait(self._patience_s):
                    self._give_up(hard=signal.SIGTERM in asked)
                    self._ended.wait()

    def _give_up(self, hard: bool) -> None:
        with self._moving:
            if self._ended.is_set() or self._save is None:
                return
            try:
                self._save()
            except SslkitError as error:
                self._failure = error
            self._given_up = True
        ident = threading.main_thread().ident
        if ident is not None:
            signal.pthread_kill(ident, signal.SIGTERM)  # it may be asleep
        if hard and not self._ended.wait(_LEAVING_S):
            for child in multiprocessing.active_children():
                child.kill()
            print(f"sslkit: {self._failure or 'interrupted.'}", file=sys.stderr, flush=True)
            os._exit(self._failure.exit_code if self._failure else 130)
