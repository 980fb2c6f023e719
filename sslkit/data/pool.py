"""Work off the tasks of prepare-data, here or in worker processes, so that each is done once or not at all."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import connection
from pathlib import Path
from typing import IO, Any

import cv2

from sslkit.data import shards
from sslkit.data.clips import Refused, prepare_item
from sslkit.data.layouts.base import Item
from sslkit.data.settings import PrepareSettings
from sslkit.data.shards import Stored
from sslkit.errors import UserError, WorkError

Progress = Callable[[int, int, str], None]
_WAITING_PER_WORKER = 4


@dataclass(frozen=True)
class Task:
    """Some items to be done in one go. path: of its files, without their extension. items: (number, label, item)."""

    path: Path
    items: tuple[tuple[int, int, Item], ...]
    settings: PrepareSettings

    @property
    def tar(self) -> Path:
        """The samples, one run after the other."""
        return self.path.with_suffix(".tar")

    @property
    def done(self) -> bool:
        """Whether its report, which is written last, is there and fits its samples."""
        try:
            size = sum(record["size"] for _, record in self.report()["records"])
            return not size or self.tar.stat().st_size == size
        except (OSError, ValueError):
            return False

    def report(self) -> dict[str, Any]:
        """records: (split, index record) of every sample; skipped: what was left out, and why."""
        report: dict[str, Any] = json.loads(self.path.with_suffix(".json").read_bytes())
        return report

    def work(self) -> str:
        """Do it, and return the name of its last source. What cannot be read is reported, not raised."""
        records: list[tuple[str, Any]] = []
        skipped: list[dict[str, Any]] = []
        partial = self.path.with_suffix(".partial")
        with partial.open("wb") as file:
            for number, label, item in self.items:
                records += _item(file, item, number, label, self.settings, skipped)
        if records:
            partial.replace(self.tar)
        else:
            partial.unlink()
        report = shards.dumps({"records": records, "skipped": skipped})
        shards.replace_bytes(self.path.with_suffix(".json"), report.encode())
        return self.items[-1][2].source


class _Unreadable(Exception):
    """A source that cannot be prepared; the message is the reason."""


def _item(
    file: IO[bytes], item: Item, number: int, label: int, settings: PrepareSettings, skipped: list[dict[str, Any]]
) -> list[tuple[str, Any]]:
    """Append the samples of an item to a file; nothing of it stays when it turns out to be unreadable."""
    begin = file.tell()
    records: list[tuple[str, Any]] = []
    refused: list[dict[str, Any]] = []
    try:
        for sample in _read(prepare_item(item, number, label, settings)):
            if isinstance(sample, Refused):
                refused.append({"source": sample.source, "start_s": sample.start_s, "reason": sample.reason})
                continue
            packed = shards.pack(sample)
            file.write(packed.data)
            records.append((item.split, packed.record))
    except _Unreadable as error:
        file.seek(begin)
        file.truncate()
        skipped.append({"source": item.source, "reason": str(error)})
        return []
    skipped.extend(refused)
    return records


def _read(samples: Iterator[Stored | Refused]) -> Iterator[Stored | Refused]:
    """The samples, but whatever goes wrong with the source as _Unreadable: writing them may fail for other reasons."""
    try:
        yield from samples
    except (UserError, MemoryError):
        raise
    except Exception as error:  # Decoders fail in many ways, and one bad file must not end a week's work.
        raise _Unreadable(str(error) if isinstance(error, WorkError) else f"{type(error).__name__}: {error}") from error


def run(tasks: Sequence[Task], workers: int, progress: Progress | None) -> None:
    """Do all tasks that are not done yet. Interrupting ends the workers at once; what they had finished stays."""
    open_tasks = [task for task in tasks if not task.done]
    done, report = len(tasks) - len(open_tasks), progress or (lambda done, total, name: None)
    names = _here(open_tasks) if min(workers, len(open_tasks)) <= 1 else _in_processes(open_tasks, workers)
    for name in names:
        done += 1
        report(done, len(tasks), name)


def _here(tasks: Sequence[Task]) -> Iterator[str]:
    with _one_thread():
        for task in tasks:
            yield task.work()


@contextmanager
def _one_thread() -> Iterator[None]:
    """OpenCV's flow depends on the number of its threads: one, as in the workers, gives the same bytes."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _in_processes(tasks: Sequence[Task], workers: int) -> Iterator[str]:
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context, initializer=_start_worker)
    waiting = iter(tasks)
    try:
        running = {pool.submit(task.work) for task in islice(waiting, workers * _WAITING_PER_WORKER)}
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            running |= {pool.submit(task.work) for task in islice(waiting, len(finished))}
            yield from map(_result, finished)
        pool.shutdown()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise


def _result(future: Future[str]) -> str:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise WorkError(
            "A worker process died, most likely of lack of memory; start again with fewer workers to go on from here."
        ) from error


def _start_worker() -> None:
    """One thread per process, no trace on Ctrl-C, and no life after the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
