"""Stabilisation against known camera motion: the background stands still, the object keeps moving."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from sslkit.media import read
from sslkit.media.stabilise import _largest_rectangle, pieces, stabilise

HEIGHT, WIDTH, FRAMES = 128, 160, 21


def world(size: int = 400) -> np.ndarray:
    """A big textured colour picture."""
    noise = np.random.default_rng(0)
    layers = [cv2.GaussianBlur(noise.standard_normal((size, size, 3)).astype(np.float32), (0, 0), s) for s in (1.5, 6)]
    return np.clip(128 + 45 * sum(layer / layer.std() for layer in layers), 0, 255).astype(np.uint8)


def camera(kind: str, index: int) -> np.ndarray:
    """Homography from a frame's pixels to the world's."""
    time = index - FRAMES // 2
    shake = np.random.default_rng(index).normal(0, 1.5, 2)
    x, y, zoom, angle = {
        "pan": (1.6 * time, -0.7 * time, 1.0, 0.0),
        "zoom": (0.0, 0.0, 1.008**time, 0.0),
        "hand": (*shake, 1.0, 0.003 * shake[0]),
        "still": (0.0, 0.0, 1.0, 0.0),
        "far": (14.0 * time, 0.0, 1.0, 0.0),
    }[kind]
    c, s = zoom * np.cos(angle), zoom * np.sin(angle)
    to_middle = np.array([[1, 0, -WIDTH / 2], [0, 1, -HEIGHT / 2], [0, 0, 1]])
    return np.array([[c, -s, 200 + x], [s, c, 200 + y], [0, 0, 1]]) @ to_middle


def clip(kind: str, object_px: int = 24) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames, the true homographies to the central frame, and a (T, H, W) mask of the moving object."""
    background, patch = world(), world(object_px)[..., ::-1]
    to_world = [camera(kind, index) for index in range(FRAMES)]
    centre = np.linalg.inv(to_world[FRAMES // 2])
    frames, masks = [], []
    for index, one in enumerate(to_world):
        scene, mask = background.copy(), np.zeros(background.shape[:2], np.uint8)
        at = 150 + 4 * index
        scene[190 : 190 + object_px, at : at + object_px], mask[190 : 190 + object_px, at : at + object_px] = patch, 255
        frames.append(cv2.warpPerspective(scene, np.linalg.inv(one), (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC))
        masks.append(cv2.warpPerspective(mask, np.linalg.inv(one), (WIDTH, HEIGHT)) > 0)
    return np.stack(frames), np.stack([centre @ one for one in to_world]), np.stack(masks)


def distance(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """How far two homographies put the points of a frame apart, in pixels, for each frame."""
    y, x = np.mgrid[4 : HEIGHT - 4 : 8, 4 : WIDTH - 4 : 8]
    points = np.stack([x.ravel(), y.ravel()], axis=1)[None].astype(np.float64)
    apart = [
        cv2.perspectiveTransform(points, a) - cv2.perspectiveTransform(points, b)
        for a, b in zip(found, true, strict=True)
    ]
    return np.array([np.hypot(*one[0].T).mean() for one in apart])


@pytest.mark.parametrize("kind", ["pan", "zoom", "hand"])
def test_background_stands_still_and_the_object_moves_on(kind: str) -> None:
    frames, true, masks = clip(kind)
    steady = stabilise(frames)
    assert steady.reason is None
    residual = distance(steady.homographies, true)
    assert residual.mean() < 0.15 and residual.max() < 0.3
    top, bottom, left, right = steady.crop
    assert steady.frames.shape == (FRAMES, HEIGHT - top - bottom, WIDTH - left - right, 3)
    assert steady.frames.shape[1] % 2 == steady.frames.shape[2] % 2 == 0
    middle = steady.frames[FRAMES // 2].astype(int)
    assert np.array_equal(middle, frames[FRAMES // 2][top : HEIGHT - bottom, left : WIDTH - right])
    objects = np.stack(
        [cv2.warpPerspective(m.astype(np.uint8), h, (WIDTH, HEIGHT)) for m, h in zip(masks, true, strict=True)]
    )
    objects = cv2.dilate(objects.max(axis=0), np.ones((9, 9)))[top : HEIGHT - bottom, left : WIDTH - right] > 0
    for frame in steady.frames:
        difference = np.abs(frame.astype(int) - middle).mean(axis=2)
        assert difference[~objects].mean() < 5
    assert np.abs(steady.frames[0].astype(int) - middle).mean(axis=2)[objects].mean() > 20


@pytest.mark.parametrize("kind", ["pan", "hand", "still"])
def test_somebody_who_moves_and_holds_most_corners_does_not_lead(kind: str) -> None:
    """A person in a loud shirt who fills a third of the picture, before a wall with hardly any texture."""
    wall = np.clip(128 + (world().astype(float) - 128) * 0.25, 0, 255).astype(np.uint8)
    shirt = np.random.default_rng(1).integers(0, 2, (24, 20, 1), dtype=np.uint8).repeat(4, 0).repeat(4, 1) * 255
    to_world = [camera(kind, index) for index in range(FRAMES)]
    frames = []
    for index, one in enumerate(to_world):
        scene, at = wall.copy(), 130 + 3 * index
        scene[150:246, at : at + 80] = shirt
        frames.append(cv2.warpPerspective(scene, np.linalg.inv(one), (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC))
    steady = stabilise(np.stack(frames))
    assert steady.reason is None
    centre = np.linalg.inv(to_world[FRAMES // 2])
    assert distance(steady.homographies, np.stack([centre @ one for one in to_world])).max() < 0.75


def test_a_camera_that_goes_too_far_leaves_shorter_pieces() -> None:
    frames, true, _ = clip("far")
    assert stabilise(frames).reason is not None
    found = list(pieces(frames, 3))
    ends = [(first, first + len(steady.frames)) for first, steady in found]
    assert len(found) > 2 and all(end <= begin for (_, end), (begin, _) in pairwise(ends))
    assert sum(end - first for first, end in ends) >= FRAMES - 3
    for first, steady in found:
        if steady.reason is None:
            count = len(steady.frames)
            centre = np.linalg.inv(true[first + count // 2])
            assert distance(steady.homographies, centre @ true[first : first + count]).max() < 0.6
    assert sum(steady.reason is None for _, steady in found) >= len(found) - 1


def test_a_clip_is_divided_where_the_motion_is_lost() -> None:
    frames = np.concatenate([clip("pan")[0][:9], np.full((3, HEIGHT, WIDTH, 3), 128, np.uint8), clip("hand")[0][:9]])
    found = [(first, len(steady.frames)) for first, steady in pieces(frames, 4) if steady.reason is None]
    assert found == [(0, 9), (12, 9)]


def test_a_clip_that_can_be_stabilised_stays_whole() -> None:
    frames, _, _ = clip("pan")
    ((first, steady),) = pieces(frames, 2)
    assert first == 0 and np.array_equal(steady.frames, stabilise(frames).frames)


def test_equal_clips_give_equal_results() -> None:
    frames, _, _ = clip("hand")
    assert np.array_equal(stabilise(frames).frames, stabilise(frames).frames)


def test_nothing_black_comes_in_at_the_edges() -> None:
    frames, _, _ = clip("zoom")
    bright = np.maximum(frames, 60)
    steady = stabilise(bright)
    assert steady.reason is None and steady.frames.min() > 30


def test_still_camera_changes_nothing() -> None:
    frames, _, _ = clip("still")
    steady = stabilise(frames)
    assert steady.reason is None and steady.crop == (0, 0, 0, 0)
    assert np.array_equal(steady.frames, frames)


def test_one_spoilt_frame_is_bridged() -> None:
    frames, true, _ = clip("pan")
    frames[4] = 128
    steady = stabilise(frames)
    assert steady.reason is None
    assert distance(steady.homographies, true).max() < 0.6


@pytest.mark.parametrize(
    ("kind", "settings", "reason"),
    [
        ("far", {}, "camera"),
        ("pan", {"least_share": 0.99}, "of the picture is in every frame"),
        ("pan", {"most_change": 1.0}, "too much motion"),
        ("still", {"least_change": 30.0}, "hardly any motion"),
    ],
)
def test_refused_clips_come_back_with_a_reason(kind: str, settings: dict[str, float], reason: str) -> None:
    frames, _, _ = clip(kind)
    refused = stabilise(frames, **settings)
    assert refused.reason is not None and reason in refused.reason and refused.reason.endswith(".")
    assert refused.frames is frames and refused.homographies.shape == (FRAMES, 3, 3)


def test_pictures_without_corners_are_refused() -> None:
    refused = stabilise(np.full((9, 64, 64, 3), 90, np.uint8) + np.arange(9, dtype=np.uint8)[:, None, None, None])
    assert refused.reason is not None and "8 of 9 frames" in refused.reason


def test_largest_rectangle_against_trying_them_all() -> None:
    seen = np.zeros((20, 26), np.uint8)
    cv2.fillConvexPoly(seen, np.array([[3, 2], [23, 0], [25, 15], [9, 19]]), 1)
    best = max(
        (bottom - top) * (right - left)
        for top in range(20)
        for bottom in range(top + 2, 21, 2)
        for left in range(26)
        for right in range(left + 2, 27, 2)
        if seen[top:bottom, left:right].all()
    )
    top, bottom, left, right = _largest_rectangle(seen > 0)
    assert seen[top:bottom, left:right].all() and (bottom - top) * (right - left) == best


@pytest.mark.realdata
def test_real_moving_camera_is_steadied(media_root: Path) -> None:
    frames = read.video(media_root / "video" / "scenes" / "co-tracker_bear.mp4", None, 160, 0.0, 1.0).frames
    steady = stabilise(frames)
    assert steady.reason is None
    top, bottom, left, right = steady.crop
    before = frames[:, top : frames.shape[1] - bottom, left : frames.shape[2] - right].astype(float)
    change = [np.abs(np.diff(f.astype(float), axis=0)).mean() for f in (before, steady.frames)]
    assert change[1] < 0.6 * change[0]
