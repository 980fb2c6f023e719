"""Filters are found though recordings are late, and by how much each is late, is found too."""

from dataclasses import replace

import torch

from sslkit.models import lip_fit
from sslkit.models.lip_motion import PARTS
from sslkit.ops.canonical import Moments, correlated

BANDS, PLACES, FRAMES = 5, 6, 60


def people(late: list[int], clips: int = 12, balance: float = 0.5) -> lip_fit.Clips:
    """What moves is drawn for every half frame; some of it is heard, by so many half frames late for each person."""
    draw = torch.Generator().manual_seed(0)
    sight, sound, label = [], [], []
    for person, by in enumerate(late):
        for _ in range(clips):
            cause = torch.randn(FRAMES * PARTS + 40, 2, generator=draw)
            cause = (cause[:-2] + cause[1:-1] + cause[2:])[:, None].mean(1)
            begin = 19
            seen = cause[begin : begin + FRAMES * PARTS].reshape(FRAMES, PARTS, 2).mean(1)
            heard = cause[begin - by : begin - by + FRAMES * PARTS]
            sight.append(torch.cat([seen, 0.3 * torch.randn(FRAMES, PLACES - 2, generator=draw)], 1))
            noise = 0.3 * torch.randn(FRAMES * PARTS, BANDS - 2, generator=draw)
            sound.append(torch.cat([heard, noise], 1).reshape(FRAMES, PARTS * BANDS))
            label.append(person)
    return lip_fit.Clips(torch.stack(sight), torch.stack(sound), torch.tensor(label), (1, 1), balance)


def test_the_lateness_of_each_person_is_found() -> None:
    truth = [0, 3, -2, 0, -5, 4, 0, 1, -1]
    found, late = lip_fit.fitted(people(truth), 2, rounds=3)
    assert late == truth  # their mean is zero, as that of what is found
    blurred, none = lip_fit.fitted(people(truth), 2)
    assert none == [0] * len(truth)
    assert found.strength[0] > 0.9 > blurred.strength[0] + 0.1


def test_people_count_for_what_is_in_time_as_they_do_for_the_fit() -> None:
    truth = [4, 0, 0, 0]
    clips = people(truth)
    many = torch.cat([torch.arange(12).repeat(9), torch.arange(12, 48)])  # 108 clips of the first, 12 of each other
    clips = replace(clips, sight=clips.sight[many], sound=clips.sound[many], label=clips.label[many])
    assert lip_fit.fitted(clips, 2, rounds=3)[1] == [2, -2, -2, -2]  # 3 to 1, 1, 1: the mean is 2
    alike = lip_fit.fitted(replace(clips, balance=0.0), 2, rounds=3)[1]
    assert alike == [3, -1, -1, -1]


def test_one_person_alone_is_taken_as_she_is() -> None:
    clips = people([3])
    found, late = lip_fit.fitted(clips, 2, rounds=3)
    assert late == [0]
    rows = ((one, other, 12**-0.5) for one, other in clips.rows(0, 4))
    torch.testing.assert_close(found.strength, correlated(Moments.of(rows), 2).strength)


def test_sound_moves_by_half_frames() -> None:
    sound = torch.arange(2 * 5 * PARTS * 3.0).reshape(2, 5, PARTS * 3)
    halves = sound.reshape(2, 5 * PARTS, 3)
    later = lip_fit.moved(sound, 3).reshape(2, 5 * PARTS, 3)
    assert later[:, 0].equal(halves[:, 3]) and later[:, -1].equal(halves[:, -1])
    assert lip_fit.moved(sound, 0).equal(sound)


def test_what_filters_see_is_in_the_order_of_their_taps() -> None:
    clips = people([0], clips=1)
    (one, other), *_ = clips.rows(0, 0)
    sight = clips.sight[0]
    assert one.shape == (FRAMES, 3 * PLACES) and other.shape == (FRAMES, 3 * PARTS * BANDS)
    assert one[7].equal(torch.cat([sight[6], sight[7], sight[8]])) and one[0, :PLACES].equal(sight[0])
