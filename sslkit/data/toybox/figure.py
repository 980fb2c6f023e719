"""Scenes of an articulated figure that acts: 14 keypoints, clothes, footsteps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from sslkit.data.toybox import actions, backdrop, colour, kinds, sound
from sslkit.data.toybox.canvas import Canvas, Colour, capsule, ellipse, shifted
from sslkit.data.toybox.scene import FPS, KEYPOINTS, RATE_HZ, SAMPLES_PER_FRAME, Scene
from sslkit.data.toybox.stage import Heard
from sslkit.data.toybox.view import View

_GRID_HZ = 200
"""Motion is computed on this grid; frames are every eighth step."""
_MARGIN_S = 1.5
"""Motion is known so long before and after the clip, for sounds with an offset."""
_GRAVITY = 5.8
"""Of the earth, in body lengths per s^2, for a body of 1.7 m."""

_LENGTH = {"trunk": 0.29, "upper_arm": 0.165, "forearm": 0.15, "thigh": 0.24, "shank": 0.24, "foot": 0.075}
_HEAD = 0.155
"""From neck to head top. All lengths are in body lengths."""
_RADIUS = {"hip": 0.043, "knee": 0.034, "ankle": 0.025, "shoulder": 0.032, "elbow": 0.026, "wrist": 0.022}
_LIMBS = {
    "thigh": ("hip", "knee"),
    "shank": ("knee", "ankle"),
    "upper_arm": ("shoulder", "elbow"),
    "forearm": ("elbow", "wrist"),
}
_RIM_PX = 0.8
_INDEX = {name: row for row, name in enumerate(KEYPOINTS)}


@dataclass(frozen=True)
class Looks:
    """Colours, and how wide the figure is seen. turn: half width of hips and shoulders, in body lengths."""

    skin: Colour
    shirt: Colour
    trousers: Colour
    shoes: Colour
    hair: Colour
    long_sleeves: bool
    hips: float
    shoulders: float


class Figure:
    """One figure, and a stool where the action needs one (and sometimes where it does not)."""

    def __init__(self, scene: Scene) -> None:
        self._scene, rng = scene, scene.random(0)
        width, height = scene.size_px
        self.backdrop = backdrop.room(rng, scene.size_px)
        self._body = height * rng.uniform(0.56, 0.68)
        self._faces = float(rng.choice([-1, 1]))
        self._looks = _dress(rng)
        floor = height * rng.uniform(0.88, 0.94)
        steps = round((scene.seconds + 2 * _MARGIN_S) * _GRID_HZ) + 1
        self._times = np.arange(steps) / _GRID_HZ - _MARGIN_S
        self.motion = actions.perform(scene.label_name, self._times, scene.seconds, _GRAVITY, rng)
        local, toes = _skeleton(self.motion.angles, self._looks)
        shift = _walk_along(local, toes, self.motion.lift)
        place = width * rng.uniform(0.42, 0.58)
        self._world = self._placed(local + shift[:, None], place, floor)
        self._toes = self._anchored(toes + shift[:, None])
        self._shadow = kinds.shadow(0.16 * self._body)
        self._floor = floor
        if self.motion.seat or rng.random() < 0.25:
            self._put_stool(rng)
        shown = [self._step(frame / FPS) for frame in range(scene.frames)]
        self._outlines = self._drawn(self._world[shown], self._toes[shown])

    def draw(self, canvas: Canvas, frame: int) -> None:
        """Shadow, then limbs from the far to the near side."""
        points, outlines = self._world[self._step(frame / FPS)], {n: o[frame] for n, o in self._outlines.items()}
        middle = points[[_INDEX["right_ankle"], _INDEX["left_ankle"], _INDEX["neck"]]].mean(0)
        canvas.sprite(self._shadow, (float(middle[0]), self._floor), stretch=(1.5, 1.0), opacity=0.8)
        near, far = ("right", "left") if self._faces > 0 else ("left", "right")
        self._leg(canvas, outlines, far, 0.78)
        self._arm(canvas, outlines, far, 0.78)
        self._trunk(canvas, outlines)
        self._leg(canvas, outlines, near, 1.0)
        self._head(canvas, points, outlines["neck"])
        self._arm(canvas, outlines, near, 1.0)
        canvas.claim(1)

    def sound(self) -> tuple[np.ndarray, list[Heard]]:
        """Steps, thuds, creaks, and the swish of moving limbs."""
        scene, rng = self._scene, self._scene.random(2)
        late_s = scene.av_offset_frames / FPS
        mix, heard = sound.Mix(scene.frames * SAMPLES_PER_FRAME), []
        for cue in self.motion.cues:
            wave = sound.creak(rng) if cue.kind == "creak" else sound.thud(rng, cue.weight)
            start = round(cue.time_s * RATE_HZ) / RATE_HZ
            mix.add(wave, start + late_s)
            place = self._place(cue.place, cue.time_s)
            heard.append(Heard(start, start + len(wave) / RATE_HZ, cue.kind, 1, place, float(np.abs(wave).max())))
        wrists = self._world[:, [_INDEX["right_wrist"], _INDEX["left_wrist"]]]
        speed = np.linalg.norm(np.gradient(wrists, 1 / _GRID_HZ, axis=0), axis=2) / (2.5 * self._body)
        moments = np.arange(mix.samples) / RATE_HZ - late_s
        mix.add(sound.swish(rng, np.interp(moments, self._times, speed.max(1))), 0.0)
        frames = [self._step(frame / FPS) for frame in range(scene.frames)]
        faster = wrists[frames, speed[frames].argmax(1)]
        heard.append(Heard(-9.0, scene.seconds + 9.0, "swish", 1, faster, 0.05))
        return mix.finish(rng), heard

    def truth(self, view: View) -> dict[str, Any]:
        """The action, when it happens, and the keypoints."""
        width, height = self._scene.size_px
        top, bottom, left, right = view.border_px
        keypoints = []
        for frame in range(self._scene.frames):
            points = view.project(self._world[self._step(frame / FPS)], frame / FPS)
            x, y = points.T
            inside = (x >= left) & (x <= width - right - 1) & (y >= top) & (y <= height - bottom - 1)
            keypoints.append(np.column_stack([points.round(2), inside]).tolist())
        begin, end = max(self.motion.begin_s, 0.0), min(self.motion.end_s, self._scene.seconds)
        action = {"name": self._scene.label_name, "start_s": round(begin, 4), "end_s": round(end, 4)}
        figure = {"id": 1, "kind": "figure", "main": True, "humming": False}
        return {"objects": [figure], "action": action, "keypoints": keypoints}

    def _step(self, time_s: float) -> int:
        return round((time_s + _MARGIN_S) * _GRID_HZ)

    def _placed(self, local: np.ndarray, place_x: float, floor: float) -> np.ndarray:
        """Body lengths to world pixels: what the clip shows is centred about place_x."""
        self._origin = np.zeros(2)
        world = self._anchored(local)
        shown = world[self._step(0.0) : self._step(self._scene.seconds) + 1]
        self._origin = np.array([place_x - (shown[..., 0].min() + shown[..., 0].max()) / 2, floor])
        return world + self._origin

    def _anchored(self, local: np.ndarray) -> np.ndarray:
        return local * (self._body * self._faces, self._body) + self._origin

    def _place(self, name: str, time_s: float) -> np.ndarray:
        """World point of a sound."""
        points = self._world[min(max(self._step(time_s), 0), len(self._world) - 1)]
        ends = {
            "ankles": ("right_ankle", "left_ankle"),
            "hips": ("right_hip", "left_hip"),
            "trunk": ("right_hip", "neck"),
        }
        return np.asarray(points[[_INDEX[joint] for joint in ends.get(name, (name,))]].mean(0))

    def _put_stool(self, rng: np.random.Generator) -> None:
        """A stool, drawn into the backdrop: below the hips of who sits, else to one side."""
        width = self._scene.width_px
        lowest = self._world[:, _INDEX["right_hip"], 1].argmax()
        hips = self._world[lowest, [_INDEX["right_hip"], _INDEX["left_hip"]]].mean(0)
        x = hips[0] if self.motion.seat else rng.choice([0.15, 0.85]) * width
        top = self._floor - (_LENGTH["shank"] - 0.045) * self._body
        unit, paint = 0.01 * self._body, colour.muted(rng, (0.35, 0.8))
        for lean in (-8.0, 8.0):
            leg = np.array([[x + lean * unit, top], [x + 1.3 * lean * unit, self._floor + unit]])
            self._on_backdrop(capsule(leg[0], leg[1], 1.6 * unit, 1.3 * unit), colour.shaded(paint, 0.7))
        seat = np.array([[x - 10 * unit, top + 2.5 * unit], [x + 10 * unit, top + 2.5 * unit]])
        self._on_backdrop(capsule(seat[0], seat[1], 2.5 * unit, 2.5 * unit), paint)

    def _on_backdrop(self, outline: np.ndarray, paint: Colour) -> None:
        height, width = (side // 2 for side in self.backdrop.picture.shape[:2])
        fixed = np.round(shifted(outline, width // 2, height // 2) * 16).astype(np.int32)
        cv2.fillPoly(self.backdrop.picture, [fixed], paint, cv2.LINE_AA, 4)

    def _drawn(self, points: np.ndarray, toes: np.ndarray) -> dict[str, np.ndarray]:
        """Outlines (T, N, 2) of everything but the face, from the keypoints (T, 14, 2) and toes (T, 2, 2)."""
        body, joint = self._body, {name: points[:, row] for name, row in _INDEX.items()}
        middle = (joint["right_hip"] + joint["left_hip"]) / 2
        spine = capsule(joint["neck"] * 0.9 + middle * 0.1, middle, 0.055 * body, 0.052 * body)
        found = {"hips": capsule(joint["right_hip"], joint["left_hip"], 0.05 * body, 0.05 * body)}
        sides = []
        for row, side in enumerate(("right", "left")):
            for limb, (first, last) in _LIMBS.items():
                ends = joint[f"{side}_{first}"], joint[f"{side}_{last}"]
                for name, rim in ((f"{side}_{limb}", 0.0), (f"{side}_{limb}_rim", _RIM_PX)):
                    found[name] = capsule(*ends, _RADIUS[first] * body + rim, _RADIUS[last] * body + rim)
            found[f"{side}_shoe"] = capsule(joint[f"{side}_ankle"], toes[:, row], 0.03 * body, 0.019 * body)
            found[f"{side}_hand"] = joint[f"{side}_wrist"][:, None] + ellipse((0, 0), (0.027 * body, 0.027 * body), 14)
            sides.append(capsule(joint[f"{side}_shoulder"], joint[f"{side}_hip"], 0.042 * body, 0.047 * body))
        found["trunk"] = np.concatenate([*sides, spine], axis=1)
        up = joint["head_top"] - joint["neck"]
        head = joint["neck"] + 0.58 * _HEAD * body * up / np.linalg.norm(up, axis=1, keepdims=True)
        found["neck"] = capsule(joint["neck"], head, 0.03 * body, 0.03 * body)
        return found

    def _limb(self, canvas: Canvas, outlines: dict[str, np.ndarray], name: str, paint: Colour) -> None:
        canvas.polygon(outlines[f"{name}_rim"], colour.shaded(paint, 0.55))
        canvas.polygon(outlines[name], paint)

    def _leg(self, canvas: Canvas, outlines: dict[str, np.ndarray], side: str, light: float) -> None:
        paint = colour.shaded(self._looks.trousers, light)
        self._limb(canvas, outlines, f"{side}_shank", paint)
        canvas.polygon(outlines[f"{side}_shoe"], colour.shaded(self._looks.shoes, light))
        self._limb(canvas, outlines, f"{side}_thigh", paint)

    def _arm(self, canvas: Canvas, outlines: dict[str, np.ndarray], side: str, light: float) -> None:
        looks = self._looks
        sleeve = colour.shaded(looks.shirt if looks.long_sleeves else looks.skin, light)
        self._limb(canvas, outlines, f"{side}_forearm", sleeve)
        canvas.polygon(outlines[f"{side}_hand"], colour.shaded(looks.skin, light))
        self._limb(canvas, outlines, f"{side}_upper_arm", colour.shaded(looks.shirt, light))

    def _trunk(self, canvas: Canvas, outlines: dict[str, np.ndarray]) -> None:
        canvas.polygon(outlines["hips"], self._looks.trousers)
        hull = cv2.convexHull(outlines["trunk"].astype(np.float32))[:, 0].astype(float)
        canvas.polygon(hull, colour.shaded(self._looks.shirt, 0.94))

    def _head(self, canvas: Canvas, points: np.ndarray, throat: np.ndarray) -> None:
        neck, top, body = points[_INDEX["neck"]], points[_INDEX["head_top"]], self._body
        up = (top - neck) / np.linalg.norm(top - neck)
        forward = np.array([-up[1], up[0]]) * self._faces
        middle = neck + 0.58 * _HEAD * body * up
        canvas.polygon(throat, colour.shaded(self._looks.skin, 0.85))

        def placed(shape: np.ndarray) -> np.ndarray:
            return np.asarray(middle + body * (shape[:, :1] * forward + shape[:, 1:] * up))

        canvas.polygon(placed(ellipse((0, 0), (0.071, 0.078))), colour.shaded(self._looks.skin, 0.6))
        canvas.polygon(placed(ellipse((0, 0), (0.063, 0.07))), self._looks.skin)
        canvas.polygon(placed(ellipse((0.066, -0.008), (0.014, 0.012), 10)), self._looks.skin)
        canvas.polygon(placed(ellipse((0.034, 0.01), (0.008, 0.011), 10)), (35, 30, 35))
        turn = np.linspace(0.18 * np.pi, 1.2 * np.pi, 16)
        cap = np.column_stack([0.073 * np.cos(turn), 0.078 * np.sin(turn)])
        canvas.polygon(placed(np.vstack([cap, [[-0.02, 0.0], [0.0, 0.035]]])), self._looks.hair)


def _dress(rng: np.random.Generator) -> Looks:
    skin = colour.from_hsv(rng.uniform(0.03, 0.09), rng.uniform(0.25, 0.6), rng.uniform(0.4, 0.98))
    return Looks(
        skin=skin,
        shirt=colour.vivid(rng),
        trousers=colour.from_hsv(rng.random(), rng.uniform(0.2, 0.8), rng.uniform(0.25, 0.8)),
        shoes=colour.from_hsv(rng.random(), rng.uniform(0.2, 0.8), rng.uniform(0.15, 0.95)),
        hair=colour.from_hsv(rng.uniform(0.0, 0.13), rng.uniform(0.2, 0.8), rng.uniform(0.1, 0.75)),
        long_sleeves=bool(rng.random() < 0.5),
        hips=float(rng.uniform(0.012, 0.035)),
        shoulders=float(rng.uniform(0.02, 0.065)),
    )


def _towards(angle: np.ndarray) -> np.ndarray:
    """Unit vectors (N, 2) at an angle (degrees) forwards from straight down; y down, x forwards."""
    return np.column_stack([np.sin(np.radians(angle)), np.cos(np.radians(angle))])


def _skeleton(angles: np.ndarray, looks: Looks) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (N, 14, 2) and toes (N, 2, 2), right and left, in body lengths about the hips."""
    points, toes = np.zeros((len(angles), len(KEYPOINTS), 2)), np.zeros((len(angles), 2, 2))
    angle = {name: angles[:, column] for column, name in enumerate(actions.JOINTS)}
    up = _towards(180 - angle["trunk"])
    neck = _LENGTH["trunk"] * up
    points[:, _INDEX["neck"]] = neck
    points[:, _INDEX["head_top"]] = neck + _HEAD * _towards(180 - angle["trunk"] - angle["head"])
    # Across the trunk: seen from the side a little turned, the near half lies towards the back.
    across = np.column_stack([-up[:, 1], up[:, 0]])
    for row, (side, sign) in enumerate((("right", -1), ("left", 1))):
        hip = sign * looks.hips * across
        thigh = angle[f"{side}_hip"]
        shank = thigh - angle[f"{side}_knee"]
        knee = hip + _LENGTH["thigh"] * _towards(thigh)
        ankle = knee + _LENGTH["shank"] * _towards(shank)
        # Feet are square to the shank, and stretched where it lies flat.
        toes[:, row] = ankle + _LENGTH["foot"] * _towards(shank + 84 - 55 * np.clip((np.abs(shank) - 50) / 30, 0, 1))
        shoulder = 0.94 * neck + sign * looks.shoulders * across
        upper = angle[f"{side}_shoulder"]
        elbow = shoulder + _LENGTH["upper_arm"] * _towards(upper)
        wrist = elbow + _LENGTH["forearm"] * _towards(upper + angle[f"{side}_elbow"])
        names = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
        for name, place in zip(names, (hip, knee, ankle, shoulder, elbow, wrist), strict=True):
            points[:, _INDEX[f"{side}_{name}"]] = place
    return points, toes


def _walk_along(points: np.ndarray, toes: np.ndarray, lift: np.ndarray) -> np.ndarray:
    """Where the hips are (N, 2): the lowest point is on the floor (y = 0) and the standing foot does not slip."""
    radii = np.array([_RADIUS.get(name.split("_")[-1], 0.055) for name in KEYPOINTS])
    radii[_INDEX["head_top"]] = 0.0
    lowest = np.maximum((points[..., 1] + radii).max(1), (toes[..., 1] + 0.02).max(1))
    ankles = points[:, [_INDEX["right_ankle"], _INDEX["left_ankle"]]]
    standing = ankles[:-1, :, 1].argmax(1)
    moved = np.diff(ankles[..., 0], axis=0)[np.arange(len(standing)), standing]
    moved[lift[:-1] > 0] = 0
    return np.column_stack([np.concatenate([[0.0], -np.cumsum(moved)]), -lowest - lift])
