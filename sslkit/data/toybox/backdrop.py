"""Walls and floors: what stands behind a scene, larger than the picture so that a camera may move over it."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, sin

import cv2
import numpy as np

from sslkit.data.toybox import colour
from sslkit.data.toybox.canvas import Colour


@dataclass(frozen=True)
class Backdrop:
    """picture: (2H, 2W, 3) uint8, whose pixel (0, 0) is the world point (-W/2, -H/2).

    floor_y: height in the world where the wall ends.
    """

    picture: np.ndarray
    floor_y: float

    def seen(self, matrix: np.ndarray) -> np.ndarray:
        """The part that a view (2, 3) shows, (H, W, 3) uint8."""
        height, width = (side // 2 for side in self.picture.shape[:2])
        shifted = matrix.copy()
        shifted[:, 2] += matrix[:, :2] @ np.array([-(width // 2), -(height // 2)])
        return cv2.warpAffine(
            self.picture, shifted, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )


def room(rng: np.random.Generator, size_px: tuple[int, int], floor: bool = True) -> Backdrop:
    """A wall with one of six textures and, with `floor`, a floor with one of three, all randomised."""
    width, height = size_px
    unit = height / 144
    x, y = np.meshgrid(
        np.arange(2 * width, dtype=np.float32) - width // 2, np.arange(2 * height, dtype=np.float32) - height // 2
    )
    noise = _noise(rng, x.shape, 60 * unit)
    light = colour.muted(rng, (0.6, 0.92))
    amount = _WALLS[rng.integers(len(_WALLS))](rng, x / unit, y / unit, noise)
    picture = _mix(light, colour.between(light, colour.muted(rng, (0.3, 0.8)), rng.uniform(0.3, 0.7)), amount)
    floor_y = height * rng.uniform(0.6, 0.7)
    if floor:
        picture = _with_floor(rng, picture, x, y, floor_y, unit)
    lamp = x * rng.uniform(-1, 1) / width + y * rng.uniform(-0.2, 0.6) / height
    light_here = 1.02 - 0.13 * lamp + 0.12 * (_noise(rng, x.shape, 90 * unit) - 0.5)
    picture = cv2.multiply(picture, cv2.merge([light_here] * 3))
    return Backdrop(np.clip(picture, 0, 255).astype(np.uint8), floor_y)


def _with_floor(
    rng: np.random.Generator, picture: np.ndarray, x: np.ndarray, y: np.ndarray, floor_y: float, unit: float
) -> np.ndarray:
    rows = y[:, 0] >= floor_y
    below, across = y[rows] - floor_y, x[rows]
    # A plane seen in perspective: texture coordinates shrink towards the horizon, which lies above the skirting.
    depth = 60 * unit / (below + 14 * unit)
    amount = _FLOORS[rng.integers(len(_FLOORS))](rng, (across - x.mean()) * depth / (9 * unit), 5 * depth)
    grain = _noise(rng, below.shape, 5 * unit)
    base = colour.muted(rng, (0.35, 0.75))
    ground = _mix(base, colour.shaded(base, rng.uniform(0.55, 0.8)), 0.75 * amount + 0.25 * grain)
    # Skirting board and the shadow at its foot.
    ground *= (1 - 0.35 * np.exp(-below / (3 * unit)))[..., None]
    picture[rows] = ground
    board = (y[:, 0] < floor_y) & (y[:, 0] >= floor_y - 4 * unit)
    picture[board] = 0.35 * picture[board] + 0.65 * np.array(colour.shaded(base, 1.25), np.float32)
    return picture


def _noise(rng: np.random.Generator, shape: tuple[int, ...], grain_px: float) -> np.ndarray:
    """Smooth noise in 0..1, (H, W) float32, with bumps of about `grain_px`."""
    height, width = shape
    small = rng.random((max(3, int(height / grain_px) + 2), max(3, int(width / grain_px) + 2))).astype(np.float32)
    return np.clip(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)


def _mix(first: Colour, last: Colour, amount: np.ndarray) -> np.ndarray:
    # Plane by plane: numpy is slow where the innermost axis has a length of 3.
    planes = [np.float32(start) + amount * np.float32(end - start) for start, end in zip(first, last, strict=True)]
    return np.asarray(cv2.merge(planes), np.float32)


def _step(wave: np.ndarray, sharp: float) -> np.ndarray:
    """A soft step from 0 to 1 at the zero of a wave."""
    return np.asarray(0.5 + 0.5 * np.tanh(sharp * wave), np.float32)


def _turned(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Floats of Python's own leave float32 what it is.
    angle = rng.uniform(0, np.pi)
    c, s = cos(angle), sin(angle)
    return c * x + s * y, c * y - s * x


def _clouds(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, noise: np.ndarray) -> np.ndarray:
    return 0.6 * noise + 0.4 * _noise(rng, x.shape, rng.uniform(8, 20))


def _wood(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, noise: np.ndarray) -> np.ndarray:
    board = rng.uniform(22, 40)
    if rng.random() < 0.5:
        x, y = y, x
    grain = np.sin(0.5 * y + 9 * noise + 2.0 * np.floor(x / board)) * 0.25 + 0.4
    seam = np.exp(-((x % board - 1) ** 2))
    return np.asarray(np.clip(grain + 0.6 * seam, 0, 1), np.float32)


def _checks(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, noise: np.ndarray) -> np.ndarray:
    u, v = _turned(rng, x, y)
    f = np.pi / rng.uniform(10, 22)
    return _step(np.sin(f * u) * np.sin(f * v), 5)


def _stripes(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, noise: np.ndarray) -> np.ndarray:
    u, _ = _turned(rng, x, y)
    return _step(np.sin(np.pi * u / rng.uniform(7, 18)) + rng.uniform(-0.6, 0.6), 4)


def _dots(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, noise: np.ndarray) -> np.ndarray:
    u, v = _turned(rng, x, y)
    f = np.pi / rng.uniform(9, 18)
    return _step(np.cos(f * u) ** 2 * np.cos(f * v) ** 2 - 0.55, 9)


def _bricks(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, noise: np.ndarray) -> np.ndarray:
    high = rng.uniform(10, 18)
    row = np.floor(y / high)
    edge = np.minimum(np.abs((y / high) % 1 - 0.5), 3)
    side = np.abs((x / (2.2 * high) + 0.5 * (row % 2)) % 1 - 0.5)
    mortar = np.maximum(_step(edge - 0.44, 20), _step(side - 0.47, 40))
    return np.asarray(np.clip(0.5 * noise + 0.6 * mortar, 0, 1), np.float32)


def _planks(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    f = rng.uniform(0.12, 0.22)
    return np.asarray(0.35 + 0.3 * np.sin(7 * np.floor(u * f)) + 0.5 * np.exp(-((((u * f) % 1) * 12) ** 2)), np.float32)


def _tiles(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    f = rng.uniform(0.35, 0.6)
    return _step(np.sin(f * u) * np.sin(2 * f * v), 3)


def _carpet(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _noise(rng, u.shape, rng.uniform(3, 9))


_WALLS = (_clouds, _wood, _checks, _stripes, _dots, _bricks)
_FLOORS = (_planks, _tiles, _carpet)
