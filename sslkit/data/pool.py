"""Work off the tasks of prepare-data, here or in worker processes, so that each is done once or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from queue import SimpleQueue

import cv2

from sslkit.data.cluster import in_cluster
from sslkit.data.task import Task
from sslkit.data.worker import Died, Worker
from sslkit.errors import WorkError

Progress = Callable[[int, int, str], None]


def run(tasks: Sequence[Task], workers: int, progress: Progress | None, cluster: str | None = None) -> None:
    """Do all tasks that are not done yet. Interrupting ends the workers at once; what they had finished stays.

    workers: processes; with 0 it is done in this one, where a source that hangs or crashes cannot be given up.
    cluster: address of a Dask scheduler, whose workers then do it.
    """
    open_tasks = [task for task in tasks if not task.done]
    done, report = len(tasks) - len(open_tasks), progress or (lambda done, total, name: None)
    if cluster and open_tasks:
        names = in_cluster(open_tasks, cluster)
    else:
        names = _in_processes(open_tasks, workers) if workers and open_tasks else _here(open_tasks)
    for name in names:
        done += 1
        report(done, len(tasks), name)


def _here(tasks: Sequence[Task]) -> Iterator[str]:
    with _one_thread():
        for task in tasks:
            task.work()
            yield task.name


@contextmanager
def _one_thread() -> Iterator[None]:
    """OpenCV's flow depends on the number of its threads: one, as in the workers, gives the same bytes."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _in_processes(tasks: Sequence[Task], count: int) -> Iterator[str]:
    """Do tasks in as many processes at once; what one of them died of is done again at the end, alone."""
    workers = [Worker() for _ in range(min(count, len(tasks)))]
    try:
        again: list[tuple[Task, int]] = []
        yield from _together(tasks, workers, again)
        for worker in workers[1:]:
            worker.close()
        for task, number in again:
            yield _alone(task, number, workers[0])
    finally:
        for worker in workers:
            worker.close()


def _together(tasks: Sequence[Task], workers: Sequence[Worker], again: list[tuple[Task, int]]) -> Iterator[str]:
    """Do tasks, each by the worker that is free first, in a thread that waits for it."""
    free: SimpleQueue[Worker] = SimpleQueue()
    for worker in workers:
        free.put(worker)

    def do(task: Task) -> str | None:
        worker = free.get()
        try:
            return worker.do(task)
        except Died as error:
            again.append((task, error.number))
            return None
        finally:
            free.put(worker)

    with ThreadPoolExecutor(len(workers)) as threads:
        try:
            running: set[Future[str | None]] = {threads.submit(do, task) for task in tasks}
            while running:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (name for name in (future.result() for future in finished) if name is not None)
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                worker.close()
            raise


def _alone(task: Task, number: int, worker: Worker) -> str:
    try:
        return worker.do(task, {number})
    except Died as error:
        raise WorkError(f"A worker process does not run: {error}; start again with fewer workers.") from error
