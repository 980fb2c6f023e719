"""The truth of toybox scenes against their pixels: boxes, keypoints, faces, camera, borders, lens; no easy cues."""

from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest

from sslkit.data import toybox
from sslkit.data.toybox import kinds
from sslkit.data.toybox import view as views
from sslkit.data.toybox.canvas import Canvas, Sprite
from sslkit.media import borders


@pytest.mark.parametrize("kind", toybox.TYPES)
def test_boxes_are_those_of_the_masks(kind):
    for plan in toybox.scenes(0, clips=2, types=(kind,), camera_share=0.5, border_share=0.5, seconds=0.4):
        clip = toybox.render(plan)
        for mask, boxes in zip(clip.masks, clip.truth["boxes"], strict=True):
            assert {box[0] for box in boxes} == set(np.unique(mask)) - {0}
            for owner, x0, y0, x1, y1 in boxes:
                ys, xs = np.nonzero(mask == owner)
                assert (x0, y0, x1, y1) == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        assert {thing["id"] for thing in clip.truth["objects"]} >= set(np.unique(clip.masks)) - {0}


def test_the_label_is_the_kind_of_the_largest_object():
    for plan in toybox.scenes(1, clips=12, types=("objects",), seconds=0.2):
        truth = toybox.render(plan).truth
        assert truth["objects"][0]["main"] and truth["objects"][0]["kind"] == plan.label_name == truth["label"]
        assert len({thing["kind"] for thing in truth["objects"]}) == len(truth["objects"])


def test_masks_cover_what_differs_from_the_backdrop():
    plan = toybox.scenes(2, clips=1, types=("figure",))[0]
    clip = toybox.render(plan)
    backdrop = np.median(clip.frames, axis=0)
    # A walker leaves every place in time; what differs strongly from the median is figure (or its shadow, low down).
    differs = np.abs(clip.frames - backdrop).max(-1) > 60
    assert (clip.masks[differs] > 0).mean() > 0.9


@pytest.mark.parametrize("camera", ["none", "pan", "zoom"])
def test_keypoints_lie_on_the_figure(camera):
    hits = []
    for plan in toybox.scenes(3, clips=8, types=("figure",), seconds=1.0):
        clip = toybox.render(replace(plan, camera=camera, border=camera == "zoom"))
        for mask, points in list(zip(clip.masks, clip.truth["keypoints"], strict=True))[::3]:
            near = cv2.dilate(mask, np.ones((3, 3), np.uint8))
            hits += [near[round(y), round(x)] == 1 for x, y, inside in points if inside]
    assert len(hits) > 600 and np.mean(hits) > 0.99


def test_keypoints_are_in_the_order_of_leeds_sports_pose():
    assert len(toybox.KEYPOINTS) == 14
    plan = next(p for p in toybox.scenes(0, clips=8, types=("figure",)) if p.label_name == "wave")
    points = dict(zip(toybox.KEYPOINTS, toybox.render(plan).truth["keypoints"][0], strict=True))
    heights = [
        points[name][1] for name in ("head_top", "neck", "right_shoulder", "right_hip", "right_knee", "right_ankle")
    ]
    assert heights == sorted(heights)


def test_a_standing_foot_does_not_slip():
    plan = next(p for p in toybox.scenes(0, clips=8, types=("figure",)) if p.label_name == "squat")
    points = np.array(toybox.render(plan).truth["keypoints"])
    assert np.ptp(points[:, [0, 5], 0], axis=0).max() < 1.5
    assert np.ptp(points[:, 12, 1]) > 15


def test_the_mouth_is_in_the_face_and_opens():
    plan = toybox.scenes(0, clips=2, types=("face",))[1]
    clip = toybox.render(plan)
    face = clip.truth["face"]
    heights = []
    for whole, mouth in zip(face["boxes"], face["mouth_boxes"], strict=True):
        assert whole[0] < mouth[0] < mouth[2] < whole[2] and whole[1] < mouth[1] < mouth[3] < whole[3]
        heights.append(mouth[3] - mouth[1])
    assert np.corrcoef(heights, face["mouth_opening"])[0, 1] > 0.95
    # The pictures agree: the wider the mouth is said to be open, the less it looks like the closed one.
    patches = []
    for frame, (x0, y0, x1, _) in zip(clip.frames, face["mouth_boxes"], strict=True):
        patches.append(cv2.getRectSubPix(frame, (16, 20), ((x0 + x1) / 2, y0 + 7)).astype(float))
    opening = np.array(face["mouth_opening"])
    change = np.abs(np.array(patches) - patches[int(opening.argmin())]).mean((1, 2, 3))
    assert np.corrcoef(change, opening)[0, 1] > 0.8


@pytest.mark.parametrize("camera", ["pan", "zoom"])
def test_homographies_carry_the_backdrop_to_the_central_frame(camera):
    for plan in toybox.scenes(4, clips=2):
        clip = toybox.render(replace(plan, type="objects", label_name="crate", camera=camera))
        centre = len(clip.frames) // 2
        np.testing.assert_allclose(clip.truth["camera"][centre], np.eye(3), atol=1e-7)
        for t in (0, 12, 49):
            matrix = np.array(clip.truth["camera"][t])
            assert np.abs(matrix - np.eye(3)).max() > 0.05 or t == 12
            alike = cv2.warpPerspective(255 - 255 * (clip.masks[t] > 0).astype(np.uint8), matrix, (192, 144)) > 254
            alike = cv2.erode((alike & (clip.masks[centre] == 0)).astype(np.uint8), np.ones((25, 25))) > 0
            assert alike.mean() > 0.05
            found = {}
            for shift in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
                by = np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]]) @ matrix
                moved = cv2.warpPerspective(clip.frames[t], by, (192, 144))
                found[shift] = np.abs(moved.astype(float) - clip.frames[centre])[alike]
            # Equal but for shadows and interpolation; and a pixel beside it in any direction is worse.
            assert np.median(found[0, 0]) <= 2
            assert min(found, key=lambda shift: found[shift].mean()) == (0, 0)


def test_borders_are_black_and_the_picture_is_between_them():
    plan = toybox.scenes(5, clips=1, types=("face",), seconds=0.2)[0]
    for seed in range(3):
        clip = toybox.render(replace(plan, seed=seed, border=True))
        top, bottom, left, right = clip.truth["border"]
        assert (top and bottom) or (left and right)
        inner = clip.frames[:, top : 144 - bottom, left : 192 - right]
        outer = clip.frames.astype(int).copy()
        outer[:, top : 144 - bottom, left : 192 - right] = 0
        assert outer.max() <= 4 and inner.mean() > 40
        assert clip.masks.any() and clip.masks[outer.max(-1) > 0].max(initial=0) == 0


def test_aberration_scales_red_and_blue_about_the_centre():
    plan = toybox.scenes(6, clips=1, types=("objects",), seconds=0.1)[0]
    plain, bent = toybox.render(plan), toybox.render(replace(plan, aberration=True))
    scales = bent.truth["aberration"]
    assert (scales["red"] - 1) * (scales["blue"] - 1) < 0 and 0.005 <= abs(scales["red"] - 1) <= 0.01
    np.testing.assert_array_equal(plain.frames[..., 1], bent.frames[..., 1])
    y, x = np.mgrid[:144, :192].astype(np.float32)
    for channel, scale in ((0, scales["red"]), (2, scales["blue"])):
        back = np.float32(95.5 + (x - 95.5) / scale), np.float32(71.5 + (y - 71.5) / scale)
        wanted = cv2.remap(plain.frames[0, ..., channel], *back, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        assert np.abs(wanted.astype(int) - bent.frames[0, ..., channel]).mean() < 0.7
        unscaled = np.abs(plain.frames[0, ..., channel].astype(int) - bent.frames[0, ..., channel]).mean()
        assert unscaled > 1


def test_sprites_move_by_fractions_of_a_pixel():
    picture = np.zeros((15, 15, 4), np.uint8)
    cv2.circle(picture, (7, 7), 5, (255, 255, 255, 255), -1, cv2.LINE_AA)
    still = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    x = np.arange(40)
    for shift in np.linspace(0, 1, 9):
        canvas = Canvas(np.zeros((40, 40, 3), np.uint8), still)
        canvas.sprite(Sprite(picture, 1.0), (20 + shift, 20.0), owner=1)
        weights = canvas.picture[..., 0].astype(float).sum(0)
        assert (weights * x).sum() / weights.sum() == pytest.approx(20 + shift, abs=0.06)


def test_mean_colour_does_not_tell_the_kind():
    seeds = 24
    colours = np.zeros((len(toybox.KINDS), seeds, 3))
    for row, name in enumerate(toybox.KINDS):
        for seed in range(seeds):
            picture = kinds.sprite(name, 10.0, np.random.default_rng([row, seed])).picture
            inside = picture[..., 3] > 200
            colours[row, seed] = picture[inside, :3].mean(0)
    known, asked = colours[:, ::2].reshape(-1, 3), colours[:, 1::2].reshape(-1, 3)
    nearest = np.linalg.norm(asked[:, None] - known[None], axis=2).argsort(1)[:, :9] // (seeds // 2)
    votes = np.array([np.bincount(row, minlength=len(toybox.KINDS)).argmax() for row in nearest])
    right = np.mean(votes == np.repeat(np.arange(len(toybox.KINDS)), seeds // 2))
    assert right < 2.5 / len(toybox.KINDS)


def test_the_backdrop_stands_still_unless_the_camera_moves():
    plan = toybox.scenes(7, clips=1, types=("objects",), seconds=1.0)[0]
    clip = toybox.render(plan)
    # Two pixels away from where any object ever is: its edges are soft.
    never = cv2.dilate((clip.masks > 0).any(0).astype(np.uint8), np.ones((5, 5), np.uint8)) == 0
    never[80:] = False  # shadows
    assert never.sum() > 1000
    assert np.ptp(clip.frames[:, never].astype(int), axis=0).max() == 0
    assert clip.truth["camera"] is None and clip.truth["direction"] == "forward"


def test_a_camera_with_a_habit_zooms_in_or_tilts_down_and_slows_to_a_stop():
    seen = set()
    for plan in toybox.scenes(4, clips=6, camera_share=1, camera_habit=True, seconds=1.0):
        clip = toybox.render(plan)
        assert clip.truth["habit"] is True
        motions = np.array(clip.truth["camera"])
        centre = np.array([95.5, 71.5, 1])
        gone = -np.log(motions[:, 0, 0]) if plan.camera == "zoom" else (motions @ centre)[:, 1]
        steps = np.diff(gone)
        assert (steps > 0).all() and steps[-1] < 0.1 * steps[0] and (np.diff(steps) < 0).all()
        seen.add(plan.camera)
    assert seen == {"pan", "zoom"}
    assert toybox.render(toybox.scenes(4, clips=1, camera_habit=True, seconds=0.2)[0]).truth["habit"] is False


def test_encoder_noise_creeps_outwards_between_key_frames():
    plan = next(p for p in toybox.scenes(5, clips=9, border_share=1, encoder_noise=True) if views.of(p).border_px[0])
    clip = toybox.render(plan)
    top, bottom, _, _ = clip.truth["border"]
    assert clip.truth["dirt"] == "creep" and top >= 0.12 * 144 and bottom >= 0.12 * 144
    bars = clip.frames[:, :top, :, 0].astype(float)
    assert bars.max() <= 10 and borders.borders(clip.frames) == tuple(clip.truth["border"])
    outwards = np.array([np.abs(after[:-2] - 0.95 * before[2:]).max() for before, after in pairwise(bars)])
    renewed = np.flatnonzero(outwards > 2)  # less is rounding
    assert len(renewed) == 4 and set(np.diff(renewed)) == {12}
    inwards = np.array([np.abs(after[2:] - before[:-2]).mean() for before, after in pairwise(bars)])
    assert inwards.min() > 1


def test_habits_change_no_scene_that_does_not_ask_for_them():
    plain = toybox.scenes(6, clips=2, camera_share=1, border_share=1, seconds=0.2)
    asked = toybox.scenes(
        6, clips=2, camera_share=1, border_share=1, camera_habit=True, encoder_noise=True, seconds=0.2
    )
    for one, other in zip(plain, asked, strict=True):
        assert replace(other, camera_habit=False, encoder_noise=False) == one
        assert toybox.render(one).truth["objects"] == toybox.render(other).truth["objects"]
