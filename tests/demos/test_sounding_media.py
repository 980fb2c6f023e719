"""Sounds are localised in odd media as in plain ones, and what cannot be is told in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from sslkit import jobs
from sslkit.cli.app import run
from sslkit.demos.localize_sound import localize_sound
from sslkit.demos.scene import Scene
from sslkit.demos.sounding import Cut
from sslkit.errors import WorkError
from sslkit.media import read
from sslkit.types import Result

HEIGHT, WIDTH = 64, 96


class Brightest:
    """Finds what is bright, as sure as the sound is loud."""

    cut = Cut(5.0, 1, 1, 0.04, 0.4, 16_000, 64, stills=True, judges=True, least=1)

    def find(self, frames: Tensor, sound: Tensor) -> tuple[Tensor, Tensor]:
        heat = torch.nn.functional.avg_pool2d(frames.float().mean(-1), 8)
        loud = sound.float().abs().amax(1)[:, None, None, None] / 32768
        return heat, heat / 255 * loud


def film(
    path: Path,
    times_s: Sequence[float] | None = None,
    fps: int = 25,
    seconds: float = 4.0,
    sound_s: float | None = None,
    rate_hz: int = 48_000,
    layout: str = "mono",
) -> Path:
    """A bright square, left in the first half and right in the second, and a tone; pictures at any times."""
    shown = list(times_s if times_s is not None else np.arange(round(seconds * fps)) / fps)
    length = round((seconds if sound_s is None else sound_s) * rate_hz)
    tone = (0.3 * np.sin(2 * np.pi * 440 * np.arange(length) / rate_hz)).astype(np.float32)
    with av.open(str(path), "w") as output:
        picture = output.add_stream("libx264", rate=fps, options={"threads": "1", "bf": "0"})
        picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        picture.codec_context.time_base = Fraction(1, 1000)
        sound = output.add_stream("pcm_s16le", rate=rate_hz, layout=layout) if length else None
        for time_s in shown:
            pixels = np.full((HEIGHT, WIDTH, 3), 30, np.uint8)
            x = 8 if time_s < seconds / 2 else 64
            pixels[24:40, x : x + 16] = 230
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(1000 * time_s), Fraction(1, 1000)
            output.mux(picture.encode(frame))
        output.mux(picture.encode(None))
        if sound is not None:
            channels = len(sound.codec_context.layout.channels)
            waves = np.round(32767 * np.stack([tone] * channels, 1)).astype(np.int16).reshape(1, -1)
            block = av.AudioFrame.from_ndarray(waves, format="s16", layout=layout)
            block.sample_rate, block.pts, block.time_base = rate_hz, 0, Fraction(1, rate_hz)
            output.mux(sound.encode(block))
            output.mux(sound.encode(None))
    return path


def found(path: Path, **options: Path) -> Result:
    return localize_sound(Scene(path, options.get("sound", path)), Brightest(), "test")


def follows(result: Result, seconds: float = 4.0, slack_s: float = 0.0) -> None:
    """All peaks lie on the square; around the time at which it jumps either place will do."""
    assert result.fields["frames"]
    for peak in result.fields["frames"]:
        x, y = peak["peak_xy"]
        if abs(peak["time_s"] - seconds / 2) > slack_s:
            assert abs(x - (16 if peak["time_s"] < seconds / 2 else 72)) <= 6, peak
        assert abs(y - 32) <= 6


@pytest.mark.parametrize("fps", [10, 120])
def test_any_rate_of_pictures(tmp_path: Path, fps: int) -> None:
    result = found(film(tmp_path / "x.mkv", fps=fps))
    follows(result)
    assert len(result.fields["frames"]) == 20 and result.fields["heard_share"] == 1


def test_one_picture_a_second_is_shown_for_a_second(tmp_path: Path) -> None:
    result = found(film(tmp_path / "x.mkv", fps=1))
    follows(result, slack_s=0.05)
    assert 16 <= len(result.fields["frames"]) <= 20


def test_pictures_at_irregular_times(tmp_path: Path) -> None:
    times_s = np.unique(np.cumsum(np.random.default_rng(0).uniform(0.01, 0.2, 60)).round(3))
    result = found(film(tmp_path / "x.mkv", times_s=[0.0, *times_s[times_s < 3.9]]))
    follows(result, slack_s=0.25)
    assert result.fields["heard_share"] == 1


@pytest.mark.parametrize("rate_hz, layout", [(8000, "mono"), (192_000, "stereo"), (48_000, "5.1")])
def test_any_sound(tmp_path: Path, rate_hz: int, layout: str) -> None:
    result = found(film(tmp_path / "x.mkv", rate_hz=rate_hz, layout=layout))
    follows(result)
    assert result.fields["heard_share"] == 1


def test_sound_that_ends_before_the_pictures(tmp_path: Path) -> None:
    result = found(film(tmp_path / "x.mkv", sound_s=1.0))
    assert 0.2 <= result.fields["heard_share"] <= 0.4
    assert max(peak["time_s"] for peak in result.fields["frames"]) < 1.3
    assert "moments are silent" in result.notes[-1]


def test_sound_that_goes_on_after_the_pictures(tmp_path: Path) -> None:
    result = localize_sound(
        scene := Scene(path := film(tmp_path / "x.mkv", sound_s=6.0), path), Brightest(), "test", tmp_path / "out"
    )
    follows(result)
    assert read.probe(Path(result.files["overlay"])).has_sound and scene.sound == path


def test_the_last_picture_may_be_short(tmp_path: Path) -> None:
    path = film(tmp_path / "x.mkv", times_s=np.arange(97) / 120, fps=120, seconds=0.8, sound_s=2.0)
    result = localize_sound(Scene(path, path), Brightest(), "test", tmp_path / "out", overlay=False)
    assert result.fields["frames"][-1]["time_s"] == 0.82 and read.image(Path(result.files["picture"])).size


def test_a_few_damaged_packets_are_passed_over_and_many_are_told(tmp_path: Path) -> None:
    path = film(tmp_path / "x.mkv", seconds=8.0)
    whole = path.read_bytes()
    for share, ends in ((0.004, True), (0.9, False)):
        data, rng = bytearray(whole), np.random.default_rng(0)
        first = len(data) // 8
        for place in rng.integers(first, len(data) - 400, max(1, round(share * len(data) / 1000))).tolist():
            data[place : place + 400] = rng.bytes(400)
        path.write_bytes(bytes(data))
        try:
            result = found(path)
            assert result.fields["frames"]
        except WorkError as error:
            assert not ends
            assert str(path) in str(error) and str(error).endswith(".") and "\n" not in str(error)


def test_what_is_missing_is_told_and_the_program_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    silent = film(tmp_path / "silent.mkv", sound_s=0.0, seconds=1.0)
    with pytest.raises(WorkError, match="has no sound: give one with --sound"):
        found(silent)
    with pytest.raises(WorkError, match="missing.wav does not exist"):
        found(silent, sound=tmp_path / "missing.wav")
    options = ["localize-sound", "--method", "cca", "--no-overlay", "--device", "cpu", "--json"]
    assert run([*options, str(silent), f"{silent}+{tmp_path / 'missing.wav'}"]) == 1
    lines = capfd.readouterr().out.strip().splitlines()
    assert len(lines) == 2 and all('"kind": "work"' in line for line in lines) and "missing.wav" in lines[1]
    assert run(["localize-sound"]) == 2


def test_long_files_are_held_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "sound", None)  # what would give all of it at once
    path, told = film(tmp_path / "x.mkv", seconds=30.0, fps=10), []
    result = localize_sound(
        Scene(path, path), Brightest(), "test", tmp_path / "out", progress=lambda *args: told.append(args)
    )
    follows(result, seconds=30.0)
    texts = list(dict.fromkeys(text for _, _, text in told))
    assert texts == ["x.mkv: maps, s", "x.mkv: overlay, s"]
    for text in texts:
        done = [args[:2] for args in told if args[2] == text]
        assert len(done) >= 8 and done == sorted(done) and done[-1][0] in (29, 30) and done[-1][1] == 30


def test_another_sound_is_heard_again_and_again_in_the_overlay(tmp_path: Path) -> None:
    path, other = film(tmp_path / "x.mkv"), film(tmp_path / "other.mkv", seconds=0.7)
    result = localize_sound(Scene(path, other), Brightest(), "test", tmp_path / "out")
    heard = read.sound(Path(result.files["overlay"]), 16_000)
    assert abs(len(heard) / 16_000 - 4.0) < 0.1
    parts = [np.abs(heard[begin : begin + 8000]).max() for begin in range(0, 56_000, 8000)]
    assert min(parts) > 5000
    assert next(iter(jobs.localize_sound([path], method="cca", sound=other, overlay=False))).fields["sound"]
