"""Plans of toybox scenes: labels, splits, seeds, bad requests; and that a plan is rendered alike every time."""

import json
import pickle
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from sslkit.data import toybox
from sslkit.errors import UserError


def test_every_class_is_equally_frequent_in_every_split():
    plans = toybox.scenes(0, clips=len(toybox.CLASSES) * 20)
    counts = Counter((plan.label_name, plan.split) for plan in plans)
    assert len(toybox.KINDS) >= 10 and len(toybox.ACTIONS) >= 6
    for name in toybox.CLASSES:
        assert [counts[name, split] for split in toybox.SPLITS] == [14, 2, 4]


def test_an_uneven_number_of_scenes_is_balanced_to_one():
    plans = toybox.scenes(3, clips=500)
    for split, share in zip(toybox.SPLITS, (0.7, 0.1, 0.2), strict=True):
        counts = Counter(plan.label_name for plan in plans if plan.split == split)
        assert set(counts) == set(toybox.CLASSES)
        assert max(counts.values()) - min(counts.values()) <= 2
        assert sum(counts.values()) / len(plans) == pytest.approx(share, abs=0.02)


def test_ten_scenes_hold_all_splits():
    assert {plan.split for plan in toybox.scenes(0, clips=10)} == set(toybox.SPLITS)


def test_keys_and_seeds_are_unique_and_keys_have_no_dot():
    plans = toybox.scenes(0, clips=300, stills=200)
    assert len({plan.key for plan in plans}) == len({plan.seed for plan in plans}) == 500
    assert not any("." in plan.key for plan in plans)
    assert [toybox.CLASSES[plan.label] for plan in plans] == [plan.label_name for plan in plans]


def test_a_scene_stays_what_it_is_when_counts_change():
    assert toybox.scenes(7, clips=30) == toybox.scenes(7, clips=60, stills=5)[:30]
    assert toybox.scenes(7, clips=3) != toybox.scenes(8, clips=3)


def test_shares_decide_how_often_options_occur():
    plans = toybox.scenes(0, clips=1000, camera_share=0.5, border_share=0.2, aberration_share=1.0)
    cameras = Counter(plan.camera for plan in plans)
    assert cameras["none"] == pytest.approx(500, abs=60)
    assert cameras["pan"] == pytest.approx(cameras["zoom"], abs=80)
    assert sum(plan.border for plan in plans) == pytest.approx(200, abs=50)
    assert all(plan.aberration for plan in plans)


def test_types_limit_the_classes():
    assert {plan.label_name for plan in toybox.scenes(0, clips=20, types=("face",))} == {"talking"}
    assert {plan.label_name for plan in toybox.scenes(0, clips=40, types=("figure",))} == set(toybox.ACTIONS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"clips": -1},
        {"camera_share": 1.5},
        {"types": ("cartoon",)},
        {"types": ()},
        {"seconds": 0.01},
        {"width_px": 32},
        {"height_px": 145},
    ],
)
def test_a_wrong_request_is_told(wrong):
    with pytest.raises(UserError, match="oybox"):
        toybox.scenes(0, **wrong)


@pytest.mark.parametrize("kind", toybox.TYPES)
def test_the_same_plan_gives_the_same_arrays(kind):
    plan = toybox.scenes(1, clips=3, types=(kind,), seconds=0.6, camera_share=1, border_share=1, aberration_share=1)[-1]
    np.random.seed(1)
    first = toybox.render(plan)
    np.random.seed(2)
    again = toybox.render(pickle.loads(pickle.dumps(plan)))
    for name in ("frames", "sound", "masks"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert json.loads(json.dumps(first.truth)) == json.loads(json.dumps(again.truth))


@pytest.mark.parametrize("kind", toybox.TYPES)
@pytest.mark.parametrize("seconds, size", [(0.4, (192, 144)), (1.0, (96, 128))])
def test_shapes_and_types(kind, seconds, size):
    plan = toybox.scenes(2, clips=1, types=(kind,), seconds=seconds, width_px=size[0], height_px=size[1])[0]
    clip, frames = toybox.render(plan), round(seconds * 25)
    assert clip.frames.shape == (frames, size[1], size[0], 3) and clip.frames.dtype == np.uint8
    assert clip.masks.shape == (frames, size[1], size[0]) and clip.masks.dtype == np.uint8
    assert clip.sound.shape == (frames * 640,) and clip.sound.dtype == np.int16
    assert len(clip.truth["boxes"]) == frames


@pytest.mark.parametrize("kind", toybox.TYPES)
def test_a_still_is_one_picture_without_sound(kind):
    plan = toybox.scenes(2, clips=0, stills=1, types=(kind,))[0]
    still = toybox.render(plan)
    assert plan.still and still.frames.shape == (1, 144, 192, 3) and still.sound.shape == (0,)
    assert still.masks.max() >= 1


def test_options_leave_the_content_as_it_is():
    plain = toybox.scenes(4, clips=1, types=("objects",), seconds=0.6)[0]
    changed = replace(plain, camera="pan", border=True, aberration=True)
    first, second = toybox.render(plain), toybox.render(changed)
    np.testing.assert_array_equal(first.sound, second.sound)
    assert first.truth["objects"] == second.truth["objects"]
    # Without its bars and in its central frame, a panned clip is the plain one.
    panned = toybox.render(replace(plain, camera="pan"))
    middle = plain.frames // 2
    np.testing.assert_array_equal(first.frames[middle], panned.frames[middle])
