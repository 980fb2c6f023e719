"""The faces of a clip, or their mouths, as clips of their own: what networks that watch people talk learn from."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sslkit.media import detectors, faces

Pictures = NDArray[np.uint8]

_LEAST_PX = 40
_PROFILE_SHARE = 0.5


@dataclass(frozen=True)
class FaceClip:
    """One face through a clip. first: its first frame. frames: (T, S, S, 3). boxes: (T, 4) in the clip's pixels."""

    first: int
    frames: Pictures
    boxes: NDArray[np.float32]


def face_clips(
    frames: Pictures, part: Literal["face", "mouth"], side_px: int, least_frames: float
) -> Iterator[FaceClip | str]:
    """The faces that can be followed through at least so many frames (T, H, W, 3) of a shot, cut out with `side_px`.

    Faces below 40 px, and those that mostly show their side, are left out. Without any that is left comes one sentence
    that says why.
    """
    looker = faces.Looker(_finder())
    looker.add(frames)
    tracks = looker.tracks()
    refused = [_refused(track, least_frames) for track in tracks]
    for track, reason in zip(tracks, refused, strict=True):
        if reason is None:
            cut = faces.crops(frames[track.start : track.end], track.boxes, side_px, part)
            yield FaceClip(track.start, cut, track.boxes)
    if None not in refused:
        told = "; ".join(sorted({reason for reason in refused if reason}))
        yield f"No face can be followed: {told}." if told else "No face was found."


def marked_clip(
    frames: Pictures, boxes: NDArray[np.float32], part: Literal["face", "mouth"], side_px: int
) -> FaceClip | str:
    """The face that lies along squares (T, 4), one a frame; a sentence where it is too small."""
    size_px = float(np.median(boxes[:, 2] - boxes[:, 0]))
    if size_px < _LEAST_PX:
        return f"The face that is marked is {size_px:.0f} px large, below {_LEAST_PX}."
    return FaceClip(0, faces.crops(frames, boxes, side_px, part), boxes)


@functools.cache
def _finder() -> detectors.Finder:
    return detectors.finder()


def _refused(track: faces.Track, least_frames: float) -> str | None:
    if len(track.boxes) < least_frames:
        return f"one is seen for {len(track.boxes)} frames only"
    if track.size_px < _LEAST_PX:
        return f"one is {track.size_px:.0f} px large, below {_LEAST_PX}"
    if track.profile > _PROFILE_SHARE:
        return "one shows its side"
    return None
