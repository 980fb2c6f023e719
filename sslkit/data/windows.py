"""Where in a prepared clip a window can begin, and where it is drawn: arithmetic on frame numbers and seconds only."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sslkit.data.entries import Entry
from sslkit.types import Reads

_SLOWEST = 0.9
"""Pictures are never repeated to reach a rate: what was prepared slower than this share of `Reads.fps` is not used."""


def possible_starts(entry: Entry, reads: Reads) -> range:
    """Prepared frames on which a window of `reads` can begin; empty if the sample cannot be used."""
    needs = {"frames": reads.frames, "flow": reads.flow, "backward": reads.flow and reads.backward}
    if not all(entry.has(what) for what, read in {**needs, "sound": reads.sound_s}.items() if read):
        return range(0)
    if entry.kind == "image":
        return range(1 if reads.frames <= 1 else 0)
    if reads.fps and reads.frames > 1 and entry.fps < _SLOWEST * reads.fps:
        return range(0)
    last = entry.frames - needed(entry, reads)
    if not reads.sound_s:
        return range(last + 1)
    lead, sample_s = lead_s(entry, reads), 1 / reads.rate_hz
    earliest = max(0, math.ceil((-lead - sample_s) * entry.fps))
    latest = math.floor((entry.sound_s - reads.sound_s - lead + sample_s) * entry.fps)
    return range(earliest, min(last, latest) + 1)


def moving(entry: Entry, reads: Reads, starts: range) -> NDArray[np.float64]:
    """Weight of each possible start: the motion inside its window, and a little for windows without any."""
    span = needed(entry, reads)
    total = np.concatenate([[0.0], np.cumsum(entry.motion, dtype=np.float64)])
    first = np.arange(starts.start, starts.stop)
    # The motion of a frame is the way there from the frame before: the first one is not inside the window.
    inside = total[first + span] - total[first + min(1, span - 1)]
    return np.asarray(inside + 0.01 * inside.mean() + 1e-6, np.float64)


def spread(starts: int, clips: int) -> list[int]:
    """`clips` of so many possible starts, evenly from the first to the last; of one clip the middle."""
    if clips == 1:
        return [(starts - 1) // 2]
    return [math.floor(clip * (starts - 1) / (clips - 1) + 0.5) for clip in range(clips)]


def offsets(entry: Entry, reads: Reads) -> list[int]:
    """Prepared frames from the start of a window to each of its pictures."""
    ratio = entry.fps / reads.fps if reads.fps and entry.fps else 1.0
    return [math.floor(picture * ratio + 0.5) for picture in range(reads.frames)]


def needed(entry: Entry, reads: Reads) -> int:
    """Prepared frames that a window spans."""
    return max([offset + 1 for offset in offsets(entry, reads)[-1:]] + [reads.flow + 1 if reads.flow else 1])


def lead_s(entry: Entry, reads: Reads) -> float:
    """Start of the sound of a window minus the start of its pictures: both have the same centre."""
    if reads.frames:
        return (reads.frames / (reads.fps or entry.fps) - reads.sound_s) / 2
    return (reads.flow / entry.fps - reads.sound_s) / 2 if reads.flow else 0.0
