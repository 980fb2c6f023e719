"""What is done with one source: a picture, a video, a segment of one or a synthetic scene becomes stored samples."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sslkit.data import cutting, framing, samples
from sslkit.data.face_clips import FaceClip, face_clips, marked_clip
from sslkit.data.framing import Border, Pictures
from sslkit.data.layouts.base import FaceTrack, Item
from sslkit.data.settings import PrepareSettings
from sslkit.data.shards import Stored
from sslkit.errors import WorkError
from sslkit.media import borders, picture, read, shots, stabilise

_HIGHEST_FPS = 31
_SILENT_END_S = 0.1
_STANDING_FPS = 5.0


@dataclass(frozen=True)
class Refused:
    """A clip that was left out although its source can be read: where it lies, and why."""

    source: str
    start_s: float
    reason: str


Step = Stored | Refused | None
"""What comes out of a source, one after the other; None is only a sign of life."""


def prepare_item(item: Item, number: int, label: int, settings: PrepareSettings) -> Iterator[Step]:
    """The samples of one item, one at a time, so that a long video needs no more memory than a short one.

    number: position of the item in the dataset, which makes its keys unique. Raises WorkError when the source cannot
    be read, or holds no clip that is long enough.
    """
    if item.problem is not None:
        raise WorkError(f"{item.source} cannot be prepared: {item.problem}.")
    about: dict[str, Any] = {
        "label": label,
        "label_name": item.label_name,
        "source": item.source,
        "group": item.group,
        "flow_bound": settings.flow_bound_px,
        "truth": None if item.truth is None else dict(item.truth),
        "fold": item.fold,
        "tags": list(item.tags),
    }
    stem = f"{number:07d}-{re.sub(r'[^A-Za-z0-9_]+', '-', item.key)[:48].strip('-')}"
    if item.scene is not None:
        yield from _scene(item, {**about, "key": stem}, settings)
    elif item.path is None:
        raise WorkError(f"{item.source} has no file.")
    elif item.still:
        whole = read.image(item.path)
        framing.check_shape(item.path, *whole.shape[:2])
        shown = picture.scaled(whole, settings.short_side_px)
        if item.heard is None or not settings.sound:
            yield samples.still({**about, "key": stem}, shown)
        else:
            yield _standing(shown, item.heard, {**about, "key": stem}, settings)
    elif item.sound:
        yield from _sound(item, item.path, {**about, "key": stem}, settings)
    else:
        yield from _video(item, item.path, {**about, "key": stem}, settings)


def rate(source_fps: float, fps: float | None) -> float:
    """Constant rate of the prepared clips: `fps` as set, or that of the source divided until it is at most 30."""
    return fps or source_fps / math.ceil(source_fps / _HIGHEST_FPS)


def _standing(shown: Pictures, heard: Path, about: dict[str, Any], settings: PrepareSettings) -> Stored:
    """A picture and its sound as a clip that stands still, from the sound's start and of at most `clip_s`."""
    pieces = read.sound_chunks(heard, settings.rate_hz, settings.clip_s, channels=settings.channels)
    sound = next(pieces, np.zeros(0, np.int16))
    if len(sound) < settings.min_s * settings.rate_hz:
        raise WorkError(f"{heard} holds no sound of at least {settings.min_s:g} s.")
    fps, end_s = settings.fps or _STANDING_FPS, len(sound) / settings.rate_hz
    even = framing.fitted(shown[None], settings.short_side_px)
    frames = np.repeat(even, max(1, round(end_s * fps)), 0)
    place = {"start_s": 0.0, "end_s": round(end_s, 6)}
    return samples.clip({**about, **place}, frames, fps, sound=sound, rate_hz=settings.rate_hz)


def _sound(item: Item, path: Path, about: dict[str, Any], settings: PrepareSettings) -> Iterator[Step]:
    """Sound without pictures, in pieces of at most `clip_s`; a labelled one, which is to be kept, may be short."""
    start_s = item.start_s or 0.0
    heard = read.sound_chunks(path, settings.rate_hz, settings.clip_s, start_s, item.end_s, channels=settings.channels)
    least, number, at_s = round(settings.min_s * settings.rate_hz), 0, start_s
    for piece in heard:
        if len(piece) < (settings.rate_hz * 0.01 if item.label_name is not None and not number else least):
            break
        end_s = at_s + len(piece) / settings.rate_hz
        place = {"key": f"{about['key']}-{number:04d}", "start_s": at_s, "end_s": end_s}
        yield samples.sound({**about, **place}, piece, settings.rate_hz)
        at_s, number = end_s, number + 1
    if not number:
        raise WorkError(f"{path} holds no sound of at least {settings.min_s:g} s.")


def _video(item: Item, path: Path, about: dict[str, Any], settings: PrepareSettings) -> Iterator[Step]:
    changed = path.stat().st_mtime_ns if path.exists() else 0
    probe, border = framing.looked_at(path, changed)
    marked = item.marked if settings.faces != "none" else None
    border = border if marked is None else framing.WHOLE  # it is the whole picture that faces are marked in
    fps = rate(probe.fps, settings.fps)
    start_s, end_s = _span(item, probe.duration_s, settings)
    side_px = framing.reading_side(probe, border if settings.remove_borders else framing.WHOLE, settings)
    longest = max(1, math.floor(settings.clip_s * fps + 1e-6))
    chunks = read.video_chunks(path, fps, side_px, longest, start_s, end_s if item.end_s is not None else None)
    labelled = item.label_name is not None or item.start_s is not None
    cut = settings.shots and (settings.cut_labelled or not labelled)
    pieces = cutting.shot_pieces(chunks, longest, shots.Cuts(fps)) if cut else cutting.counted(chunks)
    number = 0
    for first, frames in pieces:
        if len(frames) < settings.min_s * fps and not (labelled and first == 0):
            yield None
            continue
        place = {"key": f"{about['key']}-{number:04d}", "start_s": start_s + first / fps}
        heard = probe.has_sound and settings.sound
        inside, bars = framing.without(frames, framing.scaled(border, probe, frames), settings)
        removed = {"border": list(border if settings.remove_borders else framing.WHOLE), "bars": list(bars)}
        for shown in _shown({**about, **place, **removed}, inside, fps, settings, probe, marked):
            if isinstance(shown, Refused):
                yield shown
            else:
                whole = labelled or settings.faces != "none"
                yield from _clips(path, *shown, fps, heard, len(frames) if whole else 0, settings)
        number += 1
    if not number:
        raise WorkError(f"{path} holds no clip of at least {settings.min_s:g} s.")


def _shown(
    about: dict[str, Any],
    frames: Pictures,
    fps: float,
    settings: PrepareSettings,
    probe: read.Probe | None = None,
    marked: FaceTrack | None = None,
) -> Iterator[tuple[dict[str, Any], Pictures] | Refused]:
    """What a clip is to show: all of it, the face that is marked in the video that was probed, or each of its faces."""
    if settings.faces == "none":
        yield about, frames
        return
    found: Iterable[FaceClip | str]
    if marked is not None and probe is not None:
        at_s = about["start_s"] + np.arange(len(frames)) / fps
        boxes = marked.squares_at(at_s, (frames.shape[2], frames.shape[1]), (probe.width, probe.height))
        found = [marked_clip(frames, boxes, settings.faces, settings.short_side_px)]
    else:
        found = face_clips(frames, settings.faces, settings.short_side_px, max(1.0, settings.min_s * fps))
    for number, one in enumerate(found):
        if isinstance(one, str):
            yield Refused(about["source"], round(about["start_s"], 3), one)
            continue
        place = {"key": f"{about['key']}-{number}", "start_s": about["start_s"] + one.first / fps}
        yield {**about, **place, "boxes": one.boxes.round(1).tolist()}, one.frames


def _clips(
    path: Path,
    about: dict[str, Any],
    frames: Pictures,
    fps: float,
    heard: bool,
    least_frames: int,
    settings: PrepareSettings,
) -> Iterator[Stored | Refused]:
    """The clip, or what can be stabilised of it, in pieces of at least `least_frames` and a quarter of a clip."""
    if not settings.stabilise:
        yield _clip(path, about, frames, fps, heard, settings)
        return
    least_s = max(settings.min_s, settings.clip_s / 4)
    for first, steady in stabilise.pieces(frames, max(least_frames, math.ceil(least_s * fps))):
        start_s = about["start_s"] + first / fps
        if steady.reason is not None:
            yield Refused(about["source"], round(start_s, 3), steady.reason)
            continue
        key = about["key"] if len(steady.frames) == len(frames) else f"{about['key']}-{first}"
        still = about | {"key": key, "start_s": start_s} | _steadied(steady)
        yield _clip(path, still, framing.fitted(steady.frames, settings.short_side_px), fps, heard, settings)


def _clip(
    path: Path, about: dict[str, Any], frames: Pictures, fps: float, heard: bool, settings: PrepareSettings
) -> Stored:
    start_s = about["start_s"]
    end_s = start_s + len(frames) / fps
    sound = _heard(path, start_s, end_s, settings) if heard else None
    return _stored({**about, "start_s": round(start_s, 6), "end_s": round(end_s, 6)}, frames, fps, sound, settings)


def _steadied(steady: stabilise.Stabilised) -> dict[str, Any]:
    """What is written down of a clip whose camera was held still. Its bars have moved too, and are lost from sight."""
    return {"camera": np.asarray(steady.homographies, np.float64).round(6).tolist(), "bars": list(framing.WHOLE)}


def _stored(
    about: dict[str, Any],
    frames: Pictures,
    fps: float,
    sound: NDArray[np.int16] | None,
    settings: PrepareSettings,
    masks: Pictures | None = None,
) -> Stored:
    fwd, bwd = _flow(frames, tuple(about["bars"]), settings)
    return samples.clip(about, frames, fps, sound=sound, rate_hz=settings.rate_hz, fwd=fwd, bwd=bwd, masks=masks)


def _scene(item: Item, about: dict[str, Any], settings: PrepareSettings) -> Iterator[Stored | Refused]:
    """A synthetic scene. Its truth stays in the pixels and at the rate of rendering; `border` tells the crop."""
    from sslkit.data import toybox

    rendered = toybox.render(item.scene)
    border = framing.WHOLE if item.still else borders.borders(framing.spread(rendered.frames))
    removed = border if settings.remove_borders else framing.WHOLE
    frames, bars = framing.without(rendered.frames, border, settings)
    about = {**about, "border": list(removed), "bars": list(bars), "truth": _plain(rendered.truth)}
    if item.still or settings.faces == "none":
        frames = framing.fitted(frames, settings.short_side_px)
    if item.still:
        yield samples.still(about, frames[0])
        return
    fps = settings.fps or float(toybox.FPS)
    chosen = (np.arange(round(len(frames) * fps / toybox.FPS)) * toybox.FPS / fps + 1e-6).astype(int)
    sound = _resampled(rendered.sound, toybox.RATE_HZ, settings.rate_hz) if settings.sound else None
    if settings.faces != "none":
        yield from _scene_faces({**about, "start_s": 0.0}, frames[chosen], fps, sound, settings)
        return
    frames, masks = frames[chosen], _resized(framing.within(rendered.masks, removed)[chosen], frames)
    if settings.stabilise:
        steady = stabilise.stabilise(frames)
        if steady.reason is not None:
            yield Refused(item.source, 0.0, steady.reason)
            return
        frames, about = framing.fitted(steady.frames, settings.short_side_px), about | _steadied(steady)
        masks = _resized(stabilise.followed(masks, steady), frames)
    yield _stored(about, frames, fps, sound, settings, masks)


def _scene_faces(
    about: dict[str, Any], frames: Pictures, fps: float, sound: NDArray[np.int16] | None, settings: PrepareSettings
) -> Iterator[Stored | Refused]:
    for shown in _shown(about, frames, fps, settings):
        if isinstance(shown, Refused):
            yield shown
            continue
        first, end = (round(second * settings.rate_hz) for second in (shown[0]["start_s"], len(shown[1]) / fps))
        heard = None if sound is None else sound[first : first + end]
        yield _stored(shown[0] | {"end_s": shown[0]["start_s"] + len(shown[1]) / fps}, shown[1], fps, heard, settings)


def _resized(masks: Pictures, frames: Pictures) -> Pictures:
    """Object ids (T, h, w) at the size of frames (T, H, W, 3)."""
    if masks.shape == frames.shape[:3]:
        return masks
    size = (frames.shape[2], frames.shape[1])
    return np.stack([cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) for mask in masks]).astype(np.uint8)


def _span(item: Item, duration_s: float, settings: PrepareSettings) -> tuple[float, float]:
    """Start and end of the item in its file; short segments are widened around their middle."""
    start_s, end_s = item.start_s or 0.0, item.end_s if item.end_s is not None else duration_s
    missing_s = settings.widen_s - (end_s - start_s)
    if item.end_s is None or missing_s <= 0:
        return start_s, end_s
    start_s = max(0.0, min(start_s - missing_s / 2, duration_s - settings.widen_s))
    return start_s, start_s + settings.widen_s


def _heard(path: Path, start_s: float, end_s: float, settings: PrepareSettings) -> NDArray[np.int16]:
    """Sound without the zeros that stand for what the file does not hold, where its sound ends before its pictures."""
    sound = read.sound(path, settings.rate_hz, start_s, end_s, channels=settings.channels)
    heard = np.flatnonzero(sound) // settings.channels
    end = int(heard[-1]) + 1 if len(heard) else 0
    return sound[:end] if len(sound) - end > _SILENT_END_S * settings.rate_hz else sound


def _resampled(sound: NDArray[np.int16], from_hz: int, to_hz: int) -> NDArray[np.int16]:
    if from_hz == to_hz:
        return sound
    from sslkit.media import write

    return read.sound(write.flac(sound, from_hz), to_hz)


def _flow(frames: Pictures, bars: Border, settings: PrepareSettings) -> tuple[Iterable[Pictures], Iterable[Pictures]]:
    """Packed flow forwards, and between the frames in reverse: fields (2, H, W). Bars that were zeroed do not move."""
    if settings.flow == "none" or len(frames) < 2:
        return (), ()
    # Only data with flow need torch, which takes long to load.
    import torch

    from sslkit.ops import flow

    device = "cuda" if settings.flow == "tvl1" and torch.cuda.is_available() else "cpu"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        fwd, bwd = flow.fields(frames, settings.flow, settings.flow_bound_px, settings.backward, device)
    finally:
        torch.set_num_threads(threads)
    if settings.zero_borders:
        still = framing.inside_of(frames.shape[1:3], bars) == 0
        for fields in (fwd, bwd):
            if fields is not None:
                fields[..., still] = 128
    return fwd, () if bwd is None else bwd


def _plain(value: Any) -> Any:
    """Numbers, lists and dicts for JSON out of whatever numpy made of them."""
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, float):
        return float(f"{value:.8g}") if math.isfinite(value) else None
    return value
