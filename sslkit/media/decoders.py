"""Which formats can be decoded here: of each a tiny stream is made and read back, because a decoder that is listed may
still want hardware that is not there."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from typing import Any, Literal

import av
import numpy as np

_PICTURES, _SIDE_PX = 3, 64
_SOUND_HZ, _SOUND_SAMPLES = 48_000, 4_800


@dataclass(frozen=True)
class _Format:
    """decoder: its name in FFmpeg. encoder, container: what makes a stream of it. pixels: None for sound."""

    decoder: str
    encoder: str
    container: str
    pixels: str | None = "yuv420p"


_FORMATS = {
    "H.264": _Format("h264", "libx264", "mp4"),
    "HEVC": _Format("hevc", "libx265", "mp4"),
    "VP9": _Format("vp9", "libvpx-vp9", "webm"),
    "AV1": _Format("libdav1d", "libsvtav1", "mp4"),
    "ProRes": _Format("prores", "prores_ks", "mov", "yuv422p10le"),
    "AAC": _Format("aac", "aac", "mp4", None),
    "Opus": _Format("opus", "libopus", "webm", None),
}


def tried() -> dict[str, str]:
    """Why each format cannot be decoded, by its name; empty where it can."""
    return {name: _why_not(form) for name, form in _FORMATS.items()}


def _why_not(form: _Format) -> str:
    if not _known(form.encoder, "w"):
        return "" if _known(form.decoder, "r") else f"this PyAV has no decoder called {form.decoder}"
    try:
        found, wanted = _round_trip(form)
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        return f"{type(error).__name__}: {error}"
    return "" if found >= wanted else f"{found} of {wanted} came back"


def _known(codec: str, mode: Literal["r", "w"]) -> bool:
    try:
        return bool(av.codec.Codec(codec, mode))
    except av.codec.codec.UnknownCodecError:
        return False


def _round_trip(form: _Format) -> tuple[int, int]:
    """How many pictures or samples of a tiny stream come back, and how many went in."""
    buffer = BytesIO()
    container: Any
    with av.open(buffer, "w", format=form.container) as container:
        frames = _add_pictures(container, form) if form.pixels else _add_sound(container, form)
        stream = container.streams[0]
        for frame in (*frames, None):
            container.mux(stream.encode(frame))
    buffer.seek(0)
    with av.open(buffer) as container:
        counts = [1 if form.pixels else frame.samples for frame in container.decode(container.streams[0])]
    return sum(counts), _PICTURES if form.pixels else _SOUND_SAMPLES


def _add_pictures(container: Any, form: _Format) -> list[Any]:
    stream = container.add_stream(form.encoder, rate=Fraction(25))
    stream.width, stream.height, stream.pix_fmt = _SIDE_PX, _SIDE_PX, form.pixels
    greys = [np.full((_SIDE_PX, _SIDE_PX, 3), 60 * number, np.uint8) for number in range(_PICTURES)]
    return [av.VideoFrame.from_ndarray(grey, format="rgb24") for grey in greys]


def _add_sound(container: Any, form: _Format) -> list[Any]:
    container.add_stream(form.encoder, rate=_SOUND_HZ, layout="mono")
    silence = av.AudioFrame.from_ndarray(np.zeros((1, _SOUND_SAMPLES), np.int16), format="s16", layout="mono")
    silence.sample_rate = _SOUND_HZ
    return [silence]
