"""What a row of the benchmark is, and how two things are timed against each other on a machine that others use too.

Both take turns, and the ratio is the median of those of all turns. Time is that of the processor, of this process and
of those that it started and saw end, because the time on the wall also counts what other programs took; on a GPU, and
where waiting is what is measured, it is the time on the wall. Arithmetic runs on one thread.
"""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

import cv2
import torch

Clock = Literal["cpu", "wall"]


class Spent(NamedTuple):
    """Seconds on the wall, and seconds of processor time."""

    wall: float
    cpu: float

    def per(self, count: float) -> Spent:
        """For one of `count` equal pieces of work."""
        return Spent(self.wall / count, self.cpu / count)


def now() -> Spent:
    """A moment on both clocks. Processor time includes child processes that have ended and were waited for."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return Spent(time.perf_counter(), sum(usage.ru_utime + usage.ru_stime for usage in used))


def since(start: Spent) -> Spent:
    """What was spent since a moment."""
    end = now()
    return Spent(end.wall - start.wall, end.cpu - start.cpu)


def timed(work: Callable[[], object]) -> Spent:
    """What some work costs."""
    start = now()
    work()
    return since(start)


@dataclass(frozen=True)
class Turns:
    """What each turn of two rivals cost, in the same order."""

    ours: list[Spent]
    other: list[Spent]

    def ratios(self, clock: Clock) -> list[float]:
        """Our cost over the other's, turn by turn."""
        pairs = zip(self.ours, self.other, strict=True)
        return [getattr(ours, clock) / max(getattr(other, clock), 1e-9) for ours, other in pairs]

    def median(self, clock: Clock) -> tuple[float, float]:
        """Median seconds: ours, the other's."""
        ours, other = (median(getattr(spent, clock) for spent in side) for side in (self.ours, self.other))
        return ours, other


def taking_turns(ours: Callable[[], Spent], other: Callable[[], Spent], turns: int) -> Turns:
    """Let two rivals work in turn, the one that begins changing. A first turn, to warm up, is not kept."""
    ours(), other()
    kept = Turns([], [])
    for turn in range(turns):
        both = [(kept.ours, ours), (kept.other, other)]
        for side, work in both if turn % 2 == 0 else reversed(both):
            side.append(work())
    return kept


@dataclass(frozen=True)
class Row:
    """One line of the table.

    row: name of the measurement, a file of this folder. what: on which network or media. value, other: what was
    measured, in `unit`, and the same of `against`, medians over the turns. ratio: value over other, the median over the
    turns, of which the extremes are low and high. aim: what the ratio should be, None where there is no aim; met:
    whether it is. clock: "cpu" or "wall". wall_ratio: the same ratio on the other clock, which other programs disturb.
    note: what else is to be known.
    """

    row: str
    what: str
    value: float | None = None
    unit: str = ""
    against: str | None = None
    other: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    aim: str | None = None
    met: bool | None = None
    clock: Clock | None = None
    wall_ratio: float | None = None
    note: str | None = None

    def record(self) -> dict[str, Any]:
        """The object that `--json` prints; figures to four digits."""
        return {name: float(f"{v:.4g}") if isinstance(v, float) else v for name, v in asdict(self).items()}

    def shown(self) -> dict[str, Any]:
        """What a terminal has room for."""
        record = self.record()
        spread = None if self.low is None or self.high is None else f"{self.low:.3g}-{self.high:.3g}"
        columns = {name: record[name] for name in ("row", "what", "value", "unit", "other", "against", "ratio")}
        return {**columns, "spread": spread, "aim": self.aim, "met": self.met, "clock": self.clock, "note": self.note}


def compared(
    row: str,
    what: str,
    turns: Turns,
    against: str,
    unit: str = "ms",
    clock: Clock = "cpu",
    at_least: float | None = None,
    at_most: float | None = None,
    note: str | None = None,
) -> Row:
    """The row of two rivals: their cost in ms, or the inverse, their speed, where the unit is "<things>/s".

    at_least, at_most: what the ratio should be.
    """
    fast = unit.endswith("/s")
    value, other = (1 / s if fast else 1000 * s for s in turns.median(clock))
    ratios, on_the_wall = (sorted(1 / r if fast else r for r in turns.ratios(c)) for c in (clock, "wall"))
    ratio = median(ratios)
    aim, met = aimed(ratio, at_least, at_most)
    wall = median(on_the_wall) if clock == "cpu" else None
    return Row(row, what, value, unit, against, other, ratio, ratios[0], ratios[-1], aim, met, clock, wall, note)


def aimed(figure: float, at_least: float | None = None, at_most: float | None = None) -> tuple[str | None, bool | None]:
    """An aim in words, and whether a figure meets it."""
    if at_least is not None:
        return f">= {at_least:g}", figure >= at_least
    if at_most is not None:
        return f"<= {at_most:g}", figure <= at_most
    return None, None


@dataclass(frozen=True)
class Bench:
    """What is measured, and how long.

    data: prepared folders that hold clips with flow, and stills. media: a folder of videos to prepare. talk: a video
    of somebody who talks. scratch: an
    empty folder.
    task: only this task where rows have a choice, None for all. turns: of each pair of rivals. seconds: about how
    long a turn of training or decoding lasts. steps: of trainings whose turns are not compared. windows: decoded to
    see whether memory grows. longer: how many times as long as a minute the file is for which that is asked. pairs: of
    pictures between which flow is estimated.
    """

    data: tuple[Path, ...]
    media: Path
    talk: Path
    scratch: Path
    task: str | None = None
    device: str = "cpu"
    workers: int = 1
    turns: int = 5
    seconds: float = 3.0
    steps: int = 20
    windows: int = 2000
    longer: int = 5
    pairs: int = 6


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Within, arithmetic runs on one thread of this process; the old numbers come back."""
    threads, of_opencv = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(of_opencv)
