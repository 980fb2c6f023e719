"""What is seen of a video, and at which size: its black bars, cut off or kept, and the scaling of its pictures."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslkit.data.settings import PrepareSettings
from sslkit.errors import WorkError
from sslkit.media import borders, picture, read

Pictures = NDArray[np.uint8]
Border = tuple[int, int, int, int]
"""Pixels at the top, bottom, left and right."""
WHOLE: Border = (0, 0, 0, 0)
_BORDER_FRAMES = 5
_LONGEST_SHAPE = 20
_LARGEST_FOR_FACES_PX = 720


@functools.lru_cache(maxsize=4)
def looked_at(path: Path, changed: int) -> tuple[read.Probe, Border]:
    """What a video holds, and its black bars, kept because each segment asks again. changed: its time stamp.

    Raises WorkError when it cannot be read, has no pictures or only lines.
    """
    probe = read.probe(path)
    if not probe.has_video:
        raise WorkError(f"{path} holds sound but no pictures.")
    check_shape(path, probe.height, probe.width)
    return probe, _border(path, probe)


def check_shape(path: Path, height: int, width: int) -> None:
    """Raise WorkError for a line of pixels, which would fill the memory when its short side is scaled."""
    if max(height, width) > _LONGEST_SHAPE * min(height, width):
        raise WorkError(f"{path} has pictures of {width}x{height} pixels, which are too narrow to be of use.")


def _border(path: Path, probe: read.Probe) -> Border:
    """Black bars of a video, found in a few of its frames; nothing when not one of them can be read."""
    found = []
    for place in range(_BORDER_FRAMES):
        at_s = (place + 0.5) / _BORDER_FRAMES * probe.duration_s
        try:
            frame = read.video(path, probe.fps, None, at_s, at_s + 0.5 / probe.fps).frames[0]
            found.append(picture.fitted(frame, probe.height, probe.width))
        except WorkError:
            # Durations in headers are estimates: the last places may lie beyond the end.
            continue
    return borders.borders(np.stack(found)) if found else WHOLE


def reading_side(probe: read.Probe, border: Border, settings: PrepareSettings) -> int:
    """Short side at which a video is read so that its short side without border is, roughly, the wanted one.

    Faces are cut out of pictures as large as they are, within reason.
    """
    top, bottom, left, right = border
    if settings.faces != "none":
        return min(probe.height, probe.width, _LARGEST_FOR_FACES_PX) // 2 * 2
    inner = min(probe.height - top - bottom, probe.width - left - right)
    return 2 * math.ceil(min(probe.height, probe.width) * settings.short_side_px / inner / 2)


def scaled(border: Border, probe: read.Probe, frames: Pictures) -> Border:
    """The border of a source in the pixels of its frames as they were read."""
    scales = (frames.shape[1] / probe.height,) * 2 + (frames.shape[2] / probe.width,) * 2
    top, bottom, left, right = (math.ceil(side * scale) for side, scale in zip(border, scales, strict=True))
    return top, bottom, left, right


def without(frames: Pictures, border: Border, settings: PrepareSettings) -> tuple[Pictures, Border]:
    """Frames whose border is cut off, painted black or left as it is, as the settings say; and the bars they have."""
    if border == WHOLE:
        return frames, border
    if settings.remove_borders:
        inside = within(frames, border)
        return inside if settings.faces != "none" else fitted(inside, settings.short_side_px), WHOLE
    return (frames * inside_of(frames.shape[1:3], border)[..., None] if settings.zero_borders else frames), border


def inside_of(shape: tuple[int, ...], border: Border) -> Pictures:
    """(H, W) uint8: 1 within the border, 0 on it."""
    inside = np.zeros(shape, np.uint8)
    within(inside[None], border)[:] = 1
    return inside


def within(frames: Pictures, border: Border) -> Pictures:
    """Frames or planes (T, H, W, ...) without their border."""
    top, bottom, left, right = border
    return frames[:, top : frames.shape[1] - bottom, left : frames.shape[2] - right]


def fitted(frames: Pictures, short_side_px: int) -> Pictures:
    """Pictures scaled to the short side, with even sides."""
    size = picture.scaled_size(frames.shape[1], frames.shape[2], short_side_px)
    if frames.shape[1:3] == size:
        return np.ascontiguousarray(frames)
    return np.stack([picture.fitted(np.ascontiguousarray(frame), *size) for frame in frames])


def spread(frames: Pictures) -> Pictures:
    """A few frames of a clip, of which its border can be told."""
    places = (np.arange(_BORDER_FRAMES) + 0.5) / _BORDER_FRAMES * len(frames)
    return np.asarray(frames[places.astype(int)])
