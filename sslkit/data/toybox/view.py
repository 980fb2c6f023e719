"""The camera: how the world is seen in each frame, and what the lens and the edit suite add to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from sslkit.data.toybox.scene import FPS, Scene

_KEY_EVERY = 12
_CREEP_LEVELS = 11
_CREEP_PX = 2
_FADE = 0.95


@dataclass(frozen=True)
class View:
    """World to picture. World coordinates are pixels of the central frame of a still camera without borders.

    Pixel centres lie at whole numbers. pan_px_s: motion of the picture's content. sway_px: amplitude of a slow sway on
    top of a pan. zoom_per_s: growth of log scale. ease_s: over this time the motion slows evenly to a stop, having gone
    as far; 0 keeps its speed. border_px: top, bottom, left, right. red, blue: scales of these channels about the centre
    of the picture, green being 1. dirt: what is on the bars, "none", "noise" of compression in every frame anew, or
    "creep", noise that an encoder predicts from frame to frame.
    """

    size_px: tuple[int, int]
    centre_s: float
    pan_px_s: tuple[float, float] = (0.0, 0.0)
    sway_px: float = 0.0
    zoom_per_s: float = 0.0
    ease_s: float = 0.0
    border_px: tuple[int, int, int, int] = (0, 0, 0, 0)
    red: float = 1.0
    blue: float = 1.0
    dirt: Literal["none", "noise", "creep"] = "none"

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
        since = self._gone(time_s) - self._gone(self.centre_s)
        scale = fit * np.exp(self.zoom_per_s * since)
        sway = self.sway_px * np.sin(3.0 * since)
        x = (left + width - right - 1) / 2 + fit * (self.pan_px_s[0] * since + sway)
        y = (top + height - bottom - 1) / 2 + fit * (self.pan_px_s[1] * since + 0.5 * sway)
        return np.array([[scale, 0, x - scale * (width - 1) / 2], [0, scale, y - scale * (height - 1) / 2]])

    def _gone(self, time_s: float) -> float:
        """How long the camera would have taken, at constant speed, to where it is at a time."""
        return time_s * (2 - time_s / self.ease_s) if self.ease_s else time_s

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
    pan = (speed * np.cos(angle), speed * np.sin(angle))
    if scene.camera_habit:
        # The camera tilts down, so the picture moves up, and it zooms in.
        down = -total * scene.height_px / seconds
        pan, sway, sign[1] = (down * np.sin(angle), down * np.cos(angle)), 0.0, 1
    return View(
        size_px=scene.size_px,
        centre_s=(scene.frames // 2) / FPS,
        pan_px_s=pan if scene.camera == "pan" else (0.0, 0.0),
        sway_px=sway * scene.height_px / 144 if scene.camera == "pan" else 0.0,
        zoom_per_s=sign[1] * total / seconds if scene.camera == "zoom" else 0.0,
        ease_s=seconds if scene.camera_habit else 0.0,
        border_px=_bars(scene, float(bars[0]), int(uneven), bool(upright)) if scene.border else (0, 0, 0, 0),
        red=1 + lens * shift if scene.aberration else 1.0,
        blue=1 - lens * shift if scene.aberration else 1.0,
        dirt="creep" if scene.encoder_noise else "noise" if dirt else "none",
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
        if view.dirt != "none":
            shape, axis = frames.shape[:3], 1 if top or bottom else 2
            noise = _noise(shape, rng) if view.dirt == "noise" else _creep(shape, rng, axis)
            frames[:, bars] = noise[:, bars][..., None]


def _noise(shape: tuple[int, ...], rng: np.random.Generator, levels: int = 4) -> np.ndarray:
    """Blocks of 4 px and levels of a few counts, as coarse quantisation leaves them on black; (T, H, W) uint8."""
    count, height, width = shape
    small = rng.integers(0, levels, (count, -(-height // 4), -(-width // 4)), dtype=np.uint8)
    return np.asarray(small.repeat(4, 1).repeat(4, 2)[:, :height, :width])


def _creep(shape: tuple[int, ...], rng: np.random.Generator, axis: int) -> np.ndarray:
    """Noise that is new in every key frame; frames between copy it from the one before, fainter and further outwards.

    An encoder that spends no bits on black leaves its prediction as it is. axis: 1 for bars above and below, 2 for bars
    on the sides. (T, H, W) uint8.
    """
    noise = _noise(shape, rng, _CREEP_LEVELS).astype(np.float32)
    phase = int(rng.integers(_KEY_EVERY))
    places = np.arange(shape[axis])
    source = places + _CREEP_PX * np.sign(places.mean() - places).astype(int)
    for frame in range(1, len(noise)):
        if (frame + phase) % _KEY_EVERY:
            noise[frame] = _FADE * noise[frame - 1].take(source, axis - 1)
    return np.asarray(noise.round().astype(np.uint8))


def _bars(scene: Scene, share: float, uneven_px: int, upright: bool) -> tuple[int, int, int, int]:
    if scene.encoder_noise:
        # From 16:9 to the widest films, shown on 4:3: 0.125 to 0.216 on either side.
        share = 0.125 + 1.3 * (share - 0.06)
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
