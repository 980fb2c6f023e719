"""Files with odd rates, channels, times and lengths: the offset is found, or one sentence says why not."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from sslkit.demos import people, sync
from sslkit.demos.sync import SyncSettings
from sslkit.errors import WorkError

from .codes import Codes
from .test_sync import SIDE, everywhere

SECONDS, LATE = 8.0, 3
DRAWN = np.random.default_rng(0).uniform(0.1, 1, round(SECONDS * 25))


@pytest.fixture(autouse=True)
def no_cuts(monkeypatch):
    """Frames of random brightness would all be shots."""
    monkeypatch.setattr(people.shots.Cuts, "add", lambda self, frames: [])


def made(
    path,
    fps: float = 25,
    rate_hz: int = 16_000,
    layout: str = "mono",
    sound_s: float = SECONDS,
    at_s: list[float] | None = None,
    begins_s: float = 0.0,
    sound_after_s: float = 0.0,
    quiet: bool = False,
    dither: float = 0.0,
):
    """A video whose brightness tells the time, and a tone whose loudness tells it `LATE` frames later.

    at_s: when each picture is shown. begins_s: of both streams, on the file's clock. sound_after_s: what its stream
    begins later. dither: share of samples that are off by one.
    """
    draw = np.random.default_rng(2)
    with av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as file:
        video = file.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options={"crf": "10", "bf": "0"})
        video.width = video.height = SIDE
        video.pix_fmt, video.time_base, video.codec_context.time_base = "yuv420p", Fraction(1, 1000), Fraction(1, 1000)
        sound = file.add_stream("pcm_s16le", rate=rate_hz, layout=layout)
        for time_s in at_s or np.arange(0, SECONDS, 1 / fps):
            level = np.uint8(50 + 150 * DRAWN[min(len(DRAWN) - 1, int(time_s * 25 + 1e-6))])
            frame = av.VideoFrame.from_ndarray(np.full((SIDE, SIDE, 3), level, np.uint8))
            frame.pts, frame.time_base = round(1000 * (time_s + begins_s)), Fraction(1, 1000)
            file.mux(video.encode(frame))
        file.mux(video.encode())
        times_s = np.arange(round(sound_s * rate_hz)) / rate_hz
        loud = DRAWN[(np.floor(times_s * 25 + 1e-6).astype(int) - LATE) % len(DRAWN)]
        tone = (loud * 6000 * 2**0.5 * np.sin(2 * np.pi * 1000 * times_s) * (not quiet)).astype(np.int16)
        tone += draw.choice([-1, 0, 1], len(tone), p=[dither / 2, 1 - dither, dither / 2]).astype(np.int16)
        channels = len(sound.codec_context.layout.channels)
        for first in range(0, len(tone), rate_hz // 10):
            block = tone[first : first + rate_hz // 10].repeat(channels)
            frame = av.AudioFrame.from_ndarray(block[None], format="s16", layout=layout)
            frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
            frame.pts = first + round((begins_s + sound_after_s) * rate_hz)
            file.mux(sound.encode(frame))
        file.mux(sound.encode())
    return path


def told(path) -> dict:
    return sync.sync(path, Codes(), SyncSettings(), everywhere).fields


@pytest.mark.parametrize("rate_hz", [8000, 44_100, 192_000])
def test_any_rate_of_sound(tmp_path, rate_hz) -> None:
    assert told(made(tmp_path / "v.mkv", rate_hz=rate_hz))["offset_frames"] == LATE


@pytest.mark.parametrize("layout", ["stereo", "5.1", "7.1"])
def test_any_channels(tmp_path, layout) -> None:
    assert told(made(tmp_path / "v.mkv", layout=layout))["offset_frames"] == LATE


@pytest.mark.parametrize("fps", [29.97, 50, 120])
def test_any_rate_of_pictures(tmp_path, fps) -> None:
    # Of 25 times a second, each sees the last picture before it, which may be almost a frame old.
    assert LATE - (fps != 50) <= told(made(tmp_path / "v.mkv", fps=fps))["offset_frames"] <= LATE


@pytest.mark.parametrize(("fps", "said"), [(1, "1 picture a second is"), (8, "8 pictures a second are")])
def test_too_few_pictures_are_no_answer_and_told(tmp_path, fps, said) -> None:
    answer = sync.sync(made(tmp_path / "v.mkv", fps=fps), Codes(), SyncSettings(sure=0), everywhere)
    assert (answer.fields["offset_s"], answer.fields["verdict"]) == (None, "not found")
    assert [track["verdict"] for track in answer.fields["tracks"]] == ["unsure"]
    (note,) = answer.notes
    assert note.endswith(f"v.mkv: {said} too few to see how a mouth moves: 10 are needed.")


def test_pictures_at_irregular_times(tmp_path) -> None:
    draw = np.random.default_rng(1)
    kept = [k / 25 for k in range(round(SECONDS * 25)) if k == 0 or draw.uniform() > 0.3]
    assert told(made(tmp_path / "v.mkv", at_s=kept))["offset_frames"] == LATE


@pytest.mark.parametrize("begins_s", [-0.52, 3.0])
def test_times_may_begin_anywhere(tmp_path, begins_s) -> None:
    answer = told(made(tmp_path / "v.mov", begins_s=begins_s))
    assert answer["offset_frames"] == LATE and abs(answer["container_offset_s"]) < 0.002


@pytest.mark.parametrize("after_s", [0.2, -0.24])
def test_streams_that_begin_at_different_times(tmp_path, after_s) -> None:
    answer = told(made(tmp_path / "v.mkv", begins_s=1.0, sound_after_s=after_s))
    assert answer["offset_frames"] == LATE + round(after_s * 25)
    assert answer["container_offset_s"] == pytest.approx(after_s, abs=0.002)


@pytest.mark.parametrize(("sound_s", "coverage"), [(4.0, (0.3, 0.5)), (12.0, (0.75, 0.9))])
def test_sound_may_be_shorter_or_longer_than_the_pictures(tmp_path, sound_s, coverage) -> None:
    answer = told(made(tmp_path / "v.mkv", sound_s=sound_s))
    assert answer["offset_frames"] == LATE
    assert coverage[0] < answer["coverage"] < coverage[1]  # of the frames, those whose whole range is heard


def test_sound_of_less_than_a_range_and_silence_are_no_answer(tmp_path) -> None:
    short = sync.sync(made(tmp_path / "short.mkv", sound_s=0.5), Codes(), SyncSettings(), everywhere)
    silent = sync.sync(made(tmp_path / "silent.mkv", quiet=True), Codes(), SyncSettings(), everywhere)
    assert short.fields["verdict"] == silent.fields["verdict"] == "not found"
    assert "too little is heard while a face is seen: it takes sound for 0.6 s before and after" in short.notes[0]
    assert "there is no sound while a face is seen" in silent.notes[0]


@pytest.mark.parametrize("share", [0.02, 0.5, 1.0])
def test_dither_in_the_last_bit_is_silence(tmp_path, share) -> None:
    dithered = sync.sync(made(tmp_path / "v.mkv", quiet=True, dither=share), Codes(), SyncSettings(), everywhere)
    assert dithered.fields["coverage"] == 0 and "there is no sound while a face is seen" in dithered.notes[0]


def test_around_what_is_missing_nothing_is_compared() -> None:
    kept = sync._without(torch.ones(100, 3), [0.0, 2.0])
    left_out = kept.isnan().all(1).nonzero()[:, 0].tolist()
    assert left_out == [*range(0, 11), *range(50 - 4 - 10, 50 + 11)]


def test_a_room_that_is_heard_before_a_voice_is_no_other_voice(tmp_path) -> None:
    """Forty distances are not enough where hardly any of them is of something loud."""
    level_db = torch.tensor([-70.0] * 80 + [-25.0] * 20)
    assert sync._loud(level_db).tolist() == [False] * 80 + [True] * 20
    assert sync._said(None, 0.0, 20, SyncSettings()) == "unsure"
    assert sync._said(None, 0.0, 40, SyncSettings()) == "not this voice"


def test_a_file_that_was_cut_short_is_told(tmp_path) -> None:
    path = made(tmp_path / "v.mkv")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = sync.sync(path, Codes(), SyncSettings(), everywhere)
    assert any("v.mkv was cut short: it ends after" in note and "says that it has 8." in note for note in found.notes)


def test_damage_in_the_middle_is_passed_over_or_told(tmp_path) -> None:
    path = made(tmp_path / "v.mkv")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)
    assert told(path)["offset_frames"] == LATE
    data[2000:] = np.random.default_rng(0).integers(0, 256, len(data) - 2000, dtype=np.uint8).tobytes()
    path.write_bytes(data)
    answer = told(path)
    (refused,) = answer["refused"]  # of the few pictures before
    assert answer["verdict"] == "not found" and refused["reason"].startswith("seen for 0.")
    path.write_bytes(data[:300])
    with pytest.raises(WorkError, match=r"v\.mkv cannot be read as media"):
        told(path)
