"""What a type of scene gives to `render`: something to draw, to hear and to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sslkit.data.toybox.backdrop import Backdrop
from sslkit.data.toybox.canvas import Canvas
from sslkit.data.toybox.scene import FPS, Scene
from sslkit.data.toybox.view import View


@dataclass(frozen=True)
class Heard:
    """One sound. start_s, end_s: when it happens in the picture (the offset of the scene comes on top).

    xy: where, in world coordinates: (2,) or, for what lasts, (T, 2), one place per frame. level: peak, 0..1.
    """

    start_s: float
    end_s: float
    kind: str
    owner: int
    xy: np.ndarray
    level: float


class Stage(Protocol):
    """A type of scene, set up for one plan."""

    backdrop: Backdrop

    def draw(self, canvas: Canvas, frame: int) -> None:
        """Draw what moves."""

    def sound(self) -> tuple[np.ndarray, list[Heard]]:
        """int16 samples of the whole clip, and what is in them."""

    def truth(self, view: View) -> dict[str, Any]:
        """What is known about the scene, in picture pixels and JSON-able."""


def frame_times(scene: Scene) -> np.ndarray:
    """Moments of the frames, s."""
    return np.arange(scene.frames) / FPS
