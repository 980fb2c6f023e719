"""Scenes of a talking face: a person of random looks whose mouth follows the voice."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from sslkit.data.toybox import backdrop, portrait, sound, speech
from sslkit.data.toybox.canvas import Canvas
from sslkit.data.toybox.scene import FPS, RATE_HZ, SAMPLES_PER_FRAME, Scene
from sslkit.data.toybox.stage import Heard
from sslkit.data.toybox.view import View

_MARGIN_S = 1.5
"""There is speech so long before and after the clip, for sounds with an offset."""


class Face:
    """One talking head. The head sways, the eyes blink, both alike in either direction of time."""

    def __init__(self, scene: Scene) -> None:
        self._scene, rng = scene, scene.random(0)
        width, height = scene.size_px
        self.backdrop = backdrop.room(rng, scene.size_px, floor=False)
        # What is behind a face is out of focus.
        picture = self.backdrop.picture
        cv2.GaussianBlur(picture, (0, 0), height / 144 * rng.uniform(1.5, 4), dst=picture)
        self.portrait = portrait.Portrait(rng, height * rng.uniform(0.27, 0.33))
        self._middle = np.array([width * rng.uniform(0.4, 0.6), height * rng.uniform(0.44, 0.5)])
        self._reach = np.array([0.02, 0.012, 0.05, 0.02]) * rng.uniform(0.4, 1.2, 4)
        self._pace, self._phase = rng.uniform(1.2, 3.5, 4), rng.uniform(0, 2 * np.pi, 4)
        self._blinks = np.cumsum(rng.uniform(0.9, 3.0, 3 + int(scene.seconds))) - rng.uniform(0, 1.5)
        self.speech = speech.speak(rng, speech.voice(rng), -_MARGIN_S, scene.seconds + _MARGIN_S)

    def pose(self, time_s: float) -> portrait.Pose:
        """Place, tilt, size, eyes and mouth at a time."""
        sway = self._reach * np.sin(self._pace * time_s + self._phase)
        middle = self._middle + sway[:2] * self._scene.height_px
        opening, wide = self.speech.mouth(time_s)
        closed = float(np.exp(-(((time_s - self._blinks) / 0.07) ** 2)).max())
        return portrait.Pose((float(middle[0]), float(middle[1])), sway[2], 1 + sway[3], closed, opening, wide)

    def draw(self, canvas: Canvas, frame: int) -> None:
        """The person."""
        self.portrait.draw(canvas, self.pose(frame / FPS))

    def sound(self) -> tuple[np.ndarray, list[Heard]]:
        """The voice, in time with the mouth but for the offset that the scene asks for."""
        scene = self._scene
        mix = sound.Mix(scene.frames * SAMPLES_PER_FRAME)
        mix.add(self.speech.wave, self.speech.start_s + scene.av_offset_frames / FPS)
        mouths = np.array([self.portrait.mouth_xy(self.pose(frame / FPS)) for frame in range(scene.frames)])
        heard = []
        for start, end in _phrases(self.speech):
            heard.append(Heard(start, end, "speech", 1, mouths, 0.75))
        return mix.finish(scene.random(2)), heard

    def truth(self, view: View) -> dict[str, Any]:
        """Boxes of face and mouth, and how far the mouth is open."""
        faces, mouths, openings = [], [], []
        for frame in range(self._scene.frames):
            time_s = frame / FPS
            pose = self.pose(time_s)
            faces.append(_box(view.project(self.portrait.outline(pose), time_s)))
            mouths.append(_box(view.project(self.portrait.lips(pose), time_s)))
            openings.append(round(pose.opening, 4))
        person = {"id": 1, "kind": "face", "main": True, "humming": False}
        face = {"boxes": faces, "mouth_boxes": mouths, "mouth_opening": openings}
        return {"objects": [person], "face": face}


def _box(points: np.ndarray) -> list[float]:
    return [round(float(v), 2) for v in (*points.min(0), *points.max(0))]


def _phrases(said: speech.Speech) -> list[tuple[float, float]]:
    """Intervals of speech between pauses of 0.1 s or more."""
    loud = np.flatnonzero(np.abs(said.wave) > 0.01)
    breaks = np.flatnonzero(np.diff(loud) > 0.1 * RATE_HZ)
    starts, ends = loud[np.r_[0, breaks + 1]], loud[np.r_[breaks, len(loud) - 1]]
    return [
        (said.start_s + float(first) / RATE_HZ, said.start_s + float(last + 1) / RATE_HZ)
        for first, last in zip(starts, ends, strict=True)
    ]
