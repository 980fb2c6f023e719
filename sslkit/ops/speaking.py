"""Who speaks: how well a face goes with the sound from moment to moment, and when it is taken to be heard.

Source: Chung and Zisserman, "Out of time: automated lip sync in the wild", ACCV workshops 2016: the distance of a frame
at the offset that all frames have in common, under the median over offsets, says how sure it is that this face speaks.
Departures: the median is that of the moment, not of the whole track, because how far everything is from a mouth
changes with how much it moves; a frame more or less than the offset is as good; the unit is the spread of the moment's
curve, so that one threshold does for all networks; and faces that are seen together compete.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Mask = NDArray[np.bool_]
_BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Rule:
    """When a face speaks, by its scores.

    frames: that a score is of. least: it speaks at moments from this on where no other face scores more; both: or from
    this on, whoever else speaks. peak: what is reached at least once in a stretch. shortest_frames: of a stretch;
    pause_frames: pauses shorter than this belong to it. nobody: below this for unseen_frames, and without speech, a
    face does not make the sound. Chosen on 78 films composed of training people (`evals.duets`), a voice of nobody seen
    being theirs moved by 9 frames: 75 % of their speech is found and 91 % of what is found is theirs; of nobody's
    voice 18 % is given to somebody, and 54 to 69 % is told to be off screen, of theirs 3 %.
    """

    frames: int = 15
    least: float = 0.3
    both: float = 2.2
    peak: float = 2.0
    shortest_frames: int = 10
    pause_frames: int = 10
    nobody: float = 1.5
    unseen_frames: int = 25


def frame_scores(distances: Tensor, offset: int, frames: int, near: int = 1) -> Tensor:
    """How far each row's distance at an offset lies under the median over offsets, in standard deviations, (rows,).

    distances (rows, 2 V + 1), not numbers where there is no sound. Each row's curve is the mean over the `frames` (odd)
    around it; the least of the distances within `near` of the offset counts. 0 where nothing is known.
    """
    half, found = frames // 2, [distances.new_zeros(0)]
    for first in range(0, len(distances), _BLOCK_ROWS):  # what is computed on the way is many times the rows
        begin = max(0, first - half)
        block = _scored(distances[begin : first + _BLOCK_ROWS + half], offset, frames, near)
        found.append(block[first - begin :][:_BLOCK_ROWS])
    return torch.cat(found)


def _scored(distances: Tensor, offset: int, frames: int, near: int) -> Tensor:
    reach = distances.shape[-1] // 2
    known = distances.isfinite()
    curve = _summed(distances.where(known, 0.0), frames) / _summed(known, frames)
    middle = curve.nanmedian(-1).values
    spread = (curve - curve.nanmean(-1, keepdim=True)).square().nanmean(-1).sqrt()
    here = curve[:, max(0, offset + reach - near) : offset + reach + near + 1]
    score = (middle - here.nan_to_num(torch.inf).amin(-1)) / (spread + 1e-6)
    return score.where(score.isfinite(), 0.0).to(distances.dtype)


def _summed(values: Tensor, frames: int) -> Tensor:
    """Sums over the rows around each, fewer at the ends, (rows, offsets) float64."""
    half, rows = frames // 2, len(values)
    total = F.pad(values.double().cumsum(0), (0, 0, 1, 0))
    place = torch.arange(rows)
    return total[(place + half + 1).clamp(max=rows)] - total[(place - half).clamp(min=0)]


def speaks(score: NDArray[np.float32], best: NDArray[np.float32], heard: Mask, rule: Rule) -> Mask:
    """When a face is heard, (T,).

    score: its own (T,); best: the highest of all faces seen at the same moments; heard: whether there is sound.
    """
    may = heard & (((score >= rule.least) & (score >= best)) | (score >= rule.both))
    found = bridged(may, rule.pause_frames)
    for first, end in stretches(found):
        if end - first < rule.shortest_frames or score[first:end].max() < rule.peak:
            found[first:end] = False
    return found


def bridged(mask: Mask, shortest: int) -> Mask:
    """(T,) with gaps of less than `shortest` closed, but for those at either end."""
    closed = mask.copy()
    for first, end in stretches(~mask):
        if end - first < shortest and first > 0 and end < len(mask):
            closed[first:end] = True
    return closed


def stretches(mask: Mask) -> list[tuple[int, int]]:
    """[first, end) of each run of true values, in order."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(first), int(end)) for first, end in zip(edges[::2], edges[1::2], strict=True)]
