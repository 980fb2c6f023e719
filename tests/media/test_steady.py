"""What was found in a steadied clip goes back to where it was seen."""

import numpy as np
import pytest

from sslkit.media.steady import Way, steadied


def _panned(frames: int, step_px: int, seed: int = 0) -> np.ndarray:
    """A still, textured scene through a camera that moves to the right by `step_px` a picture."""
    rng = np.random.default_rng(seed)
    wide = np.kron(rng.integers(0, 255, (12, 40)), np.ones((8, 8))).astype(np.uint8)
    smooth = np.stack([np.roll(wide, shift, 1) for shift in range(3)]).mean(0).astype(np.uint8)
    return np.stack([np.repeat(smooth[:, i * step_px : i * step_px + 160, None], 3, 2) for i in range(frames)])


def test_a_panning_camera_stands_still_afterwards():
    film = _panned(9, 3)
    steady, way, reason = steadied(film, 96)
    assert reason is None and way.crop[2] + way.crop[3] == pytest.approx(24, abs=4)
    moved, left = (np.abs(np.diff(clip.astype(int), axis=0)).mean() for clip in (film, steady))
    assert left < 0.1 * moved


def test_a_place_in_the_steadied_clip_is_found_in_every_picture():
    film = _panned(9, 3)
    steady, way, _ = steadied(film, 96)
    found = np.zeros(steady.shape[1:3], np.float32)
    found[40:48, 60:68] = 1.0
    centres = [np.argwhere(way.back(found, number) > 0.5).mean(0) for number in range(9)]
    assert np.diff([x for _, x in centres]) == pytest.approx([-3] * 8, abs=0.7)
    assert [y for y, _ in centres] == pytest.approx([centres[4][0]] * 9, abs=0.7)
    texture = film[4, 40:48, round(centres[4][1]) - 4 : round(centres[4][1]) + 4]
    again = film[0, 40:48, round(centres[0][1]) - 4 : round(centres[0][1]) + 4]
    assert np.abs(texture.astype(int) - again).mean() < 20


def test_nothing_is_found_beyond_the_edge():
    way = Way(np.tile(np.eye(3), (2, 1, 1)), (10, 0, 0, 20), 50, 80)
    back = way.back(np.ones((20, 30), np.float32), 1)
    assert back.shape == (50, 80) and back[10:, :60].min() == 1 and back[:10].max() == 0 and back[:, 60:].max() == 0


def test_what_cannot_be_steadied_stays_as_it_is():
    film = _panned(11, 12)  # hardly a quarter of the picture is in every one
    steady, way, reason = steadied(film, 96)
    assert reason and (steady == film).all() and (way.homographies == np.eye(3)).all() and way.crop == (0, 0, 0, 0)
