"""The kinds of object: outline, texture, and how their matter behaves. The sound of each is in `sound`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from sslkit.data.toybox import colour
from sslkit.data.toybox.canvas import Colour, Sprite, shifted

_FINE = 3
"""Sprites are painted this much finer than they are kept."""
_KEEP = 1.5
"""Pixels of a sprite per world pixel: enough for a camera that comes nearer."""


@dataclass(frozen=True)
class Kind:
    """One kind of object; lengths in units of its circumscribed radius.

    paint: draws it with two colours. hull: its convex hull (N, 2), empty for what rolls as a disc.
    gyration: moment of inertia over mass. bounce: coefficient of restitution. grip: friction on the floor.
    """

    paint: Callable[[Brush, np.random.Generator, Colour, Colour], None]
    hull: np.ndarray
    gyration: float
    bounce: float
    grip: float


class Brush:
    """A square picture of half side 1.06 units, y down, painted over and then cut to the object's outline."""

    def __init__(self, pixels_per_unit: float, ground: Colour) -> None:
        self.unit = pixels_per_unit
        self.side = 2 * int(np.ceil(1.06 * pixels_per_unit)) + 1
        self.picture = np.full((self.side, self.side, 3), ground, np.uint8)
        self.alpha = np.zeros((self.side, self.side), np.uint8)

    def fill(self, points: np.ndarray, paint: Colour) -> None:
        """Paint a polygon (N, 2)."""
        cv2.fillPoly(self.picture, [self._fixed(points)], paint, cv2.LINE_8, 4)

    def disc(self, x: float, y: float, radius: float, paint: Colour) -> None:
        """Paint a disc."""
        self.fill(shifted(_regular(48, radius), x, y), paint)

    def line(self, points: np.ndarray, width: float, paint: Colour) -> None:
        """Paint an open line."""
        thick = max(1, round(width * self.unit))
        cv2.polylines(self.picture, [self._fixed(points)], False, paint, thick, cv2.LINE_8, 4)

    def cut(self, outline: np.ndarray, *holes: np.ndarray) -> None:
        """Keep what lies inside the outline and outside the holes."""
        cv2.fillPoly(self.alpha, [self._fixed(outline)], (255,), cv2.LINE_8, 4)
        for hole in holes:
            cv2.fillPoly(self.alpha, [self._fixed(hole)], (0,), cv2.LINE_8, 4)

    def _fixed(self, points: np.ndarray) -> np.ndarray:
        return np.round((points * self.unit + (self.side - 1) / 2) * 16).astype(np.int32)


def sprite(name: str, radius_px: float, rng: np.random.Generator) -> Sprite:
    """Paint an object of a kind in random colours. `radius_px` is its circumscribed radius in world pixels."""
    base = colour.vivid(rng)
    brush = Brush(radius_px * _KEEP * _FINE, base)
    KIND[name].paint(brush, rng, base, colour.contrast(rng, base))
    return Sprite(_finished(brush), _KEEP)


def shadow(radius_px: float) -> Sprite:
    """The soft shadow that an object of this radius throws on the floor."""
    half = (int(1.7 * radius_px), int(0.5 * radius_px) + 2)
    y, x = np.mgrid[-half[1] : half[1] + 1, -half[0] : half[0] + 1]
    fall = np.clip(1.15 - np.hypot(x / half[0], y / half[1]), 0, 1) ** 1.3
    picture = np.zeros((*fall.shape, 4), np.uint8)
    picture[..., 3] = np.clip(165 * fall, 0, 255)
    picture[[0, -1]], picture[:, [0, -1]] = 0, 0
    return Sprite(picture, 1.0)


def _finished(brush: Brush) -> np.ndarray:
    """Rim and shading, then down to the size that is kept, alpha premultiplied."""
    thick = max(3, int(0.09 * brush.unit)) | 1
    inside = cv2.erode(brush.alpha, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (thick, thick)))
    rim = cv2.GaussianBlur(inside, (0, 0), thick / 4).astype(np.float32) / 255
    spread = (np.arange(brush.side) - (brush.side - 1) / 2) / brush.unit
    away = spread[:, None] ** 2 + spread[None] ** 2
    light = (1.1 - 0.28 * away) * (0.42 + 0.58 * rim)
    cover = brush.alpha.astype(np.float32)[..., None]
    painted = np.clip(brush.picture * light[..., None], 0, 255) * cover / 255
    kept = round(brush.side / _FINE)
    whole = np.concatenate([painted, cover], 2)
    return cv2.resize(whole, (kept, kept), interpolation=cv2.INTER_AREA).round().astype(np.uint8)


def _regular(corners: int, radius: float = 1.0, turn: float = 0.0) -> np.ndarray:
    angle = turn + 2 * np.pi * np.arange(corners) / corners
    return np.asarray(radius * np.column_stack([np.sin(angle), -np.cos(angle)]))


def _alternating(corners: int, inner: float) -> np.ndarray:
    outline = _regular(2 * corners)
    outline[1::2] *= inner
    return outline


def _teeth(count: int) -> np.ndarray:
    angle = 2 * np.pi * (np.arange(4 * count) + 0.5) / (4 * count)
    radius = np.tile([1.0, 1.0, 0.8, 0.8], count)[:, None]
    return np.asarray(radius * np.column_stack([np.sin(angle), -np.cos(angle)]))


def _box(half_width: float, half_height: float) -> np.ndarray:
    return np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (half_width, half_height)


_DISC = np.zeros((0, 2))
_SQUARE = _box(0.707, 0.707)
_TRIANGLE = _regular(3)
_HEXAGON = _regular(6)
_STAR = _alternating(5, 0.47)
_ARM = 0.36
_PLUS = np.array(
    [[-1, 3], [1, 3], [1, 1], [3, 1], [3, -1], [1, -1], [1, -3], [-1, -3], [-1, -1], [-3, -1], [-3, 1], [-1, 1]]
) * [_ARM * 0.88, _ARM * 0.88]


def _ball(brush: Brush, rng: np.random.Generator, base: Colour, accent: Colour) -> None:
    for sector in range(6):
        ring = np.linspace(sector, sector + 1, 9) * np.pi / 3
        wedge = np.vstack([[0, 0], 1.2 * np.column_stack([np.cos(ring), np.sin(ring)])])
        brush.fill(wedge, accent if sector % 2 else base)
    brush.disc(0, 0, 0.2, (245, 245, 240))
    brush.cut(_regular(64))


def _football(brush: Brush, rng: np.random.Generator, base: Colour, accent: Colour) -> None:
    for x, y in _regular(5, 0.36):
        brush.line(np.array([[x, y], [2.3 * x, 2.3 * y]]), 0.06, accent)
    for turn, (x, y) in enumerate(_regular(5, 0.93, np.pi / 5)):
        brush.fill(shifted(_regular(5, 0.34, np.pi / 5 + 2 * np.pi * turn / 5), x, y), accent)
    brush.fill(_regular(5, 0.38), accent)
    brush.cut(_regular(64))


def _wheel(brush: Brush, rng: np.random.Generator, base: Colour, accent: Colour) -> None:
    brush.disc(0, 0, 0.72, accent)
    gaps = []
    for start in np.arange(5) * 2 * np.pi / 5:
        ring = np.linspace(start + 0.2, start + 2 * np.pi / 5 - 0.2, 9)
        sector = np.column_stack([np.cos(ring), np.sin(ring)])
        gaps.append(np.vstack([0.62 * sector, 0.27 * sector[::-1]]))
    brush.cut(_regular(64), *gaps)


def _donut(brush: Brush, rng: np.random.Generator, base: Colour, accent: Colour) -> None:
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    wave = (0.82 + 0.07 * np.sin(7 * angle))[:, None]
    brush.fill(wave * np.column_stack([np.cos(angle), np.sin(angle)]), accent)
    for turn in angle[::4] + rng.uniform(-0.1, 0.1, 15):
        middle = rng.uniform(0.45, 0.72) * np.array([np.cos(turn), np.sin(turn)])
        lean = 0.09 * np.array([np.cos(5 * turn), np.sin(5 * turn)])
        brush.line(np.array([middle - lean, middle + lean]), 0.06, colour.vivid(rng))
    brush.cut(_regular(64), _regular(48, 0.3))


def _gear(brush: Brush, rng: np.random.Generator, base: Colour, accent: Colour) -> None:
    brush.disc(0, 0, 0.56, accent)
    brush.disc(0, 0, 0.44, base)
    brush.cut(_teeth(10), _regular(48, 0.22))


def _nut(brush: Brush, rng: np.random.Generator, base: Colour, accent: Colour) -> None:
    brush.disc(0, 0, 0.78, colour.between(base, (255, 255, 255), 0.35))
    brush.disc(0, 0, 0.6, accent)
    brush.cut(_HEXAGON, _regular(48, 0.48))


def _crate(brush: Brush, rng: np.random.Generator, base: Colour, accent: Colour) -> None:
    for x in (-0.35, 0.0, 0.35):
        brush.line(np.array([[x, -1], [x, 1]]), 0.05, accent)
    brush.line(np.array([[-0.7, 0.7], [0.7, -0.7]]), 0.28, colour.shaded(base, 0.75))
    frame = 0.6 * _SQUARE / 0.707
    brush.line(np.vstack([frame, frame[:1]]), 0.2, colour.shaded(base, 1.2))
    for x, y in frame:
        brush.disc(x, y, 0.06, accent)
    brush.cut(_SQUARE)


def _dice(brush: Brush, rng: np.random.Generator, base: Colour, accent: Colour) -> None:
    for x, y in ((0, 0), (-0.36, -0.36), (0.36, 0.36), (-0.36, 0.36), (0.36, -0.36)):
        brush.disc(x, y, 0.15, accent)
    brush.cut(_SQUARE)


def _brick(brush: Brush, rng: np.random.Generator, base: Colour, accent: Colour) -> None:
    for y in (-0.15, 0.15):
        brush.line(np.array([[-1.0, y], [1.0, y]]), 0.06, accent)
    for y, start in ((-0.3, -0.45), (0.0, -0.75), (0.3, -0.45)):
        for x in np.arange(start, 1, 0.6):
            brush.line(np.array([[x, y - 0.15], [x, y + 0.15]]), 0.06, accent)
    brush.cut(_box(0.89, 0.45))


def _star(brush: Brush, rng: np.random.Generator, base: Colour, accent: Colour) -> None:
    brush.fill(0.5 * _STAR, accent)
    brush.cut(_STAR)


def _wedge(brush: Brush, rng: np.random.Generator, base: Colour, accent: Colour) -> None:
    for y in np.arange(-0.8, 0.6, 0.36):
        brush.fill(shifted(_box(1.0, 0.09), 0, y), accent)
    brush.cut(_TRIANGLE)


def _cross(brush: Brush, rng: np.random.Generator, base: Colour, accent: Colour) -> None:
    cell = _ARM * 0.88
    for x in range(-3, 3):
        for y in range(-3, 3):
            if (x + y) % 2:
                brush.fill(shifted(_box(cell / 2, cell / 2), cell * (x + 0.5), cell * (y + 0.5)), accent)
    brush.cut(_PLUS)


KIND: dict[str, Kind] = {
    "ball": Kind(_ball, _DISC, 0.5, 0.82, 0.5),
    "football": Kind(_football, _DISC, 0.5, 0.72, 0.6),
    "wheel": Kind(_wheel, _DISC, 0.75, 0.6, 0.8),
    "donut": Kind(_donut, _DISC, 0.6, 0.5, 0.6),
    "gear": Kind(_gear, _DISC, 0.5, 0.45, 0.9),
    "nut": Kind(_nut, _HEXAGON, 0.5, 0.5, 0.5),
    "crate": Kind(_crate, _SQUARE, 0.33, 0.42, 0.5),
    "dice": Kind(_dice, _SQUARE, 0.33, 0.58, 0.35),
    "brick": Kind(_brick, _box(0.89, 0.45), 0.33, 0.32, 0.6),
    "star": Kind(_star, _regular(5), 0.3, 0.55, 0.5),
    "wedge": Kind(_wedge, _TRIANGLE, 0.25, 0.42, 0.5),
    "cross": Kind(_cross, _PLUS[[0, 1, 3, 4, 6, 7, 9, 10]], 0.35, 0.5, 0.5),
}
"""By name, for every name in `scene.KINDS`."""
