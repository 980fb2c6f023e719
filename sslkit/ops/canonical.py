"""Canonical correlation: linear maps under which two things that were measured together agree as well as they can.

Source: Hotelling, "Relations between two sets of variates", Biometrika 1936; principal components first, as is usual
where there are many more numbers than there is to know.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Canonical:
    """Maps of one side (N, D) and the other (N, E): `x @ one`, `y @ other`, of unit variance, correlate by `strength`.

    one: (D, k), other: (E, k), strength: (k,) 0 to 1, falling. All float64.
    """

    one: Tensor
    other: Tensor
    strength: Tensor


@dataclass(frozen=True)
class Moments:
    """Sums over weighed pairs of rows, from which the maps follow; those of parts add up to those of the whole.

    weight: sum of the weights. first: (D + E,), second: (D + E, D + E), float64; of columns below `split` of one side.
    """

    weight: float
    first: Tensor
    second: Tensor
    split: int

    @classmethod
    def of(cls, pairs: Iterable[tuple[Tensor, Tensor, float]]) -> Moments:
        """Of rows that come in pieces: (n, D), (n, E) and how much each row of the piece weighs."""
        weight, first, second, split = 0.0, torch.zeros(0), torch.zeros(0), 0
        for x, y, each in pairs:
            split, both = x.shape[1], torch.cat([x, y], 1).double()
            if not weight:
                first, second = both.new_zeros(both.shape[1]), both.new_zeros(both.shape[1], both.shape[1])
            weight += each * len(x)
            first += each * both.sum(0)
            second.addmm_(both.T, each * both)
        return cls(weight, first, second, split)

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.weight + other.weight, self.first + other.first, self.second + other.second, self.split)

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.weight - other.weight, self.first - other.first, self.second - other.second, self.split)


def correlated(moments: Moments, dimensions: int, components: int = 120, ridge: float = 0.01) -> Canonical:
    """The maps of what has these moments.

    components: of each side that are kept. ridge: share of the largest variance by which all are raised, so that what
    hardly varies counts for little.
    """
    mean, split = moments.first / moments.weight, moments.split
    covariance = moments.second / moments.weight - mean[:, None] * mean
    white = [_whitening(covariance[:split, :split], components, ridge)]
    white.append(_whitening(covariance[split:, split:], components, ridge))
    u, strength, v = torch.linalg.svd(white[0].T @ covariance[:split, split:] @ white[1])
    turns = [white[0] @ u[:, :dimensions], white[1] @ v.T[:, :dimensions]]
    return Canonical(turns[0], turns[1], strength[:dimensions].clamp(max=0.95))


def _whitening(covariance: Tensor, components: int, ridge: float) -> Tensor:
    variance, axes = torch.linalg.eigh(covariance)
    variance, axes = variance[-components:], axes[:, -components:]
    white: Tensor = axes / (variance + ridge * variance[-1]).sqrt()
    return white
