"""Work off the tasks of prepare-data on a Dask cluster, with the same worker processes as on one machine.

The workers of the cluster read SOURCE and write into OUT themselves, under the same paths as here. Dask runs what it is
sent, as pickles, so scheduler and workers must be trusted, and so must everybody who can reach them.
"""

from __future__ import annotations

import gc
import importlib.metadata
import logging
import secrets
import socket
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from sslkit.data.task import Task
from sslkit.data.worker import Died, Worker
from sslkit.errors import UserError, WorkError
from sslkit.files import unwritable

if TYPE_CHECKING:
    from distributed import Client, Future

_ALIKE = ("sslkit", "numpy", "av", "opencv-python-headless")
_ANSWER_S = 15.0
_WORKERS_S = 60.0
_SEEN_S = 60.0
_LOOK_S = 2.0
_AHEAD = 4
"""Tasks that are sent to the cluster ahead of time, for each thread of its workers."""
_LOST = -1
"""In place of the number of a job: the worker itself was lost, again and again."""


def in_cluster(tasks: Sequence[Task], address: str) -> Iterator[str]:
    """Do tasks on the workers of the Dask scheduler at an address, and tell the name of each that is done.

    A task whose worker is lost goes to another one; what a process of a worker died of is done again at the end, alone.
    Raises UserError when no cluster answers at the address or its workers cannot do the work, WorkError when scheduler
    or workers are lost.
    """
    with _connected(address) as client:
        crew = _Crew(client, address)
        try:
            yield from crew.do(tasks)
        finally:
            crew.end()


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise UserError("--cluster needs Dask: pip install 'sslkit[cluster]'.") from error
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)  # what it has to tell about lost connections is told here, in one sentence
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            client = _client(address)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"No Dask scheduler answers at {address} within {_ANSWER_S:g} s: start one with `dask scheduler`, or mend "
            "--cluster (tcp://HOST:8786)."
        ) from error
    try:
        with client.as_current():
            _require_workers(client, address)
            yield client
    finally:
        with suppress(Exception):
            client.close(_ANSWER_S)
        logger.setLevel(before)


def _client(address: str) -> Client:
    """A client of the scheduler at an address. Raises as `distributed.Client`."""
    from distributed import Client

    # One that failed before ends when it is collected. While another one starts, it would wait for a lock that the
    # start holds, and the start for it.
    collects = gc.isenabled()
    gc.disable()
    try:
        return Client(address, timeout=_ANSWER_S, set_as_default=False)
    finally:
        if collects:
            gc.enable()


def _require_workers(client: Client, address: str) -> None:
    try:
        client.wait_for_workers(1, _ANSWER_S)
    except TimeoutError as error:
        raise UserError(f"The cluster at {address} has no workers: start some with `dask worker {address}`.") from error


@dataclass(frozen=True)
class _Terms:
    """What a worker is told beside its task. job: of all tasks of a call. versions: of packages, as they are here."""

    job: str
    versions: dict[str, str]


class _Unlike(Exception):
    """A worker whose packages are others; says which."""


class _Unseen(Exception):
    """Arguments: the name of a host, and a path that is not there."""


@dataclass
class _Crew:
    """The workers of a cluster, and what they are at."""

    client: Client
    address: str
    _terms: _Terms = field(default_factory=lambda: _Terms(secrets.token_hex(8), _versions()))
    _running: dict[Future[int | None], Task] = field(default_factory=dict)
    _lonely_s: float | None = None

    def do(self, tasks: Sequence[Task]) -> Iterator[str]:
        """The names of the tasks, as they are done."""
        waiting, again = iter(tasks), []
        while True:
            room = _AHEAD * max(1, self._threads()) - len(self._running)
            for task in islice(waiting, max(0, room)):
                self._begin(task)
            if not self._running:
                break
            for task, died_at in self._ended():
                if died_at is None:
                    yield task.name
                else:
                    again.append((task, died_at))
        for task, died_at in again:
            self._begin(task, {died_at})
            while self._running:
                yield from (_survived(*ended) for ended in self._ended())

    def end(self) -> None:
        """Stop what is being done, and end the processes that do it."""
        with suppress(Exception):
            self.client.cancel(list(self._running))
        # In a thread: nobody is to wait for a worker that does not answer.
        ending = threading.Thread(target=self._end_processes, daemon=True)
        ending.start()
        ending.join(_ANSWER_S)

    def _end_processes(self) -> None:
        with suppress(Exception):
            self.client.run(_end, self._terms.job, on_error="ignore")

    def _begin(self, task: Task, suspects: set[int] | None = None) -> None:
        self._running[self.client.submit(_do, _absolute(task), self._terms, suspects, pure=False)] = task

    def _ended(self) -> Iterator[tuple[Task, int | None]]:
        """Tasks that have ended in the last seconds: done, or the number of the job at which a process died."""
        from distributed import wait

        try:
            ended = wait(list(self._running), timeout=_LOOK_S, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            ended = set()
        except CancelledError as error:
            raise self._gone() from error
        self._require_company()
        for future in ended:
            task = self._running.pop(future)
            try:
                died_at = self._told(future)
            except _Unseen as error:
                self._begin(_without(task, *error.args))
                continue
            if died_at is None:
                _require_seen(task)
            yield task, died_at

    def _told(self, future: Future[int | None]) -> int | None:
        from distributed import KilledWorker

        try:
            return future.result(timeout=_ANSWER_S)
        except KilledWorker:
            return _LOST
        except CancelledError as error:
            raise self._gone() from error
        except _Unlike as error:
            raise UserError(f"{error}: install the same versions on all workers of the cluster.") from error
        except (ImportError, AttributeError) as error:
            raise UserError(f"A worker of the cluster cannot run sslkit ({error}): install it there, too.") from error

    def _threads(self) -> int:
        try:
            return sum(self.client.nthreads().values())
        except Exception as error:
            raise self._gone() from error

    def _gone(self) -> WorkError:
        return WorkError(f"The Dask scheduler at {self.address} is gone: start it and the same command again to go on.")

    def _require_company(self) -> None:
        """Raise WorkError when the cluster has been without workers for a while."""
        if self._threads():
            self._lonely_s = None
            return
        now_s = time.monotonic()
        self._lonely_s = self._lonely_s or now_s
        if now_s - self._lonely_s > _WORKERS_S:
            raise WorkError(
                f"The cluster at {self.address} has lost all workers: start some, and the same command again to go on."
            )


def _survived(task: Task, died_at: int | None) -> str:
    if died_at is not None:
        raise WorkError(f"Workers of the cluster end whenever they do {task.name}: look at their logs and memory.")
    return task.name


def _absolute(task: Task) -> Task:
    """The task with the paths of files in full: workers run in other folders."""
    jobs = (
        replace(job, item=replace(job.item, path=job.item.path.absolute())) if job.item.path is not None else job
        for job in task.jobs
    )
    return replace(task, path=task.path.absolute(), jobs=tuple(jobs))


def _without(task: Task, host: str, path: Path) -> Task:
    """The task without asking for a file that is gone from here, too. Raises UserError when the worker is to blame."""
    whole = _absolute(task)
    if path.exists() or path not in [job.item.path for job in whole.jobs]:
        raise UserError(
            f"{host} does not see {path}: all workers must find SOURCE and OUT under the paths that they have here."
        )
    return replace(whole, jobs=tuple(replace(job, size=-1) if job.item.path == path else job for job in whole.jobs))


def _require_seen(task: Task) -> None:
    """Wait for what a worker wrote: file systems of a network take a moment. Raises UserError when it does not come."""
    end_s = time.monotonic() + _SEEN_S
    while not task.done:
        if time.monotonic() > end_s:
            raise UserError(
                f"What a worker wrote into {task.path.parent} is not there: OUT must be in a folder that hosts share."
            )
        time.sleep(0.1)


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _ALIKE}


_processes: dict[str, dict[int, Worker]] = {}
"""On a worker of the cluster: the processes that do its tasks, by job and thread."""
_over: set[str] = set()
"""On a worker of the cluster: jobs that have ended, though a task of theirs may still be about to begin."""
_changing = threading.Lock()


def _do(task: Task, terms: _Terms, suspects: set[int] | None) -> int | None:
    """On a worker of the cluster: finish a task; None, or the number of the job at which the process for it died."""
    _require_alike(terms)
    _require_reach(task)
    with _changing:
        if terms.job in _over:
            return _LOST
        worker = _processes.setdefault(terms.job, {}).setdefault(threading.get_ident(), Worker())
    try:
        worker.do(task, suspects)
    except Died as error:
        return error.number
    except OSError as error:
        raise WorkError(f"{socket.gethostname()}: {unwritable(task.path.parent, error)}") from error
    return None


def _require_alike(terms: _Terms) -> None:
    for name, version in _versions().items():
        if version != terms.versions[name]:
            raise _Unlike(f"{socket.gethostname()} has {name} {version}, but here it is {terms.versions[name]}")


def _require_reach(task: Task) -> None:
    files = [job.item.path for job in task.jobs if job.item.path is not None and job.size >= 0]
    for path in (task.path.parent, *files):
        if not path.exists():
            raise _Unseen(socket.gethostname(), path)


def _end(job: str) -> None:
    """On a worker of the cluster: end the processes of a job."""
    with _changing:
        _over.add(job)
        workers = _processes.pop(job, {})
    for worker in workers.values():
        worker.close()
