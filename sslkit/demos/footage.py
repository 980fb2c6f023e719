"""A video file as prepared data would show it: without black bars, at their rate and size, shot by shot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import WorkError
from sslkit.media import borders, read, shots

Frames = NDArray[np.uint8]
Border = tuple[float, float, float, float]
"""Black bars (top, bottom, left, right) as shares of the height and of the width."""

NO_BORDER: Border = (0.0, 0.0, 0.0, 0.0)
_CUT_LATE_FRAMES = 6  # a cut is told that many frames after it at most
_BORDER_SEARCH_S = 60.0


def border(video: Path, short_side_px: int) -> Border:
    """The black bars of a video, found in its first minute."""
    sample = read.video(video, fps=1.0, short_side_px=short_side_px, end_s=_BORDER_SEARCH_S).frames
    height, width = sample.shape[1:3]
    top, bottom, left, right = borders.borders(sample)
    return top / height, bottom / height, left / width, right / width


def inside(frames: Frames, around: Border) -> tuple[slice, slice]:
    """Rows and columns of frames (T, H, W, 3) between the bars."""
    height, width = frames.shape[1:3]
    top, bottom, left, right = around
    return (
        slice(round(top * height), height - round(bottom * height)),
        slice(round(left * width), width - round(right * width)),
    )


def content(video: Path, around: Border, fps: float, short_side_px: int, chunk_frames: int = 128) -> Iterator[Frames]:
    """The video in chunks (T, H, W, 3) without its bars, the short side of what remains as long as in prepared data."""
    about = read.probe(video)
    top, bottom, left, right = around
    remaining = min(about.height * (1 - top - bottom), about.width * (1 - left - right))
    side_px = round(short_side_px * min(about.height, about.width) / remaining)
    for frames in read.video_chunks(video, fps, side_px, chunk_frames=chunk_frames):
        rows, columns = inside(frames, around)
        yield frames[:, rows, columns]


def windows(
    chunks: Iterable[Frames], length: int, fps: float, stride: int | None = None, least: int | None = None
) -> Iterator[tuple[int, Frames]]:
    """(number of the first frame, `length` frames) of windows that cross no cut; little more than a chunk is held.

    stride: frames from one window of a shot to the next. None: they share their first or last frame, and the last one
    of a shot ends with it. least: of a shot with fewer than `length` frames, but so many, all are one window.
    """
    cuts, step, least = shots.Cuts(fps), stride or length - 1, least or length
    held: Frames | None = None
    held_from = shot_from = following = 0  # first frame that is held, of the shot, of the next window
    for chunk in chunks:
        held = chunk if held is None else np.concatenate([held, chunk])
        end = held_from + len(held)
        found: list[tuple[int, int]] = []
        for cut in cuts.add(chunk):
            found += _within(following, shot_from, cut, length, stride, least)
            shot_from = following = cut
        while following + length + _CUT_LATE_FRAMES <= end:
            found.append((following, following + length))
            following += step
        yield from ((first, held[first - held_from : last - held_from]) for first, last in found)
        keep_from = max(held_from, min(max(shot_from, following - length + 1), end - _CUT_LATE_FRAMES))
        held, held_from = held[keep_from - held_from :], keep_from
    if held is not None:
        found = _within(following, shot_from, held_from + len(held), length, stride, least)
        yield from ((first, held[first - held_from : last - held_from]) for first, last in found)


def too_short(video: Path, length: int, fps: float) -> WorkError:
    """The error for a video without a single window of `length` frames."""
    return WorkError(
        f"{video} has no shot of {length} pictures at {fps:g} per second ({length / fps:.2g} s), which is what one clip"
        " takes: give a longer video."
    )


def _within(following: int, start: int, end: int, length: int, stride: int | None, least: int) -> list[tuple[int, int]]:
    """First frame, and that after the last, of the windows that are still to come in a shot [start, end)."""
    if least <= end - start < length:
        return [(start, end)]
    starts = list(range(following, end - length + 1, stride or length - 1))
    reached = starts[-1] + length - 1 if starts else following
    if stride is None and reached < end - 1 and end - start >= length:
        starts.append(end - length)
    return [(first, first + length) for first in starts]
