"""One frame being drawn: sprites and polygons, placed in world coordinates with sub-pixel accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Sprite:
    """A picture with transparency, drawn once and moved by interpolation.

    picture: (h, w, 4) uint8, RGB premultiplied by alpha, alpha; its middle is its origin.
    scale: its pixels per world pixel.
    """

    picture: np.ndarray
    scale: float


class Canvas:
    """A frame (H, W, 3) uint8 RGB, its object ids (H, W) uint8, and the matrix (2, 3) from world to picture."""

    def __init__(self, picture: np.ndarray, matrix: np.ndarray) -> None:
        self.picture = picture
        self.ids = np.zeros(picture.shape[:2], np.uint8)
        self._matrix = matrix
        # Polygons are given to OpenCV in sixteenths of a pixel.
        self._fixed = 16 * matrix.T
        self._cover = np.zeros(picture.shape[:2], np.uint8)

    def sprite(
        self,
        sprite: Sprite,
        xy: tuple[float, float],
        angle: float = 0.0,
        stretch: tuple[float, float] = (1.0, 1.0),
        owner: int = 0,
        opacity: float = 1.0,
    ) -> None:
        """Paste a sprite with its origin at world `xy`, turned by `angle` (radians, clockwise as seen).

        owner: object id that the covered pixels get; 0 leaves the ids alone (shadows).
        """
        height, width = sprite.picture.shape[:2]
        cos, sin = np.cos(angle) / sprite.scale, np.sin(angle) / sprite.scale
        turn = np.array([[cos * stretch[0], -sin * stretch[1]], [sin * stretch[0], cos * stretch[1]]])
        linear = self._matrix[:, :2] @ turn
        middle = self._matrix[:, :2] @ np.array(xy) + self._matrix[:, 2]
        shift = middle - linear @ np.array([(width - 1) / 2, (height - 1) / 2])
        reach = np.abs(linear) @ np.array([width / 2, height / 2]) + 1
        x0, y0 = np.maximum(np.floor(middle - reach), 0).astype(int)
        x1 = min(int(np.ceil(middle[0] + reach[0])) + 1, self.picture.shape[1])
        y1 = min(int(np.ceil(middle[1] + reach[1])) + 1, self.picture.shape[0])
        if x1 <= x0 or y1 <= y0:
            return
        matrix = np.column_stack([linear, shift - (x0, y0)])
        patch = cv2.warpAffine(sprite.picture, matrix, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
        self._blend(patch, x0, y0, owner, opacity)

    def polygon(self, points: np.ndarray, colour: Colour) -> None:
        """Fill a polygon (N, 2) in world coordinates, with soft edges; it joins the silhouette (see `claim`)."""
        fixed = [np.rint(points @ self._fixed[:2] + self._fixed[2]).astype(np.int32)]
        cv2.fillPoly(self.picture, fixed, colour, cv2.LINE_AA, 4)
        cv2.fillPoly(self._cover, fixed, (255,), cv2.LINE_AA, 4)

    def claim(self, owner: int) -> None:
        """Give everything that polygons covered since the last claim to an object; 0 gives it to the background."""
        if owner:
            np.copyto(self.ids, np.uint8(owner), where=self._cover >= 128)
        self._cover[:] = 0

    def _blend(self, patch: np.ndarray, x0: int, y0: int, owner: int, opacity: float) -> None:
        place = (slice(y0, y0 + patch.shape[0]), slice(x0, x0 + patch.shape[1]))
        alpha = patch[..., 3]
        front = patch if opacity == 1 else cv2.convertScaleAbs(patch, alpha=opacity)
        through = cv2.cvtColor(255 - front[..., 3], cv2.COLOR_GRAY2RGB)
        behind = cv2.multiply(self.picture[place], through, scale=1 / 255)
        self.picture[place] = cv2.add(behind, cv2.cvtColor(front, cv2.COLOR_RGBA2RGB))
        if owner:
            self.ids[place][alpha >= 128] = owner


def shifted(points: np.ndarray, x: float, y: float) -> np.ndarray:
    """Points (N, 2), moved."""
    return np.asarray(points + np.array([x, y]))


def ellipse(centre: tuple[float, float], half: tuple[float, float], points: int = 28) -> np.ndarray:
    """Outline of an upright ellipse, (points, 2)."""
    return np.asarray(_circle(points) * half + centre)


@cache
def _circle(points: int) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.column_stack([np.cos(angle), np.sin(angle)])


def capsule(first: np.ndarray, last: np.ndarray, first_radius: float, last_radius: float) -> np.ndarray:
    """Outlines of limbs: two discs about points (..., 2) and what lies between them, (..., 16, 2)."""
    along = last - first
    along = along / np.maximum(np.hypot(along[..., 0], along[..., 1]), 1e-9)[..., None]
    x, y = along[..., None, 0], along[..., None, 1]
    turned = np.stack([x * _CAP[:, 0] - y * _CAP[:, 1], y * _CAP[:, 0] + x * _CAP[:, 1]], axis=-1)
    return np.concatenate([first[..., None, :] - first_radius * turned, last[..., None, :] + last_radius * turned], -2)


_HALF = np.linspace(-np.pi / 2, np.pi / 2, 8)
_CAP = np.column_stack([np.cos(_HALF), np.sin(_HALF)])
