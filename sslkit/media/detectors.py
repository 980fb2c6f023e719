"""Where the faces of a picture are: detectors that come with OpenCV, or one of your own.

Departure from joonson/syncnet_python, which uses S3FD: Haar's cascades for frontal faces and profiles (YuNet by path).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from sslkit.errors import UserError

Frames = NDArray[np.uint8]
Picture = NDArray[Any]  # uint8, but OpenCV does not say so of what it returns
Boxes = NDArray[np.float32]

EYES, MOUTH = 0.38, 0.78
"""How a face lies in the square that Haar's cascades draw: shares of its side, measured from its top."""
PROFILE = 1.0
_SEARCH_PX = 480
_PROFILE_PX = 320  # profiles are only reported
_LEAST_PX = 24
# A face that was seen is looked for among faces of about its size, a little way around it, where it is so large.
_NEAR_PX = 64
_NEAR_SIZES = 0.75, 1.33
_AROUND = 0.4


class Finder(Protocol):
    """What finds faces."""

    def __call__(self, picture: Frames, near: Boxes | None = None) -> Boxes:
        """Boxes (n, 5) of a picture (H, W, 3) uint8: left, top, right, bottom, and 1 for a profile.

        near: boxes of a moment ago; only where they are need be looked.
        """


def finder(model: Path | None = None) -> Finder:
    """What finds faces in a picture.

    model: the ONNX file of a YuNet detector; without one, the cascades of OpenCV for frontal faces and profiles.
    Raises UserError when the model cannot be loaded.
    """
    return _cascades() if model is None else _yunet(model)


def overlap(one: Boxes, two: Boxes) -> float:
    """Intersection over union."""
    low, high = np.maximum(one[:2], two[:2]), np.minimum(one[2:4], two[2:4])
    both = float(np.prod(np.maximum(0, high - low)))
    areas = [float(np.prod(box[2:4] - box[:2])) for box in (one, two)]
    return both / max(sum(areas) - both, 1e-9)


def _cascades() -> Finder:
    folder = Path(cv2.__file__).parent / "data"
    frontal, profile = (
        cv2.CascadeClassifier(str(folder / f"haarcascade_{name}.xml")) for name in ("frontalface_alt2", "profileface")
    )

    def find(picture: Frames, near: Boxes | None = None) -> Boxes:
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        if near is not None:
            return np.concatenate([_near(frontal, profile, grey, box) for box in near])
        small, scale = _small(grey)
        front = _seen(frontal, small)
        if len(front):
            return _boxes(front, scale, 0.0)
        small, scale = _small(grey, _PROFILE_PX)
        return _boxes(_from_sides(profile, small), scale, PROFILE)

    return find


def _near(frontal: cv2.CascadeClassifier, profile: cv2.CascadeClassifier, grey: Picture, box: Boxes) -> Boxes:
    """The face that is now where a box was, (1, 5), or none, (0, 5)."""
    side = float(box[2] - box[0])
    low = np.maximum(0, np.floor(box[:2] - _AROUND * side)).astype(int)
    high = np.ceil(box[2:4] + _AROUND * side).astype(int)
    patch, scale = grey[low[1] : high[1], low[0] : high[0]], _NEAR_PX / side
    if not patch.size:
        return np.zeros((0, 5), np.float32)
    patch = cv2.resize(patch, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    sizes = [round(_NEAR_PX * share) for share in _NEAR_SIZES]
    found = _boxes(_seen(frontal, patch, *sizes), scale, 0.0)
    if not len(found):
        found = _boxes(_from_sides(profile, patch, *sizes), scale, PROFILE)
    found[:, :4] += np.tile(low, 2).astype(np.float32)
    nearest = sorted(found, key=lambda one: -overlap(one, box))[:1]
    return np.stack(nearest) if nearest else found


def _boxes(found: NDArray[np.float64], scale: float, kind: float) -> Boxes:
    """Left, top, width, height (n, 4) in a scaled picture, as boxes (n, 5) of what was scaled."""
    corners = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], 1) / scale
    return np.column_stack([corners, np.full(len(found), kind)]).astype(np.float32)


def _from_sides(profile: cv2.CascadeClassifier, grey: Picture, *sizes: int) -> NDArray[np.float64]:
    """Faces that look to the left or to the right, (n, 4) of left, top, width, height."""
    right = _seen(profile, cv2.flip(grey, 1), *sizes)
    right[:, 0] = grey.shape[1] - right[:, 0] - right[:, 2]
    return np.concatenate([_seen(profile, grey, *sizes), right])


def _small(grey: Picture, most_px: int = _SEARCH_PX) -> tuple[Picture, float]:
    scale = min(1.0, most_px / max(grey.shape))
    return (cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else grey), scale


def _seen(
    cascade: cv2.CascadeClassifier, grey: Picture, least_px: int = _LEAST_PX, most_px: int = 0
) -> NDArray[np.float64]:
    """(n, 4) of left, top, width, height; a limit of 0 is none."""
    step = 1.05 if most_px else 1.1
    boxes = cascade.detectMultiScale(grey, step, 4, minSize=(least_px, least_px), maxSize=(most_px, most_px))
    return np.asarray(boxes, np.float64).reshape(-1, 4)


def _yunet(model: Path) -> Finder:
    try:
        network = cv2.FaceDetectorYN.create(str(model), "", (_SEARCH_PX, _SEARCH_PX), 0.7)
    except cv2.error as error:
        raise UserError(f"{model} is no YuNet detector that OpenCV can load: name the .onnx file of one.") from error

    def find(picture: Frames, near: Boxes | None = None) -> Boxes:
        small, scale = _small(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        network.setInputSize((small.shape[1], small.shape[0]))
        _, faces = network.detect(small)
        if faces is None:
            return np.zeros((0, 5), np.float32)
        points = faces[:, 4:14].reshape(-1, 5, 2) / scale
        eyes, mouth = points[:, :2].mean(1), points[:, 3:].mean(1)
        side = np.linalg.norm(mouth - eyes, axis=1) / (MOUTH - EYES)
        left, top = (eyes + mouth)[:, 0] / 2 - side / 2, eyes[:, 1] - EYES * side
        return np.column_stack([left, top, left + side, top + side, np.zeros(len(side))]).astype(np.float32)

    return find
