"""Reading media: the right picture at the right time, sound on the clock of the pictures, one sentence for the rest."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from sslkit.errors import WorkError
from sslkit.media import read, write

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def numbers(frames: np.ndarray) -> list[int]:
    """The numbers that pictures of `clip_file`'s kind carry in their brightness."""
    return [round((float(frame.mean()) - 20) / 4) for frame in frames]


def numbered(count: int, height: int = 48, width: int = 64) -> np.ndarray:
    values = (20 + 4 * np.arange(count)).astype(np.uint8)
    return np.broadcast_to(values[:, None, None, None], (count, height, width, 3))


def corners(height: int = 64, width: int = 96) -> np.ndarray:
    """A picture with a colour in each quarter: red, green above blue, white."""
    picture = np.zeros((height, width, 3), np.uint8)
    h, w = height // 2, width // 2
    picture[:h, :w], picture[:h, w:], picture[h:, :w], picture[h:, w:] = RED, GREEN, BLUE, WHITE
    return picture


def colours(picture: np.ndarray) -> list[str]:
    """Names of the colours in the four quarters."""
    h, w = picture.shape[0] // 4, picture.shape[1] // 4
    points = [picture[y, x].astype(int) for y in (h, 3 * h) for x in (w, 3 * w)]
    known = {"red": RED, "green": GREEN, "blue": BLUE, "white": WHITE}
    return [min(known, key=lambda n: np.abs(np.array(known[n]) - point).sum()) for point in points]


def encoded(
    pictures: np.ndarray,
    times: list[int],
    time_base: Fraction,
    container: str = "mp4",
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    sound: np.ndarray | None = None,
    sound_start_s: float = 0.0,
    sound_codec: str = "pcm_s16le",
) -> bytes:
    """A file made by PyAV alone, with any timestamps, codec and pixel format."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=30, options=options or {"crf": "10", "bf": "0"})
        stream.height, stream.width, stream.pix_fmt = pictures.shape[1], pictures.shape[2], pix_fmt
        stream.codec_context.time_base = time_base
        track = output.add_stream(sound_codec, rate=16_000, layout="mono") if sound is not None else None
        for picture, time in zip(pictures, times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = time, time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if track is not None:
            frame = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
            frame.sample_rate, frame.time_base = 16_000, Fraction(1, 16_000)
            frame.pts = round(sound_start_s * 16_000)
            output.mux(track.encode(frame))
            output.mux(track.encode(None))
    return buffer.getvalue()


def test_probe_tells_what_a_file_holds(clip_file: Path) -> None:
    about = read.probe(clip_file)
    assert (about.has_video, about.has_sound, about.width, about.height) == (True, True, 96, 64)
    assert (about.fps, about.frames, about.rate_hz) == (25.0, 50, 16_000)
    assert about.duration_s == pytest.approx(2.0, abs=0.05)
    assert (about.video_start_s, about.sound_start_s) == (0.0, 0.0)


def test_every_picture_in_order(clip_file: Path) -> None:
    video = read.video(clip_file)
    assert video.frames.shape == (50, 64, 96, 3) and video.frames.dtype == np.uint8 and video.fps == 25
    assert numbers(video.frames) == list(range(50))


@pytest.mark.parametrize(
    ("fps", "start_s", "end_s", "expected"),
    [
        (25, 0.4, 0.8, list(range(10, 20))),
        (12.5, 0.0, 1.0, list(range(0, 25, 2))),
        (50, 1.0, 1.2, [25, 25, 26, 26, 27, 27, 28, 28, 29, 29]),
        (30, 0.0, 0.4, [0, 0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9]),
        (25, 1.52, 1.6, [38, 39]),
        (25, 1.9, 99, [47, 48, 49]),
    ],
)
def test_pictures_lie_on_a_constant_grid(
    clip_file: Path, fps: float, start_s: float, end_s: float, expected: list[int]
) -> None:
    assert numbers(read.video(clip_file, fps, None, start_s, end_s).frames) == expected


def test_chunks_hold_the_same_pictures(clip_file: Path) -> None:
    chunks = list(read.video_chunks(clip_file, 25, 32, chunk_frames=16))
    assert [len(chunk) for chunk in chunks] == [16, 16, 16, 2]
    assert np.array_equal(np.concatenate(chunks), read.video(clip_file, 25, 32).frames)


def test_variable_rate_is_resampled_by_timestamps() -> None:
    times = [0, 40, 80, 500, 540, 1000]
    data = encoded(numbered(6), times, Fraction(1, 1000), "matroska")
    shown = numbers(read.video(data, 25, None, 0.0, 1.04).frames)
    expected = [max(n for n, time in enumerate(times) if time <= 40 * k) for k in range(26)]
    assert shown == expected


def test_rounded_timestamps_double_no_picture() -> None:
    # At 30 fps in milliseconds: 33, 67, 100 ... and a first picture that is late by a rounding, too.
    times = [round((k + 1) * 1000 / 30) for k in range(50)]
    data = encoded(numbered(50), times, Fraction(1, 1000), "matroska")
    assert numbers(read.video(data, 30).frames) == list(range(50))


def test_reading_starts_at_the_first_picture_not_at_time_zero() -> None:
    data = encoded(numbered(40), [k + 15 for k in range(40)], Fraction(1, 30), "mpegts")
    assert read.probe(data).video_start_s > 0.4
    assert numbers(read.video(data, 30, None, 0.0, 0.5).frames) == list(range(15))
    assert numbers(read.video(data, 30, None, 1.1, 1.3).frames) == list(range(33, 39))


@pytest.mark.parametrize(("container", "codec"), [("avi", "mpeg4"), ("matroska", "libx264"), ("mp4", "libx264")])
def test_b_frames_and_seeking_give_the_same_pictures(container: str, codec: str) -> None:
    options = {"bf": "2", "g": "12", "b": "8000000"} if codec == "mpeg4" else {"bf": "3", "g": "12", "crf": "10"}
    data = encoded(numbered(58), list(range(58)), Fraction(1, 25), container, codec, options=options)
    whole = read.video(data, 25).frames
    assert numbers(whole)[:57] == list(range(57))
    part = read.video(data, 25, None, 1.2, 1.8).frames
    assert np.array_equal(part, whole[30:45])


@pytest.mark.parametrize(
    ("pix_fmt", "codec", "container"),
    [
        ("yuv422p", "libx264", "mp4"),
        ("yuv444p", "libx264", "mp4"),
        ("yuv420p10le", "libx264", "mp4"),
        ("yuvj420p", "mjpeg", "avi"),
        ("rgb24", "png", "mov"),
        ("bgr24", "rawvideo", "avi"),
        ("gray", "rawvideo", "avi"),
    ],
)
def test_any_pixel_format_and_odd_sizes(pix_fmt: str, codec: str, container: str) -> None:
    # 4:2:0 cannot be odd; the others can.
    height, width = (46, 62) if pix_fmt.startswith("yuv") and pix_fmt != "yuv444p" else (47, 63)
    pictures = np.repeat(corners(height, width)[None], 3, axis=0)
    data = encoded(pictures, [0, 1, 2], Fraction(1, 25), container, codec, pix_fmt, options={"crf": "5"})
    frame = read.video(data, 25).frames[1]
    assert frame.shape == (height, width, 3)
    if pix_fmt != "gray":
        assert colours(frame) == ["red", "green", "blue", "white"]
        assert np.abs(frame[5, 5].astype(int) - RED).max() <= 6
    assert read.video(data, 25, short_side_px=32).frames.shape[1:] == (32, 44 if height == 46 else 42, 3)


@pytest.mark.parametrize(
    ("matrix", "expected", "size"),
    [
        ((0, 1, -1, 0), ["blue", "red", "white", "green"], (96, 64)),
        ((-1, 0, 0, -1), ["white", "blue", "green", "red"], (64, 96)),
        ((0, -1, 1, 0), ["green", "white", "red", "blue"], (96, 64)),
        ((-1, 0, 0, 1), ["green", "red", "white", "blue"], (64, 96)),
        ((1, 0, 0, -1), ["blue", "white", "red", "green"], (64, 96)),
    ],
    ids=["quarter clockwise", "half", "quarter anticlockwise", "mirrored", "upside down"],
)
def test_display_matrix_turns_the_picture(matrix: tuple[int, ...], expected: list[str], size: tuple[int, int]) -> None:
    data = write.video(None, np.repeat(corners()[None], 3, axis=0), 25, crf=5)
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value * 65536 for value in matrix)
    turned = data[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[at + 36 :]
    frame = read.video(turned).frames[0]
    assert frame.shape[:2] == size and colours(frame) == expected
    assert (read.probe(turned).height, read.probe(turned).width) == size


@pytest.mark.parametrize(
    ("size", "short", "expected"),
    [((64, 96), 32, (32, 48)), ((64, 96), 100, (100, 150)), ((96, 64), 33, (48, 32)), ((50, 71), 20, (20, 28))],
)
def test_short_side_and_even_sides(size: tuple[int, int], short: int, expected: tuple[int, int]) -> None:
    from sslkit.media.picture import scaled

    assert scaled(corners(*size), short).shape == (*expected, 3)


def test_shrinking_averages_areas() -> None:
    from sslkit.media.picture import scaled

    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    expected = noise.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
    assert np.abs(scaled(noise, 16) - expected).max() <= 1


def test_colours_of_both_standards() -> None:
    # The same red, as luma and two chromas, by ITU-R BT.709 and BT.601.
    for tag, yuv in (("colormatrix=bt709", (63, 102, 240)), ("colormatrix=smpte170m", (81, 90, 240))):
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="mp4") as output:
            stream = output.add_stream("libx264", rate=25, options={"crf": "1", "x264-params": tag})
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            frame = av.VideoFrame(64, 48, "yuv420p")
            for plane, value in zip(frame.planes, yuv, strict=True):
                plane.update(bytes([value]) * plane.buffer_size)
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        assert np.abs(read.video(buffer.getvalue()).frames[0, 9, 9].astype(int) - RED).max() <= 3


def test_prepared_pictures_by_number_and_both_decoders_agree(clip_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = clip_file.read_bytes()
    asked = [49, 0, 25, 25, 12, 11, 13]
    first = read.frames(data, asked)
    assert first.shape == (7, 64, 96, 3) and numbers(first) == asked
    monkeypatch.setattr(read, "_decord", lambda: None)
    assert np.abs(read.frames(data, asked).astype(int) - first).max() <= 1
    with pytest.raises(WorkError, match="50 pictures"):
        read.frames(data, [50])


def test_number_out_of_range_and_broken_bytes(clip_file: Path) -> None:
    with pytest.raises(WorkError, match="Picture 50 was asked for in a clip that has 50 pictures"):
        read.frames(clip_file.read_bytes(), [3, 50])
    with pytest.raises(WorkError, match="media in memory"):
        read.frames(b"not a video" * 100, [0])


def test_sound_lies_on_the_clock_of_the_pictures(clip_file: Path) -> None:
    sound = read.sound(clip_file, 16_000, 0.0, 2.0)
    assert sound.dtype == np.int16 and sound.shape == (32_000,)
    assert abs(int(np.flatnonzero(np.abs(sound) > 3000)[0]) - 16_000) <= 8
    part = read.sound(clip_file, 16_000, 0.9, 1.3)
    assert np.abs(part.astype(int) - sound[14_400:20_800]).max() <= 2


@pytest.mark.parametrize("start_s", [0.25, -0.25])
def test_streams_that_start_at_different_times(start_s: float) -> None:
    click = np.zeros(16_000, np.int16)
    click[8000] = 20_000
    # Pictures begin at 0.5 s on the file's clock.
    times = [k + 15 for k in range(30)]
    data = encoded(numbered(30), times, Fraction(1, 30), "matroska", sound=click, sound_start_s=0.5 + start_s)
    about = read.probe(data)
    assert about.sound_start_s - about.video_start_s == pytest.approx(start_s, abs=0.001)
    sound = read.sound(data, 16_000, 0.0, 1.0)
    assert int(np.abs(sound).argmax()) == 8000 + round(start_s * 16_000)
    assert np.abs(sound[: max(0, round(start_s * 16_000))]).sum() == 0
    assert len(sound) == 16_000


def test_flac_comes_back_bit_for_bit() -> None:
    noise = np.random.default_rng(0).integers(-32768, 32768, 20_000).astype(np.int16)
    data = write.flac(noise, 16_000)
    assert np.array_equal(read.sound(data, 16_000), noise)
    assert np.array_equal(read.sound(data, 16_000, 0.5, 0.75), noise[8000:12_000])
    late = read.sound(data, 16_000, 1.0, 1.5)
    assert np.array_equal(late[:4000], noise[16_000:]) and not late[4000:].any()
    assert np.array_equal(read.sound(data, 16_000, -0.5, 0.5), np.concatenate([np.zeros(8000, np.int16), noise[:8000]]))


@pytest.mark.parametrize(("file_hz", "rate_hz"), [(44_100, 16_000), (48_000, 16_000), (8000, 16_000), (22_050, 44_100)])
def test_resampled_sound_keeps_its_phase(file_hz: int, rate_hz: int) -> None:
    time_s = np.arange(4 * file_hz) / file_hz
    data = write.flac((10_000 * np.sin(2 * np.pi * 440 * time_s)).astype(np.int16), file_hz)
    expected = 10_000 * np.sin(2 * np.pi * 440 * np.arange(4 * rate_hz) / rate_hz)
    whole = read.sound(data, rate_hz, 0.0, 4.0)
    assert np.abs(whole[400:-400] - expected[400:-400]).max() < 30
    part = read.sound(data, rate_hz, 2.3, 2.9)
    assert np.abs(part.astype(int) - whole[round(2.3 * rate_hz) : round(2.9 * rate_hz)]).max() <= 1


def test_channels_are_averaged(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    left, right = np.full(8000, 8000, np.int16), np.full(8000, -2000, np.int16)
    soundfile.write(path, np.stack([left, right], axis=1), 16_000)
    assert np.abs(read.sound(path, 16_000) - 3000).max() <= 1


def test_what_is_said_in_the_centre_of_surround_sound_is_heard(tmp_path: Path) -> None:
    """5.1: front left and right, centre, low effects, back left and right."""
    path = tmp_path / "surround.wav"

    def heard(samples: np.ndarray, layout: str = "5.1") -> np.ndarray:
        with av.open(str(path), "w") as output:
            stream = output.add_stream("pcm_s16le", rate=16_000, layout=layout)
            frame = av.AudioFrame.from_ndarray(samples.astype(np.int16).reshape(1, -1), format="s16", layout=layout)
            frame.sample_rate = 16_000
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        return read.sound(path, 16_000)

    share = 10_000 / (1 + 2 * 0.5**0.5 + 2 * 0.5)
    for channel, expected in ((0, share * 0.5**0.5), (2, share), (3, 0), (5, share / 2)):
        sound = np.zeros((1000, 6))
        sound[:, channel] = 10_000
        assert np.abs(heard(sound) - expected).max() <= 1
    assert np.abs(heard(np.full((1000, 6), 32_000)) - 32_000).max() <= 1  # nothing clips
    soundfile.write(path, np.full((1000, 6), [6000, 0, 0, 0, 0, 0], np.int16), 16_000)  # which is which is not known
    assert np.abs(read.sound(path, 16_000) - 1000).max() <= 1


def test_pictures_with_transparency_depth_and_colour_models() -> None:
    def through(image: Image.Image, kind: str, **options: object) -> np.ndarray:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return read.image(buffer.getvalue())

    clear = Image.fromarray(np.dstack([corners(8, 8), np.full((8, 8), 0, np.uint8)]))
    assert (through(clear, "PNG") == 255).all()
    deep = Image.fromarray(np.full((4, 4), 257 * 100, np.uint16))
    assert (through(deep, "PNG") == 100).all()
    assert (through(Image.fromarray(np.full((4, 4), 77, np.uint8)), "PNG") == 77).all()
    palette = Image.fromarray(corners(8, 8)).quantize(4)
    assert colours(through(palette, "PNG")) == ["red", "green", "blue", "white"]
    palette.info["transparency"] = palette.getpixel((0, 0))
    assert colours(through(palette, "PNG", transparency=palette.getpixel((0, 0))))[0] == "white"
    cmyk = Image.fromarray(corners(64, 64)).convert("CMYK")
    assert colours(through(cmyk, "JPEG")) == ["red", "green", "blue", "white"]
    assert (through(Image.new("1", (4, 4), 1), "PNG") == 255).all()


@pytest.mark.parametrize(
    ("orientation", "expected"), [(6, ["blue", "red", "white", "green"]), (2, ["green", "red", "white", "blue"])]
)
def test_exif_orientation_is_applied(orientation: int, expected: list[str]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(corners()).save(buffer, "JPEG", exif=exif, quality=95)
    assert colours(read.image(buffer.getvalue())) == expected


def test_bad_pictures_are_one_sentence(tmp_path: Path) -> None:
    whole = write.jpeg(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("hello")
    bomb = write.png(np.zeros((2, 2), np.uint8))
    (tmp_path / "bomb.png").write_bytes(_with_size(bomb, 60_000, 60_000))
    for name in ("cut.jpg", "text.jpg", "bomb.png", "missing.jpg"):
        with pytest.raises(WorkError, match=name) as caught:
            read.image(tmp_path / name)
        assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def _with_size(png: bytes, width: int, height: int) -> bytes:
    import zlib

    header = b"IHDR" + struct.pack(">II", width, height) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


def test_bad_media_is_one_sentence(tmp_path: Path, clip_file: Path) -> None:
    whole = clip_file.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "folder.mp4").mkdir()
    for name in ("cut.mp4", "text.mp4", "empty.mp4", "missing.mp4", "folder.mp4"):
        for call in (read.probe, read.video, lambda path: read.sound(path, 16_000)):
            with pytest.raises(WorkError, match=name) as caught:
                call(tmp_path / name)
            assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_what_is_missing_is_named(clip_file: Path) -> None:
    silent = write.video(None, numbered(5), 25)
    with pytest.raises(WorkError, match="no sound stream"):
        read.sound(silent, 16_000)
    with pytest.raises(WorkError, match="no video stream"):
        read.video(write.flac(np.zeros(1000, np.int16), 16_000), 25)
    with pytest.raises(WorkError, match="no picture between 5 s and its end"):
        read.video(clip_file, start_s=5.0)
    assert not read.probe(write.flac(np.zeros(1000, np.int16), 16_000)).has_video


def test_playlists_open_nothing_else(tmp_path: Path, clip_file: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(clip_file.read_bytes())
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nclip.mp4\n#EXT-X-ENDLIST\n"
    (tmp_path / "list.m3u8").write_text(playlist)
    (tmp_path / "list.ffconcat").write_text("ffconcat version 1.0\nfile clip.mp4\n")
    for name in ("list.m3u8", "list.ffconcat"):
        with pytest.raises(WorkError, match=name):
            read.video(tmp_path / name)
    with pytest.raises(WorkError, match="does not exist"):
        read.video(Path("http://127.0.0.1:9/clip.mp4"))


@pytest.mark.realdata
def test_real_containers_give_all_their_pictures(media_root: Path) -> None:
    for name in (
        "mmaction2_test.avi",
        "ucf11_v_biking_01_01.mpg",
        "decord_flipping_a_pancake.mkv",
        "bgslibrary_demo.avi",
    ):
        path = media_root / "video" / "scenes" / name
        about = read.probe(path)
        whole = read.video(path, about.fps, 48).frames
        assert abs(len(whole) - about.frames) <= 1
        part = read.video(path, about.fps, 48, 30 / about.fps, 40 / about.fps).frames
        assert np.array_equal(part, whole[30:40]), name


@pytest.mark.realdata
def test_real_sound_windows_equal_the_whole(media_root: Path) -> None:
    for name in ("sounding/drum.mp4", "speech/others/test/grid_lrwp9a.mpg", "video/scenes/mmaction2_test.avi"):
        whole = read.sound(media_root / name, 16_000).astype(int)
        part = read.sound(media_root / name, 16_000, 1.8, 2.4)
        assert np.abs(part - whole[28_800:38_400]).max() <= 2, name
    # Matroska rounds times to a millisecond, and a window is as exact as that.
    path = media_root / "video" / "scenes" / "decord_flipping_a_pancake.mkv"
    whole, part = read.sound(path, 16_000).astype(float), read.sound(path, 16_000, 1.8, 2.4)
    shift = max(range(-160, 161), key=lambda by: float(whole[28_800 + by : 38_400 + by] @ part))
    assert abs(shift) <= 16


def stereo(rate_hz: int = 16_000, seconds: float = 1.0) -> np.ndarray:
    """A low tone on the left and a high one on the right, (N, 2) int16."""
    time = np.arange(round(rate_hz * seconds)) / rate_hz
    return (9000 * np.sin(2 * np.pi * np.array([300.0, 2100.0]) * time[:, None])).astype(np.int16)


def test_two_channels_keep_their_sides_and_give_their_mean_as_one() -> None:
    sound = stereo()
    data = write.flac(sound, 16_000)
    assert np.array_equal(read.sound(data, 16_000, channels=2), sound)
    both = np.rint(sound.mean(1))
    assert np.abs(read.sound(data, 16_000) - both).max() <= 1
    cut = read.sound(data, 16_000, 0.25, 1.5, channels=2)
    assert cut.shape == (20_000, 2) and np.array_equal(cut[:12_000], sound[4000:]) and not cut[12_000:].any()
    pieces = list(read.sound_chunks(data, 16_000, 0.3, channels=2))
    assert [len(piece) for piece in pieces] == [4800, 4800, 4800, 1600]
    assert np.array_equal(np.concatenate(pieces), sound)


def test_two_channels_are_resampled_each_on_its_own() -> None:
    found = read.sound(write.flac(stereo(44_100), 44_100), 16_000, channels=2)
    assert np.abs(found[500:-500].astype(int) - stereo()[500:-500]).max() < 60


def test_one_channel_is_heard_on_both_sides_and_many_are_brought_to_two() -> None:
    sound = stereo()
    mono = read.sound(write.flac(sound[:, 0], 16_000), 16_000, channels=2)
    assert np.array_equal(mono, np.stack([sound[:, 0]] * 2, 1))
    middle = np.full((len(sound), 1), 4000, np.int16)
    three = read.sound(write.flac(np.concatenate([sound, middle], 1), 16_000), 16_000, channels=2)
    assert np.abs(three - (sound + 4000.0) / 2).max() <= 1
