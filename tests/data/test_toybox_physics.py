"""The mechanics of the toybox against textbook results, and the arrow of time that they give."""

import numpy as np
import pytest

from sslkit.data import toybox
from sslkit.data.toybox import actions, kinds, physics
from sslkit.data.toybox.objects import Objects

ROOM = physics.Room(gravity=500.0, floor=100.0)


def disc(bounce=0.6, grip=0.5):
    return physics.Body(np.zeros((0, 2)), 10.0, 50.0, bounce, grip)


def test_a_dropped_ball_lands_when_it_should_and_rises_to_the_square_of_its_restitution():
    path = physics.simulate(disc(), ROOM, (0.0, 10.0, 0.0), (0.0, 0.0, 0.0), 0.0, 2.0)
    first, second = path.impacts[:2]
    lands = np.sqrt(2 * 80 / 500)
    assert first.time_s == pytest.approx(lands, abs=2e-4)
    assert first.speed == pytest.approx(500 * lands, rel=0.01)
    assert first.xy == pytest.approx((0.0, 100.0), abs=1.0)
    between = (path.xy[:, 1])[round(first.time_s / physics.STEP_S) + 2 : round(second.time_s / physics.STEP_S)]
    assert 90 - between.min() == pytest.approx(80 * 0.6**2, rel=0.03)


def test_a_sliding_disc_ends_up_rolling():
    path = physics.simulate(disc(), ROOM, (0.0, 90.0, 0.0), (120.0, 0.0, 0.0), 0.0, 1.5)
    speed = np.diff(path.xy[-40:, 0]) / physics.STEP_S
    spin = np.diff(path.angle[-40:]) / physics.STEP_S
    np.testing.assert_allclose(speed, 10 * spin, rtol=0.02)
    # From sliding to rolling, a full disc keeps 2/3 of its speed; resistance takes a little more.
    assert 0.3 * 120 < speed[-1] < 2 / 3 * 120


def test_a_wall_turns_a_ball_round():
    room = physics.Room(500.0, 100.0, right=60.0)
    path = physics.simulate(disc(), room, (20.0, 60.0, 0.0), (200.0, -50.0, 0.0), 0.0, 0.5)
    assert path.impacts[0].xy[0] == pytest.approx(60.0, abs=0.6)
    assert path.xy[:, 0].max() <= 50.5 and path.xy[-1, 0] < 45


@pytest.mark.parametrize("name", toybox.KINDS)
def test_energy_only_falls_and_nothing_sinks_into_the_floor(name):
    kind = kinds.KIND[name]
    body = physics.Body(kind.hull * 15, 15.0, kind.gyration * 225, kind.bounce, kind.grip)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        speed = tuple(rng.uniform((-150, -150, -8), (150, 100, 8)))
        path = physics.simulate(body, ROOM, (90.0, rng.uniform(20, 80), rng.uniform(0, 6)), speed, 0.0, 3.0)
        # Putting a corner back onto the floor lifts the body by a fraction of a pixel: that much is allowed.
        assert np.diff(path.energy).max() < 0.01 * path.energy[0]
        assert path.energy[-1] < 0.7 * path.energy[0]
        corners = kind.hull * 15 if len(kind.hull) else np.array([[0.0, 15.0]])
        turn = path.angle[-1] if len(kind.hull) else 0.0
        lowest = (np.sin(turn) * corners[:, 0] + np.cos(turn) * corners[:, 1]).max() + path.xy[-1, 1]
        assert lowest < 100.5


def test_names_and_kinds_agree():
    assert set(kinds.KIND) == set(toybox.KINDS)
    assert all(kind.bounce < 1 for kind in kinds.KIND.values())


def test_time_has_an_arrow_in_scenes_of_objects():
    losses = []
    for plan in toybox.scenes(5, clips=12, types=("objects",)):
        for thing in Objects(plan).things:
            if not thing.hovers:
                start = round(-thing.motion.start_s / physics.STEP_S)
                losses.append(thing.motion.energy[start] - thing.motion.energy[-1])
    assert np.mean(np.array(losses) > 0) > 0.98


def test_objects_are_under_way_when_the_clip_begins_and_seen_throughout():
    moving, boxed = [], []
    for plan in toybox.scenes(6, clips=12, types=("objects",)):
        main = next(thing for thing in Objects(plan).things if thing.owner == 1)
        places = np.array([main.motion.at(t)[:2] for t in np.arange(50) / 25])
        moving.append(np.abs(np.diff(places[:3], axis=0)).sum() > 0.5)
        boxed.append(((places[:, 0] > 0) & (places[:, 0] < 192)).mean())
    assert np.mean(moving) > 0.9 and np.mean(boxed) > 0.9


def hip_height(name, seed=0):
    times = np.arange(0, 2.5, 0.005)
    motion = actions.perform(name, times, 2.0, 5.8, np.random.default_rng(seed))
    thigh, knee = motion.angles[:, 6], motion.angles[:, 7]
    return times, 0.24 * np.cos(np.radians(thigh)) + 0.24 * np.cos(np.radians(thigh - knee)), motion


def test_standing_up_is_not_sitting_down_backwards():
    def rates(name, backwards):
        """Moment of the fastest change of height, as a share of the move, and the height's rate there."""
        found = []
        for seed in range(8):
            times, height, motion = hip_height(name, seed)
            inside = (times >= motion.begin_s) & (times <= motion.end_s)
            rate = np.abs(np.diff(height[inside]))
            found.append(np.average(np.linspace(0, 1, len(rate)), weights=rate))
        return np.mean(1 - np.array(found) if backwards else found)

    assert abs(rates("stand_up", False) - rates("sit_down", True)) > 0.05


def test_a_fall_is_ever_faster_until_it_hits_the_floor():
    times, _, motion = hip_height("fall", 3)
    trunk = np.abs(motion.angles[:, 0])
    hit = motion.cues[0].time_s
    before = (times > motion.begin_s) & (times < hit)
    rate = np.diff(trunk[before])
    assert rate[-20:].mean() > 3 * rate[: len(rate) // 2].mean()


@pytest.mark.parametrize("name", toybox.ACTIONS)
def test_every_action_moves_within_the_clip(name):
    for seed in range(3):
        times = np.arange(0, 2, 0.02)
        motion = actions.perform(name, times, 2.0, 5.8, np.random.default_rng(seed))
        assert np.ptp(motion.angles, axis=0).max() > 30
