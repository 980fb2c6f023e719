"""From arrays to one stored sample: what is encoded how, and what is written down about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sslkit.data.shards import Stored
from sslkit.media import write

FLOW_BOUND_PX = 20.0
SOUND_FPS = 100.0


def clip(
    meta: Mapping[str, Any],
    frames: NDArray[np.uint8],
    fps: float,
    *,
    sound: NDArray[np.int16] | None = None,
    rate_hz: int = 16_000,
    fwd: Iterable[NDArray[np.uint8]] = (),
    bwd: Iterable[NDArray[np.uint8]] = (),
    masks: NDArray[np.uint8] | None = None,
) -> Stored:
    """A stored video clip.

    meta: at least `key`; whatever else is known (`label`, `source`, `start_s`, `truth`, ...) replaces the defaults of
    `described`. frames: (T, H, W, 3) uint8 RGB with even sides. sound: (N,) or (N, 2) int16 from the first frame
    on. fwd, bwd: T - 1 packed fields (2, H, W) uint8, encoded one at a time. masks: (T, H, W) uint8 object ids.
    """
    members = {"mp4": write.video(None, frames, fps)}
    if sound is not None and len(sound):
        members["flac"] = write.flac(sound, rate_hz)
    for name, fields in (("fwd", fwd), ("bwd", bwd)):
        for number, flow in enumerate(fields):
            members[f"{name}.{number:05d}.jpg"] = write.jpeg(flow.reshape(-1, flow.shape[-1]), 95)
    if masks is not None:
        members["masks.png"] = write.png(masks.reshape(-1, masks.shape[-1]))
    heard_s = len(sound) / rate_hz if sound is not None else 0.0
    facts = described(frames.shape[:3], fps) | {"kind": "video", "sound_s": heard_s, "motion": motion(frames)}
    return Stored({**facts, **meta}, members)


def sound(meta: Mapping[str, Any], heard: NDArray[np.int16], rate_hz: int) -> Stored:
    """Stored sound without pictures: (N,) or (N, 2) int16, at least a hundredth of a second; `meta` as for `clip`.

    Its windows begin on hundredths of a second, which stand for its frames.
    """
    facts = described((round(len(heard) / rate_hz * SOUND_FPS), 1, 1), SOUND_FPS)
    facts |= {"kind": "sound", "sound_s": len(heard) / rate_hz, "motion": []}
    return Stored({**facts, **meta}, {"flac": write.flac(heard, rate_hz)})


def still(meta: Mapping[str, Any], picture: NDArray[np.uint8]) -> Stored:
    """A stored picture: (H, W, 3) uint8 RGB; `meta` as for `clip`."""
    return Stored({**described((1, *picture.shape[:2]), 0.0), **meta}, {"jpg": write.jpeg(picture, 95)})


def described(shape: Sequence[int], fps: float) -> dict[str, Any]:
    """Meta data of a sample of shape (T, H, W) of which nothing further is known: a still without label."""
    frames, height, width = shape
    return {
        "key": "",
        "kind": "image",
        "label": -1,
        "label_name": None,
        "source": "",
        "group": "",
        "start_s": 0.0,
        "end_s": frames / fps if fps else 0.0,
        "fps": fps,
        "frames": frames,
        "height": height,
        "width": width,
        "sound_s": 0.0,
        "motion": [0.0] * frames,
        "border": [0, 0, 0, 0],
        "bars": [0, 0, 0, 0],
        "camera": None,
        "boxes": None,
        "flow_bound": FLOW_BOUND_PX,
        "truth": None,
        "fold": None,
        "tags": [],
    }


def motion(frames: NDArray[np.uint8]) -> list[float]:
    """Mean absolute grey difference of each frame to the one before, 0..255; the first is 0."""
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    return [0.0] + [round(cv2.norm(a, b, cv2.NORM_L1) / a.size, 3) for a, b in pairwise(grey)]
