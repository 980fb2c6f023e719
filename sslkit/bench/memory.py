"""Whether a worker that decodes window after window keeps some of their memory."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import torch

from sslkit.bench.base import Bench, Row, aimed
from sslkit.bench.decode import BATCH, CLIP, Of, endless
from sslkit.data.dataset import Dataset
from sslkit.engine.feed import Feed


def rows(bench: Bench) -> Iterator[Row]:
    """One row: the resident memory of a worker after all windows, against that after a tenth of them.

    One that only grows in step with the windows would have grown tenfold; caches fill up within the first tenth.
    """
    if not Path("/proc/self/status").is_file():
        yield Row("memory", "a worker of the feed", note="not measured: this system does not tell in /proc")
        return
    samples = Of(Dataset(bench.data, "train"), "video")
    steps = max(20, -(-bench.windows // BATCH))
    feed = Feed(samples, CLIP, endless(steps), torch.device("cpu"), workers=1)
    known = {worker.pid for worker in multiprocessing.active_children()}
    next(feed)
    (worker,) = (worker for worker in multiprocessing.active_children() if worker.pid not in known)
    early, late = (_own_mib(worker.pid) for step, _ in enumerate(feed, start=2) if step in (steps // 10, steps))
    feed.close()
    aim, met = aimed(late / early, at_most=1.05)
    what = f"a worker after {steps * BATCH} windows"
    against = f"after {steps // 10 * BATCH}"
    yield Row("memory", what, late, "MiB", against, early, late / early, aim=aim, met=met)


def _own_mib(pid: int | None) -> float:
    """Resident memory of a process without files and memory that it shares with others."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return float(lines["RssAnon"].split()[0]) / 1024
