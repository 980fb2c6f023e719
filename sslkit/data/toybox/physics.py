"""A rigid body in the plane: gravity, a floor, walls, impacts that lose energy, friction, rolling resistance.

y points down, angles are clockwise as seen. Mass is 1; lengths are pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import cos, hypot, sin

import numpy as np

STEP_S = 0.0025
"""Time step. A frame of 1/25 s is 16 steps, so that frames fall on the grid."""
_SOFT_PX_S = 24.0
"""Slower contacts do not bounce, else a body at rest would tremble for ever."""
_LOUD_PX_S = 32.0
_PAUSE_S = 0.02
"""Impacts slower than the first, or sooner after another than the second, are not reported."""
_REST_PX_S = 5.0
_REST_S = 0.06
"""A body that touches the floor and has been slower than the first for the second falls asleep."""


@dataclass(frozen=True)
class Room:
    """gravity: px/s^2. floor: height of the floor. left, right: inner faces of the walls, None where there is none."""

    gravity: float
    floor: float
    left: float | None = None
    right: float | None = None


@dataclass(frozen=True)
class Body:
    """hull: corners (N, 2) in px about the centre of mass, empty for a disc. radius: circumscribed, px.

    inertia: moment of inertia over mass, px^2. bounce: restitution, below 1. grip: Coulomb friction.
    """

    hull: np.ndarray
    radius: float
    inertia: float
    bounce: float
    grip: float


@dataclass(frozen=True)
class Impact:
    """When, where (contact point) and how fast (px/s, along the normal) a body hit something."""

    time_s: float
    xy: tuple[float, float]
    speed: float


@dataclass(frozen=True)
class Path:
    """Motion of a body, sampled every STEP_S from start_s.

    xy: (N, 2). angle: (N,). slide: (N,) speed in px/s while touching the floor, else 0. energy: (N,) kinetic and
    potential energy over mass, px^2/s^2, zero at rest on the floor. impacts: in order of time.
    """

    start_s: float
    xy: np.ndarray
    angle: np.ndarray
    slide: np.ndarray
    energy: np.ndarray
    impacts: tuple[Impact, ...] = field(default=())

    def at(self, time_s: float) -> tuple[float, float, float]:
        """x, y and angle at the nearest step."""
        step = min(max(round((time_s - self.start_s) / STEP_S), 0), len(self.xy) - 1)
        return float(self.xy[step, 0]), float(self.xy[step, 1]), float(self.angle[step])

    def places(self, times_s: np.ndarray) -> np.ndarray:
        """x and y at the nearest steps, (N, 2)."""
        steps = np.rint((times_s - self.start_s) / STEP_S).astype(int)
        return np.asarray(self.xy[np.clip(steps, 0, len(self.xy) - 1)])


class _Motion:
    """State of one body while it is being simulated."""

    def __init__(self, body: Body, room: Room, state: tuple[float, float, float], speed: tuple[float, float, float]):
        self.body, self.room = body, room
        self.x, self.y, self.angle = state
        self.vx, self.vy, self.spin = speed
        self.corners = [(float(x), float(y)) for x, y in body.hull]
        self.quiet_s = 0.0
        self.touching = False

    @property
    def energy(self) -> float:
        height = self.room.floor - self.y
        moving = self.vx * self.vx + self.vy * self.vy + self.body.inertia * self.spin * self.spin
        return 0.5 * moving + self.room.gravity * height

    @property
    def pace(self) -> float:
        return hypot(self.vx, self.vy) + abs(self.spin) * self.body.radius

    def advance(self) -> list[tuple[float, float, float, float]]:
        """One step; returns (time before the end of the step, x, y, speed) of each contact that closed."""
        gravity, dt = self.room.gravity, STEP_S
        self.x += self.vx * dt
        self.y += self.vy * dt + 0.5 * gravity * dt * dt
        self.vy += gravity * dt
        self.angle += self.spin * dt
        self.touching = False
        hits = []
        if self.y + self.body.radius > self.room.floor:
            hits += self._meet(0.0, 1.0, self.room.floor - self.y)
            if self.touching:
                self._slow_down()
        if self.room.left is not None and self.x - self.body.radius < self.room.left:
            hits += self._meet(-1.0, 0.0, self.x - self.room.left)
        if self.room.right is not None and self.x + self.body.radius > self.room.right:
            hits += self._meet(1.0, 0.0, self.room.right - self.x)
        return hits

    def _meet(self, nx: float, ny: float, gap: float) -> list[tuple[float, float, float, float]]:
        """Contacts with a plane at distance `gap` from the centre in direction (nx, ny)."""
        hits, deepest = [], 0.0
        for rx, ry in self._arms(nx, ny):
            depth = rx * nx + ry * ny - gap
            if depth <= -0.02:
                continue
            self.touching = self.touching or ny > 0
            closing = (self.vx - self.spin * ry) * nx + (self.vy + self.spin * rx) * ny
            if closing > 0:
                self._push(rx, ry, nx, ny, closing)
                hits.append((min(max(depth, 0.0) / closing, STEP_S), self.x + rx, self.y + ry, closing))
            deepest = max(deepest, depth)
        self.x -= nx * deepest
        self.y -= ny * deepest
        return hits

    def _arms(self, nx: float, ny: float) -> list[tuple[float, float]]:
        if not self.corners:
            return [(nx * self.body.radius, ny * self.body.radius)]
        c, s = cos(self.angle), sin(self.angle)
        turned = [(c * x - s * y, s * x + c * y) for x, y in self.corners]
        return sorted(turned, key=lambda arm: -arm[0] * nx - arm[1] * ny)[:3]

    def _push(self, rx: float, ry: float, nx: float, ny: float, closing: float) -> None:
        """Impulse of restitution along the normal, then Coulomb friction along the surface, at arm (rx, ry)."""
        body, before = self.body, self.energy
        bounce = body.bounce if closing > _SOFT_PX_S else 0.0
        lever = rx * ny - ry * nx
        impulse = (1 + bounce) * closing / (1 + lever * lever / body.inertia)
        self._kick(rx, ry, -impulse * nx, -impulse * ny)
        frictionless = self.vx, self.vy, self.spin
        tx, ty = -ny, nx
        sliding = (self.vx - self.spin * ry) * tx + (self.vy + self.spin * rx) * ty
        lever = rx * ty - ry * tx
        rub = sliding / (1 + lever * lever / body.inertia)
        rub = max(-body.grip * impulse, min(body.grip * impulse, rub))
        self._kick(rx, ry, -rub * tx, -rub * ty)
        if self.energy > before:
            # With an oblique arm, restitution and friction together can gain energy: then there is no friction.
            self.vx, self.vy, self.spin = frictionless

    def _kick(self, rx: float, ry: float, px: float, py: float) -> None:
        self.vx += px
        self.vy += py
        self.spin += (rx * py - ry * px) / self.body.inertia

    def _slow_down(self) -> None:
        """Rolling resistance, and sleep."""
        speed = abs(self.vx) + abs(self.spin) * self.body.radius
        keep = max(0.0, 1 - (0.35 + 18.0 / (speed + 1e-6)) * STEP_S)
        self.vx *= keep
        self.spin *= keep
        self.quiet_s = self.quiet_s + STEP_S if self.pace < _REST_PX_S else 0.0

    @property
    def asleep(self) -> bool:
        return self.quiet_s > _REST_S


def simulate(
    body: Body,
    room: Room,
    state: tuple[float, float, float],
    speed: tuple[float, float, float],
    start_s: float,
    end_s: float,
) -> Path:
    """Let a body go at start_s and follow it to end_s. state: x, y, angle; speed: their rates, px/s and rad/s."""
    steps = round((end_s - start_s) / STEP_S) + 1
    motion = _Motion(body, room, state, speed)
    rows: list[tuple[float, ...]] = []
    impacts: list[Impact] = []
    for step in range(steps):
        slide = hypot(motion.vx, motion.vy) if motion.touching else 0.0
        rows.append((motion.x, motion.y, motion.angle, slide, motion.energy))
        if motion.asleep:
            rows[step:] = [(motion.x, motion.y, motion.angle, 0.0, motion.energy)] * (steps - step)
            break
        end = start_s + (step + 1) * STEP_S
        for since, x, y, closing in motion.advance():
            if closing > _LOUD_PX_S and (not impacts or end - since > impacts[-1].time_s + _PAUSE_S):
                impacts.append(Impact(end - since, (x, y), closing))
    table = np.array(rows)
    return Path(start_s, table[:, :2], table[:, 2], table[:, 3], table[:, 4], tuple(impacts))
