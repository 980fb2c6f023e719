import pytest
import torch

from sslkit.ops import offsets as ops

REACH = 15


def features(frames: int, width: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(frames, width, generator=torch.Generator().manual_seed(seed))


def pair(late: int, frames: int = 120, noise: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    """Sight and sound of one clip whose sound comes `late` frames after its picture."""
    both = features(frames + 60)
    sound = both[30 - late : 30 - late + frames]
    return both[30 : 30 + frames], sound + noise * features(frames, seed=1)


def accuracy(answers: ops.Offsets, truth: int) -> float:
    """Percent of the answers that are found within a frame of the truth."""
    return 100 * float((answers.found & ((answers.frames - truth).abs() <= 1)).double().mean())


def test_distances_are_their_definition_and_touch_no_padding() -> None:
    sight, sound = features(50), features(47, seed=1)
    found = ops.offset_distances(sight, sound, 4)
    assert found.shape == (47 - 8, 9)
    for row in (0, 17, 38):
        for column in range(9):
            expected = (sight[row + 4] - sound[row + 4 + column - 4]).norm()
            assert found[row, column] == pytest.approx(float(expected), abs=1e-5)
    assert ops.offset_distances(sight[:10], sound, 4).shape == (6, 9)
    assert ops.offset_distances(sight, sound[:8], 4).shape == (0, 9)
    batch = ops.offset_distances(sight.expand(3, 2, -1, -1), sound.expand(3, 2, -1, -1), 4)
    assert torch.allclose(batch[2, 1], found)


@pytest.mark.parametrize("late", [-14, -5, 0, 3, 14])
def test_the_offset_is_found_with_its_sign(late: int) -> None:
    distances = ops.offset_distances(*pair(late), REACH)
    answer = ops.best_offset(ops.averaged(distances, 50))
    assert (answer.frames == late).all() and answer.found.all() and (answer.confidence > 1).all()


@pytest.mark.parametrize("late", [-15, 15])
def test_an_answer_at_the_end_of_the_range_is_not_found(late: int) -> None:
    answer = ops.best_offset(ops.averaged(ops.offset_distances(*pair(late), REACH), 50))
    assert not answer.found.any()


def test_flat_and_broken_curves_are_not_found() -> None:
    curves = torch.ones(3, 31)
    curves[1, 10] = torch.nan
    curves[2, 10] = 0.5
    answer = ops.best_offset(curves)
    assert answer.found.tolist() == [False, False, True]
    assert answer.confidence[0] == 0 and answer.confidence[2] == 0.5 and answer.frames[2] == -5


def test_averages_slide() -> None:
    distances = features(30, 31).abs()
    found = ops.averaged(distances, 7)
    expected = torch.stack([distances[i : i + 7].mean(0) for i in range(24)])
    assert torch.allclose(found, expected, atol=1e-5)
    assert ops.averaged(distances, 1).shape == (30, 31) and ops.averaged(distances, 31).shape == (0, 31)
    assert torch.allclose(ops.averaged(distances.expand(2, -1, -1), 7)[1], expected, atol=1e-5)


def test_averaging_over_more_frames_is_more_often_right() -> None:
    distances = ops.offset_distances(*pair(4, frames=600, noise=3.0), REACH)
    shares = [accuracy(ops.best_offset(ops.averaged(distances, n)), 4) for n in (1, 5, 25, 100)]
    assert shares == sorted(shares) and shares[0] < 60 and shares[-1] > 95


def test_without_a_relation_it_is_chance_at_most() -> None:
    distances = ops.offset_distances(features(4000), features(4000, seed=1), REACH)
    answer = ops.best_offset(distances)
    assert accuracy(answer, 0) == pytest.approx(100 * 3 / 31, abs=2)
    counts = torch.bincount(answer.frames + REACH, minlength=31)
    assert counts.max() < 2 * counts.float().mean()  # no place of the range is preferred
