"""Scores against a slow literal version; the rule on scores drawn by hand."""

import numpy as np
import pytest
import torch

from sslkit.ops import speaking
from sslkit.ops.speaking import Rule, bridged, frame_scores, speaks, stretches

REACH = 15


def literal(distances: np.ndarray, offset: int, frames: int) -> np.ndarray:
    """The definition, moment by moment and offset by offset."""
    found = []
    for row in range(len(distances)):
        around = distances[max(0, row - frames // 2) : row + frames // 2 + 1]
        curve = []
        for column in range(distances.shape[1]):
            known = [value for value in around[:, column] if np.isfinite(value)]
            curve.append(sum(known) / len(known) if known else np.nan)
        values = np.array(curve)
        near = values[max(0, REACH + offset - 1) : REACH + offset + 2]
        there = values[np.isfinite(values)]
        if not np.isfinite(near).any():
            found.append(0.0)
            continue
        # torch's median of an even number is the lower one of the middle.
        middle = np.sort(there)[(len(there) - 1) // 2]
        found.append((middle - np.nanmin(near)) / (there.std() + 1e-6))
    return np.array(found)


@pytest.mark.parametrize(("offset", "frames"), [(0, 1), (3, 9), (-15, 25)])
def test_scores_are_those_of_the_definition(offset: int, frames: int) -> None:
    distances = np.random.default_rng(0).gamma(4, 1, (60, 2 * REACH + 1))
    distances[:4, :9] = np.nan
    distances[30:32] = np.nan
    found = frame_scores(torch.from_numpy(distances), offset, frames)
    np.testing.assert_allclose(found.numpy(), literal(distances, offset, frames), atol=1e-4)


def test_long_tracks_are_scored_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    distances = torch.rand(100, 2 * REACH + 1, generator=torch.Generator().manual_seed(0))
    whole = frame_scores(distances, 2, 9)
    monkeypatch.setattr(speaking, "_BLOCK_ROWS", 7)
    torch.testing.assert_close(frame_scores(distances, 2, 9), whole)


def test_the_moments_at_which_a_face_goes_with_the_sound_score_high() -> None:
    distances = torch.rand(200, 2 * REACH + 1, generator=torch.Generator().manual_seed(0)) + 1
    distances[100:, REACH + 2] -= 0.8
    for offset in (1, 2, 3):  # a frame more or less is as good
        found = frame_scores(distances, offset, 9)
        assert found[:95].max() < found[105:].min()
    assert frame_scores(distances, 5, 9)[105:].mean() < 1
    assert frame_scores(1000 * distances, 2, 9)[150] == pytest.approx(
        float(frame_scores(distances, 2, 9)[150]), rel=1e-3
    )


def test_without_any_sound_nobody_scores() -> None:
    assert frame_scores(torch.full((20, 31), torch.nan), 0, 9).tolist() == [0.0] * 20
    assert frame_scores(torch.zeros(0, 31), 0, 9).shape == (0,)


RULE = Rule(least=0.5, both=3.0, peak=2.0, shortest_frames=5, pause_frames=4)


def said(score: list[float], best: list[float] | None = None, heard: list[bool] | None = None) -> list[tuple[int, int]]:
    values = np.array(score, np.float32)
    others = values if best is None else np.maximum(values, np.array(best, np.float32))
    return stretches(speaks(values, others, np.ones(len(values), bool) if heard is None else np.array(heard), RULE))


def test_a_stretch_reaches_its_peak_and_lasts() -> None:
    assert said([0, 1, 1, 2.5, 1, 1, 0]) == [(1, 6)]
    assert said([0, 1, 1, 1.5, 1, 1, 0]) == []  # no peak
    assert said([0, 1, 2.5, 1, 0, 0, 0]) == []  # too short
    assert said([1, 1, 2.5, 0, 0, 0, 1, 1, 1]) == [(0, 9)]  # a pause of three
    assert said([1, 1, 2.5, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 1]) == [(0, 5)]  # a pause of four


def test_of_two_the_better_speaks_or_both_where_both_go_very_well() -> None:
    assert said([2.5] * 8, best=[2.6] * 8) == []
    assert said([2.5] * 8, best=[2.4] * 8) == [(0, 8)]
    assert said([3.5] * 8, best=[9.0] * 8) == [(0, 8)]
    assert said([2.5] * 12, heard=[True] * 6 + [False] * 6) == [(0, 6)]


def test_gaps_at_the_ends_stay_open() -> None:
    assert bridged(np.array([0, 1, 0, 1, 0, 0, 1, 0], bool), 2).astype(int).tolist() == [0, 1, 1, 1, 0, 0, 1, 0]
    assert stretches(np.zeros(3, bool)) == [] and stretches(np.ones(3, bool)) == [(0, 3)]
