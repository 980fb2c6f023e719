"""What moves to the sound is found, also by a camera that moves, and in the picture in which it is asked for."""

import numpy as np
import pytest
import torch

from sslkit.evals import following

FRAMES, FPS, RATE_HZ = following.FRAMES, following.FPS, following.RATE_HZ
SIDE = 12


def film(step_px: int, seed: int = 0) -> tuple[np.ndarray, torch.Tensor, list[int]]:
    """A textured scene through a camera that moves to the right; a square that flickers with the sound, another that
    flickers by itself; and the column of the first in each picture."""
    rng = np.random.default_rng(seed)
    loud = np.repeat(rng.random(FRAMES), 1)
    wide = np.kron(rng.integers(60, 120, (12, 40)), np.ones((8, 8)))
    scene = np.stack([np.roll(wide, shift, 1) for shift in range(3)]).mean(0)
    pictures, columns, sign = [], [], 1.0
    for number, (own, other) in enumerate(zip(loud, rng.random(FRAMES), strict=True)):
        sign, now = -sign, scene.copy()
        now[60 : 60 + SIDE, 150 : 150 + SIDE] = 128 + 100 * sign * own
        now[20 : 20 + SIDE, 120 : 120 + SIDE] = 128 + 100 * sign * other
        left = number * step_px
        pictures.append(np.repeat(now[:, left : left + 160, None], 3, 2))
        columns.append(150 - left)
    per_frame = round(RATE_HZ / FPS)
    sound = 9000 * np.repeat(loud, per_frame) * np.sin(np.arange(FRAMES * per_frame) * 0.3)
    return np.stack(pictures).astype(np.uint8), torch.from_numpy(sound).to(torch.int16), columns


@pytest.mark.parametrize("step_px", [0, 2])
@pytest.mark.parametrize("number", [0, FRAMES // 2, FRAMES - 1])
def test_what_flickers_to_the_sound_is_found_whatever_the_camera_does(step_px: int, number: int) -> None:
    frames, sound, columns = film(step_px)
    heat = following.followed(frames, sound, FPS, number)
    assert heat.shape == frames.shape[1:3] and float(heat.min()) >= 0
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    assert 60 - 3 <= row < 60 + SIDE + 3 and columns[number] - 3 <= column < columns[number] + SIDE + 3


def test_one_picture_is_refused() -> None:
    frames, sound, _ = film(0)
    with pytest.raises(ValueError, match="two at least"):
        following.followed(frames[:1], sound, FPS, 0)
