"""Take the camera's motion out of a clip: every frame is warped to where the central one saw the background.

Source: the stabilisation of donglaiw/AoT_Dataset (Wei et al., "Learning and using the arrow of time", CVPR 2018):
corners, tracks and RANSAC. Departures: corners are taken from every cell of a grid, so that people do not hold most of
them, and a motion must lay more of the picture over the key frame than standing still does; tracks are matched against
the key frame itself, each starting from where the last motion puts it, and chained through a new key frame only when
few are left or none agree, so errors do not add up; a homography that strays from its neighbours is replaced, but good
ones are not smoothed, which would put shake back in; instead the simplest motion that explains the tracks is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np

from sslkit.media import camera

_BAD_FRAMES = 0.2
_STILL_PX = 0.1
_WORSE = 1.1


@dataclass(frozen=True)
class Stabilised:
    """A clip without camera motion, or the reason why it could not be had.

    frames: (T, H', W', 3) uint8, cut to what all frames show, with even sides; the clip as it came if it was refused.
    homographies: (T, 3, 3) float64, from pixels (x, y, 1) of each frame as it came to those of the central frame.
    crop: (top, bottom, left, right) pixels that were cut off. reason: one sentence, None if all is well. known: first
    and last frame (exclusive) of those around the central one whose motion could be found, None if it is all.
    """

    frames: np.ndarray
    homographies: np.ndarray
    crop: tuple[int, int, int, int]
    reason: str | None
    known: tuple[int, int] | None = None


def stabilise(
    frames: np.ndarray, *, least_share: float = 0.5, least_change: float = 0.0, most_change: float = 60.0
) -> Stabilised:
    """Stabilise a clip, (T, H, W, 3) uint8 RGB. A clip whose camera stands still comes back as it is.

    least_share: of the picture that must be left after cutting. least_change, most_change: mean difference of gray
    values between neighbouring frames, 0..255, below or above which a clip is refused (too little or too much motion).
    """
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    change = _change(gray)
    if change < least_change:
        return _refused(frames, f"there is hardly any motion (frames differ by {change:.2f} of 255)")
    if change > most_change:
        return _refused(frames, f"there is too much motion (frames differ by {change:.0f} of 255)")
    found = camera.without_strays(camera.to_centre(gray), gray[0].shape)
    bad = sum(one is None for one in found)
    # Between two that are known one can be guessed; beyond the last the camera may do anything.
    if bad > _BAD_FRAMES * len(found) or found[0] is None or found[-1] is None:
        reason = f"the camera's motion could not be found in {bad} of {len(found)} frames"
        return replace(_refused(frames, reason), known=_known(found))
    return _cut(frames, camera.filled(found, gray[0].shape), least_share)


def pieces(frames: np.ndarray, least_frames: int) -> Iterator[tuple[int, Stabilised]]:
    """A clip, stabilised, or shorter pieces of it where that fails: (number of the first frame, piece).

    It is divided where the camera's motion is lost, or else in the middle: a camera that goes on and on leaves nothing
    that all of a long clip shows, but enough of a shorter one. What is shorter than `least_frames` is left out.
    """
    whole, count = stabilise(frames), len(frames)
    first, last = whole.known or (0, count // 2)
    if last - first < least_frames:
        first, last = 0, count // 2
    if whole.reason is None or last - first < least_frames:
        yield 0, whole
        return
    for begin, end in ((0, first), (first, last), (last, count)):
        if end - begin >= least_frames:
            yield from ((begin + further, piece) for further, piece in pieces(frames[begin:end], least_frames))


def followed(planes: np.ndarray, steady: Stabilised) -> np.ndarray:
    """Planes (T, H, W) uint8 that lie on the frames of a clip, such as object ids, moved and cut like those frames."""
    height, width = planes.shape[1:]
    top, bottom, left, right = steady.crop
    moved = [
        cv2.warpPerspective(plane, one, (width, height), flags=cv2.INTER_NEAREST)
        for plane, one in zip(planes, steady.homographies, strict=True)
    ]
    return np.stack(moved)[:, top : height - bottom, left : width - right]


def _change(pictures: Sequence[np.ndarray], most: int = 255) -> float:
    """Mean difference between neighbouring pictures, 0..255; of no pixel more than `most`."""
    return float(np.mean([np.minimum(cv2.absdiff(one, two), most).mean() for one, two in pairwise(pictures)] or [0.0]))


def _refused(frames: np.ndarray, reason: str) -> Stabilised:
    still = np.tile(np.eye(3), (len(frames), 1, 1))
    return Stabilised(frames, still, (0, 0, 0, 0), f"Not stabilised: {reason}.")


def _known(found: Sequence[np.ndarray | None]) -> tuple[int, int] | None:
    """The frames around the central one of which no two neighbours are missing: first and last (exclusive)."""
    middle = len(found) // 2
    times = [index for index, one in enumerate(found) if one is not None]
    breaks = [(before, after) for before, after in pairwise(times) if after - before > 2]
    first = max([times[0], *(after for _, after in breaks if after <= middle)])
    last = min([times[-1], *(before for before, _ in breaks if before >= middle)])
    return (first, last + 1) if (first, last) != (0, len(found) - 1) else None


def _cut(frames: np.ndarray, homographies: np.ndarray, least_share: float) -> Stabilised:
    """Warp all frames to the central one and cut them to the largest rectangle that lies inside every one."""
    height, width = frames.shape[1:3]
    corners = np.array([[[0, 0], [width, 0], [width, height], [0, height]]], np.float64)
    moved = np.stack([cv2.perspectiveTransform(corners, one)[0] for one in homographies])
    if np.abs(moved - corners).max() < _STILL_PX:
        return Stabilised(frames, homographies, (0, 0, 0, 0), None)
    seen = np.full((height, width), True)
    for one in homographies:
        seen &= cv2.warpPerspective(np.full((height, width), 255, np.uint8), one, (width, height)) == 255
    top, bottom, left, right = _largest_rectangle(seen)
    share = (bottom - top) * (right - left) / (height * width)
    if share < least_share:
        return _refused(frames, f"the camera moves so far that only {share:.0%} of the picture is in every frame")
    steady = [
        cv2.warpPerspective(frame, one, (width, height), flags=cv2.INTER_CUBIC)[top:bottom, left:right]
        for frame, one in zip(frames, homographies, strict=True)
    ]
    before = _change([frame[top:bottom, left:right] for frame in frames], camera.MOVES)
    if _change(steady, camera.MOVES) > _WORSE * before:
        return _refused(frames, "the camera's motion could not be found well enough to steady the picture")
    return Stabilised(np.stack(steady), homographies, (top, height - bottom, left, width - right), None)


def _largest_rectangle(seen: np.ndarray) -> tuple[int, int, int, int]:
    """Largest upright rectangle with even sides in a convex region: (top, bottom, left, right), the ends exclusive.

    In a convex region the narrowest row of a rectangle is its first or its last, so pairs of rows are all to try.
    """
    height, width = seen.shape
    some = seen.any(axis=1)
    begin = np.where(some, seen.argmax(axis=1), width)
    end = np.where(some, width - seen[:, ::-1].argmax(axis=1), 0)
    widths = np.minimum(end[:, None], end[None]) - np.maximum(begin[:, None], begin[None])
    heights = np.arange(height)[None] - np.arange(height)[:, None] + 1
    area = np.where((widths > 0) & (heights > 0), widths // 2 * (heights // 2), 0)
    top, last = np.unravel_index(int(area.argmax()), area.shape)
    left = max(begin[top], begin[last])
    tall, wide = heights[top, last] // 2 * 2, widths[top, last] // 2 * 2
    return int(top), int(top + max(0, tall)), int(left), int(left + max(0, wide))
