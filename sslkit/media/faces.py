"""Faces in video: looked for, followed through a shot, and cut out.

Source: the pipeline of joonson/syncnet_python: boxes of neighbouring frames belong to one face where they overlap by
more than half; up to 25 frames may miss it; centre and size pass through a median filter of 13 frames.
Departures: faces are found by other detectors, which look at every few frames, once a second everywhere and else where
faces were; boxes between are interpolated; after the median a mean of 5 frames takes out what is left of the jitter.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from sslkit.media.detectors import MOUTH, PROFILE, Boxes, Finder, Frames, Picture, overlap

Part = Literal["face", "mouth", "syncnet"]
"""What is cut out; "syncnet": the face to the pixel as joonson/syncnet_python cuts it for its network."""

_LOOK_EVERY = 5
"""Frames from one look to the next,"""
_EVERYWHERE_EVERY = 25
"""to the next one at the whole picture,"""
_NOBODY_EVERY = 15
"""and to the next one where nobody was seen."""
_OVERLAP = 0.5
_MEDIAN_FRAMES = 13
_MEAN_FRAMES = 5
_GREY = 110
_MOUTH_SIDE = 0.62


@dataclass(frozen=True)
class Track:
    """One face through a shot.

    start: its first frame. boxes: (T, 4) float32, left, top, right, bottom in pixels, squares. medians: the same before
    the mean. found: (T,) bool, where it was found and not interpolated. profile: share of findings that only show it
    from the side.
    """

    start: int
    boxes: Boxes
    medians: Boxes
    found: NDArray[np.bool_]
    profile: float

    @property
    def end(self) -> int:
        """The frame after the last."""
        return self.start + len(self.boxes)

    @property
    def size_px(self) -> float:
        """Median side of the boxes."""
        return float(np.median(self.boxes[:, 2] - self.boxes[:, 0]))

    def along(self, part: Part) -> Boxes:
        """The boxes along which a part is cut."""
        return self.medians if part == "syncnet" else self.boxes


class Looker:
    """Looks for the faces of a video, whose frames are added in order; then follows them. frames: how many came."""

    def __init__(self, find: Finder) -> None:
        self.frames = 0
        self._find, self._cuts = find, list[int]()
        self._found: list[tuple[int, Boxes]] = []
        self._next, self._everywhere = 0, 0

    def add(self, frames: Frames, cuts: Sequence[int] = (), scale: float = 1.0) -> None:
        """The next frames (T, H, W, 3). cuts: frames of the video with which shots begin. scale: of the boxes."""
        self._cuts += cuts
        last = self.frames + len(frames)
        while self._next < last:
            boxes = self._looked(frames[self._next - self.frames], scale)
            self._found.append((self._next, boxes))
            self._next += _LOOK_EVERY if len(boxes) else _NOBODY_EVERY
        self.frames = last

    def tracks(self) -> list[Track]:
        """The faces of all frames so far; see `follow`."""
        return follow(self._found, self.frames, self._cuts)

    def _looked(self, picture: Frames, scale: float) -> Boxes:
        now, (before, known) = self._next, self._found[-1] if self._found else (0, np.zeros((0, 5), np.float32))
        another_shot = bisect_right(self._cuts, now) > bisect_right(self._cuts, before)
        if len(known) and now < self._everywhere and not another_shot:
            boxes = self._find(picture, _scaled(known, 1 / scale))
            if len(boxes) == len(known):
                return _scaled(boxes, scale)
        self._everywhere = now + _EVERYWHERE_EVERY
        return _scaled(self._find(picture), scale)


def _scaled(boxes: Boxes, by: float) -> Boxes:
    """Boxes (n, 5) in other pixels."""
    return np.concatenate([boxes[:, :4] * by, boxes[:, 4:]], 1).astype(np.float32)


@dataclass
class _Open:
    """A track that is still being followed."""

    frames: list[int] = field(default_factory=list)
    boxes: list[Boxes] = field(default_factory=list)
    kinds: list[float] = field(default_factory=list)


def follow(
    found: Sequence[tuple[int, Boxes]], frames: int, cuts: Sequence[int] = (), most_missed: int = 25
) -> list[Track]:
    """Link what was found, [(frame, boxes (n, 5)), ...] in order, to tracks, in the order of their first frames.

    frames: how many the video has. cuts: first frames of its shots; no track crosses one. most_missed: frames for
    which a face may be lost. A track reaches from its first to its last finding.
    """
    done: list[_Open] = []
    following: list[_Open] = []
    ends = [*sorted(set(cuts) - {0}), frames]
    shot = 0
    for frame, boxes in found:
        while frame >= ends[shot]:
            done, following, shot = done + following, [], shot + 1
        lost = [track for track in following if frame - track.frames[-1] > most_missed]
        following = [track for track in following if track not in lost]
        done += lost
        following += _linked(following, frame, boxes)
    tracks = [_finished(track) for track in done + following]
    return sorted(tracks, key=lambda track: (track.start, float(track.boxes[0, 0])))


def crops(frames: Frames, boxes: Boxes, side_px: int, part: Part = "face") -> Frames:
    """The face or the mouth of each frame (T, H, W, 3), cut out along boxes (T, 4): (T, side_px, side_px, 3).

    The face is cut as joonson/syncnet_python does: 1.4 times the box, from its top. Grey where the frame ends.
    """
    if part == "syncnet":
        return np.stack([_as_published(frame, box, side_px) for frame, box in zip(frames, boxes, strict=True)])
    corners = _corners(boxes, part)
    return np.stack([_cut(frame, corner, side_px) for frame, corner in zip(frames, corners, strict=True)])


def _corners(boxes: Boxes, part: Part) -> Boxes:
    """Left, top and side of the square to cut, (T, 3)."""
    side = boxes[:, 2] - boxes[:, 0]
    middle = (boxes[:, 0] + boxes[:, 2]) / 2
    if part == "face":
        cut = 1.4 * side
        return np.stack([middle - cut / 2, boxes[:, 1], cut], 1)
    cut = _MOUTH_SIDE * side
    return np.stack([middle - cut / 2, boxes[:, 1] + MOUTH * side - cut / 2, cut], 1)


def _cut(frame: Picture, corner: Boxes, side_px: int) -> Frames:
    left, top, side = (float(value) for value in corner)
    scale = side_px / side
    # Pixel centres to pixel centres.
    way = np.array([[scale, 0, (0.5 - left) * scale - 0.5], [0, scale, (0.5 - top) * scale - 0.5]])
    if scale < 1:  # averaged first: a warp alone would alias
        sigma = 0.5 * (1 / scale - 1) + 1e-3
        inside = [max(0, int(top) - 8), max(0, int(left) - 8)]
        patch = frame[inside[0] : int(top + side) + 8, inside[1] : int(left + side) + 8]
        if patch.size:
            frame = cv2.GaussianBlur(patch, (0, 0), sigma)
            way[:, 2] += scale * np.array([inside[1], inside[0]])
    size, grey = (side_px, side_px), (_GREY, _GREY, _GREY)
    return np.asarray(cv2.warpAffine(frame, way, size, flags=cv2.INTER_LINEAR, borderValue=grey), np.uint8)


def _as_published(frame: Picture, box: Boxes, side_px: int) -> Frames:
    """Whole pixels of the frame, cut before they are scaled, and scaled without a filter."""
    half, x, y = float(max(box[2:] - box[:2])) / 2, float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2
    added = int(half * 1.8)  # on all sides; what is then cut begins and ends at whole pixels
    top, bottom, left, right = (
        int(place + added) - added for place in (y - half, y + 1.8 * half, x - 1.4 * half, x + 1.4 * half)
    )
    inside = frame[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    if not inside.size:
        return np.full((side_px, side_px, 3), _GREY, np.uint8)
    below, beside = max(0, bottom - frame.shape[0]), max(0, right - frame.shape[1])
    grey = (_GREY, _GREY, _GREY)
    whole = cv2.copyMakeBorder(inside, max(0, -top), below, max(0, -left), beside, cv2.BORDER_CONSTANT, value=grey)
    return np.asarray(cv2.resize(whole, (side_px, side_px)), np.uint8)


def _linked(following: list[_Open], frame: int, boxes: Boxes) -> list[_Open]:
    """Give each box to the track that it overlaps most, best pairs first; returns the tracks that begin here."""
    free = set(range(len(boxes)))
    overlaps = [(overlap(track.boxes[-1], boxes[i]), n, i) for n, track in enumerate(following) for i in free]
    taken: set[int] = set()
    for share, number, i in sorted(overlaps, reverse=True):
        if share > _OVERLAP and number not in taken and i in free:
            _add(following[number], frame, boxes[i])
            taken.add(number)
            free.discard(i)
    begun = []
    for i in sorted(free):
        begun.append(_Open())
        _add(begun[-1], frame, boxes[i])
    return begun


def _add(track: _Open, frame: int, box: Boxes) -> None:
    track.frames.append(frame)
    track.boxes.append(box[:4])
    track.kinds.append(float(box[4]))


def _finished(track: _Open) -> Track:
    first, last = track.frames[0], track.frames[-1]
    every = np.arange(first, last + 1)
    boxes = np.stack(track.boxes)
    steady = [(boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2, boxes[:, 2] - boxes[:, 0]]
    medians = [_median(np.interp(every, track.frames, values)) for values in steady]
    return Track(
        start=first,
        boxes=_squares(*(_mean(values) for values in medians)),
        medians=_squares(*medians),
        found=np.isin(every, track.frames),
        profile=float(np.mean(np.array(track.kinds) == PROFILE)),
    )


def _squares(x: NDArray[np.float64], y: NDArray[np.float64], side: NDArray[np.float64]) -> Boxes:
    return np.stack([x - side / 2, y - side / 2, x + side / 2, y + side / 2], 1).astype(np.float32)


def _median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    windows = np.lib.stride_tricks.sliding_window_view(_padded(values, _MEDIAN_FRAMES // 2), _MEDIAN_FRAMES)
    return np.asarray(np.median(windows, 1))


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.convolve(_padded(values, _MEAN_FRAMES // 2), np.full(_MEAN_FRAMES, 1 / _MEAN_FRAMES), "valid")


def _padded(values: NDArray[np.float64], by: int) -> NDArray[np.float64]:
    return np.pad(values, by, mode="edge")
