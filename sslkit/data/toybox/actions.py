"""How a figure acts: joint angles over time. Each action is a law of motion of its own, and none runs backwards.

Angles are degrees. A trunk leans forwards (+), thighs and upper arms swing forwards from hanging (+), knees fold
backwards and elbows forwards (+). Forwards is where the figure faces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

JOINTS = (
    "trunk",
    "head",
    "right_shoulder",
    "right_elbow",
    "left_shoulder",
    "left_elbow",
    "right_hip",
    "right_knee",
    "left_hip",
    "left_knee",
)
_COLUMN = {name: column for column, name in enumerate(JOINTS)}
_PAIRS = {"shoulder", "elbow", "hip", "knee"}


@dataclass(frozen=True)
class Cue:
    """A sound that the action makes. place: "right_ankle", "left_ankle", "ankles", "hips" or "trunk"."""

    time_s: float
    kind: str
    place: str
    weight: float


@dataclass
class Motion:
    """angles: (N, 10) in the order of JOINTS. lift: (N,) height of the feet over the floor, in body lengths.

    begin_s, end_s: the time that the action takes. seat: whether it needs a stool.
    """

    angles: np.ndarray
    lift: np.ndarray
    begin_s: float
    end_s: float
    cues: list[Cue]
    seat: bool = False


def perform(name: str, times: np.ndarray, seconds: float, gravity: float, rng: np.random.Generator) -> Motion:
    """An action at `times` (s, evenly spaced) of a clip of `seconds`. gravity: body lengths/s^2."""
    motion = _ACTIONS[name](times, seconds, gravity, rng)
    # Nobody stands quite still; the sway is alike in both directions of time.
    for column, size in ((0, 1.2), (1, 2.0), (2, 2.5), (4, 2.5)):
        motion.angles[:, column] += size * np.sin(rng.uniform(1.5, 3) * times + rng.uniform(0, 6))
    motion.angles *= rng.uniform(0.95, 1.05)
    return motion


def pose(**angles: float) -> np.ndarray:
    """A pose from standing; `hip=` and the like set both sides."""
    values = np.zeros(len(JOINTS))
    values[[_COLUMN["right_elbow"], _COLUMN["left_elbow"]]] = 12
    values[[_COLUMN["right_knee"], _COLUMN["left_knee"]]] = 3
    for name, angle in angles.items():
        for side in ("right_", "left_") if name in _PAIRS else ("",):
            values[_COLUMN[side + name]] = angle
    return values


def _smooth(u: np.ndarray) -> np.ndarray:
    return np.asarray(u * u * (3 - 2 * u))


def _speeding(u: np.ndarray) -> np.ndarray:
    return np.asarray(u**2.2)


def _slowing(u: np.ndarray) -> np.ndarray:
    return np.asarray(1 - (1 - u) ** 2.2)


Ease = Callable[[np.ndarray], np.ndarray]
Key = tuple[float, np.ndarray, Ease]


def _through(times: np.ndarray, first: np.ndarray, keys: Sequence[Key]) -> np.ndarray:
    """Poses (N, 10): from `first`, reach each key's pose after its duration, at its own speed profile, then stay."""
    angles = np.tile(first, (len(times), 1))
    begin, last = keys[0][0], first
    for position, (moment, goal, ease) in enumerate(keys[1:]):
        u = np.clip((times - begin) / (moment - begin), 0, 1)
        angles += ease(u)[:, None] * (goal - last)
        begin, last = keys[position + 1][0], goal
    return angles


def _keys(begin_s: float, *moves: Key) -> list[Key]:
    """Keys at absolute times from moves given by their durations."""
    keys: list[Key] = [(begin_s, moves[0][1], _smooth)]
    for duration, goal, ease in moves:
        keys.append((keys[-1][0] + duration, goal, ease))
    return keys


def _begin(rng: np.random.Generator, seconds: float, takes: float) -> float:
    """When to start: somewhere, so that nearly all of the action is in the clip."""
    return float(rng.uniform(0.0, max(0.06, seconds - takes)))


def _walk(times: np.ndarray, seconds: float, gravity: float, rng: np.random.Generator) -> Motion:
    period, swing = rng.uniform(0.85, 1.25), rng.uniform(22, 30)
    phase = 2 * np.pi * times / period + rng.uniform(0, 2 * np.pi)
    angles = np.tile(pose(trunk=rng.uniform(2, 7)), (len(times), 1))
    for side, turn in (("right_", phase), ("left_", phase + np.pi)):
        forward = np.cos(turn)
        angles[:, _COLUMN[side + "hip"]] = 4 + swing * np.sin(turn)
        # The knee folds while its leg swings forwards, and gives a little when it takes the weight.
        fold = (
            np.maximum(forward, 0) ** 1.5 * 52 + 12 * np.exp(-(((turn - 2.2) % (2 * np.pi) - np.pi) ** 2) / 0.3) * 0.5
        )
        angles[:, _COLUMN[side + "knee"]] = 6 + fold
        angles[:, _COLUMN[side + "shoulder"]] = -0.9 * swing * np.sin(turn)
        angles[:, _COLUMN[side + "elbow"]] = 22 + 10 * -np.sin(turn)
    cues = []
    for side, shift in (("right_ankle", 0.0), ("left_ankle", np.pi)):
        # The heel strikes shortly after its leg has swung furthest to the front.
        turns = (phase + shift - np.pi / 2 - 0.35) / (2 * np.pi)
        whole = np.flatnonzero(np.diff(np.floor(turns)) > 0)
        cues += [Cue(float(times[step + 1]), "step", side, 0.25) for step in whole]
    return Motion(angles, np.zeros(len(times)), 0.0, seconds, cues)


def _jump(times: np.ndarray, seconds: float, gravity: float, rng: np.random.Generator) -> Motion:
    height = rng.uniform(0.12, 0.24)
    flight = 2 * np.sqrt(2 * height / gravity)
    dip, push = rng.uniform(0.28, 0.4), 0.14
    begin = _begin(rng, seconds, dip + push + flight + 0.5)
    depth = rng.uniform(0.85, 1.15)
    low = pose(trunk=32 * depth, hip=62 * depth, knee=88 * depth, shoulder=-50, elbow=20, head=-15)
    high = pose(trunk=-3, shoulder=rng.uniform(120, 165), elbow=10, knee=2, hip=0)
    tuck = pose(trunk=4, shoulder=90, elbow=20, hip=22, knee=34)
    land = pose(trunk=25, hip=48 * depth, knee=72 * depth, shoulder=25, elbow=25, head=-8)
    keys = _keys(
        begin,
        (dip, low, _smooth),
        (push, high, _speeding),
        (0.5 * flight, tuck, _smooth),
        (0.5 * flight, pose(shoulder=45, hip=6, knee=10), _smooth),
        (0.11, land, _slowing),
        (rng.uniform(0.4, 0.55), pose(), _smooth),
    )
    off = begin + dip + push
    rise = times - off
    lift = np.where((rise > 0) & (rise < flight), 0.5 * gravity * rise * (flight - rise), 0)
    cues = [Cue(off, "step", "ankles", 0.15), Cue(off + flight, "thud", "ankles", 0.6)]
    return Motion(_through(times, pose(), keys), lift, begin, keys[-1][0], cues)


def _squat(times: np.ndarray, seconds: float, gravity: float, rng: np.random.Generator) -> Motion:
    down, up, arms = rng.uniform(0.65, 0.9), rng.uniform(0.28, 0.38), rng.uniform(60, 95)
    depth = rng.uniform(0.88, 1.1)
    low = pose(trunk=34 * depth, hip=88 * depth, knee=112 * depth, shoulder=arms, elbow=8, head=-15)
    over = pose(trunk=-4, hip=-3, knee=0, shoulder=-6)
    period = down + up + 0.3
    first = -rng.uniform(0, period)
    moves: list[Key] = []
    for _ in range(int(np.ceil((seconds - first) / period)) + 1):
        moves += [(down, low, _slowing), (up, over, _speeding), (0.3, pose(), _slowing)]
    keys = _keys(first, *moves)
    return Motion(_through(times, pose(), keys), np.zeros(len(times)), 0.0, seconds, [])


def _wave(times: np.ndarray, seconds: float, gravity: float, rng: np.random.Generator) -> Motion:
    side = str(rng.choice(["right_", "left_"]))
    raised = pose(trunk=-2, **{side + "shoulder": rng.uniform(125, 150), side + "elbow": 45})
    takes = rng.uniform(1.2, 1.7)
    begin = _begin(rng, seconds, takes)
    keys = _keys(begin, (0.28, raised, _slowing), (max(takes - 0.7, 0.2), raised, _smooth), (0.5, pose(), _speeding))
    angles = _through(times, pose(), keys)
    until = keys[2][0]
    since = np.clip(times - begin - 0.2, 0, until - begin - 0.2)
    # Each swing of a wave is smaller than the last one.
    swing = 34 * np.exp(-0.7 * since) * np.sin(2 * np.pi * rng.uniform(2.2, 3) * since)
    on = np.clip((times - begin - 0.2) / 0.1, 0, 1) * np.clip((until + 0.1 - times) / 0.1, 0, 1)
    angles[:, _COLUMN[side + "elbow"]] += swing * on
    return Motion(angles, np.zeros(len(times)), begin, keys[-1][0], [])


_SEATED = {"trunk": 3.0, "hip": 88.0, "knee": 88.0, "shoulder": 38.0, "elbow": 25.0}


def _sit_down(times: np.ndarray, seconds: float, gravity: float, rng: np.random.Generator) -> Motion:
    """A slow, braked descent that ends in a drop, a rebound of the seat and a settling of the trunk."""
    down = rng.uniform(0.65, 0.95)
    begin = _begin(rng, seconds, down + 0.6)
    reach = pose(trunk=30, hip=70, knee=72, shoulder=25, elbow=25, head=-10)
    plop = pose(trunk=22, hip=90, knee=88, shoulder=45, elbow=25)
    back = pose(trunk=-9, hip=87, knee=88, shoulder=30, elbow=30, head=8)
    keys = _keys(
        begin,
        (down, reach, _slowing),
        (0.16, plop, _speeding),
        (0.28, back, _slowing),
        (0.35, pose(**_SEATED), _smooth),
    )
    drop = begin + down + 0.16
    angles = _through(times, pose(), keys)
    rebound = np.where(times > drop, np.exp(-9 * (times - drop)) * np.abs(np.sin(22 * (times - drop))), 0)
    for side in ("right_", "left_"):
        angles[:, _COLUMN[side + "hip"]] -= 7 * rebound
    cues = [Cue(drop, "thud", "hips", 0.35), Cue(drop + 0.03, "creak", "hips", 0.3)]
    return Motion(angles, np.zeros(len(times)), begin, keys[-1][0], cues, seat=True)


def _stand_up(times: np.ndarray, seconds: float, gravity: float, rng: np.random.Generator) -> Motion:
    """A swing of the trunk while still seated, a burst upwards, an overshoot on the toes, a settling."""
    lean, burst = rng.uniform(0.3, 0.45), rng.uniform(0.3, 0.42)
    begin = _begin(rng, seconds, lean + burst + 0.45)
    seated = pose(**_SEATED)
    ready = pose(trunk=44, hip=90, knee=98, shoulder=10, elbow=30, head=-22)
    over = pose(trunk=-5, hip=-4, knee=0, shoulder=-22, elbow=15)
    keys = _keys(begin, (lean, ready, _smooth), (burst, over, _slowing), (rng.uniform(0.35, 0.5), pose(), _smooth))
    cues = [Cue(begin + lean, "creak", "hips", 0.25), Cue(begin + lean + 0.6 * burst, "step", "ankles", 0.15)]
    return Motion(_through(times, seated, keys), np.zeros(len(times)), begin, keys[-1][0], cues, seat=True)


def _fall(times: np.ndarray, seconds: float, gravity: float, rng: np.random.Generator) -> Motion:
    """The body tips about its feet like a pole: ever faster, then it hits the floor and bounces a little."""
    way = 1.0 if rng.random() < 0.65 else -1.0
    takes = rng.uniform(0.75, 1.0)
    begin = _begin(rng, seconds, takes + 0.35)
    since = times - begin
    rate = np.sqrt(1.5 * gravity / 0.55) * 0.75
    tip = np.clip(np.cosh(rate * np.clip(since, 0, takes)) - 1, 0, None) / (np.cosh(rate * takes) - 1)
    after = np.clip(since - takes, 0, None)
    bounce = np.exp(-6 * after) * np.abs(np.sin(13 * after))
    share = np.where(since < takes, tip, 1.0)
    lying = pose(trunk=86 * way, hip=-86 * way, shoulder=97 * way, elbow=5, knee=4, head=-10 * way)
    angles = pose() + share[:, None] * (lying - pose())
    rise = 9 * bounce * way
    angles[:, 0] -= rise
    angles[:, 1] += 20 * bounce
    # Knees give way and arms are thrown out on the way down.
    give = np.sin(np.pi * np.clip(share, 0, 1) ** 0.5)
    for side in ("right_", "left_"):
        angles[:, _COLUMN[side + "knee"]] += 38 * give
        angles[:, _COLUMN[side + "hip"]] += 18 * give
        angles[:, _COLUMN[side + "shoulder"]] += 60 * give - 15 * bounce
    hit = begin + takes
    cues = [Cue(hit, "thud", "trunk", 1.0), Cue(hit + np.pi / 13, "thud", "trunk", 0.35)]
    return Motion(angles, np.zeros(len(times)), begin, hit + 0.5, cues)


def _pick_up(times: np.ndarray, seconds: float, gravity: float, rng: np.random.Generator) -> Motion:
    """A quick reach for the floor, a pause, a slow rise under a load, arms bent in front."""
    down, hold, up = rng.uniform(0.35, 0.45), rng.uniform(0.1, 0.25), rng.uniform(0.8, 1.0)
    begin = _begin(rng, seconds, down + hold + up)
    low = pose(trunk=88, hip=52, knee=60, shoulder=10, elbow=4, head=-25)
    loaded = pose(trunk=-4, shoulder=18, elbow=88, knee=6, hip=4)
    keys = _keys(begin, (down, low, _smooth), (hold, low, _smooth), (up, loaded, _slowing))
    return Motion(_through(times, pose(), keys), np.zeros(len(times)), begin, keys[-1][0], [])


_ACTIONS: dict[str, Callable[[np.ndarray, float, float, np.random.Generator], Motion]] = {
    "walk": _walk,
    "jump": _jump,
    "squat": _squat,
    "wave": _wave,
    "sit_down": _sit_down,
    "stand_up": _stand_up,
    "fall": _fall,
    "pick_up": _pick_up,
}
