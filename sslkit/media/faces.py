"""Faces in video: found, followed through a shot, and cut out.

Source: the pipeline of joonson/syncnet_python: boxes of neighbouring frames belong to one face where they overlap by
more than half; up to 25 frames may miss it; centre and size pass through a median filter of 13 frames.
Departures: OpenCV's Haar cascades, which come with it, find the faces (YuNet by path); they look at every few frames,
once a second everywhere and else where faces were, and boxes between are interpolated; after the median a mean of 5
frames takes out what is left of the jitter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from sslkit.errors import UserError

Frames = NDArray[np.uint8]
Picture = NDArray[Any]  # uint8, but OpenCV does not say so of what it returns
Boxes = NDArray[np.float32]
Part = Literal["face", "mouth", "syncnet"]
"""What is cut out; "syncnet": the face to the pixel as joonson/syncnet_python cuts it for its network."""

_SEARCH_PX = 480
_PROFILE_PX = 320  # profiles are only reported
_LEAST_PX = 24
_LOOK_EVERY = 5
"""Frames from one look to the next,"""
_EVERYWHERE_EVERY = 25
"""to the next one at the whole picture,"""
_NOBODY_EVERY = 15
"""and to the next one where nobody was seen."""
# A face that was seen is looked for among faces of about its size, a little way around it, where it is so large.
_NEAR_PX = 64
_NEAR_SIZES = 0.75, 1.33
_AROUND = 0.4
_OVERLAP = 0.5
_MEDIAN_FRAMES = 13
_MEAN_FRAMES = 5
_GREY = 110
# How a face lies in the square that Haar's cascades draw: shares of its side, measured from its top.
_EYES, _MOUTH = 0.38, 0.78
_MOUTH_SIDE = 0.62
_PROFILE = 1.0


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


class Finder(Protocol):
    """What finds faces."""

    def __call__(self, picture: Frames, near: Boxes | None = None) -> Boxes:
        """Boxes (n, 5) of a picture (H, W, 3) uint8: left, top, right, bottom, and 1 for a profile.

        near: boxes of a moment ago; only where they are need be looked.
        """


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
        another_shot = any(before < cut <= now for cut in self._cuts)
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


def finder(model: Path | None = None) -> Finder:
    """What finds faces in a picture.

    model: the ONNX file of a YuNet detector; without one, the cascades of OpenCV for frontal faces and profiles.
    Raises UserError when the model cannot be loaded.
    """
    return _cascades() if model is None else _yunet(model)


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
    return np.stack([middle - cut / 2, boxes[:, 1] + _MOUTH * side - cut / 2, cut], 1)


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
    overlaps = [(_overlap(track.boxes[-1], boxes[i]), n, i) for n, track in enumerate(following) for i in free]
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


def _overlap(one: Boxes, two: Boxes) -> float:
    """Intersection over union."""
    low, high = np.maximum(one[:2], two[:2]), np.minimum(one[2:4], two[2:4])
    both = float(np.prod(np.maximum(0, high - low)))
    areas = [float(np.prod(box[2:4] - box[:2])) for box in (one, two)]
    return both / max(sum(areas) - both, 1e-9)


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
        profile=float(np.mean(np.array(track.kinds) == _PROFILE)),
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


def _cascades() -> Finder:
    folder = Path(cv2.__file__).parent / "data"
    frontal, profile = (
        cv2.CascadeClassifier(str(folder / f"haarcascade_{name}.xml")) for name in ("frontalface_alt2", "profileface")
    )

    def find(picture: Frames, near: Boxes | None = None) -> Boxes:
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        if near is not None:
            return np.concatenate([_near(frontal, profile, grey, box) for box in near])
        small, scale = _small(grey)
        front = _seen(frontal, small)
        if len(front):
            return _boxes(front, scale, 0.0)
        small, scale = _small(grey, _PROFILE_PX)
        return _boxes(_from_sides(profile, small), scale, _PROFILE)

    return find


def _near(frontal: cv2.CascadeClassifier, profile: cv2.CascadeClassifier, grey: Picture, box: Boxes) -> Boxes:
    """The face that is now where a box was, (1, 5), or none, (0, 5)."""
    side = float(box[2] - box[0])
    low = np.maximum(0, np.floor(box[:2] - _AROUND * side)).astype(int)
    high = np.ceil(box[2:4] + _AROUND * side).astype(int)
    patch, scale = grey[low[1] : high[1], low[0] : high[0]], _NEAR_PX / side
    if not patch.size:
        return np.zeros((0, 5), np.float32)
    patch = cv2.resize(patch, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    sizes = [round(_NEAR_PX * share) for share in _NEAR_SIZES]
    found = _boxes(_seen(frontal, patch, *sizes), scale, 0.0)
    if not len(found):
        found = _boxes(_from_sides(profile, patch, *sizes), scale, _PROFILE)
    found[:, :4] += np.tile(low, 2).astype(np.float32)
    nearest = sorted(found, key=lambda one: -_overlap(one, box))[:1]
    return np.stack(nearest) if nearest else found


def _boxes(found: NDArray[np.float64], scale: float, kind: float) -> Boxes:
    """Left, top, width, height (n, 4) in a scaled picture, as boxes (n, 5) of what was scaled."""
    corners = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], 1) / scale
    return np.column_stack([corners, np.full(len(found), kind)]).astype(np.float32)


def _from_sides(profile: cv2.CascadeClassifier, grey: Picture, *sizes: int) -> NDArray[np.float64]:
    """Faces that look to the left or to the right, (n, 4) of left, top, width, height."""
    right = _seen(profile, cv2.flip(grey, 1), *sizes)
    right[:, 0] = grey.shape[1] - right[:, 0] - right[:, 2]
    return np.concatenate([_seen(profile, grey, *sizes), right])


def _small(grey: Picture, most_px: int = _SEARCH_PX) -> tuple[Picture, float]:
    scale = min(1.0, most_px / max(grey.shape))
    return (cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else grey), scale


def _seen(
    cascade: cv2.CascadeClassifier, grey: Picture, least_px: int = _LEAST_PX, most_px: int = 0
) -> NDArray[np.float64]:
    """(n, 4) of left, top, width, height; a limit of 0 is none."""
    step = 1.05 if most_px else 1.1
    boxes = cascade.detectMultiScale(grey, step, 4, minSize=(least_px, least_px), maxSize=(most_px, most_px))
    return np.asarray(boxes, np.float64).reshape(-1, 4)


def _yunet(model: Path) -> Finder:
    try:
        network = cv2.FaceDetectorYN.create(str(model), "", (_SEARCH_PX, _SEARCH_PX), 0.7)
    except cv2.error as error:
        raise UserError(f"{model} is no YuNet detector that OpenCV can load: name the .onnx file of one.") from error

    def find(picture: Frames, near: Boxes | None = None) -> Boxes:
        small, scale = _small(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        network.setInputSize((small.shape[1], small.shape[0]))
        _, faces = network.detect(small)
        if faces is None:
            return np.zeros((0, 5), np.float32)
        points = faces[:, 4:14].reshape(-1, 5, 2) / scale
        eyes, mouth = points[:, :2].mean(1), points[:, 3:].mean(1)
        side = np.linalg.norm(mouth - eyes, axis=1) / (_MOUTH - _EYES)
        left, top = (eyes + mouth)[:, 0] / 2 - side / 2, eyes[:, 1] - _EYES * side
        return np.column_stack([left, top, left + side, top + side, np.zeros(len(side))]).astype(np.float32)

    return find
