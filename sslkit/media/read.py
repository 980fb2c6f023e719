"""Read pictures, video and sound from files or bytes as plain arrays: the way in for everything sslkit looks at."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import cv2
import numpy as np

from sslkit.errors import WorkError
from sslkit.media import picture, soundtrack
from sslkit.media.container import (
    ROUNDING_S,
    Damaged,
    Source,
    decoded,
    name,
    opened,
    pictures,
    sound_stream,
    video_stream,
)

_HIGHEST_FPS = 1000


@dataclass(frozen=True)
class Probe:
    """What a media file holds.

    width, height: pixels after rotation. fps: average. duration_s: of the video, else of the sound. frames: estimate.
    rate_hz: of the sound. sounds: how many streams of it. video_start_s, sound_start_s: when the first picture is shown
    and the first sample heard, on the file's own clock. What a file does not have is 0.
    """

    has_video: bool
    has_sound: bool
    width: int = 0
    height: int = 0
    fps: float = 0.0
    duration_s: float = 0.0
    frames: int = 0
    rate_hz: int = 0
    sounds: int = 0
    video_start_s: float = 0.0
    sound_start_s: float = 0.0


@dataclass(frozen=True)
class Video:
    """Pictures at a constant rate: frames (T, H, W, 3) uint8 RGB; picture k is the one shown at start_s + k / fps."""

    frames: np.ndarray
    fps: float
    start_s: float


def probe(path: Source, stream: int = 0) -> Probe:
    """What a file holds, found by decoding its first picture and first block of sound. Raises WorkError.

    stream: which of several sounds is told of, from 0.
    """
    sight, sound = _probe_video(path), _probe_sound(path, stream)
    if not sight and not sound:
        raise WorkError(f"{name(path)} has neither a video stream nor a sound stream.")
    return Probe(has_video=bool(sight), has_sound=bool(sound), **(sound | sight))


def _probe_video(path: Source) -> dict[str, Any]:
    with opened(path) as container:
        stream = video_stream(container)
        if stream is None:
            return {}
        first = next(decoded(container, stream), None)
        if first is None:
            raise WorkError(f"{name(path)} has a video stream, but no picture of it can be decoded.")
        height, width = picture.upright(first[1]).shape[:2]
        fps, duration_s = float(stream.average_rate or 0), _duration_s(container, stream)
    if fps > _HIGHEST_FPS:  # a guess from times that lie close together now and then
        fps = 0.0
    if not fps or not duration_s:
        fps, duration_s = _counted(path, fps)
    frames = max(1, round(duration_s * fps))
    about = {"width": width, "height": height, "fps": fps, "duration_s": duration_s}
    return about | {"frames": frames, "video_start_s": first[0]}


def _probe_sound(path: Source, number: int) -> dict[str, Any]:
    with opened(path) as container:
        stream = sound_stream(container, number)
        first = next(decoded(container, stream), None) if stream is not None else None
        if first is None:
            return {}
        about = {"duration_s": _duration_s(container, stream), "sounds": len(container.streams.audio)}
        return about | {"rate_hz": int(first[1].sample_rate), "sound_start_s": first[0]}


def _duration_s(container: Any, stream: Any) -> float:
    """Length from the headers; 0 if they do not tell."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else 0.0


def _counted(path: Source, fps: float) -> tuple[float, float]:
    """Rate and length of a file without them in its headers, by decoding all of it."""
    count, end_s = 0, 0.0
    for time_s, duration_s, _ in pictures(path):
        count, end_s = count + 1, time_s + duration_s
    return fps or count / end_s, end_s


def image(source: Source) -> np.ndarray:
    """A still picture as (H, W, 3) uint8 RGB: turned as its EXIF data says, transparency over white, 16 bits to 8.

    Raises WorkError for anything that cannot be decoded completely, and for more than 178 million pixels.
    """
    return picture.still(source)


def video(
    path: Source,
    fps: float | None = None,
    short_side_px: int | None = None,
    start_s: float = 0.0,
    end_s: float | None = None,
) -> Video:
    """The pictures of [start_s, end_s) at a constant rate, scaled; only that part is decoded.

    Times count from the first picture. Picture k of the result is the last one shown at or before start_s + k / fps, so
    a variable rate in the file is resampled, not misread. fps None takes the file's average rate. With short_side_px
    the short side is scaled to it and both sides are even; without, pixels stay as they are. Fewer pictures come back
    where the file ends before end_s. Raises WorkError, also if nothing is left after `start_s`.
    """
    fps = fps or probe(path).fps
    frames = list(_on_grid(path, fps, short_side_px, start_s, end_s))
    if not frames:
        until = "its end" if end_s is None else f"{end_s:g} s"
        raise WorkError(f"{name(path)} has no picture between {start_s:g} s and {until}.")
    return Video(np.stack(frames), fps, start_s)


def video_chunks(
    path: Source,
    fps: float | None = None,
    short_side_px: int | None = None,
    chunk_frames: int = 64,
    start_s: float = 0.0,
    end_s: float | None = None,
    damaged: Damaged | None = None,
) -> Iterator[np.ndarray]:
    """The same pictures as `video`, as arrays of `chunk_frames` pictures (the last one shorter): for long files.

    damaged: is told when there should have been a picture that is passed over.
    """
    held: list[np.ndarray] = []
    for frame in _on_grid(path, fps or probe(path).fps, short_side_px, start_s, end_s, damaged):
        held.append(frame)
        if len(held) == chunk_frames:
            yield np.stack(held)
            held = []
    if held:
        yield np.stack(held)


def _on_grid(
    path: Source,
    fps: float,
    short_side_px: int | None,
    start_s: float,
    end_s: float | None,
    damaged: Damaged | None = None,
) -> Iterator[np.ndarray]:
    """Hold each picture for as many grid times as it is shown; convert only what is asked for."""
    slack_s = min(ROUNDING_S, 0.25 / fps)
    size, k = None, 0
    for to_s, frame in _shown(path, start_s, damaged):
        if end_s is not None and start_s + k / fps > end_s - 1e-6:
            return
        shown = None
        while start_s + k / fps < (to_s if end_s is None else min(to_s, end_s + slack_s - 1e-6)) - slack_s:
            if shown is None:
                shown = picture.upright(frame)
                size = size or picture.scaled_size(shown.shape[0], shown.shape[1], short_side_px)
                shown = picture.fitted(shown, *size)
            yield shown
            k += 1


def _shown(path: Source, start_s: float, damaged: Damaged | None) -> Iterator[tuple[float, Any]]:
    """Pictures as (to_s, frame): each is shown until the next one comes, the last for its own duration."""
    held = None
    until_s = 0.0
    for time_s, duration_s, frame in pictures(path, start_s, damaged):
        if held is not None:
            yield time_s, held
        held, until_s = frame, time_s + duration_s
    if held is not None:
        yield until_s, held


def frames(data: bytes, indices: Sequence[int]) -> np.ndarray:
    """Pictures of a prepared clip by number, (T, H, W, 3) uint8 RGB, straight from the MP4's bytes.

    decord decodes; where it is not installed or fails, PyAV does. Raises WorkError if a number is out of range.
    """
    decord = _decord()
    # decord prints what it cannot open, all of it, and prepared clips are always MP4.
    if decord is None or data[4:8] != b"ftyp":
        return _frames_one_by_one(data, indices)
    try:
        reader = decord.VideoReader(BytesIO(data), ctx=decord.cpu(0), num_threads=1)
        _check(indices, len(reader))
        # Imported here because workers of prepare-data start without torch. asnumpy would copy.
        from torch.utils.dlpack import from_dlpack

        return np.asarray(from_dlpack(reader.get_batch(list(indices)).to_dlpack()).numpy())
    except (decord.DECORDError, RuntimeError):
        return _frames_one_by_one(data, indices)


def prepared(data: bytes) -> np.ndarray:
    """A still picture of prepared data, a JPEG that needs no turning, as (H, W, 3) uint8 RGB. Raises WorkError.

    The same pixels as `image`, in half the time: OpenCV looks for nothing but the picture.
    """
    # OpenCV fills up what a truncated file lacks: its end must be there.
    whole = data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9")
    try:
        found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if whole else None
    except cv2.error:  # a size that no memory holds
        found = None
    return image(data) if found is None else np.asarray(cv2.cvtColor(found, cv2.COLOR_BGR2RGB))


def plane(data: bytes) -> np.ndarray:
    """A gray picture from memory, (H, W) uint8 as stored: packed flow, object numbers. Raises WorkError."""
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if found is None or found.ndim != 2 or found.dtype != np.uint8:
        raise WorkError("The media in memory cannot be read as a gray picture.")
    return np.asarray(found)


@functools.cache
def _decord() -> Any:
    """The decord module, None where it has no build for the machine."""
    try:
        import decord
    except (ImportError, OSError):
        return None
    decord.logging.set_level(decord.logging.QUIET)
    return decord


def _frames_one_by_one(data: bytes, indices: Sequence[int]) -> np.ndarray:
    found, count, wanted = {}, 0, set(indices)
    for _, _, frame in pictures(data):
        if count in wanted:
            found[count] = picture.upright(frame)
        count += 1
    _check(indices, count)
    return np.stack([found[index] for index in indices])


def _check(indices: Sequence[int], count: int) -> None:
    wrong = [index for index in indices if not 0 <= index < count]
    if wrong:
        raise WorkError(f"Picture {wrong[0]} was asked for in a clip that has {count} pictures.")


def sound(
    source: Source,
    rate_hz: int,
    start_s: float = 0.0,
    end_s: float | None = None,
    stream: int = 0,
    channels: int = 1,
) -> np.ndarray:
    """Sound as (N,) int16 mono at `rate_hz`, on the clock of the pictures; with two channels (N, 2), left and right.

    Sample n is heard at start_s + n / rate_hz after the video's first picture (in a file without video: after its own
    first sample), as exactly as the container keeps times: Matroska rounds them to a millisecond. Where the sound
    starts later or pauses there are zeros; end_s None is where the sound ends. stream: which of several, from 0. A file
    of one channel has the same on both sides. Raises WorkError if the file has no sound.
    """
    return soundtrack.whole(source, rate_hz, start_s, end_s, stream, channels)


def sound_chunks(
    source: Source,
    rate_hz: int,
    chunk_s: float,
    start_s: float = 0.0,
    end_s: float | None = None,
    stream: int = 0,
    channels: int = 1,
    damaged: Damaged | None = None,
) -> Iterator[np.ndarray]:
    """The same samples as `sound` in pieces of `chunk_s`, the last one shorter, until it ends: for long files.

    damaged: is told when there should have been sound that is passed over, on the clock of the pictures.
    """
    chunk = max(1, round(chunk_s * rate_hz))
    return soundtrack.chunks(source, rate_hz, chunk, start_s, end_s, stream, channels, damaged)
