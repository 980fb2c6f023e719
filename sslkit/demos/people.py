"""The people in a video: their faces followed through its shots, and their mouths seen and sounds heard as vectors.

The file is decoded twice, small to find faces, large to cut them out, so that an hour needs no more memory than a
minute, and nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslkit.demos.scene import Sound
from sslkit.demos.stages import Stages
from sslkit.media import detectors, faces, read, shots
from sslkit.media.faces import Track
from sslkit.models.lips import FPS, HOP, RATE_HZ, WINDOW, WINDOW_FRAMES
from sslkit.ops.sound import level_db

Frames = NDArray[np.uint8]
See = Callable[[Tensor], Tensor]
"""Frames (1, T, 3, S, S) uint8 to vectors (T - 4, D)."""
Hear = Callable[[Tensor], Tensor]
"""Sound (1, N) int16 to vectors (windows, D), one for every 640 samples."""

_CHUNK_FRAMES = 100
_JUDGED_FRAMES = 200
"""Networks even out what differs from clip to clip: pieces are not much shorter than clips."""
_DETECT_PX = 360
_LARGEST_PX = 720
_SEARCHED_PX, _LEAST_FOUND_PX = 480, 24
"""Longer side of what the detectors that ship look at, and the smallest face that they find in it."""
_SLACK_FRAMES = 10
_SILENT_DB = -85.0
"""Noise in the last bit, as dither is, lies below it at -91 dB. Pauses in a quiet room, which are heard, are at -72."""


@dataclass(frozen=True)
class Refused:
    """A face that is not judged. track: where it is, in pixels of the video. reason: one clause."""

    track: Track
    reason: str


@dataclass(frozen=True)
class Faces:
    """The faces of a video at 25 frames a second, boxes in its pixels.

    frames: of the video at that rate. damaged_s: when pictures are missing that are damaged in the file.
    """

    frames: int
    tracks: list[Track]
    refused: list[Refused]
    damaged_s: list[float] = field(default_factory=list)


def followed(
    video: Path, least_frames: int, least_px: int, find: detectors.Finder, stages: Stages | None = None
) -> Faces:
    """Follow the faces of a video; those that are seen too shortly, too small or from the side are refused."""
    about, stages = read.probe(video), stages or Stages()
    scale = _looked_scale(about.width, about.height)
    side_px = round(min(about.height, about.width) * scale) // 2 * 2
    cuts, looker, damaged_s = shots.Cuts(FPS), faces.Looker(find), list[float]()
    chunks = read.video_chunks(video, FPS, side_px, _CHUNK_FRAMES, damaged=damaged_s.append)
    for chunk in stages.drawn("decode", chunks):
        with stages.stage("faces"):
            looker.add(chunk, cuts.add(chunk), min(about.height, about.width) / side_px)
        stages.reached(looker.frames, round(about.duration_s * FPS), f"{video.name}: faces")
    tracks = looker.tracks()
    refused = [Refused(track, why) for track in tracks if (why := _why_not(track, least_frames, least_px))]
    kept = [track for track in tracks if all(track is not one.track for one in refused)]
    return Faces(looker.frames, kept, refused, damaged_s)


def least_found_px(width: int, height: int) -> int:
    """Side of the smallest face, in pixels of a video of this size, that the detectors that ship can find in it."""
    scale = _looked_scale(width, height)
    return round(_LEAST_FOUND_PX / scale * max(1.0, max(width, height) * scale / _SEARCHED_PX))


def _looked_scale(width: int, height: int) -> float:
    """By which pictures are scaled before faces are looked for."""
    return min(1.0, _DETECT_PX / min(height, width))


def _why_not(track: Track, least_frames: int, least_px: int) -> str | None:
    if len(track.boxes) < least_frames:
        return f"seen for {len(track.boxes) / FPS:.1f} s, less than {least_frames / FPS:.1f} s"
    if track.size_px < least_px:
        return f"{track.size_px:.0f} px large, below {least_px} px"
    if track.profile > 0.5:
        return "seen from the side"
    return None


@torch.inference_mode()
def seen(
    video: Path, tracks: Sequence[Track], see: See, side_px: int, part: faces.Part, stages: Stages | None = None
) -> list[Tensor]:
    """Vectors of each track, (T - 4, D): vector t is of its frames t .. t + 4."""
    stages, watched = stages or Stages(), [_Watched(track, see) for track in tracks]
    until = max((track.end for track in tracks), default=0)
    for first, chunk, scale in stages.drawn("decode", _large(video, until, part)):
        with stages.stage("features"):
            for one in watched:
                one.add(first, chunk, scale, side_px, part)
        stages.reached(first + len(chunk), until, f"{video.name}: mouths")
    with stages.stage("features"):
        return [one.vectors() for one in watched]


class _Watched:
    """A track whose frames are seen in pieces, with some more on either side for networks that look around."""

    def __init__(self, track: Track, see: See) -> None:
        self.track, self._see = track, see
        self._held: list[Frames] = []
        self._before = 0  # of the frames held: only context
        self._found: list[Tensor] = []

    def add(self, first: int, chunk: Frames, scale: float, side_px: int, part: faces.Part) -> None:
        """The next frames of the video, the number of the first; most are judged when more have come."""
        track = self.track
        begin, end = max(first, track.start), min(first + len(chunk), track.end)
        if begin >= end:
            return
        boxes = track.along(part)[begin - track.start : end - track.start] * scale
        self._held.append(faces.crops(chunk[begin - first : end - first], boxes, side_px, part))
        if end == track.end:
            self._end()
        elif sum(map(len, self._held)) >= self._before + _JUDGED_FRAMES + _SLACK_FRAMES:
            self._judge(_SLACK_FRAMES)

    def vectors(self) -> Tensor:
        """Those of the whole track."""
        self._end()
        return torch.cat(self._found) if self._found else torch.zeros(0, 1)

    def _end(self) -> None:
        """Judge what is left and let go of its frames: a film has thousands of tracks."""
        if sum(map(len, self._held)) >= WINDOW_FRAMES:
            self._judge(0)
        self._held = []

    def _judge(self, after: int) -> None:
        clip = np.concatenate(self._held)
        vectors = self._see(torch.from_numpy(clip).permute(0, 3, 1, 2)[None]).cpu()
        end = len(vectors) - after
        self._found.append(vectors[self._before : end])
        keep = max(0, end - _SLACK_FRAMES)
        self._held, self._before = [clip[keep:]], end - keep


def _large(video: Path, until: int, part: faces.Part) -> Iterator[tuple[int, Frames, float]]:
    """(number of the first frame, frames, their scale) of chunks large enough to cut faces out, up to a frame."""
    about = read.probe(video)
    short = min(about.height, about.width)
    # The published crop is cut out of the video as it is.
    side_px = short if part == "syncnet" else min(short, _LARGEST_PX) // 2 * 2
    frames = max(1, round(_CHUNK_FRAMES * min(1.0, _LARGEST_PX / side_px) ** 2))
    first = 0
    for chunk in read.video_chunks(video, FPS, side_px, frames, end_s=until / FPS):
        yield first, chunk, side_px / short
        first += len(chunk)


@dataclass(frozen=True)
class Sounding:
    """The sound of a video: vectors (T, D) and levels (T,) in dB under full scale, t of the frames t .. t + 4.

    Where there is no sound, as after the end of its stream or where nothing but dither is recorded, vectors are not
    numbers. damaged_s: when sound is missing that is damaged in the file.
    """

    vectors: Tensor
    level_db: Tensor
    damaged_s: list[float] = field(default_factory=list)


@torch.inference_mode()
def heard(video: Path, frames: int, hear: Hear, stream: int = 0, stages: Stages | None = None) -> Sounding:
    """The sound of so many frames. stream: which of several, from 0."""
    stages, found, levels, damaged_s = stages or Stages(), [], [], list[float]()
    # A window of sound is a little longer than five frames, with the same middle.
    early_s, end_s = (WINDOW - WINDOW_FRAMES * HOP) / 2 / RATE_HZ, (frames + 2 * _SLACK_FRAMES) / FPS
    pieces = read.sound_chunks(video, RATE_HZ, _JUDGED_FRAMES / FPS, -early_s, end_s, stream, damaged=damaged_s.append)
    sound = Sound(pieces, RATE_HZ, -early_s)
    for first in range(0, max(0, frames - WINDOW_FRAMES + 1), _JUDGED_FRAMES):
        last = min(first + _JUDGED_FRAMES, frames - WINDOW_FRAMES + 1)
        # Some more on either side, so that the windows at the edges of a chunk hear what they would hear in the whole.
        begin, end = max(0, first - _SLACK_FRAMES), last + _SLACK_FRAMES
        with stages.stage("decode"):
            samples = sound.part(begin / FPS - early_s, ((end - begin - 1) * HOP + WINDOW) / RATE_HZ)
        with stages.stage("features"):
            waveform = torch.from_numpy(samples)
            vectors, level = hear(waveform[None]).cpu(), level_db(waveform.unfold(0, WINDOW, HOP))
            vectors[level < _SILENT_DB] = torch.nan
        found.append(vectors[first - begin : last - begin])
        levels.append(level[first - begin : last - begin])
    if not found:
        return Sounding(torch.zeros(0, 1), torch.zeros(0), damaged_s)
    return Sounding(torch.cat(found), torch.cat(levels), damaged_s)
