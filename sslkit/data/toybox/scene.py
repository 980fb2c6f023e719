"""Plans of scenes: which there are, their labels and splits. Nothing is drawn here."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from sslkit.errors import UserError

FPS = 25
RATE_HZ = 16_000
SAMPLES_PER_FRAME = RATE_HZ // FPS

Split = Literal["train", "val", "test"]
Type = Literal["objects", "figure", "face"]
Camera = Literal["none", "pan", "zoom"]

SPLITS: tuple[Split, ...] = ("train", "val", "test")
TYPES: tuple[Type, ...] = ("objects", "figure", "face")
KINDS: tuple[str, ...] = (
    "ball",
    "football",
    "wheel",
    "donut",
    "gear",
    "nut",
    "crate",
    "dice",
    "brick",
    "star",
    "wedge",
    "cross",
)
"""Kinds of object: a shape with a texture each. Colours are drawn at random for every object."""
ACTIONS: tuple[str, ...] = ("walk", "jump", "squat", "wave", "sit_down", "stand_up", "fall", "pick_up")
CLASSES: tuple[str, ...] = (*KINDS, *ACTIONS, "talking")
KEYPOINTS: tuple[str, ...] = (
    "right_ankle",
    "right_knee",
    "right_hip",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_wrist",
    "right_elbow",
    "right_shoulder",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "neck",
    "head_top",
)
"""Keypoints of a figure, in the order of the Leeds Sports Pose data. Left and right are the figure's own."""

_TYPE_CLASSES: dict[Type, tuple[str, ...]] = {"objects": KINDS, "figure": ACTIONS, "face": ("talking",)}
_SPLIT_CYCLE: tuple[Split, ...] = (
    "train",
    "test",
    "train",
    "train",
    "val",
    "train",
    "train",
    "test",
    "train",
    "train",
)


@dataclass(frozen=True)
class Scene:
    """The plan of one clip or still; `render` turns it into pictures, sound and truth.

    key: name of the sample, without a dot. seed: everything drawn at random follows from it, so a changed option
    (camera, border, aberration, offset) leaves the rest of the content as it is.
    label: position of `label_name` in `CLASSES`. still: a single picture without sound.
    camera: moving camera, whose motion is in the truth. border: black bars. aberration: red and blue are scaled.
    camera_habit: the camera moves as film makers like it, inwards or down and slowing to a stop. encoder_noise: the
    bars are as wide as those of films, with noise as an encoder leaves it. Both show the direction of time.
    av_offset_frames: by how many frames the sound is late (negative: early) against its picture.
    """

    key: str
    seed: int
    split: Split
    type: Type
    label: int
    label_name: str
    still: bool = False
    seconds: float = 2.0
    width_px: int = 192
    height_px: int = 144
    camera: Camera = "none"
    border: bool = False
    aberration: bool = False
    # Outside the repr, of which prepared data keep a hash: data that were made before these options are as good.
    camera_habit: bool = field(default=False, repr=False)
    encoder_noise: bool = field(default=False, repr=False)
    av_offset_frames: int = 0

    @property
    def frames(self) -> int:
        """Pictures in the clip, at 25 per second; 1 for a still."""
        return 1 if self.still else max(1, round(self.seconds * FPS))

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height."""
        return self.width_px, self.height_px

    def random(self, stream: int) -> np.random.Generator:
        """A generator of the scene's own; streams (0 content, 1 view, 2 sound, ...) are independent."""
        return np.random.default_rng([self.seed, stream])


def scenes(
    seed: int,
    clips: int = 500,
    stills: int = 0,
    *,
    types: Sequence[Type] = TYPES,
    camera_share: float = 0.0,
    border_share: float = 0.0,
    aberration_share: float = 0.0,
    camera_habit: bool = False,
    encoder_noise: bool = False,
    seconds: float = 2.0,
    width_px: int = 192,
    height_px: int = 144,
) -> list[Scene]:
    """Plans of `clips` clips, then of `stills` stills; all classes of `types` equally often in every split (+-1).

    The shares are probabilities, drawn from each scene's own seed; a scene stays what it is when the counts change.
    camera_habit, encoder_noise: of those scenes that have a moving camera or bars; see `Scene`.
    70 % of the scenes are for training, 10 % for validation, 20 % for testing.

    Raises UserError for a share outside 0..1, a negative count, an unknown type, a clip shorter than a frame or a
    picture with a side under 48 px or odd.
    """
    _check(clips, stills, types, (camera_share, border_share, aberration_share), seconds, (width_px, height_px))
    plans = []
    for still, count in ((False, clips), (True, stills)):
        for index in range(count):
            own = _own_seed(f"{seed}/{'still' if still else 'clip'}/{index}")
            pick = np.random.default_rng([own, 99]).random(4)
            split, kind, label = _place(index, types)
            moving: Camera = "none" if pick[0] >= camera_share else "pan" if pick[1] < 0.5 else "zoom"
            plans.append(
                Scene(
                    key=f"{'still' if still else 'clip'}-{index:06d}",
                    seed=own,
                    split=split,
                    type=kind,
                    label=CLASSES.index(label),
                    label_name=label,
                    still=still,
                    seconds=seconds,
                    width_px=width_px,
                    height_px=height_px,
                    camera=moving,
                    border=bool(pick[2] < border_share),
                    aberration=bool(pick[3] < aberration_share),
                    camera_habit=camera_habit,
                    encoder_noise=encoder_noise,
                )
            )
    return plans


def _place(index: int, types: Sequence[Type]) -> tuple[Split, Type, str]:
    """Split, type and label of the scene at `index`: classes take turns, and each class walks through the splits.

    A class starts 3 places after the one before it (3 and 10 share no divisor): ten neighbours hold all splits.
    """
    classes = [(kind, label) for kind in TYPES if kind in types for label in _TYPE_CLASSES[kind]]
    turn, position = divmod(index, len(classes))
    kind, label = classes[position]
    return _SPLIT_CYCLE[(turn + 3 * position) % len(_SPLIT_CYCLE)], kind, label


def _own_seed(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "little")


def _check(
    clips: int,
    stills: int,
    types: Sequence[Type],
    shares: Sequence[float],
    seconds: float,
    size_px: tuple[int, int],
) -> None:
    if clips < 0 or stills < 0:
        raise UserError(f"The toybox cannot make {min(clips, stills)} scenes; ask for 0 or more.")
    if not types or any(kind not in TYPES for kind in types):
        raise UserError(f"Toybox types {list(types)} are not known; choose from {', '.join(TYPES)}.")
    if any(not 0 <= share <= 1 for share in shares):
        raise UserError(f"Toybox shares {list(shares)} must lie between 0 and 1.")
    if seconds * FPS < 1:
        raise UserError(f"Toybox clips of {seconds} s are too short; ask for at least one frame, {1 / FPS} s.")
    if any(side < 48 or side % 2 for side in size_px):
        raise UserError(f"Toybox pictures cannot be {size_px[0]}x{size_px[1]} px; take even sides of 48 or more.")
