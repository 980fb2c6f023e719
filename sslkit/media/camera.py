"""Find how a camera moved: the motion of the background between the frames of a clip, whoever walks through it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, pairwise

import cv2
import numpy as np

_CELLS = (6, 8)
_PER_CELL = 12
_LEAST_EIGENVALUE = 1e-4
_WINDOW_PX = 19
_FEWEST_INLIERS = 6
_INLIER_SHARE = 0.3
# When so many agree nobody else needs to be asked.
_CLEAR_SHARE = 0.8
# Where depth or a rolling shutter bends the background, a looser fit is better than none.
_TOLERANCES_PX = (0.5, 1.5)
# A new key frame is taken when less than this share of its corners is still tracked.
_SHARE_LEFT = 0.4
# Of the short side of the picture, and of what is usual in the clip: farther off course is a mistake.
_STRAY = 0.05
_STRAYS = 5.0
MOVES = 8
"""A gray value that differs by more is of something that moves, and counts no more than this."""


def to_centre(gray: list[np.ndarray]) -> list[np.ndarray | None]:
    """For each frame the homography to the central one, None where there is none to be trusted."""
    centre = len(gray) // 2
    found: list[np.ndarray | None] = [None] * len(gray)
    found[centre] = np.eye(3)
    for order in (range(centre + 1, len(gray)), range(centre - 1, -1, -1)):
        for index, homography in _chained(gray, centre, order):
            found[index] = homography
    return found


def _chained(gray: list[np.ndarray], key: int, order: Iterable[int]) -> Iterable[tuple[int, np.ndarray | None]]:
    """Find the corners of a key frame in frames in order; take a new key frame when few are left or they mislead."""
    to_centre, step, last_good = np.eye(3), np.eye(3), key
    points = _corners(gray[key])
    for index in order:
        found = _step(gray[key], gray[index], points, step, _SHARE_LEFT * len(points))
        if found is None and last_good != key:
            key, to_centre, points = last_good, to_centre @ step, _corners(gray[last_good])
            found = _step(gray[key], gray[index], points, np.eye(3), 0.0)
        if found is not None:
            step, last_good = found, index
        latest = to_centre @ step
        yield index, None if found is None else latest / latest[2, 2]


def _corners(gray: np.ndarray) -> np.ndarray:
    """(N, 1, 2) float32 corners that can be tracked, the best of every cell of a grid.

    People have the strongest corners; taken from everywhere, most corners lie on the background.
    """
    rows, columns = (np.linspace(0, gray.shape[axis], _CELLS[axis] + 1).astype(int) for axis in (0, 1))
    strength = cv2.cornerMinEigenVal(gray, 5)
    peaks = (strength > _LEAST_EIGENVALUE) & (strength == cv2.dilate(strength, np.ones((5, 5), np.uint8)))
    found = []
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            y, x = np.nonzero(peaks[top:bottom, left:right])
            best = np.argsort(-strength[top + y, left + x], kind="stable")[:_PER_CELL]
            found.append(np.stack([left + x[best], top + y[best]], axis=1))
    return np.concatenate(found).astype(np.float32)[:, None]


def _tracked(
    first: np.ndarray, second: np.ndarray, points: np.ndarray, expected: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points of the first picture and where they are in the second, those that come back to within a pixel.

    expected: the motion from the second picture to the first that is likely. What moves in another way is soon lost.
    """
    if len(points) == 0:
        return points, points
    guess = cv2.perspectiveTransform(points, np.linalg.inv(expected))
    there, forth = _lucas_kanade(first, second, points, guess)
    back, again = _lucas_kanade(second, first, there, points)
    good = (np.abs(back - points).sum(axis=(1, 2)) <= 1.0) & forth & again
    return points[good], there[good]


def _lucas_kanade(
    first: np.ndarray, second: np.ndarray, points: np.ndarray, guess: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where the points of the first picture are in the second, searched from a guess, and which ones were found."""
    there, found, _ = cv2.calcOpticalFlowPyrLK(
        first,
        second,
        points,
        guess.copy(),
        winSize=(_WINDOW_PX, _WINDOW_PX),
        # In a coarser picture the window would see so much that the largest thing that moves takes everything along.
        maxLevel=max(0, round(np.log2(min(first.shape) / (3 * _WINDOW_PX)))),
        criteria=(cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 20, 0.03),
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    return np.asarray(there, np.float32), np.asarray(found).ravel() == 1


def _step(
    key: np.ndarray, now: np.ndarray, points: np.ndarray, expected: np.ndarray, least: float
) -> np.ndarray | None:
    """The motion from a picture to the key frame under which most of the picture stays what it is.

    That of the most tracks may be that of somebody who moves: what the rest agree on is looked at too, and any has to
    do better than none at all. None if fewer than `least` of the points are found again, or too few agree.
    """
    kept, there = _tracked(key, now, points, expected)
    if len(kept) < least:
        return None
    motions = next(filter(None, (list(_motions(there, kept, tolerance_px)) for tolerance_px in _TOLERANCES_PX)), [])
    return min([np.eye(3), *motions], key=lambda motion: _unlike(key, now, motion)) if motions else None


def _motions(source: np.ndarray, target: np.ndarray, tolerance_px: float) -> Iterator[np.ndarray]:
    """What most tracks agree on, and where many do not, what most of those agree on."""
    count = len(source)
    while len(source) > (1 - _CLEAR_SHARE) * count:
        found = _agreed(source, target, tolerance_px, max(_FEWEST_INLIERS, _INLIER_SHARE * len(source)))
        if found is None:
            return
        motion, agree = found
        yield motion
        source, target = source[~agree], target[~agree]


def _unlike(key: np.ndarray, now: np.ndarray, motion: np.ndarray) -> float:
    """Mean difference of gray values of two pictures that a motion lays over each other; what moves counts little."""
    size = key.shape[::-1]
    seen = cv2.warpPerspective(np.full(now.shape, 255, np.uint8), motion, size) == 255
    difference = cv2.absdiff(cv2.warpPerspective(now, motion, size), key)[seen]
    return float(np.minimum(difference, MOVES).mean()) if len(difference) else float("inf")


def _agreed(
    source: np.ndarray, target: np.ndarray, tolerance_px: float, fewest: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """The motion that most tracks agree with, and which do; None if fewer than `fewest` do or it turns inside out.

    Where a shift, or rotation and zoom, or an affine map fits those tracks as well as a full homography does, it is
    taken: it cannot go wrong in the parts of the picture where there are no tracks.
    """
    if len(source) < fewest:
        return None
    # Unlike OpenCV's older RANSAC this one starts from the same seed each time, and is several times as fast.
    full, inliers = cv2.findHomography(source, target, cv2.USAC_DEFAULT, tolerance_px)
    if full is None or int(inliers.sum()) < fewest or not 0.2 < np.linalg.det(full) < 5:
        return None
    chosen = inliers.ravel() == 1
    before, after = source[chosen, 0].astype(np.float64), target[chosen, 0].astype(np.float64)
    enough = _misfit(full, before, after) * 1.05 + 0.01
    simpler = (motion(before, after) for motion in (_stillness, _shift, _similarity, _affine))
    motion = next((one for one in simpler if _misfit(one, before, after) <= enough), np.asarray(full, np.float64))
    return motion, chosen


def _misfit(motion: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
    """Root mean square distance in pixels between where points should be, (N, 2), and where a motion puts them."""
    there = cv2.perspectiveTransform(before[None], motion)[0]
    return float(np.sqrt(((there - after) ** 2).sum(axis=1).mean()))


def _stillness(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return np.eye(3)


def _shift(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    x, y = (after - before).mean(axis=0)
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])


def _similarity(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Rotation, zoom and shift by least squares: with x + iy for a point, after = factor * before + shift."""
    one, other = before @ [1, 1j], after @ [1, 1j]
    centred = one - one.mean()
    factor = np.vdot(centred, other) / max(np.vdot(centred, centred).real, 1e-9)
    shift = other.mean() - factor * one.mean()
    c, s = factor.real, factor.imag
    return np.array([[c, -s, shift.real], [s, c, shift.imag], [0, 0, 1]])


def _affine(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    ones = np.column_stack([before, np.ones(len(before))])
    return np.vstack([np.linalg.lstsq(ones, after, rcond=None)[0].T, [0, 0, 1]])


def without_strays(found: list[np.ndarray | None], shape: tuple[int, ...]) -> list[np.ndarray | None]:
    """Homographies but None for those that put the corners of the picture far from where their neighbours' course does.

    Far is several times what is usual in the clip: a hand that shakes is not taken for a mistake.
    """
    times = [index for index, one in enumerate(found) if one is not None]
    moved = np.stack([cv2.perspectiveTransform(_outline(shape), one)[0] for one in found if one is not None])
    apart = np.array([_off_course(moved, times, at) for at in range(len(times))])
    most = max(_STRAY * min(shape), _STRAYS * float(np.median(apart)))
    strays = {time for time, off_px in zip(times, apart, strict=True) if off_px > most} - {len(found) // 2}
    return [None if index in strays else one for index, one in enumerate(found)]


def _off_course(moved: np.ndarray, times: Sequence[int], at: int) -> float:
    """How many pixels the corners lie beside the lines through two frames nearby, the middle one of all such lines."""
    near = [other for other in range(max(0, at - 3), min(len(times), at + 4)) if other != at]
    lines = [
        moved[a] + (moved[b] - moved[a]) * (times[at] - times[a]) / (times[b] - times[a])
        for a, b in combinations(near, 2)
    ]
    return float(np.abs(moved[at] - np.median(lines, axis=0)).max()) if lines else 0.0


def filled(found: list[np.ndarray | None], shape: tuple[int, ...]) -> np.ndarray:
    """Homographies without gaps: what is missing is put between its neighbours."""
    times = [index for index, one in enumerate(found) if one is not None]
    corners = _outline(shape)
    flat = np.stack([cv2.perspectiveTransform(corners, one)[0].ravel() for one in found if one is not None])
    between = np.stack([np.interp(np.arange(len(found)), times, column) for column in flat.T], axis=1)
    return np.stack(
        [
            cv2.getPerspectiveTransform(corners[0], at.astype(np.float32).reshape(4, 2)) if one is None else one
            for one, at in zip(found, between, strict=True)
        ]
    )


def _outline(shape: tuple[int, ...]) -> np.ndarray:
    """(1, 4, 2) float32: the corners of a picture."""
    height, width = shape
    return np.array([[[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]], np.float32)
