"""Films of two: what was composed is read back from the pixels, the pitch and the list of marks."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from sslkit.data.layouts import ava_activespeaker
from sslkit.errors import WorkError
from sslkit.evals import duets
from sslkit.media import read, write
from sslkit.media.faces import Track
from sslkit.models.lips import HOP

FRAMES, QUIET = 160, 15


def video(path: Path, brightness: int, hz: float, side_px: int) -> duets.Person:
    """A film of one gray, with a face at its middle, whose tone begins after 15 frames and ends 10 before the end."""
    frames = np.full((FRAMES, side_px, side_px + 40, 3), brightness, np.uint8)
    tone = 8000 * np.sin(2 * np.pi * hz * np.arange(FRAMES * HOP) / 16_000)
    tone[: QUIET * HOP] = tone[-10 * HOP :] = 0
    write.video(path, frames, 25, tone.astype(np.int16))
    middle, half = np.array([side_px / 2 + 20, side_px / 2]), side_px / 8
    box = np.concatenate([middle - half, middle + half]).astype(np.float32)
    boxes = np.tile(box, (FRAMES, 1))
    track = Track(start=0, boxes=boxes, medians=boxes, found=np.ones(FRAMES, bool), profile=0.0)
    found = duets.person(path, track)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> list[duets.Person]:
    folder = tmp_path_factory.mktemp("alone")
    return [video(folder / "low.mp4", 60, 400.0, 128), video(folder / "high.mp4", 180, 1500.0, 320)]


def test_silence_at_both_ends_is_left_out(people: list[duets.Person]) -> None:
    for one in people:
        assert abs(one.first - QUIET) <= 1 and abs(one.frames - (FRAMES - QUIET - 10)) <= 2
        assert np.sqrt((one.sound**2).mean()) == pytest.approx(32768 * 10 ** (-26 / 20), rel=0.02)


def test_marks_say_whose_tone_is_heard(people: list[duets.Person], tmp_path: Path) -> None:
    told: list[int] = []
    duets.compose(duets.pairs([people]), tmp_path, lambda done, of, what: told.append(done))
    assert told == [1]
    left, right = sorted(ava_activespeaker.tracks(str(tmp_path), "val"), key=lambda track: track.name)
    assert left.video == right.video and left.relative and (left.speaks != right.speaks).all()
    film, sound = read.video(left.video), read.sound(left.video, 16_000)
    assert film.frames.shape[1:] == (256, 512, 3) and len(film.frames) == len(left.speaks) > 120
    assert film.frames[:, 100:150, 100:150].mean() == pytest.approx(60, abs=3)
    assert film.frames[:, 100:150, 360:410].mean() == pytest.approx(180, abs=3)
    for number, heard in enumerate(left.speaks[:-1]):
        part = sound[number * HOP : (number + 1) * HOP].astype(float)
        pitch_hz = np.argmax(np.abs(np.fft.rfft(part * np.hanning(HOP)))) * 25
        changes = number and left.speaks[number - 1] != heard
        assert changes or pitch_hz == pytest.approx(400 if heard else 1500, abs=30)


def test_faces_are_of_one_size_and_boxes_where_they_are(people: list[duets.Person], tmp_path: Path) -> None:
    duets.compose([(people[0], people[1])], tmp_path)
    left, right = sorted(ava_activespeaker.tracks(str(tmp_path), "val"), key=lambda track: track.name)
    for track, middle in ((left, 0.25), (right, 0.75)):
        x1, y1, x2, y2 = track.boxes[40]
        assert ((x1 + x2) / 2, (y1 + y2) / 2) == (pytest.approx(middle, abs=0.01), pytest.approx(0.5, abs=0.01))
        assert (x2 - x1) * 512 == pytest.approx((y2 - y1) * 256, abs=1) == pytest.approx(256 / 2.2, abs=1)


def test_turns_last_long_enough() -> None:
    for frames in (30, 48, 90, 200, 500):
        turns = duets._turns(frames, frames)
        lengths = [len(list(group)) for _, group in groupby(turns)]
        assert len(turns) == frames and len(lengths) >= 2
        assert min(lengths) >= min(38, frames // 2) and max(lengths) <= 75 + 38


def test_who_stands_beside_whom(people: list[duets.Person]) -> None:
    a, b = people
    assert duets.pairs([[a, b]]) == [(a, b)]
    assert len(duets.pairs([[a] * 9])) == 36  # everybody with everybody
    assert len(duets.pairs([[a] * 20])) == 80
    assert duets.pairs([[a, a], [b]]) == [(a, b)] * 2
    with pytest.raises(WorkError, match="It takes two videos"):
        duets.compose(duets.pairs([[a]]), Path("nowhere"))


def test_a_silent_video_has_nobody_who_talks(people: list[duets.Person], tmp_path: Path) -> None:
    write.video(tmp_path / "v.mp4", np.zeros((50, 64, 64, 3), np.uint8), 25, np.zeros(32_000, np.int16))
    assert duets.person(tmp_path / "v.mp4", people[0].track) is None
