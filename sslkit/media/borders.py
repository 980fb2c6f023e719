"""Find the black bars around a video: they are not purely black, and their noise gives the direction of time away.

Source: the border tool of donglaiw/AoT_Dataset (Wei et al., "Learning and using the arrow of time", CVPR 2018): mean
colour of every row and column over five frames, runs below a threshold are cut. Departures: rows must also be flat and
end in a step, so that dark scenes are kept.
"""

from __future__ import annotations

import cv2
import numpy as np

_SAMPLES = 5
# Black of studio range that was read as full range is 16.
_DARK = 20.0
_FLAT = 4.0
_STEP = 5.0
# Where a bar meets the picture, ringing and halved colours spoil a few rows.
_SPOILT_PX = 3
_SPOILT_STD = 20.0


def borders(frames: np.ndarray) -> tuple[int, int, int, int]:
    """Black bars of a clip, (top, bottom, left, right) in pixels, from (T, H, W, 3) uint8 frames.

    Five frames spread over the clip are looked at. A bar is a run of rows (columns) at the edge that are dark and flat
    in all of them and end in a step to the picture. A frame that would leave nothing, or less than a tenth of a side,
    has no bars: zeros.
    """
    chosen = frames[np.linspace(0, len(frames) - 1, min(_SAMPLES, len(frames))).round().astype(int)]
    top, bottom = _runs(chosen)
    left, right = _runs(chosen[:, top : chosen.shape[1] - bottom].transpose(0, 2, 1, 3))
    return top, bottom, left, right


def _runs(frames: np.ndarray) -> tuple[int, int]:
    """Length of the bars before and behind, along axis 1 of (T, rows, columns, 3)."""
    # Sums of whole numbers, so that a row of one value has a spread of exactly 0.
    rows = np.stack([_sums(frame) for frame in frames])
    values = frames.shape[2] * 3
    level = rows[..., 0].max(axis=0) / values
    mean, squares = (rows.sum(axis=0) / (len(frames) * values)).T
    spread = np.sqrt(np.maximum(squares - mean**2, 0))
    before = _run(level, spread)
    behind = _run(level[::-1], spread[::-1])
    return (before, behind) if before + behind <= 0.9 * len(level) else (0, 0)


def _sums(frame: np.ndarray) -> np.ndarray:
    """Sums of the values of each row of (rows, columns, 3), and of their squares: (rows, 2) float64."""
    flat = np.ascontiguousarray(frame).reshape(len(frame), -1)
    return np.hstack([cv2.reduce(flat, 1, kind, dtype=cv2.CV_64F) for kind in (cv2.REDUCE_SUM, cv2.REDUCE_SUM2)])


def _run(level: np.ndarray, spread: np.ndarray) -> int:
    """Rows from the first that belong to a bar: dark, flat, and followed by something clearly brighter."""
    flat = (level < _DARK) & (spread < _FLAT)
    length = len(flat) if flat.all() else int(flat.argmin())
    if length == 0 or length == len(flat):
        return 0
    # A picture that fades to black has a slope on both sides of any row, a bar has a step.
    edge = level[max(0, length - 5) : length]
    step = level[length : length + _SPOILT_PX + 1].max() - edge.min()
    if step < _STEP + 2 * (edge.max() - edge.min()):
        return 0
    spoilt = (level < _DARK) & (spread < _SPOILT_STD)
    while length < len(spoilt) and spoilt[length] and length - int(flat.argmin()) < _SPOILT_PX:
        length += 1
    return length
