"""How fast videos become prepared data: minutes of video in a minute of one core, two workers against one, and what
takes the time."""

from __future__ import annotations

import cProfile
import inspect
import itertools
import pstats
import shutil
import time
from collections.abc import Callable, Iterator

from sslkit.bench.base import Bench, Row, Spent, compared, taking_turns, timed
from sslkit.data import framing, samples, shards
from sslkit.data.layouts.base import media_files
from sslkit.data.prepare import prepare
from sslkit.data.settings import PrepareSettings
from sslkit.media import borders, read, shots
from sslkit.ops import flow as flows

_WITHOUT, _WITH = (PrepareSettings.model_validate({"max_skipped": 0, "flow": flow}) for flow in ("none", "dis"))
_STAGES: dict[str, tuple[Callable[..., object], ...]] = {
    "decoding": (read.probe, read.video_chunks, read.sound),
    "borders": (read.video, borders.borders),
    "shots": (shots.Cuts.add,),
    "flow": (flows.fields,),
    "encoding": (samples.clip, samples.still),
    "writing": (shards.pack, shards.write, shards.replace_bytes),
}


def rows(bench: Bench) -> Iterator[Row]:
    """Speed without and with flow, the gain of a second worker, and the stages of the work with flow."""
    work = Work(bench)
    for what, settings in (("video to clips", _WITHOUT), ("video to clips and flow", _WITH)):
        speed = work.minutes / (work(settings, 0).cpu / 60)
        note = f"short side {settings.short_side_px} px, flow {settings.flow}"
        yield Row("prepare", what, speed, "min per core-minute", clock="cpu", note=note)
    turns = taking_turns(lambda: work(_WITHOUT, 2), lambda: work(_WITHOUT, 1), min(bench.turns, 2))
    note = "their start included; the second core must be free"
    yield compared("prepare", "two workers", turns, "one worker", unit="times/s", clock="wall", note=note)
    yield from _stages(work)


def _stages(work: Work) -> Iterator[Row]:
    """Share of each stage in the time of one process. Profiling makes stages of many small calls seem slower."""
    profile = cProfile.Profile(time.process_time)
    profile.runcall(work, _WITH, 0)
    profile.create_stats()
    found = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    total_s = sum(own_s for _, _, own_s, _, _ in found.values())
    for stage, functions in _STAGES.items():
        codes = [inspect.unwrap(function).__code__ for function in functions]
        places = [(code.co_filename, code.co_firstlineno, code.co_name) for code in codes]
        stage_s = sum(found[place][3] for place in places if place in found)
        yield Row("prepare", f"share of {stage}", 100 * stage_s / total_s, "%", clock="cpu")


class Work:
    """Prepares the same videos again and again, each time into a new folder. minutes: of video that they hold."""

    def __init__(self, bench: Bench) -> None:
        self._bench, self._number = bench, itertools.count()
        self.minutes = sum(read.probe(path).duration_s for path in media_files(bench.media)) / 60

    def __call__(self, settings: PrepareSettings, workers: int) -> Spent:
        """Prepare them once, and say what it cost."""
        framing.looked_at.cache_clear()  # what is known of a video from the last time costs nothing
        out = self._bench.scratch / f"prepared-{next(self._number)}"
        spent = timed(lambda: prepare("folder", str(self._bench.media), out, settings, workers))
        shutil.rmtree(out)
        return spent
