"""Who speaks when in a video: stretches of speech of each face, the video with boxes around them, RTTM and scores.

Every face that `demos.sync` judges gets a score at every moment, and speaks by a rule that is held on to
(`ops.speaking.Rule`): the face that goes best with the sound, or two where both go very well with it. A face that is
seen again after a cut is another one. Where it is about as loud as the file is, for a second, all faces that are seen
could be judged, and none goes with the sound, a voice off screen is told of; music is as good as a voice for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sslkit import files
from sslkit.demos.people import Faces
from sslkit.demos.stages import Stages
from sslkit.demos.sync import Heard, Observed, SyncSettings, together
from sslkit.media import read, write
from sslkit.media.faces import Track
from sslkit.models.lips import FPS, HOP, RATE_HZ, WINDOW_FRAMES
from sslkit.ops.offsets import offset_distances
from sslkit.ops.sound import level_db
from sslkit.ops.speaking import Mask, Rule, bridged, frame_scores, speaks, stretches
from sslkit.report import picture
from sslkit.report.picture import Picture

SPEAKS, SILENT, UNJUDGED = (40, 90, 255), (225, 40, 40), (150, 150, 150)
"""Colours of boxes: the lecture's blue and red, and grey for faces that could not be judged."""
_LEGEND = ((SPEAKS, "speaks"), (SILENT, "does not"), (UNJUDGED, "not judged"))
_OFF_SCREEN = "a voice off screen"
_QUIET_DB, _SILENT_DB = -30.0, -60.0
_SOUND_HZ = 48_000
_LARGEST_PX = 720
_CHUNK_FRAMES = 16


@dataclass(frozen=True)
class Segment:
    """A stretch of speech. track: number of the face among those that are judged; None for a voice that is not seen.

    score: mean over the stretch, in standard deviations (`ops.speaking`).
    """

    track: int | None
    start_s: float
    end_s: float
    score: float | None

    def told(self) -> dict[str, Any]:
        """For the record of a result."""
        return {"track": self.track, "start_s": self.start_s, "end_s": self.end_s, "score": self.score}


@dataclass(frozen=True)
class Spoken:
    """Of a video at 25 frames a second: scores and speech of each track, (its frames,) each; voices not seen, (T,)."""

    scores: list[NDArray[np.float32]]
    speech: list[Mask]
    unseen: Mask

    def segments(self, tracks: Sequence[Track]) -> list[Segment]:
        """All stretches in order of time."""
        found = [
            Segment(number, _at(track.start + first), _at(track.start + end), round(float(score[first:end].mean()), 3))
            for number, (track, score, mask) in enumerate(zip(tracks, self.scores, self.speech, strict=True))
            for first, end in stretches(mask)
        ]
        found += [Segment(None, _at(first), _at(end), None) for first, end in stretches(self.unseen)]
        return sorted(found, key=lambda one: (one.start_s, one.end_s))


def _at(frame: int) -> float:
    return round(frame / FPS, 3)


def offsets(heard: Sequence[Heard], settings: SyncSettings) -> list[int]:
    """By how many frames each face's sound is late: as of the whole video, but its own where it disagrees; else 0."""
    common = together(heard, settings).offset

    def disagrees(offset: int) -> bool:
        return common is None or abs(offset - common) > settings.near_frames

    return [one.offset if one.offset is not None and disagrees(one.offset) else common or 0 for one in heard]


def spoken(observed: Observed, late: Sequence[int], reach: int, rule: Rule | None = None) -> Spoken:
    """Who speaks when. late: by how many frames each track's sound is late; reach: the range of that."""
    found, rule = observed.found, rule or Rule()
    scores = [
        _scores(track, sight, observed, offset, reach, rule)
        for track, sight, offset in zip(found.tracks, observed.sights, late, strict=True)
    ]
    best = np.full(found.frames, -np.inf, np.float32)
    for track, score in zip(found.tracks, scores, strict=True):
        part = best[track.start : track.end]
        np.maximum(part, score, out=part)
    heard = _heard(observed, rule)
    speech = [
        speaks(score, best[track.start : track.end], heard[track.start : track.end], rule)
        for track, score in zip(found.tracks, scores, strict=True)
    ]
    return Spoken(scores, speech, _unseen(found, heard, speech, best, rule))


def reconciled(heard: Sequence[Heard], found: Spoken) -> list[Heard]:
    """What tracks say; a face that is found to speak at some moments is not told to be silent, or another's, as well.

    All of a track says little where its face is heard for a part of it.
    """
    return [
        replace(one, said="unsure") if one.said != "speaks" and mask.any() else one
        for one, mask in zip(heard, found.speech, strict=True)
    ]


def _scores(
    track: Track, sight: Tensor, observed: Observed, offset: int, reach: int, rule: Rule
) -> NDArray[np.float32]:
    """Of each frame of a track."""
    around = F.pad(observed.sound, (0, 0, reach, reach), value=torch.nan)[track.start :]
    distances = offset_distances(F.pad(sight, (0, 0, reach, reach)), around, reach)[: len(sight)]
    scores = frame_scores(distances.square() if observed.squared else distances, offset, rule.frames).numpy()
    # A row is of five frames, and told of the middle one.
    edge = WINDOW_FRAMES // 2
    return np.pad(scores, (edge, len(track.boxes) - len(scores) - edge), mode="edge")


def _heard(observed: Observed, rule: Rule) -> Mask:
    """Whether it is about as loud as where this file is loud, (T,); short pauses do not count."""
    level = np.full(observed.found.frames, -120.0, np.float32)
    begin = 0
    for chunk in read.sound_chunks(observed.video, RATE_HZ, 1000 / FPS, stream=observed.stream):
        whole = torch.from_numpy(chunk[: len(chunk) // HOP * HOP].reshape(-1, HOP))[: max(0, len(level) - begin)]
        level[begin : begin + len(whole)] = level_db(whole).numpy()
        begin += len(whole)
    loud = float(np.percentile(level, 95)) if len(level) else _SILENT_DB
    return bridged(level > max(loud + _QUIET_DB, _SILENT_DB), rule.pause_frames)


def _unseen(found: Faces, heard: Mask, speech: Sequence[Mask], best: NDArray[np.float32], rule: Rule) -> Mask:
    """Where sound is heard that no face makes, (T,)."""
    left = heard & (best < rule.nobody)
    for track, mask in zip(found.tracks, speech, strict=True):
        left[track.start : track.end] &= ~mask
    for one in found.refused:
        left[one.track.start : one.track.end] = False
    for first, end in stretches(left):
        left[first:end] = end - first >= rule.unseen_frames
    return left


def notes(video: Path, segments: Sequence[Segment], heard: Sequence[Heard]) -> list[str]:
    """Who speaks for how long, in words, and where all of a track says something else than its moments."""
    tracks = len(heard)
    spans: dict[int | None, float] = {}
    for one in segments:
        spans[one.track] = spans.get(one.track, 0.0) + one.end_s - one.start_s
    said = [f"face {number} for {spans[number]:.1f} s" for number in range(tracks) if number in spans]
    words = [f"{video}: {len(said)} of {tracks} {'face' if tracks == 1 else 'faces'}"]
    words.append(" speaks" if 1 in (len(said), tracks) else " speak")
    if said:
        words.append(": " + ", ".join(said))
    if None in spans:
        words.append(f"; for {spans[None]:.1f} s sound comes from off screen")
    parts = [f"face {number}" for number, one in enumerate(heard) if number in spans and one.said != "speaks"]
    never = [f"face {number}" for number, one in enumerate(heard) if number not in spans and one.said == "speaks"]
    told = [
        f"{video}: faces that speak at times, though all of their track gives no sure offset: {', '.join(parts)}.",
        f"{video}: faces that move with the sound, though at no moment more than others: {', '.join(never)}.",
    ]
    return [note for note, named in zip(told, (parts, never), strict=True) if named] + ["".join(words) + "."]


def write_rttm(path: Path, video: Path, segments: Sequence[Segment]) -> None:
    """Write stretches of speech as NIST has it, a line each; faces are track0 and so on, the unseen off_screen."""
    name = "_".join(video.stem.split())
    lines = [
        f"SPEAKER {name} 1 {one.start_s:.3f} {one.end_s - one.start_s:.3f} <NA> <NA> "
        f"{'off_screen' if one.track is None else f'track{one.track}'} <NA> <NA>\n"
        for one in segments
    ]
    with files.replacing(path) as file:
        file.write("".join(lines).encode())


def write_scores(path: Path, tracks: Sequence[Track], found: Spoken) -> None:
    """Write the score of each track at each of its moments, 25 a second, as CSV.

    Columns: time_s; track, by number; x0, y0, x1, y1, the face in pixels of the video; score, in standard deviations;
    speaks, 1 or 0.
    """
    with files.replacing(path) as file:
        file.write(b"time_s,track,x0,y0,x1,y1,score,speaks\n")
        for number, (track, score, mask) in enumerate(zip(tracks, found.scores, found.speech, strict=True)):
            for place, box in enumerate(track.boxes.tolist()):
                corners = ",".join(f"{value:.1f}" for value in box)
                told = f"{_at(track.start + place):.2f},{number},{corners},{score[place]:.3f},{int(mask[place])}\n"
                file.write(told.encode())


def write_overlay(path: Path, observed: Observed, found: Spoken, stages: Stages | None = None) -> None:
    """Write the video with a box around each face, a legend below, and its sound; at its own rate, 720 px at most.

    Frames and sound are written as they are read, so that an hour takes no more memory than a minute.
    """
    about = observed.about
    short_px = min(about.height, about.width)
    side_px = min(short_px, _LARGEST_PX)
    chunks = _told(read.video_chunks(observed.video, about.fps, side_px, _CHUNK_FRAMES), observed, stages or Stages())
    sound = read.sound_chunks(observed.video, _SOUND_HZ, 1.0, stream=observed.stream)
    pictures = _drawn(chunks, about.fps, side_px / short_px, observed.found, found)
    write.video(path, pictures, about.fps, sound, _SOUND_HZ)


def _told(chunks: Iterator[Picture], observed: Observed, stages: Stages) -> Iterator[Picture]:
    """The chunks; how far they are is told."""
    done = 0
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        stages.reached(done, observed.about.frames, f"{observed.video.name}: speakers")


def _drawn(chunks: Iterator[Picture], fps: float, scale: float, faces: Faces, found: Spoken) -> Iterator[Picture]:
    number = 0
    for chunk in chunks:
        for frame in chunk:
            # Picture k of a rate is shown at k / rate; half a frame is far from what rounding does.
            moment = min(int(number / fps * FPS + 1e-3), len(found.unseen) - 1)
            boxes, colours, texts = _boxes(moment, faces, found)
            marked = picture.boxed(frame, [box * scale for box in boxes], colours, texts)
            note = _OFF_SCREEN if found.unseen[moment] else ""
            yield np.concatenate([marked, picture.legend(frame.shape[1], _LEGEND, note)])
            number += 1


def _boxes(
    moment: int, faces: Faces, found: Spoken
) -> tuple[list[NDArray[np.float32]], list[tuple[int, int, int]], list[str]]:
    """What is seen at a frame of 25 a second: boxes in pixels of the video, colours, texts."""
    boxes, colours, texts = [], [], []
    for one in faces.refused:
        if one.track.start <= moment < one.track.end:
            boxes.append(one.track.boxes[moment - one.track.start])
            colours.append(UNJUDGED)
            texts.append("")
    for number, (track, score, mask) in enumerate(zip(faces.tracks, found.scores, found.speech, strict=True)):
        if track.start <= moment < track.end:
            place = moment - track.start
            boxes.append(track.boxes[place])
            colours.append(SPEAKS if mask[place] else SILENT)
            texts.append(f"{number}: {score[place]:.1f}")
    return boxes, colours, texts
