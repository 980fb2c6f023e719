"""By how much is the sound of a video late or early? Asked of every face that talks, and answered in seconds and words.

Distances between what a mouth does and what is heard are averaged over a track for each offset of a range; the offset
where they are least is the answer, how far that is under the median says how sure it is. Only frames whose whole range
exists take part, so that nothing is compared with padding; an answer at an end of the range is none.

Source: Chung and Zisserman, "Out of time: automated lip sync in the wild", ACCV workshops 2016. Departures: networks of
this package; a training-free method, how open the mouth is against onsets of the sound, as control.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sslkit import files
from sslkit.demos import people
from sslkit.demos.stages import Progress, Stages
from sslkit.demos.watchers import Watcher
from sslkit.errors import WorkError
from sslkit.media import detectors, read
from sslkit.media.faces import Track
from sslkit.models.lips import FPS, WINDOW_FRAMES
from sslkit.ops.offsets import best_offset, certainty, compared, offset_distances
from sslkit.types import Result

_SEARCHED_FRAMES = 5000
"""At once, so that an hour needs no more memory than a minute."""
_MOST_NAMED = 6
_AROUND_FRAMES = 10
"""How far what sees and hears looks around, and a little more."""
_LOUD_SHARE, _LOUD_DB = 0.95, 30.0
_CUT_SHORT_S = 1.0
"""Files may say that they are a little longer than they are."""
_LEAST_FPS = 10.0
"""Below it, pictures of a mouth are further apart than syllables."""
Verdict = Literal["in sync", "sound late", "sound early", "not found", "no face"]
Said = Literal["speaks", "not this voice", "unsure", "beyond the range", "silent"]


@dataclass(frozen=True)
class SyncSettings:
    """reach_frames: the range of offsets, to either side. least_s: of a track; least_px: of a face.

    sure: confidence from which an answer is given. unsure: share of it from which a face may belong to the sound, and
    enough_rows: distances, where the sound is loud, that it takes to say that it does not: `sslkit probe --recipe sync`
    counts both kinds of error ("own_denied", "other_denied"). near_frames: offsets up to this
    are in sync. strays: share of what is spoken that may say another offset than the rest, which is then still given.
    """

    reach_frames: int = 15
    least_s: float = 1.5
    least_px: int = 40
    sure: float = 0.05
    unsure: float = 0.7
    enough_rows: int = 40
    near_frames: int = 1
    strays: float = 0.1


@dataclass(frozen=True)
class Heard:
    """One track with its curve of mean distances (2 reach + 1,), and what it says.

    compared: numbers of the video's windows that the curve is the mean of, (rows,) int64. said: "speaks", the only one
    with an offset; "beyond the range", as surely, but the curve is lowest at an end of it; "not this voice", the curve
    is flat; "unsure", it is neither, or of too few rows; "silent", there is no sound while the face is seen. squared:
    as its watcher.
    """

    track: Track
    curve: Tensor
    compared: Tensor
    offset: int | None
    confidence: float
    said: Said
    squared: bool

    @property
    def rows(self) -> int:
        """How many distances the curve is the mean of."""
        return len(self.compared)


@dataclass(frozen=True)
class Together:
    """What the tracks that speak say of the video: its offset, and how sure that is.

    strays: those whose own offset is another one. Without an offset there is none, or too many of them are strays.
    """

    offset: int | None
    confidence: float
    strays: list[Heard]


@dataclass(frozen=True)
class Observed:
    """What was seen and heard of a video.

    sights: vectors of each track, (T - 4, D), the first of its first five frames. sound: of the video, (frames - 4, D).
    stream: of several sounds, the one that was heard, from 0. squared: as the watcher. loud: (frames - 4,) bool, when
    it is about as loud as where it is loud. damaged_s: when pictures or sound are missing that are damaged in the file;
    around it the sound's vectors are not numbers.
    """

    video: Path
    about: read.Probe
    found: people.Faces
    sights: list[Tensor]
    sound: Tensor
    stream: int
    squared: bool
    loud: Tensor
    damaged_s: list[float]


def sync(
    video: Path,
    watcher: Watcher,
    settings: SyncSettings,
    find: detectors.Finder,
    stream: int = 0,
    progress: Progress | None = None,
) -> Result:
    """Observe a video and measure it; see `observe`, `searched` and `measured`."""
    stages = Stages(progress)
    observed = observe(video, watcher, settings, find, stream, stages)
    return measured(observed, searched(observed, settings, stages), settings, stages)


def observe(
    video: Path,
    watcher: Watcher,
    settings: SyncSettings,
    find: detectors.Finder,
    stream: int = 0,
    stages: Stages | None = None,
) -> Observed:
    """Follow the faces of a video, and see and hear it. stream: which of several sounds, from 0.

    Raises WorkError for a file without pictures or without that sound.
    """
    with (stages := stages or Stages()).stage("decode"):
        about = read.probe(video, stream)
    if not about.has_video or not about.has_sound:
        missing = "pictures" if about.has_sound else "sound"
        sounds = read.probe(video).sounds if stream and not about.has_sound else 0
        missing = f"sound stream {stream + 1}, but {sounds} of them" if sounds else missing
        raise WorkError(f"{video} has no {missing}: there is nothing to compare.")
    found = people.followed(video, _least(settings), settings.least_px, find, stages)
    sights = people.seen(video, found.tracks, watcher.see, watcher.side_px, watcher.part, stages)
    heard = people.heard(video, found.frames, watcher.hear, stream, stages)
    damaged_s = sorted({round(at_s, 2) for at_s in (*found.damaged_s, *heard.damaged_s)})
    sound = _without(heard.vectors, damaged_s)
    return Observed(video, about, found, sights, sound, stream, watcher.squared, _loud(heard.level_db), damaged_s)


def _without(vectors: Tensor, times_s: Sequence[float]) -> Tensor:
    """Vectors of frames that are not numbers around some times, where what is missing would pass for movement."""
    kept = vectors.clone()
    for frame in (int(time_s * FPS) for time_s in times_s):
        kept[max(0, frame - WINDOW_FRAMES + 1 - _AROUND_FRAMES) : max(0, frame + _AROUND_FRAMES + 1)] = torch.nan
    return kept


def _loud(level_db: Tensor) -> Tensor:
    """Where a sound is about as loud as where it is loud, as speech is but not what a room sounds like."""
    return level_db >= level_db.quantile(_LOUD_SHARE) - _LOUD_DB if len(level_db) else level_db.bool()


def measured(
    observed: Observed, heard: Sequence[Heard], settings: SyncSettings, stages: Stages | None = None
) -> Result:
    """By how much the sound is late (`offset_s` is positive where it is), and what each face says, as was searched.

    coverage: share of the video's frames at which at least one face was compared with the sound. It is below 1 also
    where a face is seen all the time: at either end of the file, as many frames as the range of offsets is wide to one
    side have no sound for some of the offsets, and a window takes five frames. agree: whether all faces that speak say
    about the same offset; where most of what is spoken does, it is given all the same, else there is none. Nothing is
    said where no face speaks.
    """
    about, found, stages = observed.about, observed.found, stages or Stages()
    with stages.stage("search"):
        of_all = together(heard, settings)
    return Result(
        name="sync",
        fields={
            "input": str(observed.video),
            "offset_s": None if of_all.offset is None else round(of_all.offset / FPS, 3),
            "offset_frames": of_all.offset,
            "fps": FPS,
            "confidence": round(of_all.confidence, 4),
            "agree": not of_all.strays if any(one.said == "speaks" for one in heard) else None,
            "verdict": _verdict(of_all.offset, bool(found.tracks or found.refused), settings),
            "container_offset_s": round(about.sound_start_s - about.video_start_s, 4),
            "stream": observed.stream + 1,
            "streams": about.sounds,
            "coverage": round(_covered(heard) / max(1, found.frames), 4),
            "damaged_s": observed.damaged_s,
            "tracks": [_told(one) for one in heard],
            "refused": [{**_place(one.track), "reason": one.reason} for one in found.refused],
            "spent_s": {stage: round(spent_s, 3) for stage, spent_s in stages.seconds.items()},
        },
        shown=[_in_short(observed, heard, of_all, settings)],
        notes=_notes(observed, heard, of_all, settings),
        seconds=sum(stages.seconds.values()),
    )


def _in_short(observed: Observed, heard: Sequence[Heard], of_all: Together, settings: SyncSettings) -> dict[str, Any]:
    """What people want to know first."""
    found = observed.found
    return {
        "input": str(observed.video),
        "offset_s": None if of_all.offset is None else round(of_all.offset / FPS, 3),
        "verdict": _verdict(of_all.offset, bool(found.tracks or found.refused), settings),
        "confidence": round(of_all.confidence, 2),
        "faces": len(heard),
        "sure": sum(one.said == "speaks" for one in heard),
    }


def searched(observed: Observed, settings: SyncSettings, stages: Stages | None = None) -> list[Heard]:
    """What each track says; none is sure where there are too few pictures."""
    tracks = zip(observed.found.tracks, observed.sights, strict=True)
    with (stages or Stages()).stage("search"):
        heard = [_searched(track, sight, observed, settings) for track, sight in tracks]
    if not too_few(observed.about):
        return heard
    return [one if one.said == "silent" else replace(one, offset=None, said="unsure") for one in heard]


def too_few(about: read.Probe) -> str:
    """A clause where a video has too few pictures to see how a mouth moves, else nothing."""
    if about.fps >= _LEAST_FPS:
        return ""
    many = f"{about.fps:.3g} pictures a second are" if about.fps != 1 else "1 picture a second is"
    return f"{many} too few to see how a mouth moves: {_LEAST_FPS:g} are needed"


def keep_vectors(observed: Observed, path: Path) -> None:
    """Write what was seen and heard, for reading lips for instance, as .npz; nothing is ever half written.

    `fps`; `sound` (frames - 4, D), vector t of the time of the video's frames t .. t + 4, not numbers where it is
    silent; for each face k, `sight_k` (T, D), the same of its frames, `start_k`, its first, and `boxes_k` (T + 4, 4) in
    pixels of the video. All vectors float32.
    """
    arrays: dict[str, Any] = {"fps": np.float32(FPS), "sound": observed.sound.numpy().astype(np.float32)}
    for number, (track, sight) in enumerate(zip(observed.found.tracks, observed.sights, strict=True)):
        arrays |= {f"sight_{number}": sight.numpy().astype(np.float32), f"start_{number}": np.int64(track.start)}
        arrays[f"boxes_{number}"] = track.boxes
    with files.replacing(path) as file:
        np.savez(file, **arrays)


def vectors(
    video: Path, watchers: Sequence[Watcher], find: detectors.Finder, settings: SyncSettings
) -> list[tuple[Tensor, Tensor]]:
    """What each sees of the face that is seen longest, and hears with it, (T, D) each; nothing without a face."""
    found = people.followed(video, _least(settings), settings.least_px, find)
    if not found.tracks:
        return []
    track, pairs = max(found.tracks, key=lambda one: len(one.boxes)), []
    for watcher in watchers:
        (sight,) = people.seen(video, [track], watcher.see, watcher.side_px, watcher.part)
        sound = people.heard(video, found.frames, watcher.hear).vectors
        pairs.append((sight, sound[track.start : track.start + len(sight)]))
    return pairs


def _least(settings: SyncSettings) -> int:
    """Frames that a track must have."""
    return max(round(settings.least_s * FPS), 2 * settings.reach_frames + WINDOW_FRAMES + 1)


def _searched(track: Track, sight: Tensor, observed: Observed, settings: SyncSettings) -> Heard:
    """The distances of a track to the sound around it, which may reach beyond the track."""
    reach, sound, squared = settings.reach_frames, observed.sound, observed.squared
    first, last = max(track.start, reach), min(track.start + len(sight), len(sound) - reach)
    total, numbers = torch.zeros(2 * reach + 1, dtype=torch.float64), [torch.zeros(0, dtype=torch.int64)]
    for begin in range(first, last, _SEARCHED_FRAMES):
        end = min(begin + _SEARCHED_FRAMES, last)
        # The search leaves out as many frames as its range at either end: they are no frames of the track.
        inner = functional.pad(sight[begin - track.start : end - track.start], (0, 0, reach, reach))
        distances = offset_distances(inner, sound[begin - reach : end + reach], reach)
        known = distances.isfinite().all(1)
        total += compared(distances[known].double(), squared).sum(0)
        numbers.append(begin + known.nonzero()[:, 0])
    every = torch.cat(numbers)
    if not len(every):
        return Heard(track, torch.full((2 * reach + 1,), torch.nan), every, None, 0.0, "silent", squared)
    curve = (total / len(every)).float()
    offset, confidence = _answered(curve, len(every), squared, settings)
    said = _said(offset, confidence, int(observed.loud[every].sum()), settings)
    return Heard(track, curve, every, offset, confidence, said, squared)


def _answered(curve: Tensor, rows: int, squared: bool, settings: SyncSettings) -> tuple[int | None, float]:
    """The offset, if it is sure, and how sure."""
    best = best_offset(curve)
    confidence = certainty(float(best.confidence), rows, squared)
    sure = bool(best.found) and confidence >= settings.sure
    return (int(best.frames) if sure else None), confidence


def _said(offset: int | None, confidence: float, loud_rows: int, settings: SyncSettings) -> Said:
    """What a track with sound says."""
    if offset is not None:
        return "speaks"
    if confidence >= settings.sure:
        return "beyond the range"
    little = loud_rows < settings.enough_rows
    return "unsure" if little or confidence >= settings.unsure * settings.sure else "not this voice"


def together(heard: Sequence[Heard], settings: SyncSettings) -> Together:
    """By all frames of the tracks that speak and agree with each other, as most of what is spoken does."""
    speaking = [one for one in heard if one.offset is not None]
    if not speaking:
        return Together(None, max((one.confidence for one in heard), default=0.0), [])
    said = [one.offset for one in speaking if one.offset is not None]
    groups = [
        [one for one, offset in zip(speaking, said, strict=True) if abs(offset - middle) <= settings.near_frames]
        for middle in range(min(said), max(said) + 1)
    ]
    agreeing = max(groups, key=_rows)
    strays = [one for one in speaking if not any(one is other for other in agreeing)]
    if _rows(strays) > settings.strays * _rows(speaking):
        return Together(None, _of_all(speaking, settings)[1], strays)
    return Together(*_of_all(agreeing, settings), strays)


def _rows(heard: Sequence[Heard]) -> int:
    return sum(one.rows for one in heard)


def _of_all(speaking: Sequence[Heard], settings: SyncSettings) -> tuple[int | None, float]:
    """The offset of some tracks, and how sure it is, by all of their frames."""
    weights = torch.tensor([float(one.rows) for one in speaking])
    curve = (torch.stack([one.curve for one in speaking]) * weights[:, None]).sum(0) / weights.sum()
    return _answered(curve, _rows(speaking), speaking[0].squared, settings)


def _covered(heard: Sequence[Heard]) -> int:
    """Moments of the video at which some track was compared."""
    return len(np.unique(torch.cat([one.compared for one in heard]).numpy())) if heard else 0


def _verdict(offset: int | None, faces_seen: bool, settings: SyncSettings) -> Verdict:
    if not faces_seen:
        return "no face"
    if offset is None:
        return "not found"
    if abs(offset) <= settings.near_frames:
        return "in sync"
    return "sound late" if offset > 0 else "sound early"


def _place(track: Track) -> dict[str, Any]:
    """When and where a face is seen, for the record of a result."""
    return {
        "start_s": round(track.start / FPS, 3),
        "end_s": round(track.end / FPS, 3),
        "box": [round(float(value), 1) for value in np.median(track.boxes, 0)],
    }


def _told(one: Heard) -> dict[str, Any]:
    return {
        **_place(one.track),
        "offset_s": None if one.offset is None else round(one.offset / FPS, 3),
        "confidence": round(one.confidence, 4),
        "verdict": one.said,
        "curve": [round(float(value), 4) for value in one.curve] if one.rows else [],
    }


def _in_words(heard: Sequence[Heard], of_all: Together, silent: bool, settings: SyncSettings) -> str:
    """The answer, or why there is none. silent: whether nothing at all is heard."""
    reach_s, said, offset = settings.reach_frames / FPS, {one.said for one in heard}, of_all.offset
    if offset is not None:
        way = "late: play it earlier" if offset > 0 else "early: play it later"
        far = f"{abs(offset) / FPS:.2f} s ({abs(offset)} frames of 1/25 s) {way} by as much"
        return f"the sound is {'in sync' if abs(offset) <= settings.near_frames else far}"
    if of_all.strays:
        return f"faces disagree, so no one offset is right for all of it: {_offsets_named(heard)}; --plot shows each"
    if said == {"silent"}:
        if silent:
            return "there is no sound while a face is seen"
        return f"too little is heard while a face is seen: it takes sound for {reach_s:.1f} s before and after, too"
    if "beyond the range" in said:
        return f"the sound is off by {reach_s:.2f} s, the end of the range, or by more: raise --reach-frames"
    if said & {"unsure", "speaks"}:
        return f"it is not certain whether a face moves with this sound within {reach_s:.2f} s"
    return f"no face moves with this sound within {reach_s:.2f} s"


def _offsets_named(heard: Sequence[Heard], only: Sequence[Heard] | None = None) -> str:
    """What each face that speaks says, or some of them."""
    said = [
        f"face {number} ({one.track.start / FPS:.1f} to {one.track.end / FPS:.1f} s) {one.offset / FPS:+.2f} s"
        for number, one in enumerate(heard)
        if one.offset is not None and (only is None or any(one is other for other in only))
    ]
    more = [f"{len(said) - _MOST_NAMED} more"] if len(said) > _MOST_NAMED else []
    return ", ".join([*said[:_MOST_NAMED], *more])


def _notes(observed: Observed, heard: Sequence[Heard], of_all: Together, settings: SyncSettings) -> list[str]:
    """What a person would want to know beside the numbers."""
    notes, video, found = [], observed.video, observed.found
    if heard:
        silent = not bool(observed.sound.isfinite().any())
        notes.append(f"{video}: {too_few(observed.about) or _in_words(heard, of_all, silent, settings)}.")
    if of_all.strays and of_all.offset is not None:
        notes.append(
            f"{video}: not all faces agree with this: {_offsets_named(heard, of_all.strays)}; --plot shows each."
        )
    if found.refused:
        reasons, count = "; ".join(sorted({one.reason for one in found.refused})), len(found.refused)
        notes.append(f"{video}: {f'{count} faces were' if count > 1 else 'a face was'} not judged ({reasons}).")
    if not found.tracks and not found.refused:
        least_px = people.least_found_px(observed.about.width, observed.about.height)
        notes.append(
            f"{video}: no face was found; what ships finds none below {least_px} px in pictures of this size "
            "(--detector takes another)."
        )
    notes += _broken(observed)
    if observed.about.sounds > 1:
        notes.append(
            f"{video} has {observed.about.sounds} sound streams, of which number {observed.stream + 1} was measured: "
            "--stream chooses."
        )
    return notes


def _broken(observed: Observed) -> list[str]:
    """What is missing of a file: around damage nothing is compared, beyond its end nothing is there."""
    notes, damaged_s, told_s, ends_s = [], observed.damaged_s, observed.about.duration_s, observed.found.frames / FPS
    if damaged_s:
        first, last = f"{damaged_s[0]:.1f}", f"{damaged_s[-1]:.1f}"
        at = f"at {first} s" if first == last else f"between {first} and {last} s"
        notes.append(f"{observed.video} is damaged {at}: what lies around that was left out.")
    if told_s - ends_s > _CUT_SHORT_S:
        notes.append(
            f"{observed.video} was cut short: it ends after {ends_s:.1f} s, and says that it has {told_s:.1f} s."
        )
    return notes
