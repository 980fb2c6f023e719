"""Batches for a run: which windows of which samples belong to a step, decoded by workers and brought to the device.

What a step sees is a pure function of (seed, step): a resumed run, another number of workers and another number of
processes all get the same global batches.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as Indexed

from sslkit.data import dataset as data
from sslkit.engine import distributed
from sslkit.errors import SslkitError, UserError, WorkError, is_out_of_memory
from sslkit.recipe import Plan
from sslkit.types import Batch, Draw, Part, Reads

Collate = Callable[[Sequence[Any]], Batch]
_LIGHT_BYTES = 2**16
_DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux."""

_GRACE_S = 1.0


class Samples(Protocol):
    """What the engine needs of a dataset; `sslkit.data.dataset.Dataset` has it."""

    @property
    def entries(self) -> Sequence[Any]:
        """One object a sample, with a `key`."""

    def usable(self, reads: Reads) -> list[int]:
        """Positions of the samples that hold what is read."""

    def windows(self, index: int, reads: Reads, draw: Draw | None) -> list[float]:
        """Where the windows of a sample begin, in seconds."""

    def read(self, index: int, starts: Sequence[float], reads: Reads) -> Any:
        """One sample, decoded."""


@dataclass(frozen=True)
class Request:
    """One sample to read: its position in the dataset and the starts of its windows in seconds."""

    index: int
    starts: tuple[float, ...]


def parts(plan: Plan, rank: int) -> list[Part]:
    """The rows of a step's batch that a process works off, one part after the other.

    The batch is cut into `accumulate` parts, and of each part every process takes its own run: the samples that are
    worked off at the same time do not depend on the number of processes.
    """
    rows = plan.rank_batch // plan.accumulate
    return [Part((number * plan.world + rank) * rows, rows, plan.batch) for number in range(plan.accumulate)]


class Order:
    """Which samples a step reads, as a pure function of (seed, step).

    Epochs follow each other without a gap: place p of the endless order is entry p % n of the shuffle of epoch p // n,
    and step s takes places s * batch to (s + 1) * batch, of which each rank takes its own `parts`. Windows are drawn
    for the place alone, so that they depend neither on the batch size nor on the number of processes.
    """

    def __init__(self, dataset: Samples, reads: Reads, plan: Plan, rank: int = 0) -> None:
        self._dataset, self._reads, self._plan, self._rank = dataset, reads, plan, rank
        self._usable = torch.tensor(dataset.usable(reads))
        self._shuffles: dict[int, Tensor] = {}

    def __call__(self, step: int) -> list[Request]:
        """What this rank reads in a step, in order."""
        rows = [part.first + row for part in parts(self._plan, self._rank) for row in range(part.rows)]
        return [self._request(step * self._plan.batch + row) for row in rows]

    def _request(self, place: int) -> Request:
        epoch, entry = divmod(place, len(self._usable))
        index = int(self._usable[self._shuffle(epoch)[entry]])
        draw = Draw(self._plan.seed, place, stream="windows")
        return Request(index, tuple(self._dataset.windows(index, self._reads, draw)))

    def _shuffle(self, epoch: int) -> Tensor:
        if epoch not in self._shuffles:
            # A batch spans more than two epochs only when the dataset is tiny: forgetting costs little then.
            self._shuffles = {e: s for e, s in self._shuffles.items() if e == epoch - 1}
            self._shuffles[epoch] = Draw(self._plan.seed, epoch, stream="order").shuffle(len(self._usable))
        return self._shuffles[epoch]


class Feed:
    """The batches of a run, raw and on the device, from `start_step` to the end of the plan.

    dataset, reads: what is read of which samples. workers: processes that decode (0: in this process). waited_s:
    seconds for which the loop waited for data. Iterating raises what the dataset raised, as WorkError or UserError: a
    sample that cannot be read is never replaced in silence. `close` ends the workers; so does the end of the plan.
    """

    def __init__(
        self,
        dataset: Samples,
        reads: Reads,
        plan: Plan,
        device: torch.device,
        workers: int = 0,
        start_step: int = 0,
        rank: int | None = None,
        collate: Collate = data.collate,
    ) -> None:
        self.dataset, self.step, self.waited_s = dataset, start_step, 0.0
        self._stop, self._device, self._workers = plan.steps, device, workers
        self._rank_batch, self._collate = plan.rank_batch, collate
        order = Order(dataset, reads, plan, distributed.rank() if rank is None else rank)
        self._reader = _Reader(dataset, reads, collate, order)
        self._batches: Generator[Batch, None, None] | None = None

    def seek(self, step: int) -> None:
        """Continue with the batch of another step."""
        self.close()
        self.step = step

    def __iter__(self) -> Feed:
        return self

    def __next__(self) -> Batch:
        """The batch of the next step. Raises StopIteration after the last step of the plan."""
        began = time.perf_counter()
        if self._batches is None:
            self._batches = _batches(self._reader, range(self.step, self._stop), self._device, self._workers)
        batch = next(self._batches)
        self.step += 1
        self.waited_s += time.perf_counter() - began
        return batch

    def sweep(self, reads: Reads, samples: int) -> Iterator[Batch]:
        """At most so many samples, spread evenly over the dataset, each once (see `once`); alike in every process."""
        chosen = evenly(self.dataset.usable(reads.but(start="spread")), samples)
        return once(
            self.dataset, reads, self._rank_batch, self._device, self._workers, indices=chosen, collate=self._collate
        )

    def close(self) -> None:
        """End the workers. Iterating again starts new ones at the same step."""
        if self._batches is not None:
            self._batches.close()
        self._batches = None

    def keys(self, index: Tensor) -> list[str]:
        """Names of the samples at the positions of `Batch.index`."""
        return [str(self.dataset.entries[i].key) for i in index.tolist()]


def once(
    dataset: Samples,
    reads: Reads,
    batch: int,
    device: torch.device,
    workers: int = 0,
    rank: int = 0,
    world: int = 1,
    indices: Sequence[int] | None = None,
    collate: Collate = data.collate,
) -> Iterator[Batch]:
    """Every usable sample once, in order, with its windows spread evenly: for evaluation.

    The last batch may be smaller. indices: read these samples only. With `world` processes, each takes every
    `world`-th sample from its rank on.
    """
    spread = reads.but(start="spread")
    chosen = (dataset.usable(spread) if indices is None else list(indices))[rank::world]
    inspection = _Inspection(dataset, spread, chosen, batch)
    return _batches(_Reader(dataset, spread, collate, inspection), range(-(-len(chosen) // batch)), device, workers)


def evenly(indices: list[int], count: int) -> list[int]:
    """At most `count` of the indices, evenly spaced."""
    if count >= len(indices):
        return indices
    return [indices[number * len(indices) // count] for number in range(count)]


@dataclass(frozen=True)
class _Inspection:
    """The samples `chosen`, one batch after the other."""

    dataset: Samples
    reads: Reads
    chosen: list[int]
    batch: int

    def __call__(self, number: int) -> list[Request]:
        these = self.chosen[number * self.batch : (number + 1) * self.batch]
        return [Request(i, tuple(self.dataset.windows(i, self.reads, None))) for i in these]


@dataclass(frozen=True)
class _Failure:
    """An error on its way from a worker: torch would wrap its sentence in the trace, which is for --debug."""

    kind: type[SslkitError]
    sentence: str
    trace: str


class _Trace(Exception):
    """Where it happened, in the process where it happened."""


class _Reader(Indexed[Any]):
    """Reads the batch of a number, in a worker. A batch travels as a dict, which torch knows how to pin."""

    def __init__(
        self, dataset: Samples, reads: Reads, collate: Collate, requests: Callable[[int], list[Request]]
    ) -> None:
        self._dataset, self._reads, self._collate, self._requests = dataset, reads, collate, requests

    def __getitem__(self, number: int) -> dict[str, Any] | _Failure:
        try:
            return vars(self._collate([self._read(request) for request in self._requests(number)]).map(_light))
        except SslkitError as error:
            kind = UserError if isinstance(error, UserError) else WorkError
            return _Failure(kind, str(error), traceback.format_exc())
        except Exception as error:
            what = f"Batch {number} cannot be put together"
            return _Failure(WorkError, _sentence(what, error), traceback.format_exc())

    def _read(self, request: Request) -> Any:
        try:
            return self._dataset.read(request.index, request.starts, self._reads)
        except SslkitError:
            raise
        except Exception as error:  # decoders fail in many ways
            what = f"Sample {self._dataset.entries[request.index].key} cannot be read"
            raise WorkError(_sentence(what, error)) from error


def _light(tensor: Tensor) -> Any:
    """A small tensor as an array, which travels as bytes; for a tensor, two processes have to hand over a file.

    Bytes lose the order of the axes in memory, on which the rounding of convolutions depends.
    """
    return tensor.numpy() if tensor.nbytes <= _LIGHT_BYTES and tensor.is_contiguous() else tensor


def _sentence(what: str, error: Exception) -> str:
    if is_out_of_memory(error):
        return f"{what}, because the memory is used up: use fewer --workers or a smaller train.batch."
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return f"{what} ({reason[:300]}): prepare the data again into a new folder."


def _batches(reader: _Reader, numbers: range, device: torch.device, workers: int) -> Generator[Batch, None, None]:
    with _ready_to_fork() if workers else contextlib.nullcontext():
        reading = iter(_loader(reader, numbers, device, workers))
    side = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
    # Memory that workers write again and again is mapped here once, as long as it is not forgotten.
    known: deque[Any] = deque(maxlen=data.LENDS * workers)
    try:
        with explained():
            for read in reading:
                if isinstance(read, _Failure):
                    raise read.kind(read.sentence) from _Trace(read.trace)
                known.append(read)
                yield _moved(Batch(**read).map(torch.as_tensor), device, side)
    finally:
        # Left to the garbage collector, which may close the queues of a loader before the loader, workers end late.
        if workers:
            _end(reading)


def _end(reading: Any) -> None:
    """End the workers. torch waits for each in turn to be through with its batch, 5 s at most: that may be too long."""
    impatient = threading.Timer(_GRACE_S, lambda: [worker.terminate() for worker in reading._workers])
    impatient.start()
    try:
        reading._shutdown_workers()
    finally:
        impatient.cancel()


@contextlib.contextmanager
def _ready_to_fork() -> Iterator[None]:
    """Fork here: the workers will not collect what the parent left lying about, and signals find them prepared.

    A decoder of PyAV that became garbage in the parent waits for its threads when it is freed. They did not come along
    with the fork, so a worker that frees it waits for ever. SIGTERM would end a worker that has not blocked it yet.
    """
    blocking = hasattr(signal, "pthread_sigmask")
    gc.collect()
    gc.freeze()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT}) if blocking else set()
    try:
        yield
    finally:
        if blocking:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        gc.unfreeze()


def _loader(reader: _Reader, numbers: range, device: torch.device, workers: int) -> DataLoader[Any]:
    # Forked workers start in milliseconds and need no pickled dataset; it is safe because they touch neither CUDA nor
    # a pool of threads that the parent may hold. Elsewhere the platform's own start method is used.
    fork = workers > 0 and "fork" in multiprocessing.get_all_start_methods()
    return DataLoader(
        reader,
        batch_size=None,
        sampler=numbers,
        num_workers=workers,
        # A worker further ahead would write over what is not copied yet: see `data.LENDS`.
        prefetch_factor=data.AHEAD if workers else None,
        collate_fn=_as_read,
        pin_memory=device.type == "cuda",
        worker_init_fn=_begin_worker,
        multiprocessing_context="fork" if fork else None,
        # Its own generator: torch would otherwise draw from the global one, which belongs to the run's steps.
        generator=torch.Generator(),
    )


def _as_read(read: Any) -> Any:
    return read


def _begin_worker(_: int) -> None:
    """An interrupt reaches the whole process group; it is the parent that ends the run, after its last step."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        # A parent that is killed may not leave its connections to other processes open here: they wait for it to go.
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def _end_with_parent() -> None:
    """Obey SIGTERM from the parent alone: a batch system sends it to every process of a run."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def _moved(batch: Batch, device: torch.device, side: torch.cuda.Stream | None) -> Batch:
    """The batch on the device. On CUDA it is copied beside the step before, which the device is still computing.

    What a worker wrote is copied in any case, as it will write over it: see `sslkit.data.dataset.LENDS`.
    """
    if side is None:
        return batch.map(_own).to(device)
    with torch.cuda.stream(side):
        moved = batch.to(device, non_blocking=True)
    current = torch.cuda.current_stream(device)
    current.wait_stream(side)
    # The memory belongs to the side stream: it may not be used again before the step is through with it.
    moved.map(lambda tensor: tensor.record_stream(current))
    return moved


def _own(tensor: Tensor) -> Tensor:
    return tensor.clone() if tensor.is_shared() else tensor  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Within, a worker that died raises WorkError with a way out; torch raises wherever the main process then is."""
    try:
        yield
    except (RuntimeError, EOFError, ConnectionError) as error:
        # The last two when it died while it handed over a batch.
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        reason = str(error).splitlines()[0] if str(error) else "it sent half a batch"
        raise WorkError(
            f"A process that reads data died ({reason}); it may have run out of memory: use fewer --workers or a "
            "smaller train.batch."
        ) from error
