"""The camera: how the world is seen in each frame, and what the lens and the edit suite add to it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sslkit.data.toybox.scene import FPS, Scene


@dataclass(frozen=True)
class View:
    """World to picture. World coordinates are pixels of the central frame of a still camera without borders.

    Pixel centres lie at whole numbers. pan_px_s: motion of the picture's content. sway_px: amplitude of a slow sway on
    top of a pan. zoom_per_s: growth of log scale. border_px: top, bottom, left, right. red, blue: scales of these
    channels about the centre of the picture, green being 1. dirt: whether the bars carry compression-like noise.
    """

    size_px: tuple[int, int]
    centre_s: float
    pan_px_s: tuple[float, float] = (0.0, 0.0)
    sway_px: float = 0.0
    zoom_per_s: float = 0.0
    border_px: tuple[int, int, int, int] = (0, 0, 0, 0)
    red: float = 1.0
    blue: float = 1.0
    dirt: bool = False

    @property
    def moving(self) -> bool:
        """Whether the camera moves."""
        return self.pan_px_s != (0.0, 0.0) or self.zoom_per_s != 0.0

    def matrix(self, time_s: float) -> np.ndarray:
        """World to picture at a time, (2, 3) float64."""
        width, height = self.size_px
        top, bottom, left, right = self.border_px
        # Bars hide nothing that happens: the whole world is seen a little smaller between them.
        fit = min((height - top - bottom) / height, (width - left - right) / width)
        since = time_s - self.centre_s
        scale = fit * np.exp(self.zoom_per_s * since)
        sway = self.sway_px * np.sin(3.0 * since)
        x = (left + width - right - 1) / 2 + fit * (self.pan_px_s[0] * since + sway)
        y = (top + height - bottom - 1) / 2 + fit * (self.pan_px_s[1] * since + 0.5 * sway)
        return np.array([[scale, 0, x - scale * (width - 1) / 2], [0, scale, y - scale * (height - 1) / 2]])

    def homography(self, time_s: float) -> np.ndarray:
        """Picture at a time to the central picture, (3, 3) float64."""
        square = [np.vstack([self.matrix(t), [0, 0, 1]]) for t in (self.centre_s, time_s)]
        return np.asarray(square[0] @ np.linalg.inv(square[1]))

    def project(self, points: np.ndarray, time_s: float) -> np.ndarray:
        """World points (..., 2) in picture pixels at a time."""
        matrix = self.matrix(time_s)
        return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])


def of(scene: Scene) -> View:
    """The view that a scene asks for; drawn from the scene's own stream, so that it changes nothing else."""
    rng = scene.random(1)
    total, angle, sway = rng.uniform(0.12, 0.3), rng.uniform(-0.35, 0.35), rng.uniform(1, 4)
    sign, shift, bars = rng.choice([-1, 1], 2), rng.uniform(0.005, 0.01), rng.uniform(0.06, 0.13, 2)
    uneven, upright, lens, dirt = rng.integers(0, 3), rng.random() < 0.3, rng.choice([-1, 1]), rng.random() < 0.5
    seconds = scene.frames / FPS
    speed = sign[0] * total * scene.width_px / seconds
    return View(
        size_px=scene.size_px,
        centre_s=(scene.frames // 2) / FPS,
        pan_px_s=(speed * np.cos(angle), speed * np.sin(angle)) if scene.camera == "pan" else (0.0, 0.0),
        sway_px=sway * scene.height_px / 144 if scene.camera == "pan" else 0.0,
        zoom_per_s=sign[1] * total / seconds if scene.camera == "zoom" else 0.0,
        border_px=_bars(scene, float(bars[0]), int(uneven), bool(upright)) if scene.border else (0, 0, 0, 0),
        red=1 + lens * shift if scene.aberration else 1.0,
        blue=1 - lens * shift if scene.aberration else 1.0,
        dirt=bool(dirt),
    )


def finish(view: View, frames: np.ndarray, masks: np.ndarray, rng: np.random.Generator) -> None:
    """Put the lens error, then the black bars, onto frames (T, H, W, 3) and masks (T, H, W), in place."""
    for channel, scale in ((0, view.red), (2, view.blue)):
        if scale != 1:
            for frame in frames:
                frame[..., channel] = _scaled(frame[..., channel], scale)
    if any(view.border_px):
        width, height = view.size_px
        top, bottom, left, right = view.border_px
        bars = np.ones((height, width), bool)
        bars[top : height - bottom, left : width - right] = False
        masks[:, bars] = 0
        frames[:, bars] = 0
        if view.dirt:
            # Blocks of 4 px and levels of a few counts, as coarse quantisation leaves them on black.
            small = rng.integers(0, 4, (len(frames), -(-height // 4), -(-width // 4)), dtype=np.uint8)
            noise = small.repeat(4, 1).repeat(4, 2)[:, :height, :width]
            frames[:, bars] = noise[:, bars][..., None]


def _bars(scene: Scene, share: float, uneven_px: int, upright: bool) -> tuple[int, int, int, int]:
    if upright:
        side = round(share * scene.width_px)
        return 0, 0, side, side + uneven_px
    side = round(share * scene.height_px)
    return side, side + uneven_px, 0, 0


def _scaled(channel: np.ndarray, scale: float) -> np.ndarray:
    height, width = channel.shape
    matrix = np.array([[scale, 0, (1 - scale) * (width - 1) / 2], [0, scale, (1 - scale) * (height - 1) / 2]])
    plane = np.ascontiguousarray(channel)
    return cv2.warpAffine(plane, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
