from itertools import combinations

import numpy as np
import pytest
import torch

from sslkit.ops import pixels_that_sound as ops
from sslkit.ops.localisation import enlarged

FPS, RATE_HZ, FRAMES = 25.0, 16_000, 64
LEFT, RIGHT = (slice(10, 26), slice(8, 24)), (slice(36, 60), slice(64, 88))


def rhythm(seed: int) -> torch.Tensor:
    """How strong things are at each frame, 0 to 1."""
    return torch.rand(FRAMES, generator=torch.Generator().manual_seed(seed)).square()


def heard(loudness: torch.Tensor) -> torch.Tensor:
    noise = torch.randn(FRAMES * 640, generator=torch.Generator().manual_seed(9))
    return (4000 * noise * loudness.repeat_interleave(640)).to(torch.int16)


def clip(left: torch.Tensor, right: torch.Tensor, noise: float = 2.0) -> torch.Tensor:
    """Gray frames (T, 64, 96): stripes left and, larger and of more contrast, right move by so many pixels a frame."""
    generator = torch.Generator().manual_seed(3)
    frames = torch.full((FRAMES, 64, 96), 90.0) + noise * torch.randn(FRAMES, 64, 96, generator=generator)
    for place, step, contrast in ((LEFT, left, 25.0), (RIGHT, right, 60.0)):
        column = torch.arange(place[1].start, place[1].stop)
        frames[:, place[0], place[1]] += (
            contrast * torch.sin((column + 3 * (step.cumsum(0) - step)[:, None]) / 3)[:, None]
        )
    return frames.round().clamp(0, 255).to(torch.uint8)


def inside(heat: torch.Tensor, place: tuple[slice, slice]) -> bool:
    peak = int(enlarged(heat[None], 64, 96).argmax())
    return place[0].start <= peak // 96 < place[0].stop and place[1].start <= peak % 96 < place[1].stop


@pytest.mark.parametrize("colour", [False, True])
def test_what_follows_the_sound_is_found_and_not_what_moves_more(colour: bool) -> None:
    frames = clip(rhythm(1), rhythm(2))
    if colour:
        frames = frames[:, None].expand(-1, 3, -1, -1)
    for followed, place in ((rhythm(1), LEFT), (rhythm(2), RIGHT)):
        heat = ops.sounding_places(frames, heard(followed), RATE_HZ, FPS)
        assert heat.shape == (FRAMES, 32, 48) and heat.min() == 0
        assert all(inside(one, place) for one in heat)
        full = enlarged(heat.mean(0)[None], 64, 96)[0]
        assert full[place].sum() > 0.7 * full.sum()


def test_a_blinking_light_is_found() -> None:
    frames, beat = clip(rhythm(1), rhythm(2)), rhythm(4)
    on = (beat.cumsum(0) % 0.9).diff(prepend=torch.zeros(1)) < 0
    frames[on, 40:48, 20:28] = 200
    heat = ops.sounding_places(frames, heard(on.float()), RATE_HZ, FPS).mean(0)
    assert inside(heat, (slice(38, 50), slice(18, 30)))


def test_loudness_and_light_do_not_matter() -> None:
    frames, sound = clip(rhythm(1), rhythm(2), noise=0), heard(rhythm(1))
    plain = ops.sounding_places(frames, sound, RATE_HZ, FPS)
    assert torch.allclose(plain, ops.sounding_places(frames, sound * 0.25, RATE_HZ, FPS), atol=1e-3)
    assert inside(ops.sounding_places(frames * 0.5, sound, RATE_HZ, FPS).mean(0), LEFT)


def test_nothing_moves_or_nothing_is_heard() -> None:
    sound = heard(rhythm(1))
    still = torch.full((FRAMES, 64, 96), 80, dtype=torch.uint8)
    for frames, given in ((still, sound), (clip(rhythm(1), rhythm(2)), 0 * sound)):
        heat = ops.sounding_places(frames, given, RATE_HZ, FPS)
        assert heat.shape == (FRAMES, 32, 48) and not heat.any()
    with pytest.raises(ValueError, match="one frame shows no motion"):
        ops.sounding_places(still[:1], sound, RATE_HZ, FPS)


def test_any_length_and_size() -> None:
    sound = heard(rhythm(1))
    for frames, height, width in ((2, 8, 8), (5, 40, 7), (33, 100, 31), (35, 64, 96)):
        heat = ops.sounding_places(clip(rhythm(1), rhythm(2))[:frames, :height, :width], sound, RATE_HZ, FPS)
        assert heat.shape[0] == frames and heat.isfinite().all()
    windows = [range(start, start + 32) for start in ops._starts(63, 32)]
    assert sorted({frame for window in windows for frame in window}) == list(range(63))
    assert ops._starts(20, 32) == [0]


def test_weights_are_the_cheapest_of_all_solutions() -> None:
    """A linear program has its best solution at a corner: here all corners are tried."""
    random = np.random.default_rng(0)
    for exactness in (1.1, 1.5, 4.0, float("inf")):
        places, goal = random.normal(size=(3, 7)), random.normal(size=3)
        found = ops.sparse_weights(torch.tensor(places), torch.tensor(goal), exactness).double().numpy()
        gain = (places.T @ np.sign(goal)).max()
        price = min(exactness / gain, 1e6)
        columns = np.hstack([places, np.eye(3), -np.eye(3)])
        cost = np.r_[np.ones(7), np.full(6, price)]
        best = np.inf
        for corner in combinations(range(13), 3):
            basis = columns[:, corner]
            if abs(np.linalg.det(basis)) > 1e-9:
                amounts = np.linalg.solve(basis, goal)
                if amounts.min() >= -1e-12:
                    best = min(best, float(cost[list(corner)] @ amounts))
        left_over = np.abs(places @ found - goal).sum()
        if exactness == float("inf"):
            assert left_over < 1e-5  # its price would magnify what is rounded
            left_over = 0.0
        assert found.min() >= 0 and found.any()
        assert found.sum() + price * left_over == pytest.approx(best, rel=1e-5)


def test_an_exact_solution_is_reached_and_none_where_nothing_fits() -> None:
    generator = torch.Generator().manual_seed(0)
    motion = torch.randn(30, 60, generator=generator)
    motion = motion - motion.mean(0)
    sound = 0.5 * motion[:, 7] + 2 * motion[:, 30]
    weights = ops.sparse_weights(motion, sound, float("inf"))
    assert (weights > 1e-6).nonzero().flatten().tolist() == [7, 30]
    assert weights[[7, 30]].tolist() == pytest.approx([0.5, 2.0], abs=1e-5)
    assert not ops.sparse_weights(-sound[:, None], sound).any()
