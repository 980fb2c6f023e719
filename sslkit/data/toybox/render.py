"""From a plan to pictures, sound, masks and truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sslkit.data.toybox import view as views
from sslkit.data.toybox.canvas import Canvas
from sslkit.data.toybox.face import Face
from sslkit.data.toybox.figure import Figure
from sslkit.data.toybox.objects import Objects
from sslkit.data.toybox.scene import FPS, Scene, Type
from sslkit.data.toybox.stage import Heard, Stage
from sslkit.data.toybox.view import View

_STAGES: dict[Type, Callable[[Scene], Stage]] = {"objects": Objects, "figure": Figure, "face": Face}


@dataclass(frozen=True)
class Rendered:
    """One clip or still.

    frames: (T, H, W, 3) uint8 RGB at 25 per second. sound: (T * 640,) int16 mono at 16 kHz; (0,) for a still.
    masks: (T, H, W) uint8, 0 background, else the object id.
    truth: JSON-able; all places are pixels of the final picture (after camera, before lens error), pixel centres at
    whole numbers, frame after frame:

        type, label, seed, fps, size [W, H], direction "forward", av_offset_s (positive: the sound is late)
        objects     [{id, kind, main, humming}]; a figure or a face is object 1
        boxes       per frame [[id, x0, y0, x1, y1], ...] of the visible pixels, x1 and y1 exclusive
        action      {name, start_s, end_s} of a figure
        keypoints   per frame 14 x [x, y, inside the picture 1 or 0], order `scene.KEYPOINTS`
        face        {boxes: per frame [x0, y0, x1, y1], mouth_boxes, mouth_opening: per frame 0..1}
        sounds      [{time_s, end_s, kind, object, xy, level}]: kind "impact", "roll", "hum", "step", "thud", "creak",
                    "swish" or "speech"; times are when it is heard; xy is [x, y], or one [x, y] a frame where it lasts
        camera      per frame the 3x3 homography to the central frame T // 2, or null if the camera is still
        habit       whether the camera moves as film makers like it (`Scene.camera_habit`)
        border      [top, bottom, left, right] px
        dirt        what is on the bars: "none", "noise" in every frame anew, or "creep", as an encoder predicts it
        aberration  {red, blue}: scales of these channels about the centre, or null
    """

    frames: np.ndarray
    sound: np.ndarray
    masks: np.ndarray
    truth: dict[str, Any]


def render(scene: Scene) -> Rendered:
    """Make a scene; the same plan gives the same arrays every time."""
    stage, view = _STAGES[scene.type](scene), views.of(scene)
    width, height = scene.size_px
    frames = np.empty((scene.frames, height, width, 3), np.uint8)
    masks = np.empty((scene.frames, height, width), np.uint8)
    still = stage.backdrop.seen(view.matrix(0.0))
    for frame in range(scene.frames):
        matrix = view.matrix(frame / FPS)
        canvas = Canvas(stage.backdrop.seen(matrix) if view.moving else still.copy(), matrix)
        stage.draw(canvas, frame)
        frames[frame], masks[frame] = canvas.picture, canvas.ids
    views.finish(view, frames, masks, scene.random(3))
    sound, heard = (np.zeros(0, np.int16), []) if scene.still else stage.sound()
    truth = {
        **_about(scene, view),
        "boxes": [_boxes(mask) for mask in masks],
        "action": None,
        "keypoints": None,
        "face": None,
        **stage.truth(view),
        "sounds": [record for entry in heard if (record := _sound(entry, scene, view)) is not None],
    }
    return Rendered(frames, sound, masks, truth)


def _about(scene: Scene, view: View) -> dict[str, Any]:
    times = np.arange(scene.frames) / FPS
    return {
        "type": scene.type,
        "label": scene.label_name,
        "seed": scene.seed,
        "fps": FPS,
        "size": [scene.width_px, scene.height_px],
        "direction": "forward",
        "av_offset_s": scene.av_offset_frames / FPS,
        "camera": [view.homography(t).round(8).tolist() for t in times] if view.moving else None,
        "habit": view.moving and scene.camera_habit,
        "border": list(view.border_px),
        "dirt": view.dirt if scene.border else "none",
        "aberration": {"red": view.red, "blue": view.blue} if scene.aberration else None,
    }


def _boxes(mask: np.ndarray) -> list[list[int]]:
    boxes = []
    for owner in range(1, int(mask.max()) + 1):
        found = mask == owner
        columns, rows = np.flatnonzero(found.any(0)), np.flatnonzero(found.any(1))
        if len(rows):
            boxes.append([owner, int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1])
    return boxes


def _sound(entry: Heard, scene: Scene, view: View) -> dict[str, Any] | None:
    late_s, seconds = scene.av_offset_frames / FPS, scene.frames / FPS
    start, end = entry.start_s + late_s, min(entry.end_s + late_s, seconds)
    lasts = entry.xy.ndim == 2
    if end <= 0 or start >= seconds or (start < 0 and not lasts):
        return None
    if lasts:
        xy = np.array([view.project(place, t / FPS) for t, place in enumerate(entry.xy)])
    else:
        xy = view.project(entry.xy, entry.start_s)
    return {
        "time_s": round(max(start, 0.0), 6),
        "end_s": round(end, 6),
        "kind": entry.kind,
        "object": entry.owner,
        "xy": xy.round(2).tolist(),
        "level": round(min(entry.level, 1.0), 4),
    }
