"""Encode pictures, video and sound to bytes or files: the way out for prepared datasets, overlays and reports."""

from __future__ import annotations

import functools
import heapq
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import av
import cv2
import numpy as np
import soundfile
from PIL import Image

from sslkit.errors import WorkError

_SOUND_BLOCK = 1024
_AVX512_SKX = 256
"""OpenCV's number of these instructions, for which its Python module has no name."""


def video(
    path: Path | None,
    frames: Iterable[np.ndarray],
    fps: float | Fraction,
    sound: np.ndarray | Iterable[np.ndarray] | None = None,
    rate_hz: int = 16_000,
    crf: int = 18,
    keyframe_every: int = 12,
) -> bytes:
    """Encode pictures, and sound if given, as an MP4 (H.264 yuv420p, AAC): written to `path`, without one returned.

    frames: (T, H, W, 3) uint8 RGB, or any iterable of (H, W, 3) pictures; H and W must be even. fps: picture k is shown
    at exactly k / fps, also for rates like 30000/1001. sound: (N,) int16 mono at `rate_hz`, starting with the first
    picture, or an iterable of its pieces. crf: quality, lower is better. What is iterated over and written to a file
    takes the same memory at any length. Equal input gives equal bytes. Raises WorkError for an odd or changing size,
    for no pictures, or if the file cannot be written.
    """
    pictures = iter(frames)
    first = next(pictures, None)
    if first is None:
        raise WorkError("A video without pictures cannot be written.")
    height, width = _even(first)
    with _target(path) as target:
        _encode(target, chain([first], pictures), (height, width), fps, sound, rate_hz, crf, keyframe_every)
        return target.getvalue() if isinstance(target, BytesIO) else b""


def _encode(
    target: BinaryIO,
    pictures: Iterable[np.ndarray],
    size: tuple[int, int],
    fps: float | Fraction,
    sound: np.ndarray | Iterable[np.ndarray] | None,
    rate_hz: int,
    crf: int,
    keyframe_every: int,
) -> None:
    height, width = size
    try:
        with av.open(target, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
            rate = Fraction(fps).limit_denominator(1001)
            stream = _video_stream(container, rate, height, width, crf, keyframe_every)
            tracks = [_video_packets(stream, pictures, rate, size)]
            if sound is not None:
                pieces = [sound] if isinstance(sound, np.ndarray) else sound
                tracks.append(_sound_packets(container.add_stream("aac", rate=rate_hz, layout="mono"), pieces, rate_hz))
            for packet in _by_time(*tracks):
                container.mux(packet)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise WorkError(f"A video of {width}x{height} pixels cannot be encoded: {error}.") from error


def _even(picture: np.ndarray) -> tuple[int, int]:
    height, width = picture.shape[:2]
    if height % 2 or width % 2:
        raise WorkError(f"A video needs even sides, but its pictures are {width}x{height}; cut or pad them first.")
    return height, width


@functools.cache
def _codec() -> tuple[str, dict[str, str]]:
    """The best encoder of H.264 (or the next best thing) that the installed PyAV carries."""
    # B-frames would make decoders disagree on the first and last pictures; key frames come at their turn, not at cuts.
    # At an equal crf, veryfast takes a third of the time of medium, for files of the same size and 0.1 to 0.5 dB less.
    options = {
        "libx264": {"preset": "veryfast", "bf": "0", "threads": "1", "sc_threshold": "0", **_repeatable()},
        "libopenh264": {"rc_mode": "quality"},
        "mpeg4": {"bf": "0", "qscale": "3"},
    }
    for codec, settings in options.items():
        if _can_encode(codec):
            return codec, settings
    raise WorkError("The installed PyAV can encode neither H.264 nor MPEG-4; reinstall it from PyPI: pip install av.")


def _repeatable() -> dict[str, str]:
    """Keep x264 from AVX-512, with which its macroblock tree reads what was never written: some clips would differ."""
    return {"x264-params": "asm=avx2"} if cv2.checkHardwareSupport(_AVX512_SKX) else {}


def _can_encode(codec: str) -> bool:
    try:
        return bool(av.codec.Codec(codec, "w"))
    except av.codec.codec.UnknownCodecError:
        return False


def _video_stream(container: Any, rate: Fraction, height: int, width: int, crf: int, keyframe_every: int) -> Any:
    codec, options = _codec()
    quality = {"crf": str(crf)} if codec == "libx264" else {}
    stream = container.add_stream(codec, rate=rate, options={**options, **quality, "g": str(keyframe_every)})
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.codec_context.thread_count = 1
    return stream


def _video_packets(stream: Any, pictures: Iterable[np.ndarray], rate: Fraction, size: tuple[int, int]) -> Iterator[Any]:
    for number, picture in enumerate(pictures):
        if picture.shape[:2] != size:
            raise WorkError(f"Picture {number} of a video has another size than its first one; scale them alike.")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts, frame.time_base = number, 1 / rate
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _sound_packets(stream: Any, pieces: Iterable[np.ndarray], rate_hz: int) -> Iterator[Any]:
    begin = 0
    for block in _blocks(pieces):
        frame = av.AudioFrame.from_ndarray(block[None].astype(np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, begin, Fraction(1, rate_hz)
        begin += len(block)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _blocks(pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Blocks of one length, the last one shorter, of pieces of any."""
    held = np.zeros(0, np.int16)
    for piece in pieces:
        whole = np.concatenate([held, piece])
        ends = len(whole) // _SOUND_BLOCK * _SOUND_BLOCK
        yield from whole[:ends].reshape(-1, _SOUND_BLOCK)
        held = whole[ends:]
    if len(held):
        yield held


def _by_time(*tracks: Iterator[Any]) -> Iterator[Any]:
    """Packets of all streams in the order of their times, so that players need not jump about."""
    return heapq.merge(*tracks, key=lambda packet: packet.dts * packet.time_base)


@contextmanager
def _target(path: Path | None) -> Iterator[BinaryIO]:
    """A file that is put at `path` in one step, when it is whole: nobody ever sees half of it. Without one, memory."""
    if path is None:
        yield BytesIO()
        return
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
        os.replace(part, path)
    except OSError as error:
        raise WorkError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def jpeg(picture: np.ndarray, quality: int = 95) -> bytes:
    """Encode a picture, (H, W, 3) RGB or (H, W) gray uint8, as JPEG without halving the colours (4:4:4)."""
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def png(picture: np.ndarray, palette: np.ndarray | None = None) -> bytes:
    """Encode a picture, (H, W, 3) RGB, (H, W, 4) RGBA or (H, W) gray uint8, as PNG: nothing is lost.

    palette: (up to 256, 3) uint8 colours; (H, W) values then stay what they are, object numbers for instance, and are
    shown in these colours.
    """
    if picture.ndim == 2 and palette is None:
        # OpenCV is three times as fast as Pillow here, and masks are encoded by the thousand.
        return bytes(cv2.imencode(".png", picture)[1])
    image = Image.fromarray(np.ascontiguousarray(picture))
    if palette is not None:
        image = Image.fromarray(np.ascontiguousarray(picture), mode="P")
        image.putpalette(np.asarray(palette, np.uint8).tobytes())
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def flac(sound: np.ndarray, rate_hz: int) -> bytes:
    """Encode sound, (N,) int16 mono or (N, channels), as 16-bit FLAC: nothing is lost."""
    buffer = BytesIO()
    soundfile.write(buffer, np.asarray(sound, np.int16), rate_hz, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def wav(path: Path, sound: np.ndarray, rate_hz: int) -> None:
    """Keep (N,) int16 mono sound as a 16-bit WAV file. Raises WorkError where it cannot be written."""
    buffer = BytesIO()
    soundfile.write(buffer, np.asarray(sound, np.int16), rate_hz, format="WAV", subtype="PCM_16")
    with _target(path) as target:
        target.write(buffer.getvalue())
