"""Offsets that were put in are found, beside clips without any relation; what is too short is said."""

from dataclasses import replace

import pytest
import torch

from sslkit.errors import WorkError
from sslkit.evals import sync

SURE = sync.Sure(answer=20.0, denial=14.0)


def clip(name: str, frames: int = 120, late: int = 0, noise: float = 0.3, seed: int = 0) -> sync.Clip:
    """Sound whose vectors are those of the pictures, some frames later, and noise."""
    draw = torch.Generator().manual_seed(seed)
    drawn = torch.randn(frames + 2 * abs(late), 8, generator=draw)
    first = max(0, late)
    sight = drawn[first : first + frames]
    sound = drawn[first - late : first - late + frames] + noise * torch.randn(frames, 8, generator=draw)
    return sync.Clip(name, "people", sight, sound, squared=True)


def histogram(rows: list[sync.Row], of: str, frames: object = "all") -> dict[object, float]:
    return {row[of]: row["value"] for row in rows if of in row and row["frames"] == frames}


def value(rows: list[sync.Row], metric: str, frames: object = "all", group: str = "people") -> float:
    (row,) = (r for r in rows if (r["metric"], r["frames"], r["group"]) == (metric, frames, group))
    return row["value"]


def test_all_offsets_are_found_where_sound_follows_pictures() -> None:
    rows = sync.evaluate("ours", [clip("a.mp4"), clip("b.mp4", seed=1)], SURE)
    assert value(rows, "near_accuracy") == value(rows, "near_accuracy", 75) == 100
    assert value(rows, "auc") == value(rows, "answered") == value(rows, "other_refused") == 100
    assert value(rows, "own_denied") == 0 and value(rows, "other_denied") == 100
    # 88 of the 120 frames have all offsets
    assert {row["frames"] for row in rows} == {5, 7, 9, 10, 11, 13, 15, 25, 50, 75, "all"}
    assert value(rows, "own_offset", group="a.mp4") == 0


def test_a_clip_that_is_late_itself_is_wrong_and_told() -> None:
    rows = sync.evaluate("ours", [clip("late.mp4", late=3)], SURE)
    assert value(rows, "near_accuracy") == 0 and value(rows, "own_offset", group="late.mp4") == 3


def test_without_relation_it_is_chance() -> None:
    clips = [clip(f"{n}.mp4", noise=1e3, seed=n) for n in range(8)]
    rows = sync.evaluate("ours", clips, SURE)
    assert value(rows, "near_accuracy", 5) == pytest.approx(300 / 33, abs=4)
    assert sync.always_zero(["people"])[0]["value"] == pytest.approx(9.68)


@pytest.mark.parametrize("frames", [25, "all"])
def test_how_far_answers_are_off_is_a_histogram(frames: object) -> None:
    rows = sync.evaluate("ours", [clip("early.mp4", late=-3), clip("b.mp4", late=2, seed=1)], SURE)
    errors = histogram(rows, "error", frames)
    assert list(errors) == [*range(-15, 16), "beyond", "not found"]
    # Shifts below -12 put the early one at an end of the range or beyond, shifts above 13 the late one.
    assert errors.pop(-3) == pytest.approx(50 * 28 / 31, abs=0.01)
    assert errors.pop(2) == pytest.approx(50 * 29 / 31, abs=0.01)
    assert sum(errors.values()) == pytest.approx(50 * (3 + 2) / 31, abs=0.03)
    assert value(rows, "mean_error_ms", frames) > 40 * 2.4 and value(rows, "near_accuracy", frames) < 5


def test_answers_that_are_right_lie_everywhere_and_at_no_end() -> None:
    rows = sync.evaluate("ours", [clip("a.mp4")], SURE)
    answers = histogram(rows, "answer")
    assert list(answers) == list(range(-16, 17)) and answers.pop(-16) == answers.pop(16) == 0
    assert list(answers.values()) == [pytest.approx(100 / 31, abs=0.01)] * 31
    assert value(rows, "at_ends") == value(rows, "mean_error_ms") == 0
    assert histogram(rows, "error")[0] == 100


def test_a_network_that_answers_the_edge_is_told() -> None:
    still = torch.zeros(120, 1)
    drifts = sync.Clip("drifts.mp4", "people", still, torch.arange(120.0)[:, None] + 1, squared=False)
    rows = sync.evaluate("broken", [drifts], SURE)  # the earliest sound is always the nearest
    assert value(rows, "at_ends") == value(rows, "at_ends", 25) == histogram(rows, "answer")[-16] == 100
    assert histogram(rows, "error")["not found"] == 100 and value(rows, "near_accuracy") == 0
    assert not [row for row in rows if row["metric"] == "mean_error_ms"]  # of no answer


def test_own_sound_beyond_the_range_is_told_from_sound_in_time() -> None:
    rows = sync.evaluate("ours", [clip(f"{n}.mp4", seed=n) for n in range(4)], SURE)
    assert value(rows, "beyond_auc") == value(rows, "beyond_refused") == 100
    blind = sync.evaluate("blind", [clip(f"{n}.mp4", noise=1e3, seed=n) for n in range(16)], SURE)
    assert value(blind, "beyond_auc") == pytest.approx(50, abs=20)
    short = sync.evaluate("ours", [clip("a.mp4", frames=50)], SURE)  # moved by half it would be near the range
    assert not [row for row in short if row["metric"] == "beyond_auc"] and value(short, "near_accuracy") == 100


def test_a_terminal_gets_a_readable_part() -> None:
    rows = sync.evaluate("ours", [clip("a.mp4"), clip("b.mp4", seed=1)], SURE)
    shown = sync.in_short(rows)
    assert [row["frames"] for row in shown if row["metric"] == "near_accuracy"] == [5, 15, 25, 50, "all"]
    assert {row["metric"] for row in rows} - {row["metric"] for row in shown} == {
        "own_offset", "error_histogram", "answer_histogram"
    }  # fmt: skip
    assert len(shown) < 20 < 100 < len(rows) and {row["group"] for row in shown} == {"people"}


def test_published_figures_stand_beside_those_of_the_first_network() -> None:
    clips = [clip("a.mp4"), replace(clip("b.mp4", late=4), group="late")]
    rows = sync.evaluate("ours", clips, SURE) + sync.evaluate("other", clips[:1] * 2, SURE)
    figures = sync.main_figures("ours", rows)
    assert figures["near_accuracy"] == 50 and figures["mean_error_ms"] > 40
    assert figures[sync.PAPER.metric] == pytest.approx(50, abs=1)
    told = {row["frames"]: row["value"] for row in sync.in_short(sync.published())}
    assert told == {5: 75.8, 15: sync.PAPER.value, 100: 99.0}
    assert {row["frames"] for row in sync.published()} <= set(sync.FRAMES)


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
