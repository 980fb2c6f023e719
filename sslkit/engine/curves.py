"""Curves for TensorBoard."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from sslkit.files import unwritable


class Curves:
    """A file of scalars in a folder, which hides what older files there say of `step` and later ones.

    torch's SummaryWriter writes from a thread, where a full disk ends in a trace and not in an error of the run.
    """

    def __init__(self, folder: Path, step: int) -> None:
        where = f"{int(time.time())}.{socket.gethostname()}.{os.getpid()}.{time.monotonic_ns()}"
        self._path = folder / f"events.out.tfevents.{where}"
        try:
            self._writer = RecordWriter(self._path.open("wb"))
        except OSError as error:
            raise unwritable(self._path, error) from error
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        self._write(Event(wall_time=time.time(), step=step, session_log=SessionLog(status=SessionLog.START)))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """A point of each curve. Raises WorkError for a full disk."""
        points = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=points)))

    def close(self) -> None:
        """Finish the file."""
        with contextlib.suppress(OSError):  # what a full disk did not take was told when it was added
            self._writer.close()

    def _write(self, event: Event) -> None:
        try:
            self._writer.write(event.SerializeToString())
            self._writer.flush()
        except OSError as error:
            raise unwritable(self._path, error) from error
