"""Scenes of rigid objects in a toy box: they fall, bounce, tumble, roll, and sometimes one of them hovers and hums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from sslkit.data.toybox import backdrop, colour, kinds, physics, sound
from sslkit.data.toybox.canvas import Canvas, Sprite, ellipse, shifted
from sslkit.data.toybox.scene import FPS, KINDS, RATE_HZ, SAMPLES_PER_FRAME, Scene
from sslkit.data.toybox.sound import Mix
from sslkit.data.toybox.stage import Heard, frame_times
from sslkit.data.toybox.view import View

_HUMMING = 0.35
"""Share of scenes in which an object hovers and hums."""
_DARK = (52.0, 50.0, 58.0)


@dataclass(frozen=True)
class Hover:
    """A smooth flight that looks alike in both directions of time. reach, pace, phase: of x, y and tilt."""

    middle: tuple[float, float]
    reach: tuple[float, float, float]
    pace: tuple[float, float, float]
    phase: tuple[float, float, float]

    def at(self, time_s: float) -> tuple[float, float, float]:
        """x, y and angle."""
        wave = [r * np.sin(p * time_s + q) for r, p, q in zip(self.reach, self.pace, self.phase, strict=True)]
        return self.middle[0] + wave[0], self.middle[1] + wave[1], wave[2]


@dataclass(frozen=True)
class Thing:
    """An object in the scene. lane: height of the floor below it. spin: of its rotor, rad/s, if it hovers."""

    owner: int
    kind: str
    radius: float
    sprite: Sprite
    shadow: Sprite
    lane: float
    motion: physics.Path | Hover
    spin: float = 0.0

    @property
    def hovers(self) -> bool:
        """Whether it flies by itself, and hums."""
        return isinstance(self.motion, Hover)


class Objects:
    """1 to 3 objects; the first, of the labelled kind, is the largest."""

    def __init__(self, scene: Scene) -> None:
        self._scene, rng = scene, scene.random(0)
        self.backdrop = backdrop.room(rng, scene.size_px)
        self._gravity = scene.height_px * rng.uniform(2.6, 4.0)
        self._walls = self._put_up_walls(rng)
        hums = rng.random() < _HUMMING
        count = int(rng.choice([2, 3])) if hums else int(rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2]))
        others = [kind for kind in KINDS if kind != scene.label_name]
        names = [scene.label_name, *rng.permutation(others)[: count - 1]]
        flier = int(rng.integers(count)) if hums else -1
        lanes = self._lanes(rng, count)
        things = [self._thing(rng, i, str(name), lanes[i], i == flier) for i, name in enumerate(names)]
        self.things: list[Thing] = sorted(things, key=lambda thing: thing.lane)

    def draw(self, canvas: Canvas, frame: int) -> None:
        """Shadows, then objects from the back to the front."""
        time_s = frame / FPS
        places = [thing.motion.at(time_s) for thing in self.things]
        for thing, (x, y, _) in zip(self.things, places, strict=True):
            height = max(thing.lane - y - thing.radius, 0) / self._scene.height_px
            canvas.sprite(thing.shadow, (x, thing.lane), opacity=float(np.exp(-2.2 * height)))
        for thing, (x, y, angle) in zip(self.things, places, strict=True):
            if thing.hovers:
                _rotor(canvas, thing, (x, y), angle, time_s)
            canvas.sprite(thing.sprite, (x, y), angle, owner=thing.owner)

    def sound(self) -> tuple[np.ndarray, list[Heard]]:
        """Impacts at their sample, rolling, humming."""
        scene, rng = self._scene, self._scene.random(2)
        mix, heard = Mix(scene.frames * SAMPLES_PER_FRAME), []
        for thing in self.things:
            size = thing.radius / (0.12 * scene.height_px)
            if isinstance(thing.motion, Hover):
                moments = np.arange(mix.samples) / RATE_HZ - self._late_s
                mix.add(sound.hum(sound.TIMBRE[thing.kind], rng, moments, size), 0.0)
                heard.append(Heard(-9.0, scene.frames / FPS + 9.0, "hum", thing.owner, self._places(thing), 0.25))
            else:
                ring = sound.strike(sound.TIMBRE[thing.kind], rng, size)
                heard += self._impacts(mix, thing, thing.motion, ring, rng)
                heard += self._rolling(mix, thing, thing.motion, ring, rng)
        return mix.finish(rng), heard

    def truth(self, view: View) -> dict[str, Any]:
        """Which objects there are."""
        return {
            "objects": [
                {"id": thing.owner, "kind": thing.kind, "main": thing.owner == 1, "humming": thing.hovers}
                for thing in sorted(self.things, key=lambda thing: thing.owner)
            ]
        }

    @property
    def _late_s(self) -> float:
        return self._scene.av_offset_frames / FPS

    def _put_up_walls(self, rng: np.random.Generator) -> tuple[float | None, float | None]:
        """Boards at the sides, mostly; drawn into the backdrop, because they never move."""
        width, height = self._scene.size_px
        faces: list[float | None] = [None, None]
        paint = colour.muted(rng, (0.4, 0.85))
        for side, inwards in ((0, 1), (1, -1)):
            face = rng.uniform(0.03, 0.09) * width
            if rng.random() < 0.75:
                faces[side] = face if side == 0 else width - face
                _board(self.backdrop.picture, paint, float(faces[side] or 0), -inwards * 0.06 * height)
        return faces[0], faces[1]

    def _lanes(self, rng: np.random.Generator, count: int) -> np.ndarray:
        height = self._scene.height_px
        far = min(self.backdrop.floor_y + 0.1 * height, 0.84 * height)
        ranks = (rng.permutation(count) + rng.uniform(0.2, 0.8, count)) / count
        return np.asarray(far + ranks * (0.95 * height - far))

    def _thing(self, rng: np.random.Generator, position: int, kind: str, lane: float, hovers: bool) -> Thing:
        height = self._scene.height_px
        radius = height * (rng.uniform(0.13, 0.17) if position == 0 else rng.uniform(0.075, 0.105))
        shape = kinds.KIND[kind]
        picture = kinds.sprite(kind, radius, rng)
        motion = self._hover(rng, radius) if hovers else self._fall(rng, shape, radius, lane)
        spin = rng.choice([-1, 1]) * rng.uniform(25, 45)
        return Thing(position + 1, kind, radius, picture, kinds.shadow(radius), lane, motion, float(spin))

    def _hover(self, rng: np.random.Generator, radius: float) -> Hover:
        width, height = self._scene.size_px
        middle = width * rng.uniform(0.35, 0.65), radius + height * rng.uniform(0.16, 0.3)
        reach = width * rng.uniform(0.1, 0.25), height * rng.uniform(0.03, 0.1), rng.uniform(0.08, 0.25)
        pace = rng.uniform(1.5, 3.2), rng.uniform(3, 6), rng.uniform(2, 5)
        phases = rng.uniform(0, 2 * np.pi, 3)
        return Hover(middle, reach, pace, (float(phases[0]), float(phases[1]), float(phases[2])))

    def _fall(self, rng: np.random.Generator, kind: kinds.Kind, radius: float, lane: float) -> physics.Path:
        """Throw the object until the clip shows it well: in the picture, moving, and hitting something."""
        body = physics.Body(kind.hull * radius, radius, kind.gyration * radius**2, kind.bounce, kind.grip)
        room = physics.Room(self._gravity, lane, *self._walls)
        best = self._throw(rng, body, room)
        for _ in range(5):
            if self._merit(best, radius) >= 1:
                break
            best = max(best, self._throw(rng, body, room), key=lambda path: self._merit(path, radius))
        return best

    def _throw(self, rng: np.random.Generator, body: physics.Body, room: physics.Room) -> physics.Path:
        """Let go of the object, anywhere and at any speed, up to half a second before the clip begins."""
        width, height = self._scene.size_px
        x = rng.uniform(0.22, 0.78) * width
        y = rng.uniform(0.12 * height, room.floor - 1.05 * body.radius)
        towards = 1 if x < width / 2 else -1
        speed = towards * width * rng.uniform(-0.35, 1.0), height * rng.uniform(-1.7, 0.8), rng.uniform(-9, 9)
        start = -round(rng.uniform(0, 0.5) / physics.STEP_S) * physics.STEP_S
        end = self._scene.seconds + max(0.0, -self._late_s)
        return physics.simulate(body, room, (x, y, rng.uniform(0, 6.3)), speed, start, end)

    def _merit(self, path: physics.Path, radius: float) -> float:
        """1 for a path that a clip shows well, less otherwise."""
        width, height = self._scene.size_px
        times = np.arange(round(self._scene.seconds * FPS)) / FPS
        places = path.places(times)
        inside = (np.abs(places[:, 0] - width / 2) < width / 2) & (places[:, 1] > -0.3 * radius)
        steps = np.abs(np.diff(places, axis=0, prepend=places[:1])).sum(1)
        moved = min(steps.sum() / (0.8 * height), steps[len(steps) // 2 :].sum() / (0.15 * height), 1.0)
        struck = any(0.1 < impact.time_s < self._scene.seconds - 0.1 for impact in path.impacts)
        return float(0.5 * inside.mean() + 0.3 * moved + 0.2 * struck)

    def _places(self, thing: Thing) -> np.ndarray:
        return np.array([thing.motion.at(t)[:2] for t in frame_times(self._scene)])

    def _impacts(
        self, mix: Mix, thing: Thing, path: physics.Path, ring: np.ndarray, rng: np.random.Generator
    ) -> list[Heard]:
        heard = []
        for impact in path.impacts:
            level = 0.75 * min(impact.speed / (2.2 * self._scene.height_px), 1.2) * rng.uniform(0.8, 1.2)
            # The sample grid is where a sound can start, so it is also what the truth says.
            start = round(impact.time_s * RATE_HZ) / RATE_HZ
            mix.add(level * ring, start + self._late_s)
            end = start + len(ring) / RATE_HZ
            heard.append(Heard(start, end, "impact", thing.owner, np.array(impact.xy), level))
        return heard

    def _rolling(
        self, mix: Mix, thing: Thing, path: physics.Path, ring: np.ndarray, rng: np.random.Generator
    ) -> list[Heard]:
        steps = path.start_s + np.arange(len(path.slide)) * physics.STEP_S
        # The mean of the steps before: nothing is heard of a contact until it has been made.
        smooth = np.convolve(path.slide, [0, *[1 / 8] * 8])[: len(steps)]
        moments = np.arange(mix.samples) / RATE_HZ - self._late_s
        speed = np.interp(moments, steps, smooth, left=0, right=0)
        mix.add(sound.roll(ring, speed, rng), 0.0)
        places = self._places(thing)
        return [
            Heard(float(start), float(end), "roll", thing.owner, places, 0.05)
            for start, end in _stretches(steps, smooth > 20, join_s=0.15, least_s=0.2)
        ]


def _stretches(times: np.ndarray, active: np.ndarray, join_s: float, least_s: float) -> list[tuple[float, float]]:
    """Intervals in which `active` holds, joined over short gaps, without the short ones."""
    found: list[tuple[float, float]] = []
    for time in times[active]:
        if found and time - found[-1][1] <= join_s:
            found[-1] = found[-1][0], time
        else:
            found.append((time, time))
    return [(start, end) for start, end in found if end - start >= least_s]


def _rotor(canvas: Canvas, thing: Thing, xy: tuple[float, float], angle: float, time_s: float) -> None:
    """Mast and two turning blades above a thing that hovers; they belong to it."""
    radius, turn = thing.radius, np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    mast = np.array([[-0.06, -0.5], [0.06, -0.5], [0.06, -1.3], [-0.06, -1.3]])
    canvas.polygon(radius * mast @ turn + xy, _DARK)
    for blade in (0.0, np.pi / 2):
        reach = 0.12 + 0.85 * abs(np.cos(thing.spin * time_s + blade))
        canvas.polygon(radius * ellipse((0, -1.3), (reach, 0.1)) @ turn + xy, colour.shaded(_DARK, 1.6))
    canvas.polygon(radius * ellipse((0, -1.32), (0.13, 0.13), 12) @ turn + xy, _DARK)
    canvas.claim(thing.owner)


def _board(picture: np.ndarray, paint: tuple[float, float, float], face_x: float, thick: float) -> None:
    """A board whose inner face is at world face_x, from the front edge of the floor up: nothing flies over it."""
    height, width = (side // 2 for side in picture.shape[:2])
    first, last = sorted((face_x, face_x + thick))
    top = -0.5 * height
    corners = np.array([[first, top], [last, top], [last, 0.985 * height], [first, 0.985 * height]])
    fixed = np.round(shifted(corners, width // 2, height // 2) * 16).astype(np.int32)
    cv2.fillPoly(picture, [fixed], paint, cv2.LINE_AA, 4)
    for share in (0.3, 0.65):
        x = round((first + share * (last - first) + width // 2) * 16)
        ends = (x, int(fixed[0, 1])), (x, int(fixed[2, 1]))
        cv2.line(picture, *ends, colour.shaded(paint, 0.82), 1, cv2.LINE_AA, 4)
    cv2.polylines(picture, [fixed], True, colour.shaded(paint, 0.5), 1, cv2.LINE_AA, 4)
