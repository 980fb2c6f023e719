"""A process that does tasks of prepare-data, so that a decoder that hangs or crashes takes only one file with it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import cv2

from sslkit.data.task import Task
from sslkit.errors import SslkitError

# Beside `sys.path` its only argument is the number of the connection: see `main`.
_PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from sslkit.data.worker import main; main()"
_READY = -1
_START_S = 300.0
_NO_MEMORY = 12


class Died(Exception):
    """The process ended in the middle of a task. number: of the job that it was at, -1 for none."""

    def __init__(self, how: str, number: int) -> None:
        super().__init__(how)
        self.number = number


class _Stuck(Exception):
    """A job gave no sign of life for as long as it may."""


class Worker:
    """One such process, started when it is first needed, and replaced after it was killed or died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._at = _READY
        self._closed = False

    def do(self, task: Task, suspects: set[int] | None = None) -> str:
        """Finish a task, and return its name.

        A job that is stuck is given up and reported as skipped. suspects: jobs that the process ended on before. One
        that it ends on again is given up, too, and another is tried again; None, when something else that runs may be
        to blame, raises Died in both cases. Raises OSError when the samples cannot be written.
        """
        given_up: dict[int, str] = {}
        while True:
            try:
                self._once(task, given_up)
                return task.name
            except _Stuck:
                reason = f"took too long to read and was given up (time_limit_s is {task.settings.time_limit_s:g})"
            except Died as error:
                if suspects is None or self._closed or error.number in given_up:
                    raise
                if error.number not in suspects:
                    suspects.add(error.number)
                    continue
                if error.number == _READY:
                    raise
                reason = f"ended the process that read it, twice ({error})"
            job = next(job for job in task.jobs if job.number == self._at)
            given_up[job.number] = f"{job.item.path or job.item.source} {reason}."

    def close(self) -> None:
        """End the process at once, also from another thread; what it does is left undone."""
        self._closed = True
        self._kill()

    def _once(self, task: Task, given_up: dict[int, str]) -> None:
        connection = self._connection or self._start()
        self._at = _READY
        try:
            connection.send((task, given_up))
            while isinstance(told := self._told(connection, task.settings.step_limit_s), int):
                self._at = told
        except (EOFError, OSError) as error:
            raise Died(self._ended(), self._at) from error
        if told is not None:
            raise told

    def _told(self, connection: Connection, limit_s: float) -> Any:
        if not connection.poll(limit_s if self._at != _READY else limit_s + _START_S):
            self._kill()
            raise _Stuck
        return connection.recv()

    def _start(self) -> Connection:
        if self._closed:
            raise Died("it was closed", _READY)
        self._connection, theirs = Pipe()
        arguments = [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), str(theirs.fileno())]
        with theirs:
            # Its standard input is never written to: that it ends tells the process that we are gone.
            self._process = subprocess.Popen(
                arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
            )
        return self._connection

    def _ended(self) -> str:
        """How the process ended, in a few words."""
        self._kill(after_s=5.0)
        code = self._process.returncode if self._process is not None else 0
        if code in (_NO_MEMORY, -signal.SIGKILL):
            return "most likely there is not enough memory"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def _kill(self, after_s: float = 0.0) -> None:
        process, self._connection = self._process, None
        if process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(after_s)
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()


def main() -> None:
    """What the process does: task after task, until its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    with Connection(int(sys.argv[2])) as parent:
        for task, given_up in _asked(parent):
            parent.send(_told(task, given_up, parent))


def _asked(parent: Connection) -> Iterator[tuple[Task, dict[int, str]]]:
    with contextlib.suppress(EOFError):
        while True:
            yield parent.recv()


def _told(task: Task, given_up: dict[int, str], parent: Connection) -> Exception | None:
    """Do a task; None, or the failure that ends all of the work."""
    try:
        task.work(given_up, parent.send)
    except MemoryError:
        os._exit(_NO_MEMORY)
    except (SslkitError, OSError) as error:
        return error
    return None


def _end_with_parent() -> None:
    os.read(0, 1)
    os._exit(1)
