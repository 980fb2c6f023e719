"""Waveforms: their scale, their level, and their values between samples.

Here and in the other operations on sound a waveform is (..., N), int16 or float, and whatever its type its numbers are
those of int16: full scale is 32768, as in `Batch.sound`. A front end that was published for another scale converts.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

FULL_SCALE = 32768.0
_QUIETEST_DB = -120.0


def scaled(sound: Tensor, full_scale: float = FULL_SCALE) -> Tensor:
    """A waveform as float32 whose full scale is `full_scale`: 1 for most front ends, 256 for SoundNet's raw input."""
    return sound.float() * (full_scale / FULL_SCALE)


def companded(sound: Tensor) -> Tensor:
    """A waveform in [-1, 1] with quiet parts lifted, sign(x) log(1 + 255 |x|) / log 256; float32.

    The raw input of the multisensory network: Owens and Efros, "Audio-visual scene analysis with self-supervised
    multisensory features", ECCV 2018.
    """
    unit = scaled(sound, 1.0)
    return unit.sign() * torch.log1p(255 * unit.abs()) / math.log(256)


def level_db(sound: Tensor) -> Tensor:
    """Root mean square over time in dB under full scale, (...) float32; silence is -120."""
    power = scaled(sound, 1.0).square().mean(-1)
    return 10 * power.clamp(min=10 ** (_QUIETEST_DB / 10)).log10()


def levelled(sound: Tensor, to_db: float = -26.0) -> Tensor:
    """A waveform whose level is `to_db`, so that loudness says nothing; float32. Silence stays silent.

    Peaks may pass full scale, which is no harm to a front end.
    """
    gain_db = to_db - level_db(sound)
    return scaled(sound) * (10 ** (gain_db / 20))[..., None]


def sampled(values: Tensor, position: Tensor, reach: int, kernel: Callable[[Tensor], Tensor]) -> Tensor:
    """Values between samples: the sum of the neighbours of each position, weighted by their distance.

    values (..., N) float. position (..., M), in samples, float64 so that long sounds keep their place; its leading axes
    are those of `values` or spread over them. kernel: distance in samples, (..., M) float32, -> weight; samples further
    away than `reach` do not count, and there are zeros beyond both ends. Returns (..., M).
    """
    whole = position.floor()
    share, first = (position - whole).float(), whole.long()
    total = torch.zeros((), dtype=values.dtype, device=values.device)
    for tap in range(1 - reach, reach + 1):
        index = (first + tap).expand(*values.shape[:-1], -1)
        inside = (index >= 0) & (index < values.shape[-1])
        neighbour = values.gather(-1, index.clamp(0, values.shape[-1] - 1))
        total = total + kernel(tap - share) * neighbour * inside
    return total


def sinc(cutoff: Tensor | float, reach: int) -> Callable[[Tensor], Tensor]:
    """The kernel for `sampled` that keeps what is below `cutoff`, a share of the highest frequency; Hann-windowed."""

    def weight(distance: Tensor) -> Tensor:
        window = torch.cos(distance * (math.pi / (2 * reach))).square() * (distance.abs() < reach)
        return cutoff * torch.sinc(cutoff * distance) * window

    return weight


def triangle(reach: float = 1.0) -> Callable[[Tensor], Tensor]:
    """The kernel for `sampled` that falls from 1 at a position to 0 at `reach`; with 1, linear interpolation.

    What lies between two positions `reach` apart is shared between them so that its centre stays where it was.
    """
    return lambda distance: (1 - distance.abs() / reach).clamp(min=0)
