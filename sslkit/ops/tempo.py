"""Playing sound faster or slower, and what that does to time. Drawn on the CPU, then applied on any device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sslkit.ops.sound import sampled, scaled, sinc
from sslkit.types import Draw

# More taps would keep more of the highest tenth of the frequencies, at their price in time.
_TAPS = 8


@dataclass(frozen=True)
class Tempo:
    """Which part of a recording is heard how fast: `factor` (B,) times, from `start_s` (B,) on; float64, on the CPU.

    Pitch goes with it. Pictures follow if they are taken from the recording at `source_s` of their time.
    """

    factor: Tensor
    start_s: Tensor

    def source_s(self, heard_s: Tensor) -> Tensor:
        """Where in the recording the times (M,) that are heard come from, (B, M)."""
        return self.start_s[:, None] + self.factor[:, None] * heard_s

    def heard_s(self, source_s: Tensor) -> Tensor:
        """When the times (M,) of the recording are heard, (B, M); before 0 or after the end: not at all."""
        return (source_s - self.start_s[:, None]) / self.factor[:, None]


def draw_tempo(rows: int, given_s: float, wanted_s: float, factors: tuple[float, float], draw: Draw) -> Tempo:
    """Tempos that make wanted_s of sound out of given_s, from any part of it.

    A factor that would need more than is given is lowered. Raises ValueError where the slowest needs more.
    """
    low, high = factors
    if low * wanted_s > given_s * (1 + 1e-9):
        raise ValueError(f"{given_s:g} s of sound are too few for {wanted_s:g} s at {low:g} times the speed")
    factor = draw.uniform(rows, low=low, high=high).double().clamp(max=given_s / wanted_s)
    start_s = draw.uniform(rows).double() * (given_s - factor * wanted_s)
    return Tempo(factor, start_s)


def played(sound: Tensor, tempo: Tempo, rate_hz: int, samples: int) -> Tensor:
    """`samples` of each sound (B, ..., N) as heard at a tempo, (B, ..., samples) float32; silence beyond its ends.

    Frequencies that would pass half the rate are left out; the tenth below is damped.
    """
    heard_s = torch.arange(samples, dtype=torch.float64) / rate_hz
    between = [1] * (sound.dim() - 2)
    position = (tempo.source_s(heard_s) * rate_hz).reshape(-1, *between, samples).to(sound.device)
    cutoff = (1 / tempo.factor).clamp(max=1).float().reshape(-1, *between, 1).to(sound.device)
    reach = math.ceil(_TAPS * max(1.0, float(tempo.factor.max())))
    return sampled(scaled(sound), position, reach, sinc(cutoff, reach))
