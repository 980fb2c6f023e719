"""Media files as people have them: what prepare-data makes of one that is damaged."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile
from kinds import Kind, Substituted
from PIL import Image

from sslkit.data.layouts.base import Item
from sslkit.data.settings import PrepareSettings
from sslkit.data.task import Job, Task
from sslkit.media import read, write

_SETTINGS = PrepareSettings(short_side_px=32, clip_s=1.0, min_s=0.1)


class Media(Kind):
    """One media file, made by `write`, prepared as `prepare-data folder` does."""

    def __init__(self, name: str, made: Callable[[], bytes]) -> None:
        self.name, self._made = name, made

    def make(self, folder: Path) -> None:
        (folder / f"x.{self.name}").write_bytes(self._made())

    def consume(self, folder: Path, good: Path) -> str | None:
        file = folder / f"x.{self.name}"
        item = Item(file.name, "train", file.name, file.stem, file)
        task = Task(folder / "task", (Job.of(0, -1, item),), _SETTINGS)
        task.work()
        report = task.report()
        if report["skipped"]:
            return str(report["skipped"][0]["reason"])
        stored = task.tar.read_bytes()
        for _, record in report["records"]:
            _check(record, stored[: record["size"]])
            stored = stored[record["size"] :]
        return None


class Sound(Media):
    """One sound file, read whole."""

    def consume(self, folder: Path, good: Path) -> str | None:
        read.probe(folder / f"x.{self.name}")
        read.sound(folder / f"x.{self.name}", 16_000)
        return None


def _check(record: dict[str, object], run: bytes) -> None:
    """Every picture that the index promises can be read back."""
    members = record["members"]
    assert isinstance(members, dict)
    still = "jpg" in members
    offset, size = members["jpg" if still else "mp4"][:2]
    data, count = run[offset : offset + size], int(str(record["frames"]))
    pictures = read.image(data)[None] if still else read.frames(data, range(count))
    if pictures.shape[:3] != (count, record["height"], record["width"]):
        raise Substituted(f"{pictures.shape} is stored, {count} {record['height']} {record['width']} is said")


def _pictures(count: int = 12) -> np.ndarray:
    noise = np.random.default_rng(0).integers(30, 220, (6, 8, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    return np.stack([np.roll(noise, 3 * number, axis=1) for number in range(count)])


def _tone(rate_hz: int = 16_000, seconds: float = 0.5) -> np.ndarray:
    return (9000 * np.sin(2 * np.pi * 440 * np.arange(round(rate_hz * seconds)) / rate_hz)).astype(np.int16)


def _video(container: str, codec: str, sound_codec: str, pix_fmt: str = "yuv420p") -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container, container_options={"fflags": "+bitexact"}) as output:
        stream = output.add_stream(codec, rate=25, options={"g": "6", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        track = output.add_stream(sound_codec, rate=48_000, layout="mono")
        for number, picture in enumerate(_pictures()):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        resampler = av.AudioResampler(track.format.name, "mono", 48_000, frame_size=track.frame_size or 1024)
        whole = av.AudioFrame.from_ndarray(_tone(48_000)[None], format="s16", layout="mono")
        whole.sample_rate, whole.pts, whole.time_base = 48_000, 0, Fraction(1, 48_000)
        for part in resampler.resample(whole):
            output.mux(track.encode(part))
        output.mux(track.encode(None))
    return buffer.getvalue()


def _still(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(_pictures(1)[0]).save(buffer, kind, **options)
    return buffer.getvalue()


def _gif() -> bytes:
    first, *rest = (Image.fromarray(picture) for picture in _pictures(4))
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=rest, duration=40)
    return buffer.getvalue()


def _wav() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, _tone(), 16_000, format="WAV")
    return buffer.getvalue()


KINDS: list[Kind] = [
    Media("mp4", lambda: write.video(None, _pictures(), 25, _tone())),
    Media("mkv", lambda: _video("matroska", "libx264", "pcm_s16le")),
    Media("webm", lambda: _video("webm", "libvpx-vp9", "libopus")),
    Media("avi", lambda: _video("avi", "mpeg4", "mp3")),
    Media("gif", _gif),
    Media("jpg", lambda: _still("JPEG", quality=90)),
    Media("png", lambda: _still("PNG")),
    Media("webp", lambda: _still("WEBP")),
    Media("tiff", lambda: _still("TIFF", compression="tiff_lzw")),
    Sound("wav", _wav),
    Sound("flac", lambda: write.flac(_tone(), 16_000)),
]
