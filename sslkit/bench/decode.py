"""How fast the feed reads windows, against the bare decoder on the same windows in as many processes.

The bare decoder reads the bytes of each sample and decodes them: decord for clips, OpenCV for flow and stills. It draws
nothing, checks nothing and makes no batch. Processes are started and ended within the time on both sides.
"""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import torch

from sslkit import recipe as recipes
from sslkit.bench.base import Bench, Row, Spent, compared, taking_turns, timed
from sslkit.data import windows
from sslkit.data.dataset import Dataset
from sslkit.data.entries import Entry
from sslkit.engine.feed import Feed, Order
from sslkit.recipe import Plan
from sslkit.tasks import base as tasks
from sslkit.types import Draw, Reads

BATCH = 16
CLIP = Reads(frames=16)
_FLOW = Reads(flow=12)
_STILL = Reads(frames=1)
_LOOKED_AT = 2
_LONGER = 3
"""Turns are so much longer than others: a training starts its workers once, which shall not count here."""


@dataclass(frozen=True)
class Of:
    """The samples of a dataset that are of one kind, "video" or "image"."""

    dataset: Dataset
    kind: str

    @property
    def entries(self) -> Sequence[Entry]:
        """All of them, so that positions stay what they are."""
        return self.dataset.entries

    def usable(self, reads: Reads) -> list[int]:
        """Positions of the samples of the kind that hold what is read."""
        return [i for i in self.dataset.usable(reads) if self.entries[i].kind == self.kind]

    def windows(self, index: int, reads: Reads, draw: Draw | None) -> list[float]:
        """Where windows begin, s."""
        return self.dataset.windows(index, reads, draw)

    def read(self, index: int, starts: Sequence[float], reads: Reads) -> Any:
        """One sample, decoded."""
        return self.dataset.read(index, starts, reads)


def of_one_kind(dataset: Dataset, reads: Reads) -> Of:
    """The stills of a dataset where one picture is read and there are some, else its clips."""
    single = reads.frames == 1 and not reads.flow
    return Of(dataset, "image" if single and any(entry.kind == "image" for entry in dataset.entries) else "video")


def rows(bench: Bench) -> Iterator[Row]:
    """A row for each kind of media that the data hold, or for what the task reads."""
    dataset = Dataset(bench.data, "train")
    for reads in _wanted(bench, dataset):
        samples = of_one_kind(dataset, reads)
        name = "flow" if reads.flow else "stills" if samples.kind == "image" else "clips"
        yield _row(bench, samples, name, reads)


def _wanted(bench: Bench, dataset: Dataset) -> Iterator[Reads]:
    if bench.task is not None:
        yield tasks.build(bench.task, recipes.load(bench.task, tiny=True).settings).train().reads()
        return
    if any(entry.kind == "video" and entry.frames >= CLIP.frames for entry in dataset.entries):
        yield CLIP
    if any(entry.has("flow") and entry.frames > _FLOW.flow for entry in dataset.entries):
        yield _FLOW.but(backward=any(entry.has("backward") for entry in dataset.entries))
    if any(entry.kind == "image" for entry in dataset.entries):
        yield _STILL


def _row(bench: Bench, samples: Of, name: str, reads: Reads) -> Row:
    first = _jobs(samples, reads, endless(_LOOKED_AT))
    each_s = timed(lambda: _decode(name, first)).per(len(first)).cpu
    steps = max(1, math.ceil(_LONGER * bench.seconds / max(each_s, 1e-6) / BATCH))
    plan = endless(steps)
    jobs, count = _jobs(samples, reads, plan), steps * BATCH

    def ours() -> Spent:
        return timed(lambda: _fed(samples, reads, plan, bench.workers)).per(count)

    def bare() -> Spent:
        return timed(lambda: _decoded(name, jobs, bench.workers)).per(count)

    return compared(
        "decode",
        f"{name}: {_asked(reads)}",
        taking_turns(ours, bare, bench.turns),
        f"bare {'decord' if name == 'clips' else 'OpenCV'}, {bench.workers} workers",
        unit="windows/s",
        # Small pictures cost little to decode and as much as others to hand over: no aim was set for those.
        at_least=0.8 if name == "clips" else None,
        note=f"{count} windows a turn; windows per second of processor time",
    )


def _asked(reads: Reads) -> str:
    if reads.flow:
        return f"{reads.flow} fields" + (" both ways" if reads.backward else "")
    return f"{reads.frames} pictures" if reads.frames > 1 else "one picture"


def endless(steps: int) -> Plan:
    """A plan of which only the order of the samples matters."""
    return Plan(
        samples=0, batch=BATCH, rank_batch=BATCH, world=1, epoch_steps=steps, steps=steps, lr=0.0, warmup_steps=0,
        milestone_steps=(), step_steps=None, validate_steps=steps, device="cpu", dtype="float32", seed=0,
    )  # fmt: skip


def _fed(samples: Of, reads: Reads, plan: Plan, workers: int) -> None:
    for _ in Feed(samples, reads, plan, torch.device("cpu"), workers):
        pass


@dataclass(frozen=True)
class _Job:
    """A window for the bare decoder: where its bytes lie in a shard, (offset, size), and which pictures of a clip."""

    shard: str
    places: list[tuple[int, int]]
    pictures: list[int]


def _jobs(samples: Of, reads: Reads, plan: Plan) -> list[_Job]:
    """The windows that the feed reads, in its order."""
    order = Order(samples, reads, plan)
    requests = (request for step in range(plan.steps) for request in order(step))
    return [_job(samples.entries[request.index], request.starts, reads) for request in requests]


def _job(entry: Entry, starts: Sequence[float], reads: Reads) -> _Job:
    first = [math.floor(start * entry.fps + 0.5) for start in starts]
    if reads.flow:
        tracks = [entry.fwd, entry.bwd] if reads.backward else [entry.fwd]
        places = [place for start in first for track in tracks for place in track[start : start + reads.flow].tolist()]
        return _Job(str(entry.shard), [(place[0], place[1]) for place in places], [])
    place = entry.members["jpg" if entry.kind == "image" else "mp4"]
    pictures = [start + offset for start in first for offset in windows.offsets(entry, reads)]
    return _Job(str(entry.shard), [(place[0], place[1])], pictures)


def _decoded(name: str, jobs: Sequence[_Job], workers: int) -> None:
    """Decode in `workers` processes, of which each takes every `workers`-th batch, as in the feed; 0: in this one."""
    if not workers:
        return _decode(name, jobs)
    batches = [jobs[at : at + BATCH] for at in range(0, len(jobs), BATCH)]
    fork = multiprocessing.get_context("fork")
    shares = [[job for batch in batches[one::workers] for job in batch] for one in range(workers)]
    processes = [fork.Process(target=_decode, args=(name, share)) for share in shares]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return None


def _decode(name: str, jobs: Sequence[_Job]) -> None:
    decode: Callable[[bytes, list[int]], object] = {"clips": _clip, "flow": _plane, "stills": _still}[name]
    files = {shard: os.open(shard, os.O_RDONLY) for shard in {job.shard for job in jobs}}
    for job in jobs:
        for offset, size in job.places:
            decode(os.pread(files[job.shard], size, offset), job.pictures)
    for file in files.values():
        os.close(file)


def _clip(data: bytes, pictures: list[int]) -> object:
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    return decord.VideoReader(BytesIO(data), ctx=decord.cpu(0), num_threads=1).get_batch(pictures).asnumpy()


def _plane(data: bytes, pictures: list[int]) -> object:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def _still(data: bytes, pictures: list[int]) -> object:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return None if picture is None else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
