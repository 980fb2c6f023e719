"""Sound moves by what was asked, pictures stay what they were."""

from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition

from sslkit.errors import UserError, WorkError
from sslkit.media import read, remux, write

RATE_HZ = 16_000


@pytest.fixture
def clapped(tmp_path):
    """Two seconds in which a flash and a click come together after one."""
    frames = np.full((50, 48, 64, 3), 40, np.uint8)
    frames[25] = 250
    sound = np.zeros(2 * RATE_HZ, np.int16)
    sound[RATE_HZ : RATE_HZ + 40] = 20_000
    path = tmp_path / "clap.mp4"
    write.video(path, frames, 25, sound=sound, rate_hz=RATE_HZ)
    return path


def click_s(path) -> float:
    heard = np.abs(read.sound(path, RATE_HZ).astype(float))
    return float(np.argmax(np.convolve(heard, np.ones(40), "same"))) / RATE_HZ


def packets(path, kind: str) -> list[bytes]:
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams if s.type == kind)
        return [bytes(packet) for packet in container.demux(stream) if packet.dts is not None]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize("by_s", [0.2, -0.32, 0.04])
def test_sound_moves_and_every_packet_stays(clapped, tmp_path, suffix, by_s) -> None:
    target = tmp_path / f"moved.{suffix}"
    before = click_s(clapped)
    remux.with_sound_moved(clapped, target, by_s)
    assert click_s(target) - before == pytest.approx(by_s, abs=0.002)
    seen = read.video(target).frames
    assert len(seen) == 50 and seen.mean((1, 2, 3)).argmax() == 25
    assert packets(target, "video") == packets(clapped, "video") or suffix == "mkv"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clap.mp4", target.name]


def test_there_and_back_is_where_it_was(clapped, tmp_path) -> None:
    remux.with_sound_moved(clapped, tmp_path / "late.mp4", 0.28)
    remux.with_sound_moved(tmp_path / "late.mp4", tmp_path / "back.mp4", -0.28)
    assert click_s(tmp_path / "back.mp4") == pytest.approx(click_s(clapped), abs=1e-3)


def test_pictures_of_matroska_that_wait_for_their_turn_are_kept(tmp_path) -> None:
    source, target = tmp_path / "source.mkv", tmp_path / "target.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "2", "b_strategy": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(25):
            picture = np.full((48, 64, 3), 10 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    with av.open(str(source)) as container:
        assert next(container.demux(video=0)).dts is None  # else this would show nothing
    remux.with_sound_moved(source, target, 0.2)
    assert np.array_equal(read.video(target).frames, read.video(source).frames)


def test_a_file_is_repeated(clapped, tmp_path) -> None:
    remux.repeated(clapped, tmp_path / "long.mp4", 3)
    seen = read.video(tmp_path / "long.mp4").frames.mean((1, 2, 3))
    sound = np.abs(read.sound(tmp_path / "long.mp4", RATE_HZ).astype(float))
    flashes, clicks = np.flatnonzero(seen > 150) / 25, np.flatnonzero(sound > 8000) / RATE_HZ
    assert len(flashes) == 3 and 150 <= len(seen) <= 156
    for flash_s in flashes:
        assert np.abs(clicks - flash_s).min() < 0.1


@pytest.mark.parametrize(("name", "why"), [("new.avi", "it does not keep when its sound begins"),
                                           ("new.txt", "Could not determine output format"),
                                           ("new.webm", "does not support")])  # fmt: skip
def test_what_cannot_hold_the_sound_is_told_before_anything_is_written(clapped, tmp_path, name, why) -> None:
    for asked in (remux.require_room, lambda source, target: remux.with_sound_moved(source, target, 0.2)):
        with pytest.raises(UserError, match=rf"{name} cannot hold what the source holds .*{why}.*ends in \.mkv"):
            asked(clapped, tmp_path / name)
    remux.require_room(clapped, tmp_path / "new.mkv")
    assert [path.name for path in tmp_path.iterdir()] == ["clap.mp4"]


def test_chapters_and_what_streams_are_for_go_along(clapped, tmp_path) -> None:
    source = tmp_path / "chapters.mkv"
    chapters = [{"id": 1, "start": 0, "end": 1000, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}}]
    with av.open(str(clapped)) as given, av.open(str(source), "w") as copy:
        into = {stream.index: copy.add_stream_from_template(stream) for stream in given.streams}
        copy.set_chapters(chapters)
        copy.streams.audio[0].disposition = Disposition.original | Disposition.default
        for packet in given.demux():
            if packet.dts is not None:
                packet.stream = into[packet.stream.index]
                copy.mux(packet)
    remux.with_sound_moved(source, tmp_path / "moved.mkv", 0.2)
    with av.open(str(tmp_path / "moved.mkv")) as moved:
        assert [one["metadata"] for one in moved.chapters()] == [{"title": "One"}]
        assert moved.streams.audio[0].disposition == Disposition.original | Disposition.default


def test_nothing_is_written_over_or_left_half(clapped, tmp_path) -> None:
    with pytest.raises(UserError, match="clap.mp4 is already there"):
        remux.with_sound_moved(clapped, clapped, 0.1)
    with pytest.raises(UserError, match="new.wav cannot hold what the source holds .*ends in .mkv"):
        remux.with_sound_moved(clapped, tmp_path / "new.wav", 0.1)
    (tmp_path / "broken.mp4").write_bytes(b"no media")
    with pytest.raises(WorkError, match="broken.mp4 cannot be read"):
        remux.with_sound_moved(tmp_path / "broken.mp4", tmp_path / "new.mp4", 0.1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.mp4", "clap.mp4"]
