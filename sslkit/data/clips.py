"""What is done with one source: a picture, a video, a segment of one or a synthetic scene becomes stored samples."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sslkit.data import samples
from sslkit.data.face_clips import face_clips
from sslkit.data.layouts.base import Item
from sslkit.data.settings import PrepareSettings
from sslkit.data.shards import Stored
from sslkit.errors import WorkError
from sslkit.media import borders, picture, read, shots, stabilise

Pictures = NDArray[np.uint8]
Border = tuple[int, int, int, int]
_HIGHEST_FPS = 31
_BORDER_FRAMES = 5
_SILENT_END_S = 0.1
_UNCERTAIN_FRAMES = 2
_LONGEST_SHAPE = 20
_LARGEST_FOR_FACES_PX = 720
_WHOLE: Border = (0, 0, 0, 0)


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
    }
    stem = f"{number:07d}-{re.sub(r'[^A-Za-z0-9_]+', '-', item.key)[:48].strip('-')}"
    if item.scene is not None:
        yield from _scene(item, {**about, "key": stem}, settings)
    elif item.path is None:
        raise WorkError(f"{item.source} has no file.")
    elif item.still:
        whole = read.image(item.path)
        _check_shape(item.path, *whole.shape[:2])
        yield samples.still({**about, "key": stem}, picture.scaled(whole, settings.short_side_px))
    elif item.sound:
        yield from _sound(item, item.path, {**about, "key": stem}, settings)
    else:
        yield from _video(item, item.path, {**about, "key": stem}, settings)


def rate(source_fps: float, fps: float | None) -> float:
    """Constant rate of the prepared clips: `fps` as set, or that of the source divided until it is at most 30."""
    return fps or source_fps / math.ceil(source_fps / _HIGHEST_FPS)


def _sound(item: Item, path: Path, about: dict[str, Any], settings: PrepareSettings) -> Iterator[Step]:
    """Sound without pictures, in pieces of at most `clip_s`; a labelled one, which is to be kept, may be short."""
    start_s = item.start_s or 0.0
    heard = read.sound(path, settings.rate_hz, start_s, item.end_s)
    longest, least = (round(seconds * settings.rate_hz) for seconds in (settings.clip_s, settings.min_s))
    number = 0
    for first in range(0, len(heard), longest):
        piece = heard[first : first + longest]
        if len(piece) < (settings.rate_hz * 0.01 if item.label_name is not None and not first else least):
            continue
        at_s = start_s + first / settings.rate_hz
        place = {"key": f"{about['key']}-{number:04d}", "start_s": at_s, "end_s": at_s + len(piece) / settings.rate_hz}
        yield samples.sound({**about, **place}, piece, settings.rate_hz)
        number += 1
    if not number:
        raise WorkError(f"{path} holds no sound of at least {settings.min_s:g} s.")


def _video(item: Item, path: Path, about: dict[str, Any], settings: PrepareSettings) -> Iterator[Step]:
    changed = path.stat().st_mtime_ns if path.exists() else 0
    probe, border = _looked_at(path, changed)
    fps = rate(probe.fps, settings.fps)
    start_s, end_s = _span(item, probe.duration_s, settings)
    side_px = _reading_side(probe, border if settings.remove_borders else _WHOLE, settings)
    longest = max(1, math.floor(settings.clip_s * fps + 1e-6))
    chunks = read.video_chunks(path, fps, side_px, longest, start_s, end_s if item.end_s is not None else None)
    labelled = item.label_name is not None or item.start_s is not None
    cut = settings.shots and (settings.cut_labelled or not labelled)
    pieces = _shot_pieces(chunks, longest, shots.Cuts(fps)) if cut else _counted(chunks)
    number = 0
    for first, frames in pieces:
        if len(frames) < settings.min_s * fps and not (labelled and first == 0):
            yield None
            continue
        place = {"key": f"{about['key']}-{number:04d}", "start_s": start_s + first / fps}
        heard = probe.has_sound and settings.sound
        inside, bars = _without(frames, _scaled(border, probe, frames), settings)
        removed = {"border": list(border if settings.remove_borders else _WHOLE), "bars": list(bars)}
        for shown in _shown({**about, **place, **removed}, inside, fps, settings):
            yield shown if isinstance(shown, Refused) else _clip(path, *shown, fps, heard, settings)
        number += 1
    if not number:
        raise WorkError(f"{path} holds no clip of at least {settings.min_s:g} s.")


def _shown(
    about: dict[str, Any], frames: Pictures, fps: float, settings: PrepareSettings
) -> Iterator[tuple[dict[str, Any], Pictures] | Refused]:
    """What a clip is to show: all of it, or each of its faces."""
    if settings.faces == "none":
        yield about, frames
        return
    found = face_clips(frames, settings.faces, settings.short_side_px, max(1.0, settings.min_s * fps))
    for number, one in enumerate(found):
        if isinstance(one, str):
            yield Refused(about["source"], round(about["start_s"], 3), one)
            continue
        place = {"key": f"{about['key']}-{number}", "start_s": about["start_s"] + one.first / fps}
        yield {**about, **place, "boxes": one.boxes.round(1).tolist()}, one.frames


def _clip(
    path: Path, about: dict[str, Any], frames: Pictures, fps: float, heard: bool, settings: PrepareSettings
) -> Stored | Refused:
    start_s = about["start_s"]
    end_s = start_s + len(frames) / fps
    if settings.stabilise:
        steady = stabilise.stabilise(frames)
        if steady.reason is not None:
            return Refused(about["source"], round(start_s, 3), steady.reason)
        frames, about = _fitted(steady.frames, settings.short_side_px), about | _steadied(steady)
    sound = _until_silence(read.sound(path, settings.rate_hz, start_s, end_s), settings.rate_hz) if heard else None
    return _stored({**about, "start_s": round(start_s, 6), "end_s": round(end_s, 6)}, frames, fps, sound, settings)


def _steadied(steady: stabilise.Stabilised) -> dict[str, Any]:
    """What is written down of a clip whose camera was held still. Its bars have moved too, and are lost from sight."""
    return {"camera": np.asarray(steady.homographies, np.float64).round(6).tolist(), "bars": list(_WHOLE)}


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
    border = _WHOLE if item.still else borders.borders(_spread(rendered.frames))
    removed = border if settings.remove_borders else _WHOLE
    frames, bars = _without(rendered.frames, border, settings)
    about = {**about, "border": list(removed), "bars": list(bars), "truth": _plain(rendered.truth)}
    if item.still or settings.faces == "none":
        frames = _fitted(frames, settings.short_side_px)
    if item.still:
        yield samples.still(about, frames[0])
        return
    fps = settings.fps or float(toybox.FPS)
    chosen = (np.arange(round(len(frames) * fps / toybox.FPS)) * toybox.FPS / fps + 1e-6).astype(int)
    sound = _resampled(rendered.sound, toybox.RATE_HZ, settings.rate_hz) if settings.sound else None
    if settings.faces != "none":
        yield from _scene_faces({**about, "start_s": 0.0}, frames[chosen], fps, sound, settings)
        return
    frames, masks = frames[chosen], _resized(_within(rendered.masks, removed)[chosen], frames)
    if settings.stabilise:
        steady = stabilise.stabilise(frames)
        if steady.reason is not None:
            yield Refused(item.source, 0.0, steady.reason)
            return
        frames, about = _fitted(steady.frames, settings.short_side_px), about | _steadied(steady)
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


@functools.lru_cache(maxsize=4)
def _looked_at(path: Path, changed: int) -> tuple[read.Probe, Border]:
    """What a video holds, and its black bars, kept because each segment asks again. changed: its time stamp."""
    probe = read.probe(path)
    if not probe.has_video:
        raise WorkError(f"{path} holds sound but no pictures.")
    _check_shape(path, probe.height, probe.width)
    return probe, _border(path, probe)


def _check_shape(path: Path, height: int, width: int) -> None:
    """Scaled to the short side, a line of pixels would fill the memory."""
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
    return borders.borders(np.stack(found)) if found else _WHOLE


def _reading_side(probe: read.Probe, border: Border, settings: PrepareSettings) -> int:
    """Short side at which a video is read so that its short side without border is, roughly, the wanted one.

    Faces are cut out of pictures as large as they are, within reason.
    """
    top, bottom, left, right = border
    if settings.faces != "none":
        return min(probe.height, probe.width, _LARGEST_FOR_FACES_PX) // 2 * 2
    inner = min(probe.height - top - bottom, probe.width - left - right)
    return 2 * math.ceil(min(probe.height, probe.width) * settings.short_side_px / inner / 2)


def _scaled(border: Border, probe: read.Probe, frames: Pictures) -> Border:
    """The border of a source in the pixels of its frames as they were read."""
    scales = (frames.shape[1] / probe.height,) * 2 + (frames.shape[2] / probe.width,) * 2
    top, bottom, left, right = (math.ceil(side * scale) for side, scale in zip(border, scales, strict=True))
    return top, bottom, left, right


def _without(frames: Pictures, border: Border, settings: PrepareSettings) -> tuple[Pictures, Border]:
    """Frames whose border is cut off, painted black or left as it is, as the settings say; and the bars they have."""
    if border == _WHOLE:
        return frames, border
    if settings.remove_borders:
        inside = _within(frames, border)
        return inside if settings.faces != "none" else _fitted(inside, settings.short_side_px), _WHOLE
    return (frames * _inside(frames.shape[1:3], border)[..., None] if settings.zero_borders else frames), border


def _inside(shape: tuple[int, ...], border: Border) -> Pictures:
    """(H, W) uint8: 1 within the border, 0 on it."""
    inside = np.zeros(shape, np.uint8)
    _within(inside[None], border)[:] = 1
    return inside


def _within(frames: Pictures, border: Border) -> Pictures:
    top, bottom, left, right = border
    return frames[:, top : frames.shape[1] - bottom, left : frames.shape[2] - right]


def _fitted(frames: Pictures, short_side_px: int) -> Pictures:
    """Pictures scaled to the short side, with even sides."""
    size = picture.scaled_size(frames.shape[1], frames.shape[2], short_side_px)
    if frames.shape[1:3] == size:
        return np.ascontiguousarray(frames)
    return np.stack([picture.fitted(np.ascontiguousarray(frame), *size) for frame in frames])


def _counted(chunks: Iterable[Pictures]) -> Iterator[tuple[int, Pictures]]:
    """Every chunk with the number of its first frame."""
    first = 0
    for chunk in chunks:
        yield first, chunk
        first += len(chunk)


def _shot_pieces(chunks: Iterable[Pictures], longest: int, cuts: shots.Cuts) -> Iterator[tuple[int, Pictures]]:
    """Shots, cut into pieces of at most `longest` frames, each with the number of its first frame.

    Of the shot that goes on only what makes no full piece yet is held, so that memory stays bounded.
    """
    first, held = 0, None
    for chunk in chunks:
        held = chunk if held is None else np.concatenate([held, chunk])
        for cut in cuts.add(chunk):
            yield from _pieces(first, held[: cut - first], longest)
            first, held = cut, held[cut - first :]
        # Whether a shot begins in the last two frames is not known yet.
        whole = max(0, len(held) - _UNCERTAIN_FRAMES) // longest * longest
        yield from _pieces(first, held[:whole], longest)
        first, held = first + whole, held[whole:].copy()
    if held is not None:
        yield from _pieces(first, held, longest)


def _pieces(first: int, frames: Pictures, longest: int) -> Iterator[tuple[int, Pictures]]:
    for at in range(0, len(frames), longest):
        yield first + at, frames[at : at + longest]


def _spread(frames: Pictures) -> Pictures:
    places = (np.arange(_BORDER_FRAMES) + 0.5) / _BORDER_FRAMES * len(frames)
    return np.asarray(frames[places.astype(int)])


def _until_silence(sound: NDArray[np.int16], rate_hz: int) -> NDArray[np.int16]:
    """Sound without the zeros that stand for what the file does not hold, where its sound ends before its pictures."""
    heard = np.flatnonzero(sound)
    end = int(heard[-1]) + 1 if len(heard) else 0
    return sound[:end] if len(sound) - end > _SILENT_END_S * rate_hz else sound


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
        still = _inside(frames.shape[1:3], bars) == 0
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
