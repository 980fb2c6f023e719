"""Odd media and bad media: read right, against what is known of them, or told in one sentence."""

from __future__ import annotations

import io
import os
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image, TiffImagePlugin

from sslkit.errors import WorkError
from sslkit.media import read, write

HEIGHT, WIDTH, FPS, RATE_HZ = 48, 64, 25, 16_000
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Red and green above blue and white."""
    picture = np.zeros((height, width, 3), np.uint8)
    h, w = height // 2, width // 2
    picture[:h, :w], picture[:h, w:], picture[h:, :w], picture[h:, w:] = RED, GREEN, BLUE, WHITE
    return picture


def colours(picture: np.ndarray) -> list[str]:
    h, w = picture.shape[0] // 4, picture.shape[1] // 4
    known = {"red": RED, "green": GREEN, "blue": BLUE, "white": WHITE}
    points = [picture[y, x].astype(int) for y in (h, 3 * h) for x in (w, 3 * w)]
    return [min(known, key=lambda name: np.abs(np.array(known[name]) - point).sum()) for point in points]


def numbered(count: int) -> np.ndarray:
    """Picture k is gray of 20 + 4k."""
    levels = (20 + 4 * np.arange(count)).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, HEIGHT, WIDTH, 3))


def numbers(frames: np.ndarray) -> list[int]:
    return [round((float(frame.mean()) - 20) / 4) for frame in frames]


def encoded(
    pictures: np.ndarray,
    container: str = "mp4",
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times: list[int] | None = None,
    time_base: Fraction = Fraction(1, FPS),
    options: dict[str, str] | None = None,
) -> bytes:
    """A file made by PyAV alone. pictures: (T, H, W, 3 or 4)."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=FPS, options={"threads": "1", **(options or {"crf": "5", "bf": "0"})})
        stream.height, stream.width, stream.pix_fmt = pictures.shape[1], pictures.shape[2], pix_fmt
        stream.codec_context.time_base = time_base
        for time, picture in zip(times or range(len(pictures)), pictures, strict=True):
            form = "rgb24" if picture.shape[2] == 3 else "rgba"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=form)
            frame.pts, frame.time_base = time, time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return buffer.getvalue()


@contextmanager
def refused(*words: str) -> Iterator[None]:
    """The block raises one sentence that has all these words."""
    with pytest.raises(WorkError) as caught:
        yield
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".") and "Error" not in sentence, sentence
    assert all(word in sentence for word in words), sentence


def everything(path: Path) -> list[Callable[[], object]]:
    return [
        lambda: read.probe(path),
        lambda: read.video(path, FPS),
        lambda: list(read.video_chunks(path, FPS)),
        lambda: read.sound(path, RATE_HZ),
        lambda: read.image(path),
    ]


class TestNoMedia:
    @pytest.fixture(params=["empty", "text", "folder", "missing", "dangling", "loop", "pipe", "device", "null"])
    def path(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        path = tmp_path / "x.mp4"
        {
            "empty": lambda: path.write_bytes(b""),
            "text": lambda: path.write_text("hello"),
            "folder": path.mkdir,
            "missing": lambda: None,
            "dangling": lambda: path.symlink_to(tmp_path / "nothing"),
            "loop": lambda: path.symlink_to(path),
            "pipe": lambda: os.mkfifo(path),
            "device": lambda: path.symlink_to("/dev/zero"),
            "null": lambda: path.symlink_to("/dev/null"),
        }[request.param]()
        return path

    def test_is_one_sentence_and_never_waits(self, path: Path) -> None:
        # A pipe that nobody writes to, and a device that never ends, would hold the reader for ever.
        watch = threading.Timer(20, lambda: os._exit(3))
        watch.start()
        for call in everything(path):
            with refused("x.mp4"):
                call()
        watch.cancel()

    def test_unreadable_permission(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "x.mp4"
        path.write_bytes(write.video(None, numbered(3), FPS))
        path.chmod(0)
        if os.geteuid() == 0:  # who may read everything

            def denied(*args: object, **named: object) -> None:
                raise PermissionError(13, "Permission denied", str(path))

            monkeypatch.setattr(Path, "open", denied)
        for call in everything(path):
            with refused("x.mp4", "ermission denied"):
                call()

    def test_truncated_at_many_places(self, tmp_path: Path) -> None:
        sound = (9000 * np.sin(np.arange(RATE_HZ) / 5)).astype(np.int16)
        made = {
            "mp4": write.video(None, numbered(25), FPS, sound),
            "mkv": encoded(numbered(25), "matroska"),
            "avi": encoded(numbered(25), "avi", "mpeg4", options={"b": "4000000", "bf": "0"}),
            "ts": encoded(numbered(25), "mpegts"),
        }
        for ending, whole in made.items():
            path, counts = tmp_path / f"x.{ending}", []
            for share in range(0, 20):
                path.write_bytes(whole[: len(whole) * share // 20])
                try:
                    found = numbers(read.video(path, FPS).frames)
                except WorkError as error:
                    assert "\n" not in str(error) and str(error).endswith(".")
                    found = []
                # What is there is right, in order and from the start; the last picture may be half a one.
                assert found[:-1] == list(range(len(found)))[:-1], (ending, share)
                counts.append(len(found))
            # An MP4 has its index at the end; of the others what is there can be read.
            assert counts[0] == 0 and (counts[-1] == 0 if ending == "mp4" else counts[-1] > 20)


class TestVideo:
    def test_only_sound(self, tmp_path: Path) -> None:
        path = tmp_path / "x.mp4"
        with av.open(str(path), "w") as output:
            stream = output.add_stream("aac", rate=RATE_HZ, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = RATE_HZ
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        about = read.probe(path)
        assert not about.has_video and about.has_sound and about.rate_hz == RATE_HZ
        with refused("x.mp4", "no video stream"):
            read.video(path, FPS)

    def test_cover_art_is_no_video(self) -> None:
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="mp4") as output:
            sound = output.add_stream("aac", rate=RATE_HZ, layout="mono")
            cover = output.add_stream("mjpeg", rate=1)
            cover.width, cover.height, cover.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
            cover.disposition = av.stream.Disposition.attached_pic
            picture = av.VideoFrame.from_ndarray(quarters(), format="rgb24")
            output.mux(cover.encode(picture))
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = RATE_HZ
            output.mux(sound.encode(frame))
            for stream in (cover, sound):
                output.mux(stream.encode(None))
        assert not read.probe(buffer.getvalue()).has_video

    @pytest.mark.parametrize(("container", "codec"), [("mp4", "libx264"), ("matroska", "libx264"), ("avi", "mpeg4")])
    def test_one_frame(self, container: str, codec: str) -> None:
        data = encoded(quarters()[None], container, codec, options={"b": "8000000"})
        about, video = read.probe(data), read.video(data)
        assert (about.frames, about.width, about.height) == (1, WIDTH, HEIGHT)
        assert len(video.frames) == 1 and colours(video.frames[0]) == ["red", "green", "blue", "white"]

    @pytest.mark.parametrize("container", ["matroska", "mp4", "mov"])
    def test_variable_rate(self, container: str) -> None:
        times = [0, 40, 120, 130, 400, 1000, 1040]
        data = encoded(numbered(7), container, times=times, time_base=Fraction(1, 1000))
        shown = numbers(read.video(data, FPS, None, 0.0, 1.08).frames)
        assert shown == [max(n for n, time in enumerate(times) if time <= 40 * k) for k in range(27)]

    @pytest.mark.parametrize(
        ("pix_fmt", "codec", "container"),
        [
            ("yuv420p10le", "libx265", "mp4"),
            ("yuv422p10le", "prores_ks", "mov"),
            ("yuv444p", "libx264", "matroska"),
            ("yuv444p10le", "libx264", "matroska"),
            ("yuv420p10le", "libvpx-vp9", "webm"),
            ("gbrp", "libx264rgb", "matroska"),
            ("rgb48be", "png", "mov"),
            ("pal8", "gif", "gif"),
            ("yuv411p", "ffv1", "matroska"),
        ],
    )
    def test_colours_of_every_kind_of_pixel(self, pix_fmt: str, codec: str, container: str) -> None:
        if codec == "libx264rgb":
            pix_fmt = "bgr0"
        if codec == "gif":
            pix_fmt = "rgb8"
        options = {"crf": "5"} if codec.startswith("lib") else {}
        try:
            data = encoded(np.repeat(quarters()[None], 3, axis=0), container, codec, pix_fmt, options=options)
        except (av.FFmpegError, ValueError) as error:
            pytest.skip(f"the installed PyAV does not write {codec} as {pix_fmt}: {error}")
        frame = read.video(data, FPS).frames[1]
        assert frame.shape == (HEIGHT, WIDTH, 3) and colours(frame) == ["red", "green", "blue", "white"]
        assert np.abs(frame[10, 10].astype(int) - RED).max() <= 8

    @pytest.mark.parametrize("pix_fmt", ["gray", "gray10le", "gray16le"])
    def test_gray_of_any_depth(self, pix_fmt: str) -> None:
        data = encoded(numbered(5), "matroska", "ffv1", pix_fmt, options={})
        assert numbers(read.video(data, FPS).frames) == list(range(5))

    @pytest.mark.parametrize(("codec", "pix_fmt"), [("png", "rgba"), ("qtrle", "argb"), ("ffv1", "yuva444p")])
    def test_what_is_transparent_is_white(self, codec: str, pix_fmt: str) -> None:
        pictures = np.dstack([quarters(), np.full((HEIGHT, WIDTH), 255, np.uint8)])[None].repeat(2, axis=0)
        pictures[:, : HEIGHT // 2, : WIDTH // 2, 3] = 0
        container = "matroska" if codec == "ffv1" else "mov"
        frame = read.video(encoded(pictures, container, codec, pix_fmt, options={}), FPS).frames[0]
        assert colours(frame) == ["white", "green", "blue", "white"]
        assert np.abs(frame[5, 5].astype(int) - WHITE).max() <= 2

    def test_sizes_that_change_on_the_way(self) -> None:
        small, large = (encoded(numbered(5)[:, :h, :w], "h264") for h, w in ((HEIGHT, WIDTH), (32, 40)))
        frames = read.video(small + large, FPS).frames
        assert frames.shape == (10, HEIGHT, WIDTH, 3) and numbers(frames) == [*range(5), *range(5)]

    def test_no_timestamps_at_all(self) -> None:
        data = encoded(numbered(20), "h264")
        assert numbers(read.video(data, FPS).frames) == list(range(20))
        assert read.probe(data).frames == 20

    def test_timestamps_that_run_backwards(self) -> None:
        data = bytearray(encoded(numbered(12), "matroska"))
        with av.open(io.BytesIO(bytes(data))) as container:
            packets = [(packet.pts, bytes(packet)) for packet in container.demux(video=0) if packet.size]
        for place, time in {4: 10, 5: 20, 9: 30}.items():
            at = data.index(packets[place][1]) - 3
            assert struct.unpack(">h", data[at : at + 2])[0] == packets[place][0]
            data[at : at + 2] = struct.pack(">h", time)
        # What would go back is left out, and the picture before it stays.
        expected = [0, 1, 2, 3, 3, 3, 6, 7, 8, 8, 10, 11]
        assert numbers(read.video(bytes(data), FPS).frames) == expected

    def test_a_jump_in_time_is_told(self) -> None:
        times = [0, 40, 80, 5_000_000, 5_000_040]
        data = encoded(numbered(5), "matroska", times=times, time_base=Fraction(1, 1000))
        with refused("timestamps that jump"):
            read.video(data, FPS)

    def test_a_duration_that_is_a_lie(self) -> None:
        whole = bytearray(encoded(numbered(10), "matroska"))
        at = whole.index(b"\x44\x89\x88") + 3
        whole[at : at + 8] = struct.pack(">d", 1e12)
        assert read.probe(bytes(whole)).duration_s == pytest.approx(1e9)
        assert numbers(read.video(bytes(whole), FPS).frames) == list(range(10))

    def test_a_size_that_would_fill_the_memory(self) -> None:
        data = bytearray(encoded(numbered(3)[:, :32, :32], "avi", "rawvideo", "bgr24", options={}))
        at = data.index(b"strf") + 12
        assert struct.unpack("<ii", data[at : at + 8]) in {(32, 32), (32, -32)}
        for side_px, words in ((9000, "9000x9000 pixels"), (60_000, "media in memory")):
            data[at : at + 8] = struct.pack("<ii", side_px, side_px)
            with refused(words):
                read.video(bytes(data), FPS)
        gif = bytearray(encoded(numbered(3), "gif", "gif", "rgb8", options={}))
        gif[6:10] = struct.pack("<HH", 65_535, 65_535)
        with refused("media in memory"):
            read.video(bytes(gif), FPS)

    def test_damaged_packets(self, tmp_path: Path) -> None:
        """One of fifty is passed over, as players do; when it is more than a tenth the file is refused."""
        whole = encoded(numbered(50), "matroska", "ffv1", "yuv420p", options={"slicecrc": "1", "level": "3", "g": "1"})
        with av.open(io.BytesIO(whole)) as container:
            packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
        one, many = bytearray(whole), bytearray(whole)
        for data, places in ((one, [20]), (many, range(10, 30))):
            for place in places:
                at = whole.index(packets[place])
                data[at : at + len(packets[place])] = b"\xff" * len(packets[place])
        damaged_s: list[float] = []
        list(read.video_chunks(bytes(one), FPS, damaged=damaged_s.append))
        assert damaged_s == [pytest.approx(20 / FPS, abs=0.01)]
        found = numbers(read.video(bytes(one), FPS).frames)
        assert found[:20] == list(range(20)) and found[21:] == list(range(21, 50))
        with refused("damaged"):
            read.video(bytes(many), FPS)


class TestStills:
    def saved(self, image: Image.Image, kind: str, **options: object) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    @pytest.mark.parametrize(("kind", "name"), [("PNG", "x.jpg"), ("JPEG", "x.png"), ("WEBP", "x.jpeg"), ("BMP", "x")])
    def test_wrong_extension(self, kind: str, name: str, tmp_path: Path) -> None:
        options = {"quality": 95} if kind in ("JPEG", "WEBP") else {}
        (tmp_path / name).write_bytes(self.saved(Image.fromarray(quarters()), kind, **options))
        assert colours(read.image(tmp_path / name)) == ["red", "green", "blue", "white"]

    def test_media_of_the_other_sort(self, tmp_path: Path) -> None:
        (tmp_path / "x.jpg").write_bytes(write.video(None, numbered(3), FPS))
        with refused("x.jpg", "not a picture"):
            read.image(tmp_path / "x.jpg")
        (tmp_path / "x.mp4").write_bytes(write.jpeg(quarters()))
        assert len(read.video(tmp_path / "x.mp4").frames) == 1

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
    def test_every_exif_orientation(self, orientation: int, kind: str) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"quality": 95} if kind in ("JPEG", "WEBP") else {}
        found = read.image(self.saved(Image.fromarray(quarters()), kind, exif=exif, **options))
        by_row = np.array([["red", "green"], ["blue", "white"]])
        # EXIF 2.3, tag Orientation: which side of the picture row 0 and column 0 of the file are.
        upright = {
            1: by_row, 2: by_row[:, ::-1], 3: by_row[::-1, ::-1], 4: by_row[::-1], 5: by_row.T, 6: by_row[::-1].T,
            7: by_row[::-1, ::-1].T, 8: by_row.T[::-1],
        }[orientation]  # fmt: skip
        assert colours(found) == upright.ravel().tolist()
        assert found.shape[:2] == ((HEIGHT, WIDTH) if orientation < 5 else (WIDTH, HEIGHT))

    def test_sixteen_bits(self) -> None:
        levels = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
        for kind in ("PNG", "TIFF"):
            found = read.image(self.saved(Image.fromarray(levels), kind))
            assert np.array_equal(found[..., 0], np.arange(256).reshape(16, 16))
        rgb = encoded(quarters()[None], "image2pipe", "png", "rgb48be", options={})
        assert np.abs(read.image(rgb).astype(int) - quarters()).max() <= 1

    def test_floating_point_and_big_endian(self) -> None:
        levels = np.linspace(-20, 300, 64, dtype=np.float32).reshape(8, 8)
        found = read.image(self.saved(Image.fromarray(levels), "TIFF"))
        assert np.array_equal(found[..., 1], np.clip(np.rint(levels), 0, 255))
        pgm = b"P5 2 1 65535\n" + struct.pack(">HH", 100 * 257, 65_535)
        assert read.image(pgm)[0, :, 0].tolist() == [100, 255]

    def test_cmyk_palette_and_transparency(self) -> None:
        colour = Image.fromarray(quarters())
        expected = ["red", "green", "blue", "white"]
        assert colours(read.image(self.saved(colour.convert("CMYK"), "JPEG", quality=95))) == expected
        assert colours(read.image(self.saved(colour.convert("CMYK"), "TIFF"))) == expected
        assert colours(read.image(self.saved(colour.convert("YCbCr"), "TIFF"))) == expected
        palette = colour.quantize(4)
        clear = palette.getpixel((0, 0))
        for kind in ("PNG", "GIF"):
            found = read.image(self.saved(palette, kind, transparency=clear))
            assert colours(found) == ["white", *expected[1:]], kind

    @pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
    def test_the_first_picture_of_an_animation(self, kind: str) -> None:
        first, *rest = (Image.fromarray(np.ascontiguousarray(np.roll(quarters(), 16 * k, axis=1))) for k in range(3))
        found = read.image(self.saved(first, kind, save_all=True, append_images=rest))
        assert colours(found) == ["red", "green", "blue", "white"]

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
    @pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
    def test_truncated(self, kind: str, share: float, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        whole = self.saved(Image.fromarray(noise), kind, **({"progressive": True} if kind == "JPEG" else {}))
        (tmp_path / "x.jpg").write_bytes(whole[: int(len(whole) * share)])
        with refused("x.jpg", "cannot be read as a picture"):
            read.image(tmp_path / "x.jpg")

    def test_sizes_that_would_fill_the_memory(self) -> None:
        whole = self.saved(Image.new("L", (4, 4)), "PNG")
        import zlib

        header = b"IHDR" + struct.pack(">II", 40_000, 40_000) + whole[24:29]
        with refused("pixels"):
            read.image(whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:])
        text = Image.new("L", (4, 4))
        from PIL.PngImagePlugin import PngInfo

        bomb = PngInfo()
        bomb.add_text("comment", "a" * 10_000_000, zip=True)
        with refused("cannot be read as a picture"):
            read.image(self.saved(text, "PNG", pnginfo=bomb))

    def test_a_tiff_that_points_at_itself(self) -> None:
        info = TiffImagePlugin.ImageFileDirectory_v2()
        data = bytearray(self.saved(Image.fromarray(quarters()), "TIFF", tiffinfo=info))
        start = struct.unpack("<I", data[4:8])[0]
        count = struct.unpack("<H", data[start : start + 2])[0]
        data[start + 2 + 12 * count :][:4] = struct.pack("<I", start)
        data[start + 2 + 12 * count : start + 6 + 12 * count] = struct.pack("<I", start)
        assert colours(read.image(bytes(data))) == ["red", "green", "blue", "white"]


class TestSound:
    def tone(self, rate_hz: int, seconds: float = 1.0) -> np.ndarray:
        return np.sin(2 * np.pi * 440 * np.arange(round(rate_hz * seconds)) / rate_hz)

    def test_none(self) -> None:
        silent = write.video(None, numbered(3), FPS)
        assert not read.probe(silent).has_sound
        with refused("no sound stream"):
            read.sound(silent, RATE_HZ)

    def test_silent(self) -> None:
        data = write.video(None, numbered(25), FPS, np.zeros(RATE_HZ, np.int16))
        assert read.probe(data).has_sound and not read.sound(data, RATE_HZ).any()

    @pytest.mark.parametrize("rate_hz", [8000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
    @pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "FLOAT", "DOUBLE"])
    def test_any_rate_and_sample(self, rate_hz: int, subtype: str) -> None:
        buffer = io.BytesIO()
        soundfile.write(buffer, 0.5 * self.tone(rate_hz), rate_hz, format="WAV", subtype=subtype)
        found = read.sound(buffer.getvalue(), RATE_HZ, 0.0, 1.0).astype(float)
        expected = 16_384 * self.tone(RATE_HZ)
        assert found.shape == (RATE_HZ,)
        assert np.abs(found[400:-400] - expected[400:-400]).max() < (400 if subtype == "PCM_U8" else 40)

    @pytest.mark.parametrize("channels", [1, 2, 6])
    def test_channels_are_averaged(self, channels: int) -> None:
        each = np.linspace(-0.3, 0.6, channels)[None].repeat(RATE_HZ, axis=0)
        buffer = io.BytesIO()
        soundfile.write(buffer, each, RATE_HZ, format="WAV", subtype="FLOAT")
        assert np.abs(read.sound(buffer.getvalue(), RATE_HZ) - 32_768 * each.mean()).max() <= 1

    def test_floats_beyond_full_scale_and_no_numbers(self) -> None:
        wild = np.array([0.0, 4.0, -4.0, np.inf, -np.inf, np.nan, 0.5] * 1000)
        buffer = io.BytesIO()
        soundfile.write(buffer, wild, RATE_HZ, format="WAV", subtype="FLOAT")
        found = read.sound(buffer.getvalue(), RATE_HZ)
        assert found[:7].tolist() == [0, 32_767, -32_768, 32_767, -32_768, 0, 16_384]

    def test_corrupt_packets(self) -> None:
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="matroska") as output:
            stream = output.add_stream("mp3", rate=RATE_HZ, layout="mono")
            tone = (9000 * self.tone(RATE_HZ, 4.0)).astype(np.int16)
            for begin in range(0, len(tone) - 576, 576):
                frame = av.AudioFrame.from_ndarray(tone[None, begin : begin + 576], format="s16p", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, begin, Fraction(1, RATE_HZ)
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        data = bytearray(buffer.getvalue())
        with av.open(io.BytesIO(bytes(data))) as container:
            packets = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
        for place in (40, 41):
            at = data.index(packets[place])
            data[at : at + len(packets[place])] = bytes(len(packets[place]))
        found = read.sound(bytes(data), RATE_HZ, 0.0, 3.9).astype(float)
        good = read.sound(buffer.getvalue(), RATE_HZ, 0.0, 3.9).astype(float)
        assert found.shape == good.shape
        # The rest of the sound keeps its place in time, to the millisecond that Matroska keeps.
        shifts = [float(good[-16_000:-400] @ found[-16_000 + by : -400 + by]) for by in range(-18, 19)]
        assert abs(int(np.argmax(shifts)) - 18) <= 16

    def test_a_rate_that_is_a_lie(self) -> None:
        buffer = io.BytesIO()
        soundfile.write(buffer, np.zeros(100), RATE_HZ, format="WAV")
        data = bytearray(buffer.getvalue())
        data[24:28] = struct.pack("<I", 0x7FFFFFF0)
        with refused("samples of sound a second"):
            read.sound(bytes(data), RATE_HZ)

    def test_truncated(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(-9000, 9000, RATE_HZ).astype(np.int16)
        whole = write.flac(noise, RATE_HZ)
        for share in (0.0, 0.01, 0.5):
            path = tmp_path / "x.flac"
            path.write_bytes(whole[: int(len(whole) * share)])
            try:
                found = read.sound(path, RATE_HZ)
                assert share == 0.5 and np.array_equal(found[:4096], noise[:4096])
            except WorkError as error:
                assert "x.flac" in str(error) and str(error).endswith(".")

    def test_pieces_are_the_whole(self) -> None:
        noise = np.random.default_rng(0).integers(-9000, 9000, 3 * 44_100).astype(np.int16)
        data = write.flac(noise, 44_100)
        for start_s, end_s in ((0.0, None), (0.7, 2.2), (0.7, 50.0)):
            pieces = list(read.sound_chunks(data, RATE_HZ, 0.5, start_s, end_s))
            whole = read.sound(data, RATE_HZ, start_s, None if end_s == 50.0 else end_s)
            assert np.array_equal(np.concatenate(pieces), whole)
            assert {len(piece) for piece in pieces[:-1]} == {RATE_HZ // 2} and len(pieces[-1]) <= RATE_HZ // 2
