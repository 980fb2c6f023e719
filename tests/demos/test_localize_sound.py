"""Localising sound in media that tell where it is: the brightest square makes it, and moves with it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sslkit.demos.localize_sound import localize_sound
from sslkit.demos.scene import Scene
from sslkit.demos.sounding import Cut, Moving
from sslkit.errors import UserError, WorkError
from sslkit.media import read, write

RATE_HZ = 16_000


class Brightest:
    """Finds what is bright, as sure as the sound is loud."""

    cut = Cut(5.0, 1, 1, 0.04, 0.4, RATE_HZ, 64, stills=True, judges=True, least=1)

    def find(self, frames: Tensor, sound: Tensor) -> tuple[Tensor, Tensor]:
        heat = torch.nn.functional.avg_pool2d(frames.float().mean(-1), 8)
        loud = sound.float().abs().amax(1)[:, None, None, None] / 32768
        return heat, heat / 255 * loud


def film(folder: Path, seconds: float = 4.0, sounds: bool = True, name: str = "film", bars_px: int = 0) -> Path:
    """A square, left in the first half and right in the second; a tone that is twice as loud in the second."""
    count = round(25 * seconds)
    frames = np.full((count, 64, 96, 3), 30, np.uint8)
    frames += np.random.default_rng(0).integers(0, 9, (64, 96, 1), dtype=np.uint8)
    frames[: count // 2, 24:40, 8:24], frames[count // 2 :, 24:40, 64:80] = 230, 230
    frames = np.pad(frames, ((0, 0), (bars_px, bars_px), (0, 0), (0, 0)))
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    tone = 8000 * np.sin(2 * np.pi * 440 * time) * (1 + (time >= seconds / 2))
    path = folder / f"{name}.mp4"
    write.video(path, frames, 25, tone.astype(np.int16) if sounds else None, RATE_HZ)
    return path


def wav(folder: Path, seconds: float, level: int = 9000) -> Path:
    path = folder / "other.flac"
    sound = level * np.sin(2 * np.pi * 300 * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)
    path.write_bytes(write.flac(sound.astype(np.int16), RATE_HZ))
    return path


@pytest.mark.parametrize("bars_px", [0, 16])
def test_peaks_follow_the_source_in_pixels_of_the_file(tmp_path: Path, bars_px: int) -> None:
    video = film(tmp_path, bars_px=bars_px)
    result = localize_sound(Scene(video, video), Brightest(), "test")
    moments = result.fields["frames"]
    assert len(moments) == 20 and result.fields["heard_share"] == 1
    for peak in moments:
        x, y = peak["peak_xy"]
        assert abs(x - (16 if peak["time_s"] < 2 else 72)) <= 6 and abs(y - 32 - bars_px) <= 6
    assert result.fields["peak"]["time_s"] > 1.7  # where the sound is louder
    assert json.dumps(result.record())


def test_pictures_show_both_scales_and_the_overlay_has_the_sound(tmp_path: Path) -> None:
    video = film(tmp_path)
    result = localize_sound(Scene(video, video), Brightest(), "test", tmp_path / "out")
    about, original = read.probe(tmp_path / "out" / "film-sound.mp4"), read.probe(video)
    assert about.has_sound and (about.width, about.height, about.fps) == (96, 64, 25)
    assert abs(about.duration_s - original.duration_s) < 0.1
    shown = read.video(tmp_path / "out" / "film-sound.mp4").frames[60]
    plain = read.video(video).frames[60]
    changed = np.abs(shown.astype(int) - plain).mean(2)[:50]
    assert changed[24:40, 64:80].mean() > 3 * changed[:, :40].mean()
    sheet = read.image(Path(result.files["picture"]))
    assert sheet.shape[1] > 6 * 240 and sheet.shape[0] > 3 * 240
    with pytest.raises(UserError, match="already there"):
        localize_sound(Scene(video, video), Brightest(), "test", tmp_path / "out")


def test_silence_is_left_out_and_a_silent_file_is_an_error(tmp_path: Path) -> None:
    video, silent = film(tmp_path), wav(tmp_path, 2.0, level=0)
    with pytest.raises(WorkError, match=f"{silent} is silent where {video} is seen: there is nothing to find."):
        localize_sound(Scene(video, silent), Brightest(), "test")
    mute = tmp_path / "mute.mp4"
    write.video(mute, read.video(video).frames, 25, np.zeros(4 * RATE_HZ, np.int16), RATE_HZ)
    with pytest.raises(WorkError, match=f"^{mute} is silent: there is nothing to find"):
        localize_sound(Scene(mute, mute), Brightest(), "test")
    path, half = tmp_path / "half.mp4", read.sound(video, RATE_HZ)
    half[: len(half) // 2] = 0
    write.video(path, read.video(video).frames, 25, half, RATE_HZ)
    found = localize_sound(Scene(path, path), Brightest(), "test")
    assert 0.4 < found.fields["heard_share"] < 0.6
    assert min(peak["time_s"] for peak in found.fields["frames"]) > 1.7
    assert any("silent" in note for note in found.notes)


class Listening(Brightest):
    """Keeps the sounds that it is given."""

    cut = Cut(5.0, 1, 1, 0.04, 1.0, RATE_HZ, 64, stills=True, judges=True, least=1)

    def __init__(self) -> None:
        self.heard: list[Tensor] = []

    def find(self, frames: Tensor, sound: Tensor) -> tuple[Tensor, Tensor]:
        self.heard += sound
        return super().find(frames, sound)


def test_sounds_at_both_ends_hold_no_silence_that_is_not_in_the_file(tmp_path: Path) -> None:
    video, other, whole, mixed = film(tmp_path), wav(tmp_path, 1.5), Listening(), Listening()
    localize_sound(Scene(video, video), whole, "test")
    localize_sound(Scene(video, other), mixed, "test")
    assert len(whole.heard) == len(mixed.heard) == 20
    for heard in whole.heard + mixed.heard:
        level = heard.float().reshape(20, -1).square().mean(1)  # of each twentieth of a second
        assert level.min() > 0.1 * level.max()
    sound = torch.from_numpy(read.sound(video, RATE_HZ))
    assert torch.equal(whole.heard[0], sound[:RATE_HZ]) and torch.equal(whole.heard[1], sound[:RATE_HZ])
    assert torch.equal(whole.heard[10], sound[24_320:40_320])  # around the picture at 2 s


def test_another_sound_is_repeated_and_a_picture_needs_one(tmp_path: Path) -> None:
    video, other = film(tmp_path, sounds=False), wav(tmp_path, 0.7)
    with pytest.raises(WorkError, match="has no sound: give one"):
        localize_sound(Scene(video, video), Brightest(), "test")
    found = localize_sound(Scene(video, other), Brightest(), "test")
    assert found.fields["heard_share"] == 1 and found.fields["sound"] == str(other)
    picture = tmp_path / "still.png"
    picture.write_bytes(write.png(read.video(video).frames[0]))
    still = localize_sound(Scene(picture, other), Brightest(), "test", tmp_path / "out")
    assert abs(still.fields["peak"]["peak_xy"][0] - 16) <= 6 and set(still.files) == {"picture", "overlay"}
    assert read.probe(Path(still.files["overlay"])).has_sound
    with pytest.raises(UserError, match="nothing moves"):
        localize_sound(Scene(picture, other), Moving(), "cca")


def test_short_shots_are_looked_at_whole(tmp_path: Path) -> None:
    """Four shots of 2.4 s, each shorter than a window: what moves is found in the middle of each."""
    rng, shots = np.random.default_rng(0), []
    loud = np.repeat(rng.uniform(0, 1, 60), 4)
    for number in range(4):
        shot = np.full((60, 96, 128, 3), (40, 200, 90, 150)[number], np.uint8)
        for frame in range(60):
            beat = loud[number * 60 + frame]
            shot[frame, 40:56, 20 + 20 * number : 36 + 20 * number] = 128 + (-1) ** (frame // 2) * round(110 * beat)
        shots.append(shot)
    sound = (loud.repeat(RATE_HZ // 25) * 8000 * np.sin(np.arange(240 * (RATE_HZ // 25)) * 0.4)).astype(np.int16)
    path = tmp_path / "shots.mp4"
    write.video(path, np.concatenate(shots), 25, sound, RATE_HZ)
    found = localize_sound(Scene(path, path), Moving(), "cca").fields["frames"]
    assert [peak["time_s"] for peak in found] == pytest.approx([1.2, 3.6, 6.0, 8.4], abs=0.1)
    for number, peak in enumerate(found):
        x, y = peak["peak_xy"]
        assert 15 + 20 * number <= x <= 41 + 20 * number and 35 <= y <= 61


def test_sound_without_pictures_and_short_clips_are_told(tmp_path: Path) -> None:
    sound = wav(tmp_path, 2.0)
    with pytest.raises(WorkError, match="has no pictures"):
        localize_sound(Scene(sound, sound), Brightest(), "test")
    short = film(tmp_path, seconds=1.0)
    with pytest.raises(WorkError, match="give a longer video"):
        localize_sound(Scene(short, short), Moving(), "cca")


def test_motion_that_follows_the_sound_is_found_without_training(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    beats, others = (np.repeat(rng.uniform(0, 1, 20), 5) for _ in range(2))
    frames = np.full((100, 96, 128, 3), 90, np.uint8)
    for frame, beat, other in zip(frames, beats, others, strict=True):
        frame[16:40, 16:40] += (120 * beat * rng.uniform(size=(24, 24, 1))).astype(np.uint8)
        frame[56:80, 88:112] += (120 * other * rng.uniform(size=(24, 24, 1))).astype(np.uint8)
    noise = rng.normal(0, 6000, 64_000) * np.repeat(beats, 640)
    path = tmp_path / "beat.mp4"
    write.video(path, frames, 25, noise.clip(-32768, 32767).astype(np.int16), RATE_HZ)
    found = localize_sound(Scene(path, path), Moving(), "cca")
    assert found.fields["probability"] is None
    hits = [all(12 <= place <= 44 for place in peak["peak_xy"]) for peak in found.fields["frames"]]
    assert np.mean(hits) > 0.7
