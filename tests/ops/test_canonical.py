"""Canonical correlations against scikit-learn, and against what was put in."""

import numpy as np
import torch
from sklearn.cross_decomposition import CCA

from sslkit.ops.canonical import Moments, correlated


def related(rows: int = 4000, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Two common causes, seen through noise and mixed."""
    draw = torch.Generator().manual_seed(seed)
    cause = torch.randn(rows, 2, generator=draw)
    sides = []
    for noise in (0.5, 1.0):
        own = torch.randn(rows, 4, generator=draw)
        mixed = torch.cat([cause * torch.tensor([2.0, 0.7]) + noise * own[:, :2], own[:, 2:]], 1) @ torch.randn(
            4, 4, generator=draw
        )
        sides.append(mixed + 3)
    return sides[0], sides[1]


def test_strengths_are_those_of_scikit_learn() -> None:
    x, y = related()
    found = correlated(Moments.of([(x[:1500], y[:1500], 1.0), (x[1500:], y[1500:], 1.0)]), 2, ridge=1e-9)
    one, other = CCA(2, max_iter=2000).fit_transform(x.numpy(), y.numpy())
    expected = [np.corrcoef(one[:, k], other[:, k])[0, 1] for k in range(2)]
    np.testing.assert_allclose(found.strength, expected, atol=2e-3)
    ours = [(x.double() @ found.one), (y.double() @ found.other)]
    for k in range(2):
        assert abs(np.corrcoef(ours[0][:, k], ours[1][:, k])[0, 1] - float(found.strength[k])) < 1e-3
        assert abs(float(ours[0][:, k].std()) - 1) < 1e-2


def test_weights_count_as_repetitions() -> None:
    x, y = related(600)
    twice = correlated(Moments.of([(x, y, 1.0), (x[:100], y[:100], 1.0)]), 2)
    weighted = correlated(Moments.of([(x[:100], y[:100], 2.0), (x[100:], y[100:], 1.0)]), 2)
    torch.testing.assert_close(twice.strength, weighted.strength)


def test_a_part_can_be_taken_away() -> None:
    x, y = related(600)
    first, rest = Moments.of([(x[:200], y[:200], 1.0)]), Moments.of([(x[200:], y[200:], 0.5)])
    alone, without = correlated(rest, 2), correlated(first + rest - first, 2)
    torch.testing.assert_close(alone.strength, without.strength)
    torch.testing.assert_close(alone.one.abs(), without.one.abs())
