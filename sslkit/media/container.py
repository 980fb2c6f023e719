"""Open a media file, find its streams and decode them in presentation order, whatever container they come in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.container import InputContainer
from av.stream import Disposition

from sslkit.errors import WorkError

Source = Path | bytes
Damaged = Callable[[float], None]
"""Is told when something that is passed over should have been seen or heard, in seconds."""

# Some containers round timestamps to a millisecond, so that the difference of two is off by as much.
ROUNDING_S = 0.0015
_SEEK_FROM_S = 1.0
_LONGEST_GAP_S = 600.0
_DAMAGED_PACKETS = 20
_DAMAGED_SHARE = 0.1
MOST_PIXELS = 1 << 26
"""Of one picture of a video, twice 8K: what claims more is damaged, or meant to fill the memory."""


def name(source: Source) -> str:
    """What error messages call a source: its path, or where it came from."""
    return "the media in memory" if isinstance(source, bytes) else str(source)


@contextmanager
def opened(source: Source) -> Iterator[InputContainer]:
    """A media file or its bytes, open for reading. Any failure inside the block becomes a WorkError naming the file.

    The file is handed over as a stream and every protocol is refused, so a playlist can open neither an address on the
    network nor another file.
    """
    with stream_of(source) as stream:
        try:
            with av.open(_Seekable(stream), "r", options={"protocol_whitelist": "none"}) as container:
                yield container
        except (av.FFmpegError, OSError, ValueError, EOFError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise WorkError(f"{name(source)} cannot be read as media: {reason}.") from error


class _Seekable:
    """A stream that answers -1 where one cannot go, as C does: FFmpeg tries places that damaged files name."""

    def __init__(self, stream: BinaryIO) -> None:
        self.read, self.tell, self._seek = stream.read, stream.tell, stream.seek

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._seek(offset, whence)
        except (OSError, ValueError):
            return -1


def stream_of(source: Source) -> BinaryIO:
    """A plain file, or bytes, to read from. Raises WorkError for what is not one: a pipe or device may never end."""
    if isinstance(source, bytes):
        return BytesIO(source)
    path = Path(source)
    if not path.is_file():
        raise WorkError(f"{path} {'is not a file' if path.exists() else 'does not exist'}.")
    try:
        return path.open("rb")
    except OSError as error:
        raise WorkError(f"{path} cannot be opened: {error.strerror}.") from error


def video_stream(container: InputContainer) -> Any:
    """The first stream of moving pictures, None if there is none. Cover art does not count."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            context = _decoder(stream)
            # One process a core prepares data: threads inside each would only compete.
            context.thread_count = 1
            context.options = {"max_pixels": str(MOST_PIXELS)}
            return stream
    return None


def sound_stream(container: InputContainer, number: int = 0) -> Any:
    """The stream of sound of that number, from 0, None if there is none."""
    if number >= len(container.streams.audio):
        return None
    stream = container.streams.audio[number]
    _decoder(stream)
    return stream


def _decoder(stream: Any) -> Any:
    """The decoder of a stream. Raises ValueError, which `opened` turns into a sentence, if there is none."""
    context = stream.codec_context
    if context is None:
        raise ValueError(f"there is no decoder for its {stream.type} stream")
    if stream.type == "video" and context.width * context.height > MOST_PIXELS:
        raise ValueError(f"its pictures claim to have {context.width}x{context.height} pixels")
    return context


def decoded(container: InputContainer, stream: Any, damaged: Damaged | None = None) -> Iterator[tuple[float, Any]]:
    """Frames of one stream as (time on the container's clock in seconds, frame).

    A few damaged packets are passed over, as players do, and `damaged` is told of them on that clock. Raises
    ValueError, which `opened` turns into a sentence, at the 21st, and at the end when they were more than a tenth.
    """
    rate = stream.average_rate if stream.type == "video" else None
    usual_s = float(1 / rate) if rate else 0.04
    time_s, packets, count, begun = -usual_s, 0, 0, False

    def passed_over(stamp: float | None) -> None:
        nonlocal count
        count += 1
        if damaged is not None:
            damaged(time_s + usual_s if stamp is None else stamp)

    for packet in container.demux(stream):
        packets += 1
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            frames = []
            passed_over(_stamp(container, packet))
        for frame in frames:
            # The first pictures after a seek may lean on ones before it, which is no damage.
            begun = begun or not frame.is_corrupt
            stamp = _stamp(container, frame)
            if begun and frame.is_corrupt:
                passed_over(stamp)
            time_s = time_s + usual_s if stamp is None else stamp
            yield time_s, frame
        if count > _DAMAGED_PACKETS:
            raise ValueError(f"more than {_DAMAGED_PACKETS} of its packets are damaged")
    if count > _DAMAGED_SHARE * packets:
        raise ValueError(f"{count} of its {packets} packets are damaged")


def _stamp(container: InputContainer, frame: Any) -> float | None:
    """When a frame, or what is in a packet, is presented, in seconds; None if the file does not say."""
    # AVI stores no presentation times: what FFmpeg guesses there runs backwards around B-frames, the order does not.
    stamp = frame.dts if container.format.name == "avi" or frame.pts is None else frame.pts
    return None if stamp is None or frame.time_base is None else float(stamp * frame.time_base)


def pictures(
    source: Source, start_s: float = 0.0, damaged: Damaged | None = None
) -> Iterator[tuple[float, float, Any]]:
    """Decoded pictures (time_s, duration_s, frame) in order, from the one shown at `start_s` or a little earlier.

    Times count from the first picture of the video, and only grow: a picture that would go back is dropped. Raises
    WorkError if the file has no video or cannot be decoded, or if its times jump by more than ten minutes.
    """
    last_s = -1.0
    for time_s, duration_s, frame in _sought(source, start_s, damaged):
        if last_s >= 0 and time_s - last_s > _LONGEST_GAP_S:
            raise WorkError(f"{name(source)} has timestamps that jump by {time_s - last_s:.0f} s at {last_s:.1f} s.")
        if time_s > last_s:
            yield time_s, duration_s, frame
            last_s = time_s


def _sought(source: Source, start_s: float, damaged: Damaged | None) -> Iterator[tuple[float, float, Any]]:
    """Pictures from the key frame before `start_s`, or from the beginning where the container cannot seek well."""
    zero_s = 0.0

    def told(time_s: float) -> None:
        if damaged is not None:
            damaged(time_s - zero_s)

    with opened(source) as container:
        stream = needed_video_stream(container, source)
        frames = decoded(container, stream, told)
        first = next(frames, None)
        if first is None:
            raise WorkError(f"{name(source)} has a video stream, but no picture of it can be decoded.")
        zero_s = first[0]
        if start_s > _SEEK_FROM_S:
            frames = decoded(container, stream, told)
            first = _jump(container, stream, frames, zero_s + start_s)
        if first is not None:
            yield from _timed(chain([first], frames), stream, zero_s)
            return
    with opened(source) as container:
        stream = needed_video_stream(container, source)
        yield from _timed(decoded(container, stream, told), stream, zero_s)


def needed_video_stream(container: InputContainer, source: Source) -> Any:
    """The stream of moving pictures. Raises WorkError if there is none."""
    stream = video_stream(container)
    if stream is None:
        raise WorkError(f"{name(source)} has no video stream.")
    return stream


def _jump(
    container: InputContainer, stream: Any, frames: Iterator[tuple[float, Any]], target_s: float
) -> tuple[float, Any] | None:
    """Seek; the first picture there, None if it does not lie before the target or has no time of its own."""
    try:
        container.seek(int(target_s / stream.time_base), stream=stream)
        first = next(frames, None)
    except av.FFmpegError:
        return None
    if first is None or first[0] > target_s + ROUNDING_S or _stamp(container, first[1]) is None:
        return None
    return first


def _timed(frames: Iterator[tuple[float, Any]], stream: Any, zero_s: float) -> Iterator[tuple[float, float, Any]]:
    usual_s = float(1 / stream.average_rate) if stream.average_rate else 0.04
    for time_s, frame in frames:
        own_s = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else usual_s
        yield time_s - zero_s, own_s, frame
