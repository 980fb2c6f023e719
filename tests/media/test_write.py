"""Writing media: equal bytes for equal input, exact times, and what comes back when it is read again."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from sslkit.errors import WorkError
from sslkit.media import read, write


def smooth(frames: int = 30, height: int = 48, width: int = 64) -> np.ndarray:
    """Coloured gradients that drift."""
    t, y, x = np.mgrid[:frames, :height, :width]
    planes = [(3 * x + 2 * t) % 256, (4 * y + t) % 256, (x + y + 3 * t) % 256]
    return np.stack(planes, axis=-1).astype(np.uint8)


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    frames, sound = smooth(), np.arange(16_000, dtype=np.int16)
    first = write.video(None, frames, 25, sound)
    pieces = iter([sound[:700], sound[700:701], sound[701:9000], sound[9000:]])
    assert write.video(tmp_path / "a.mp4", iter(frames.copy()), 25, pieces) == b""
    assert first == (tmp_path / "a.mp4").read_bytes() == write.video(None, frames.copy(), 25, sound.copy())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4"]
    assert write.flac(sound, 16_000) == write.flac(sound, 16_000)
    assert write.jpeg(frames[0]) == write.jpeg(frames[0]) and write.png(frames[0]) == write.png(frames[0])


def test_bytes_do_not_depend_on_what_memory_held_before() -> None:
    texture = np.random.default_rng(7).integers(40, 220, (12, 16, 3)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    source = write.video(None, np.stack([np.roll(texture, 2 * frame, axis=1) for frame in range(12)]), 10)
    found = {write.video(None, read.video(source, 10).frames, 10) for _ in range(100)}
    assert len(found) == 1


@pytest.mark.parametrize("fps", [25, 30_000 / 1001, 29.97, Fraction(24_000, 1001), 12.5, 23.6])
def test_times_are_exact_at_any_rate(fps: float | Fraction) -> None:
    exact = Fraction(fps).limit_denominator(1001)
    with av.open(io.BytesIO(write.video(None, smooth(50), fps))) as container:
        stream = container.streams.video[0]
        times = [frame.pts * frame.time_base for frame in container.decode(stream)]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == exact
    assert times == [k / exact for k in range(50)]


def test_key_frames_come_as_often_as_asked() -> None:
    with av.open(io.BytesIO(write.video(None, smooth(40), 25, keyframe_every=12))) as container:
        kinds = [(frame.key_frame, int(frame.pict_type)) for frame in container.decode(video=0)]
    assert [number for number, (key, _) in enumerate(kinds) if key] == [0, 12, 24, 36]
    assert {kind for _, kind in kinds} <= {int(av.video.frame.PictureType.I), int(av.video.frame.PictureType.P)}


def test_pictures_and_sound_come_back() -> None:
    frames = np.repeat(smooth(1), 30, axis=0)
    frames[15:] = 255 - frames[15:]
    click = np.zeros(19_200, np.int16)
    click[9600:9700] = 20_000
    data = write.video(None, frames, 25, click, 16_000, crf=10)
    back = read.video(data).frames
    assert back.shape == frames.shape
    assert np.abs(back.astype(int) - frames).mean() < 12
    sound = read.sound(data, 16_000, 0.0, 1.2)
    assert abs(int(np.flatnonzero(np.abs(sound) > 8000)[0]) - 9600) <= 4


def test_pictures_may_come_one_by_one() -> None:
    frames = smooth(20)
    assert write.video(None, (frame for frame in frames), 25) == write.video(None, frames, 25)


def test_bad_pictures_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="even sides, but its pictures are 63x48"):
        write.video(None, smooth(3, 48, 63), 25)
    with pytest.raises(WorkError, match="without pictures"):
        write.video(None, [], 25)
    with pytest.raises(WorkError, match=r"Picture 1 .* another size"):
        write.video(None, [smooth(1)[0], smooth(1, 50, 64)[0]], 25)
    with pytest.raises(WorkError, match="nowhere"):
        write.video(tmp_path / "nowhere" / "a.mp4", smooth(3), 25)


def test_jpeg_keeps_colours_at_full_size() -> None:
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::2, 0], stripes[:, 1::2, 2] = 255, 255
    assert np.abs(read.image(write.jpeg(stripes)).astype(int) - stripes).max() < 40
    gray = smooth(1)[0, ..., 0]
    image = Image.open(io.BytesIO(write.jpeg(gray)))
    assert image.mode == "L" and np.abs(np.asarray(image).astype(int) - gray).mean() < 3


def test_png_keeps_everything() -> None:
    picture = smooth(1)[0]
    assert np.array_equal(read.image(write.png(picture)), picture)
    objects = np.array([[0, 1], [2, 255]], np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(write.png(objects)))), objects)
    palette = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)
    objects[1, 1] = 1
    image = Image.open(io.BytesIO(write.png(objects, palette)))
    assert image.mode == "P" and np.array_equal(np.asarray(image), objects)
    assert np.array_equal(np.asarray(image.convert("RGB")), palette[objects])


def test_flac_keeps_everything() -> None:
    noise = np.random.default_rng(0).integers(-32768, 32768, 5000).astype(np.int16)
    back, rate_hz = soundfile.read(io.BytesIO(write.flac(noise, 22_050)), dtype="int16")
    assert rate_hz == 22_050 and np.array_equal(back, noise)
