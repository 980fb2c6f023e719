"""By how many frames sound and picture are apart: distances over a range of offsets, averaged, then searched.

An offset is positive where the sound comes after its picture. Only frames whose whole range of offsets exists take
part, so that nothing is compared with padding.
Source: Chung and Zisserman, "Out of time: automated lip sync in the wild", ACCV workshops 2016.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Offsets:
    """The answers of a search, one for each averaged curve, all (...).

    frames: int64 in -V .. V; where not `found` it only says at which end the curve was lowest. confidence: how far the
    lowest distance is under the median of the curve. found: False where the lowest is at either end of the range, where
    the true offset may lie beyond, or where a distance is not a number.
    """

    frames: Tensor
    confidence: Tensor
    found: Tensor


def offset_distances(sight: Tensor, sound: Tensor, reach: int) -> Tensor:
    """Euclidean distances (..., rows, 2 reach + 1) of each frame's sight to the sound `reach` frames around it.

    sight (..., T, D) and sound (..., S, D), one feature a frame, frame 0 at the same time. Row r is frame r + reach;
    column c is the offset c - reach. There are no rows where sight or sound is too short.
    """
    rows = max(0, min(sight.shape[-2] - reach, sound.shape[-2] - 2 * reach))
    frames = sight[..., reach : reach + rows, :]
    # One offset at a time: all at once would hold 2 reach + 1 copies of the features.
    columns = [(frames - sound[..., c : c + rows, :]).norm(dim=-1) for c in range(2 * reach + 1)]
    return torch.stack(columns, -1)


def compared(distances: Tensor, squared: bool) -> Tensor:
    """What is averaged: distances, or halves of their squares where these are logarithms of likelihoods."""
    return distances.square() / 2 if squared else distances


def certainty(confidence: float, rows: int, squared: bool) -> float:
    """How sure the answer of a curve is that is the mean of so many rows.

    The mean of so many logarithms of likelihoods strays by one over the root of their number.
    """
    return confidence * rows**0.5 if squared else confidence


def averaged(distances: Tensor, frames: int) -> Tensor:
    """Means over each window of `frames` neighbouring rows: (..., rows, offsets) -> (..., rows - frames + 1, offsets).

    No rows are left where there are fewer than `frames`.
    """
    if distances.shape[-2] < frames:
        return distances[..., :0, :]
    total = F.pad(distances.double().cumsum(-2), (0, 0, 1, 0))
    return ((total[..., frames:, :] - total[..., :-frames, :]) / frames).to(distances.dtype)


def best_offset(curves: Tensor) -> Offsets:
    """Where each curve (..., 2 V + 1) of distances, offsets -V .. V, is lowest."""
    lowest, column = curves.min(-1)
    last = curves.shape[-1] - 1
    found = (column > 0) & (column < last) & curves.isfinite().all(-1)
    return Offsets(column - last // 2, curves.median(-1).values - lowest, found)
