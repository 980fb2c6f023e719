"""Offsets that were put in are found, beside clips without any relation; what is too short is said."""

from dataclasses import replace

import pytest
import torch

from sslkit.errors import WorkError
from sslkit.evals import sync

SURE = 20.0


def clip(name: str, frames: int = 120, late: int = 0, noise: float = 0.3, seed: int = 0) -> sync.Clip:
    """Sound whose vectors are those of the pictures, some frames later, and noise."""
    draw = torch.Generator().manual_seed(seed)
    drawn = torch.randn(frames + 2 * abs(late), 8, generator=draw)
    first = max(0, late)
    sight = drawn[first : first + frames]
    sound = drawn[first - late : first - late + frames] + noise * torch.randn(frames, 8, generator=draw)
    return sync.Clip(name, "people", sight, sound, squared=True)


def value(rows: list[sync.Row], metric: str, frames: object = "all", group: str = "people") -> float:
    (row,) = (r for r in rows if (r["metric"], r["frames"], r["group"]) == (metric, frames, group))
    return row["value"]


def test_all_offsets_are_found_where_sound_follows_pictures() -> None:
    rows = sync.evaluate("ours", [clip("a.mp4"), clip("b.mp4", seed=1)], SURE)
    assert value(rows, "near_accuracy") == value(rows, "near_accuracy", 75) == 100
    assert value(rows, "auc") == value(rows, "answered") == value(rows, "other_refused") == 100
    assert {row["frames"] for row in rows} == {5, 10, 15, 25, 50, 75, "all"}  # 88 of the 120 frames have all offsets
    assert value(rows, "own_offset", group="a.mp4") == 0


def test_a_clip_that_is_late_itself_is_wrong_and_told() -> None:
    rows = sync.evaluate("ours", [clip("late.mp4", late=3)], SURE)
    assert value(rows, "near_accuracy") == 0 and value(rows, "own_offset", group="late.mp4") == 3


def test_without_relation_it_is_chance() -> None:
    clips = [clip(f"{n}.mp4", noise=1e3, seed=n) for n in range(8)]
    rows = sync.evaluate("ours", clips, SURE)
    assert value(rows, "near_accuracy", 5) == pytest.approx(300 / 33, abs=4)
    assert sync.always_zero(["people"])[0]["value"] == pytest.approx(9.68)


def test_dubbed_clips_are_told_from_those_with_their_own_voice() -> None:
    own = [clip(f"{n}.mp4", seed=n) for n in range(4)]
    dubbed = [replace(one, group="dubbed", sound=clip("", seed=9 + n).sound) for n, one in enumerate(own)]
    rows = sync.evaluate("ours", own, SURE, dubbed)
    group = "all against dubbed"
    assert [value(rows, metric, group=group) for metric in ("auc", "answered", "other_refused")] == [100, 100, 100]
    assert not [row for row in rows if row["group"] == "dubbed"]  # whose offset is nobody's


def test_short_clips_are_refused() -> None:
    with pytest.raises(WorkError, match="No clip is longer than 32 frames"):
        sync.evaluate("ours", [clip("a.mp4", frames=30)], SURE)
