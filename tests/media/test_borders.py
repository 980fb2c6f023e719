"""Black bars: found to the pixel where there are some, and dark scenes are left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sslkit.media import read, write
from sslkit.media.borders import borders


def scene(level: float, spread: float, frames: int = 8, height: int = 90, width: int = 120) -> np.ndarray:
    """Frames of noise about a brightness."""
    noise = np.random.default_rng(0).normal(level, spread, (frames, height, width, 3))
    return np.clip(noise, 0, 255).astype(np.uint8)


def barred(frames: np.ndarray, bars: tuple[int, int, int, int], level: float = 2.0, spread: float = 1.0) -> np.ndarray:
    """The same frames with noisy dark bars over their edges."""
    top, bottom, left, right = bars
    black = scene(level, spread, *frames.shape[:3])
    inside = (slice(None), slice(top, frames.shape[1] - bottom), slice(left, frames.shape[2] - right))
    black[inside] = frames[inside]
    return black


@pytest.mark.parametrize(
    "bars", [(12, 12, 0, 0), (0, 0, 15, 16), (7, 9, 3, 2), (1, 0, 0, 0), (0, 30, 0, 0), (0, 0, 0, 0)]
)
@pytest.mark.parametrize("level", [0.0, 3.0, 15.0])
def test_bars_are_found_to_the_pixel(bars: tuple[int, int, int, int], level: float) -> None:
    assert borders(barred(scene(120, 40), bars, level)) == bars


def test_bars_survive_compression() -> None:
    frames = barred(scene(120, 40, height=96, width=128), (12, 12, 0, 0), 0.0, 0.0)
    decoded = read.video(write.video(None, frames, 25, crf=30)).frames
    top, bottom, left, right = borders(decoded)
    assert 12 <= top <= 15 and 12 <= bottom <= 15 and (left, right) == (0, 0)
    assert decoded[:, top : 96 - bottom].mean(axis=(0, 2, 3)).min() > 60


def test_bars_around_a_dark_scene() -> None:
    assert borders(barred(scene(25, 12), (10, 10, 0, 0), 0.0, 0.0)) == (10, 10, 0, 0)


def test_dark_content_is_not_eaten() -> None:
    assert borders(scene(3, 1)) == (0, 0, 0, 0)
    assert borders(np.zeros((4, 60, 80, 3), np.uint8)) == (0, 0, 0, 0)
    # A picture that fades into black towards its edge has no step.
    fade = np.repeat(np.linspace(0, 90, 90)[:, None], 120, axis=1)[None, ..., None].repeat(3, axis=3)
    assert borders(np.repeat(fade, 5, axis=0).astype(np.uint8)) == (0, 0, 0, 0)
    # A night sky has noise and stars.
    night = scene(120, 30)
    night[:, :30] = scene(6, 6)[:, :30]
    assert borders(night) == (0, 0, 0, 0)


def test_a_moment_of_light_shows_that_dark_rows_are_picture() -> None:
    frames = barred(scene(120, 40, frames=5), (20, 0, 0, 0))
    frames[2] = scene(120, 40)[0]
    assert borders(frames) == (0, 0, 0, 0)


def test_one_frame_and_black_frames_among_others() -> None:
    frames = barred(scene(120, 40), (8, 8, 0, 0))
    assert borders(frames[:1]) == (8, 8, 0, 0)
    frames[:4] = 0
    assert borders(frames) == (8, 8, 0, 0)


@pytest.mark.realdata
def test_real_clips(media_root: Path) -> None:
    for name in ("co-tracker_bear.mp4", "sam2_bedroom.mp4", "FRESCO_music.mp4", "decord_flipping_a_pancake.mkv"):
        frames = read.video(media_root / "video" / "scenes" / name, 4.0, 128, 0.0, 2.0).frames
        assert borders(frames) == (0, 0, 0, 0), name
        framed = np.pad(frames, ((0, 0), (14, 10), (0, 0), (0, 0)))
        decoded = read.video(write.video(None, framed, 25)).frames
        top, bottom, left, right = borders(decoded)
        assert 14 <= top <= 17 and 10 <= bottom <= 13 and (left, right) == (0, 0), name
