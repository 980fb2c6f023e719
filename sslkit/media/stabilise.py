"""Take the camera's motion out of a clip: every frame is warped to where the central one saw the background.

Source: the stabilisation of donglaiw/AoT_Dataset (Wei et al., "Learning and using the arrow of time", CVPR 2018):
corners, tracks and RANSAC with its settings. Departures: tracks are matched against the key frame itself, each starting
from where it was a frame before, and chained through a new key frame only when few are left, so errors do not add up; a
homography that strays from its neighbours is replaced, but good ones are not smoothed, which would put shake back in;
instead the simplest motion that explains the tracks is taken; weaker corners are used where there are few.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

_CORNERS = 1000
_ENOUGH_CORNERS = 300
_FEWEST_INLIERS = 6
# A new key frame is taken when less than this share of its corners is still tracked.
_SHARE_LEFT = 0.4
_BAD_FRAMES = 0.2
_STILL_PX = 0.1
_WORSE = 1.1
_STRAY = 0.05


@dataclass(frozen=True)
class Stabilised:
    """A clip without camera motion, or the reason why it could not be had.

    frames: (T, H', W', 3) uint8, cut to what all frames show, with even sides; the clip as it came if it was refused.
    homographies: (T, 3, 3) float64, from pixels (x, y, 1) of each frame as it came to those of the central frame.
    crop: (top, bottom, left, right) pixels that were cut off. reason: one sentence, None if all is well.
    """

    frames: np.ndarray
    homographies: np.ndarray
    crop: tuple[int, int, int, int]
    reason: str | None


def stabilise(
    frames: np.ndarray, *, least_share: float = 0.5, least_change: float = 0.0, most_change: float = 60.0
) -> Stabilised:
    """Stabilise a clip, (T, H, W, 3) uint8 RGB. A clip whose camera stands still comes back as it is.

    least_share: of the picture that must be left after cutting. least_change, most_change: mean difference of gray
    values between neighbouring frames, 0..255, below or above which a clip is refused (too little or too much motion).
    """
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    change = _change(gray)
    if change < least_change:
        return _refused(frames, f"there is hardly any motion (frames differ by {change:.2f} of 255)")
    if change > most_change:
        return _refused(frames, f"there is too much motion (frames differ by {change:.0f} of 255)")
    found = _to_centre(gray)
    bad = sum(one is None for one in found)
    if bad > _BAD_FRAMES * len(found):
        return _refused(frames, f"the camera's motion could not be found in {bad} of {len(found)} frames")
    return _cut(frames, _repaired(found, gray[0].shape), least_share)


def followed(planes: np.ndarray, steady: Stabilised) -> np.ndarray:
    """Planes (T, H, W) uint8 that lie on the frames of a clip, such as object ids, moved and cut like those frames."""
    height, width = planes.shape[1:]
    top, bottom, left, right = steady.crop
    moved = [
        cv2.warpPerspective(plane, one, (width, height), flags=cv2.INTER_NEAREST)
        for plane, one in zip(planes, steady.homographies, strict=True)
    ]
    return np.stack(moved)[:, top : height - bottom, left : width - right]


def _change(pictures: Sequence[np.ndarray]) -> float:
    """Mean difference between neighbouring pictures, 0..255."""
    return float(np.mean([cv2.absdiff(one, two).mean() for one, two in pairwise(pictures)] or [0.0]))


def _refused(frames: np.ndarray, reason: str) -> Stabilised:
    return Stabilised(frames, np.tile(np.eye(3), (len(frames), 1, 1)), (0, 0, 0, 0), f"Not stabilised: {reason}.")


def _to_centre(gray: list[np.ndarray]) -> list[np.ndarray | None]:
    """For each frame the homography to the central one, None where there is none to be trusted."""
    centre = len(gray) // 2
    found: list[np.ndarray | None] = [None] * len(gray)
    found[centre] = np.eye(3)
    for order in (range(centre + 1, len(gray)), range(centre - 1, -1, -1)):
        for index, homography in _chained(gray, centre, order):
            found[index] = homography
    return found


def _chained(gray: list[np.ndarray], key: int, order: Iterable[int]) -> Iterable[tuple[int, np.ndarray | None]]:
    """Follow the corners of a key frame through frames in order; take a new key frame when they run out."""
    to_centre, latest, last_good = np.eye(3), np.eye(3), key
    points = guess = _corners(gray[key])
    wanted = _SHARE_LEFT * len(points)
    for index in order:
        kept, there = _tracked(gray[key], gray[index], points, guess)
        if len(kept) < wanted and last_good != key:
            key, to_centre = last_good, latest
            points = guess = _corners(gray[key])
            wanted = _SHARE_LEFT * len(points)
            kept, there = _tracked(gray[key], gray[index], points, guess)
        step = _homography(there, kept)
        if step is None:
            yield index, None
            continue
        points, guess = kept, there
        latest, last_good = to_centre @ step, index
        yield index, latest / latest[2, 2]


def _corners(gray: np.ndarray) -> np.ndarray:
    """(N, 1, 2) float32 corners that can be tracked; weaker ones, too, where there are few."""
    for quality in (0.01, 0.001):
        found = cv2.goodFeaturesToTrack(gray, _CORNERS, quality, 5, blockSize=11, useHarrisDetector=True, k=0.04)
        if found is not None and len(found) >= _ENOUGH_CORNERS:
            break
    return np.zeros((0, 1, 2), np.float32) if found is None else np.asarray(found, np.float32)


def _tracked(
    first: np.ndarray, second: np.ndarray, points: np.ndarray, guess: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points of the first picture and where they are in the second, those that come back to within a pixel."""
    if len(points) == 0:
        return points, guess
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
        winSize=(19, 19),
        maxLevel=3,
        criteria=(cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 20, 0.03),
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    return np.asarray(there, np.float32), np.asarray(found).ravel() == 1


def _homography(source: np.ndarray, target: np.ndarray) -> np.ndarray | None:
    """The motion that most tracks agree with to half a pixel, None if fewer than six do or it turns inside out.

    Where a shift, or rotation and zoom, or an affine map fits those tracks as well as a full homography does, it is
    taken: it cannot go wrong in the parts of the picture where there are no tracks.
    """
    if len(source) < _FEWEST_INLIERS:
        return None
    # RANSAC draws from OpenCV's own generator: a fixed seed makes equal clips give equal results.
    cv2.setRNGSeed(0)
    full, inliers = cv2.findHomography(source, target, cv2.RANSAC, 0.5)
    if full is None or int(inliers.sum()) < _FEWEST_INLIERS or not 0.2 < np.linalg.det(full) < 5:
        return None
    chosen = inliers.ravel() == 1
    before, after = source[chosen, 0].astype(np.float64), target[chosen, 0].astype(np.float64)
    enough = _misfit(full, before, after) * 1.05 + 0.01
    simpler = (motion(before, after) for motion in (_stillness, _shift, _similarity, _affine))
    return next((one for one in simpler if _misfit(one, before, after) <= enough), np.asarray(full, np.float64))


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


def _repaired(found: list[np.ndarray | None], shape: tuple[int, ...]) -> np.ndarray:
    """Homographies without gaps: missing ones and those that stray from their neighbours are put between them."""
    height, width = shape
    corners = np.array([[[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]], np.float32)
    good = [index for index, one in enumerate(found) if one is not None]
    moved = np.stack([cv2.perspectiveTransform(corners, one)[0] for one in found if one is not None])
    around = np.stack([np.median(moved[max(0, at - 2) : at + 3], axis=0) for at in range(len(moved))])
    sound = np.abs(moved - around).max(axis=(1, 2)) <= _STRAY * min(height, width)
    sound[good.index(len(found) // 2)] = True
    times = np.array(good)[sound]
    flat = moved[sound].reshape(-1, 8)
    filled = np.stack([np.interp(np.arange(len(found)), times, column) for column in flat.T], axis=1)
    kept = dict(zip(times.tolist(), (found[index] for index in times), strict=True))
    between = (cv2.getPerspectiveTransform(corners[0], one.astype(np.float32).reshape(4, 2)) for one in filled)
    return np.stack([kept.get(index, other) for index, other in enumerate(between)])


def _cut(frames: np.ndarray, homographies: np.ndarray, least_share: float) -> Stabilised:
    """Warp all frames to the central one and cut them to the largest rectangle that lies inside every one."""
    height, width = frames.shape[1:3]
    corners = np.array([[[0, 0], [width, 0], [width, height], [0, height]]], np.float64)
    moved = np.stack([cv2.perspectiveTransform(corners, one)[0] for one in homographies])
    if np.abs(moved - corners).max() < _STILL_PX:
        return Stabilised(frames, homographies, (0, 0, 0, 0), None)
    seen = np.full((height, width), True)
    for one in homographies:
        seen &= cv2.warpPerspective(np.full((height, width), 255, np.uint8), one, (width, height)) == 255
    top, bottom, left, right = _largest_rectangle(seen)
    share = (bottom - top) * (right - left) / (height * width)
    if share < least_share:
        return _refused(frames, f"the camera moves so far that only {share:.0%} of the picture is in every frame")
    steady = [
        cv2.warpPerspective(frame, one, (width, height), flags=cv2.INTER_CUBIC)[top:bottom, left:right]
        for frame, one in zip(frames, homographies, strict=True)
    ]
    if _change(steady) > _WORSE * _change([frame[top:bottom, left:right] for frame in frames]):
        return _refused(frames, "the camera's motion could not be found well enough to steady the picture")
    return Stabilised(np.stack(steady), homographies, (top, height - bottom, left, width - right), None)


def _largest_rectangle(seen: np.ndarray) -> tuple[int, int, int, int]:
    """Largest upright rectangle with even sides in a convex region: (top, bottom, left, right), the ends exclusive.

    In a convex region the narrowest row of a rectangle is its first or its last, so pairs of rows are all to try.
    """
    height, width = seen.shape
    some = seen.any(axis=1)
    begin = np.where(some, seen.argmax(axis=1), width)
    end = np.where(some, width - seen[:, ::-1].argmax(axis=1), 0)
    widths = np.minimum(end[:, None], end[None]) - np.maximum(begin[:, None], begin[None])
    heights = np.arange(height)[None] - np.arange(height)[:, None] + 1
    area = np.where((widths > 0) & (heights > 0), widths // 2 * (heights // 2), 0)
    top, last = np.unravel_index(int(area.argmax()), area.shape)
    left = max(begin[top], begin[last])
    tall, wide = heights[top, last] // 2 * 2, widths[top, last] // 2 * 2
    return int(top), int(top + max(0, tall)), int(left), int(left + max(0, wide))
