"""A drawn face: a head painted once, with eyelids, jaw and mouth that move."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sslkit.data.toybox import colour
from sslkit.data.toybox.canvas import Canvas, Colour, Sprite, ellipse, shifted

_FINE = 2
_KEEP = 1.5
"""The head is painted at _FINE * _KEEP pixels per world pixel and kept at _KEEP."""
_REACH = (1.25, 1.5)
"""Half width and half height of the painting, in units: half the height of the face."""
_EYES = ((-0.34, -0.12), (0.34, -0.12))
_MOUTH_Y = 0.52
_ACROSS = np.linspace(-1, 1, 13)
_TEETH, _THROAT = (240.0, 236.0, 228.0), (62.0, 18.0, 22.0)


@dataclass(frozen=True)
class Pose:
    """xy: middle of the face in the world. tilt: radians. scale: about 1. closed: eyelids, 0..1.

    opening: of the mouth, 0..1. width: of the mouth, about 1.
    """

    xy: tuple[float, float]
    tilt: float
    scale: float
    closed: float
    opening: float
    width: float


class Portrait:
    """A person of random looks. size_px: half the height of the face. Head coordinates: that unit, y down."""

    def __init__(self, rng: np.random.Generator, size_px: float) -> None:
        self.size_px = size_px
        self.skin = colour.from_hsv(rng.uniform(0.035, 0.085), rng.uniform(0.25, 0.6), rng.uniform(0.5, 0.98))
        self.hair = colour.from_hsv(rng.uniform(0.0, 0.13), rng.uniform(0.2, 0.8), rng.uniform(0.08, 0.7))
        self.iris = colour.from_hsv(rng.choice([0.07, 0.3, 0.58]), rng.uniform(0.3, 0.7), rng.uniform(0.25, 0.6))
        self.lip = colour.between(self.skin, (175.0, 45.0, 60.0), rng.uniform(0.45, 0.85))
        self.shirt = colour.vivid(rng)
        self.cheek = rng.uniform(0.7, 0.8)
        self.mouth = rng.uniform(0.27, 0.33)
        self.full = rng.uniform(0.05, 0.085)
        self.style = str(rng.choice(["short", "long", "bald", "fringe"], p=[0.35, 0.35, 0.1, 0.2]))
        self.glasses, self.beard = bool(rng.random() < 0.2), bool(rng.random() < 0.2)
        self._head = self._painted(rng)

    def draw(self, canvas: Canvas, pose: Pose) -> None:
        """Shoulders, jaw, head, eyelids, mouth; all of it is object 1."""
        self._shoulders(canvas, pose)
        jaw = ellipse((0, 0.1 + 0.09 * pose.opening), (0.93 * self.cheek, 0.9), 40)
        canvas.polygon(self._world(jaw, pose), colour.shaded(self.hair if self.beard else self.skin, 0.62))
        canvas.claim(1)
        size = (pose.scale, pose.scale)
        canvas.sprite(self._head, pose.xy, pose.tilt, stretch=size, owner=1)
        self._lids(canvas, pose)
        self._mouth(canvas, pose)
        canvas.claim(1)

    def mouth_xy(self, pose: Pose) -> np.ndarray:
        """Middle of the mouth in the world, (2,)."""
        return np.asarray(self._world(np.array([[0, _MOUTH_Y + 0.08 * pose.opening]]), pose)[0])

    def outline(self, pose: Pose) -> np.ndarray:
        """Outline of the face from brow to chin in the world, (N, 2)."""
        return self._world(ellipse((0, 0.14), (0.98 * self.cheek, 0.86 + 0.09 * pose.opening), 24), pose)

    def lips(self, pose: Pose) -> np.ndarray:
        """Outline of the mouth in the world, (N, 2)."""
        return self._world(self._ring(pose, 1.0), pose)

    def _world(self, points: np.ndarray, pose: Pose) -> np.ndarray:
        cos, sin = np.cos(pose.tilt), np.sin(pose.tilt)
        turn = np.array([[cos, sin], [-sin, cos]]) * (self.size_px * pose.scale)
        return np.asarray(points @ turn + pose.xy)

    def _ring(self, pose: Pose, lips: float) -> np.ndarray:
        """The mouth, `lips` wide around its opening: 1 the outer edge of the lips, 0 the inner one."""
        u = _ACROSS
        half = self.mouth * pose.width + 0.02 * lips
        arch = np.sqrt(1 - u**2)
        bow = self.full * (0.75 * arch - 0.22 * np.exp(-((u / 0.22) ** 2)) * arch)
        upper = _MOUTH_Y - 0.04 * pose.opening * arch - lips * bow - 0.02 * u**2
        lower = _MOUTH_Y + 0.3 * pose.opening * arch + lips * self.full * arch - 0.02 * u**2
        return np.concatenate([np.column_stack([half * u, upper]), np.column_stack([half * u, lower])[::-1]])

    def _mouth(self, canvas: Canvas, pose: Pose) -> None:
        canvas.polygon(self._world(self._ring(pose, 1.0), pose), self.lip)
        inner = self._ring(pose, 0.0)
        if pose.opening < 0.04:
            seam = np.vstack([inner[:13] - (0, 0.012), shifted(inner[12::-1], 0, 0.012)])
            canvas.polygon(self._world(seam, pose), colour.shaded(self.lip, 0.45))
            return
        canvas.polygon(self._world(inner, pose), _THROAT)
        if pose.opening > 0.15:
            teeth = inner[2:11]
            depth = min(0.075, 0.15 * pose.opening)
            canvas.polygon(self._world(np.vstack([teeth, shifted(teeth, 0, depth)[::-1]]), pose), _TEETH)
        if pose.opening > 0.35:
            low = _MOUTH_Y + 0.3 * pose.opening
            tongue = ellipse((0, low - 0.05), (0.55 * self.mouth * pose.width, 0.045), 16)
            canvas.polygon(self._world(tongue, pose), (190, 85, 90))

    def _lids(self, canvas: Canvas, pose: Pose) -> None:
        if pose.closed < 0.15:
            return
        for x, y in _EYES:
            bottom = y - 0.095 + 0.19 * pose.closed
            u = np.linspace(-1, 1, 11)
            arch = np.sqrt(1 - u**2)
            top = np.column_stack([x + 0.155 * u, y - 0.105 * arch])
            edge = np.column_stack([x + 0.155 * u, y + (bottom - y) * arch])
            canvas.polygon(self._world(np.vstack([top, edge[::-1]]), pose), colour.shaded(self.skin, 0.86))
            lash = np.vstack([edge - (0, 0.012), shifted(edge, 0, 0.016)[::-1]])
            canvas.polygon(self._world(lash, pose), colour.shaded(self.hair, 0.5))

    def _shoulders(self, canvas: Canvas, pose: Pose) -> None:
        """They follow the head by half."""
        x, y = pose.xy
        body = Pose((x, y), 0.4 * pose.tilt, 1.0, 0, 0, 1)
        bust = np.array(
            [[-0.3, 1.08], [-0.75, 1.3], [-1.2, 1.5], [-1.42, 2.0], [-1.5, 3.2], [1.5, 3.2], [1.42, 2.0], [1.2, 1.5]]
        )
        bust = np.vstack([bust, [[0.75, 1.3], [0.3, 1.08]]])
        if self.style == "long":
            canvas.polygon(self._world(ellipse((0, 0.55), (1.02, 1.05), 40), body), colour.shaded(self.hair, 0.7))
        canvas.polygon(self._world(bust, body), self.shirt)
        neck = np.array([[-0.34, 0.5], [0.34, 0.5], [0.36, 1.2], [0.0, 1.5], [-0.36, 1.2]])
        canvas.polygon(self._world(neck, body), colour.shaded(self.skin, 0.72))

    def _painted(self, rng: np.random.Generator) -> Sprite:
        """Everything of the head that does not move against the skull."""
        easel = _Easel(self.size_px * _KEEP * _FINE)
        if self.style != "bald":
            crown = (0.9, 1.0) if self.style == "long" else (0.8, 0.9)
            easel.paint(ellipse((0, -0.28), (crown[0] * self.cheek / 0.75, crown[1]), 60), self.hair)
        for side in (-1, 1):
            easel.paint(ellipse((side * self.cheek * 1.0, 0.05), (0.13, 0.22), 30), colour.shaded(self.skin, 0.85))
        self._paint_skin(easel)
        self._paint_features(easel, rng)
        self._paint_hair(easel)
        if self.glasses:
            for x, y in _EYES:
                easel.line(ellipse((x, y + 0.02), (0.25, 0.2), 40), 0.035, (40.0, 36.0, 40.0), closed=True)
            easel.line(np.array([[-0.09, -0.12], [0.09, -0.12]]), 0.035, (40.0, 36.0, 40.0))
        return Sprite(easel.kept(), _KEEP)

    def _paint_skin(self, easel: _Easel) -> None:
        face = ellipse((0, 0.02), (self.cheek, 0.98), 80)
        # A chin is narrower than an ellipse, a brow is wider.
        face[:, 0] *= 1 - 0.14 * np.clip(face[:, 1], 0, 1) ** 2 + 0.04 * np.clip(-face[:, 1], 0, 1)
        easel.paint(face, self.skin)
        soft = [
            (ellipse((0, 0.95), (0.6, 0.22)), 0.8, 0.16),
            (ellipse((-self.cheek, 0.1), (0.16, 0.9)), 0.78, 0.14),
            (ellipse((self.cheek, 0.1), (0.16, 0.9)), 0.78, 0.14),
            (ellipse((0, -0.5), (0.42, 0.2)), 1.1, 0.14),
            (ellipse((-0.4, 0.25), (0.2, 0.14)), 1.1, 0.1),
            (ellipse((0.4, 0.25), (0.2, 0.14)), 1.1, 0.1),
            (ellipse((-0.33, -0.14), (0.24, 0.15)), 0.68, 0.06),
            (ellipse((0.33, -0.14), (0.24, 0.15)), 0.68, 0.06),
            (ellipse((0, 0.0), (0.07, 0.26)), 1.16, 0.05),
            (ellipse((0, 0.31), (0.16, 0.05)), 0.7, 0.04),
            (ellipse((0, 0.78), (0.16, 0.05)), 0.85, 0.06),
        ]
        for shape, light, blur in soft:
            easel.shade(shape, light, blur)
        if self.beard:
            u = np.linspace(-1, 1, 41)
            upper = 0.45 - 0.13 * np.exp(-((u / 0.3) ** 2)) - 0.35 * u**4
            lower = np.maximum(0.05 + 0.94 * np.sqrt(1 - u**2), upper)
            beard = np.concatenate([np.column_stack([u, upper]), np.column_stack([u, lower])[::-1]])
            easel.paint(beard * (0.93 * self.cheek, 1.0), colour.between(self.skin, self.hair, 0.75))

    def _paint_features(self, easel: _Easel, rng: np.random.Generator) -> None:
        brow_y, brow_width = rng.uniform(-0.42, -0.36), rng.uniform(0.05, 0.09)
        for side, (x, y) in zip((-1, 1), _EYES, strict=True):
            easel.paint(ellipse((x, y), (0.155, 0.1), 40), colour.shaded(self.hair, 0.35))
            easel.paint(ellipse((x, y + 0.012), (0.14, 0.08), 40), (238.0, 236.0, 232.0))
            easel.paint(ellipse((x, y), (0.078, 0.08), 30), self.iris)
            easel.paint(ellipse((x, y), (0.04, 0.042), 20), (15.0, 12.0, 15.0))
            easel.paint(ellipse((x + 0.03, y - 0.03), (0.017, 0.017), 12), (250.0, 250.0, 250.0))
            brow = [[x - side * 0.17, brow_y + 0.05], [x, brow_y], [x + side * 0.19, brow_y + 0.06]]
            easel.line(np.array(brow), brow_width, colour.between(self.skin, colour.shaded(self.hair, 0.7), 0.85))
            easel.paint(ellipse((side * 0.075, 0.29), (0.04, 0.024), 14), colour.shaded(self.skin, 0.42))
        nose = np.array([[-0.13, 0.22], [-0.12, 0.3], [0.0, 0.33], [0.12, 0.3], [0.13, 0.22]])
        easel.line(nose, 0.022, colour.shaded(self.skin, 0.68))

    def _paint_hair(self, easel: _Easel) -> None:
        if self.style == "bald":
            return
        line = {"short": -0.62, "long": -0.58, "fringe": -0.45}[self.style]
        u = np.linspace(-1, 1, 31)
        rim = np.column_stack([self.cheek * 1.05 * u, -0.1 - 0.97 * np.sqrt(np.clip(1 - u**2, 0, 1))])
        front = line + (0.38 if self.style != "fringe" else 0.12) * u**4 - (0.1 * u if self.style == "short" else 0)
        edge = np.column_stack([self.cheek * 1.05 * u, front])
        easel.paint(np.vstack([rim, edge[::-1]]), self.hair)
        easel.shade(ellipse((-0.2, -0.82), (0.3, 0.06)), 1.45, 0.06)


class _Easel:
    """A large picture with transparency, in head coordinates."""

    def __init__(self, unit: float) -> None:
        self.unit = unit
        self.width, self.height = (2 * int(np.ceil(reach * unit)) + 1 for reach in _REACH)
        self.picture = np.zeros((self.height, self.width, 3), np.float32)
        self.alpha = np.zeros((self.height, self.width), np.uint8)

    def paint(self, outline: np.ndarray, paint: Colour) -> None:
        fixed = [self._fixed(outline)]
        cv2.fillPoly(self.picture, fixed, paint, cv2.LINE_8, 4)
        cv2.fillPoly(self.alpha, fixed, (255,), cv2.LINE_8, 4)

    def line(self, points: np.ndarray, width: float, paint: Colour, closed: bool = False) -> None:
        thick = max(1, round(width * self.unit))
        cv2.polylines(self.picture, [self._fixed(points)], closed, paint, thick, cv2.LINE_8, 4)

    def shade(self, outline: np.ndarray, light: float, blur: float) -> None:
        """Multiply what is there by `light` inside a soft-edged outline."""
        # Blurred at a quarter of the size: softness needs no more.
        small = np.zeros((self.height // 4 + 1, self.width // 4 + 1), np.float32)
        cv2.fillPoly(small, [self._fixed(outline) // 4], (1.0,), cv2.LINE_8, 4)
        soft = cv2.GaussianBlur(small, (0, 0), max(blur * self.unit / 4, 0.5))
        amount = cv2.resize(soft, (self.width, self.height))
        cv2.multiply(self.picture, cv2.merge([1 + (light - 1) * amount] * 3), dst=self.picture)

    def kept(self) -> np.ndarray:
        cover = self.alpha.astype(np.float32)[..., None]
        whole = np.concatenate([np.clip(self.picture, 0, 255) * (cover / 255), cover], 2)
        size = (round(self.width / _FINE), round(self.height / _FINE))
        return cv2.resize(whole, size, interpolation=cv2.INTER_AREA).round().astype(np.uint8)

    def _fixed(self, points: np.ndarray) -> np.ndarray:
        middle = ((self.width - 1) / 2, (self.height - 1) / 2)
        return np.round((points * self.unit + middle) * 16).astype(np.int32)
