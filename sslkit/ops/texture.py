"""Sound as the ear's envelopes: cochleagrams, the statistics that make a sound texture, and the way back to sound.

Source: McDermott and Simoncelli, "Sound texture perception via statistics of the auditory periphery", Neuron 2011, as
used by Owens et al., "Ambient sound provides supervision for visual learning", ECCV 2016, and "Visually indicated
sounds", CVPR 2016. Waveforms are (..., N) on the scale of int16 (see `sslkit.ops.sound`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
import torchaudio.functional
from torch import Tensor

from sslkit.ops.sound import FULL_SCALE, sampled, scaled, triangle

_KEPT = 4
"""So many filters are remembered: all batches of a task share them, but those of a long sound are large."""


@dataclass(frozen=True)
class Cochlea:
    """The settings of `cochleagram`.

    rate_hz: of the waveforms. bands: filters of half a cosine, even on the ERB scale between low_hz and high_hz; the
    first lets all below pass and the last all above. frame_hz: rate of the envelopes. exponent: their compression.
    """

    bands: int
    frame_hz: int
    rate_hz: int = 22_050
    low_hz: float = 20.0
    high_hz: float = 10_000.0
    exponent: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.low_hz < self.high_hz <= self.rate_hz / 2:
            raise ValueError(
                f"bands from {self.low_hz:g} to {self.high_hz:g} Hz do not fit a rate of {self.rate_hz} Hz: "
                "high_hz may be half the rate at most"
            )
        if self.bands < 3:
            raise ValueError(f"{self.bands} bands are too few: three at least")


AMBIENT = Cochlea(bands=32, frame_hz=400)
"""Owens et al., ECCV 2016."""
INDICATED = Cochlea(bands=42, frame_hz=90)
"""Owens et al., CVPR 2016."""


def centres_hz(cochlea: Cochlea) -> Tensor:
    """The frequency at which each band is most sensitive, (bands,) float64; the outer two are open to one side."""
    return _erb_to_hz(_centres(cochlea))


def cochleagram(sound: Tensor, cochlea: Cochlea) -> Tensor:
    """Compressed envelopes (..., bands, frames) float32 of waveforms (..., N); frame m is at m / frame_hz.

    A tone of full scale has an envelope of 1. On the way there are `bands` complex numbers for every few samples.
    """
    envelope, rate_hz = _envelopes(scaled(sound, 1.0), cochlea)
    slow: Tensor = torchaudio.functional.resample(envelope, rate_hz, cochlea.frame_hz)
    return slow.clamp(min=0) ** cochlea.exponent


def synthesised(cochleagram: Tensor, noise: Tensor, cochlea: Cochlea, rounds: int = 4) -> Tensor:
    """A waveform (..., N) on the scale of int16 with a given cochleagram (..., bands, frames): the way back.

    noise (..., N): white; the fine structure is taken from it. In each round every band is given its envelope and the
    bands are added up; as neighbours overlap, more rounds come closer, and slowly.
    """
    samples = noise.shape[-1]
    frame = torch.arange(samples, dtype=torch.float64, device=noise.device) * (cochlea.frame_hz / cochlea.rate_hz)
    held = frame.clamp(max=cochleagram.shape[-1] - 1)
    wanted = sampled(cochleagram ** (1 / cochlea.exponent), held, 1, triangle())
    size = _spectrum_size(samples, cochlea)
    filters = _filters(cochlea, size, noise.device)
    sound = noise.float()
    for _ in range(rounds):
        bands = _bands(sound, cochlea)
        shaped = (bands / bands.abs().clamp(min=1e-9) * wanted).real
        sound = torch.fft.irfft((torch.fft.rfft(shaped, size) * filters).sum(-2), size)[..., :samples]
    return sound * FULL_SCALE


def _envelopes(sound: Tensor, cochlea: Cochlea) -> tuple[Tensor, int]:
    """The modulus of each band, (..., bands, M), and its rate: as far below that of the sound as it changes slowly.

    A band that is moved to where frequencies begin keeps its modulus, and needs few samples there: twice its width.
    """
    size = _spectrum_size(sound.shape[-1], cochlea)
    step, bins, gain = _narrow(cochlea, size, sound.device)
    spectrum = torch.fft.rfft(sound, size)
    spectrum[..., 1:-1] *= 2
    spectrum = F.pad(spectrum, (0, size // step))[..., bins] * gain
    envelope = torch.fft.ifft(spectrum).abs() / step
    return envelope[..., : -(-sound.shape[-1] // step)], cochlea.rate_hz // step


@lru_cache(maxsize=_KEPT)
@torch.inference_mode(False)
def _narrow(cochlea: Cochlea, size: int, device: torch.device) -> tuple[int, Tensor, Tensor]:
    """At every how many-th sample bands can be had, and for that the bins of each and their gains, (bands, bins)."""
    filters = _filters(cochlea, size, torch.device("cpu"))
    inside = filters > 1e-6
    first, widest = inside.byte().argmax(1), int(inside.sum(1).max())
    step = next(k for k in (8, 6, 5, 4, 3, 2, 1) if k == 1 or _fits(k, size, widest, cochlea))
    bins = first[:, None] + torch.arange(size // step)
    gain = F.pad(filters, (0, size // step)).gather(1, bins)
    return step, bins.to(device), gain.to(device)


def _fits(step: int, size: int, widest: int, cochlea: Cochlea) -> bool:
    """Whether bands of at most `widest` bins can be had at every step-th sample."""
    return size % step == 0 and cochlea.rate_hz % step == 0 and 2 * widest <= size // step


def _bands(sound: Tensor, cochlea: Cochlea) -> Tensor:
    """The analytic signal of each band, (..., bands, N) complex: its modulus is the envelope."""
    size = _spectrum_size(sound.shape[-1], cochlea)
    spectrum = torch.fft.rfft(sound, size)[..., None, :] * _filters(cochlea, size, sound.device)
    spectrum[..., 1:-1] *= 2
    bands: Tensor = torch.fft.ifft(spectrum, size)
    return bands[..., : sound.shape[-1]]


def _spectrum_size(samples: int, cochlea: Cochlea) -> int:
    """Long enough that the end does not ring into the start, and quick to transform."""
    # With factors of 3 and 5 too, so that there are many steps at which bands can be had.
    return -(-(samples + cochlea.rate_hz // 20) // 960) * 960


@lru_cache(maxsize=_KEPT)
@torch.inference_mode(False)
def _filters(cochlea: Cochlea, size: int, device: torch.device) -> Tensor:
    """Gain of each band at each frequency, (bands, size / 2 + 1) float32; the squares of a column add up to 1."""
    erb = _hz_to_erb(torch.arange(size // 2 + 1, dtype=torch.float64) * (cochlea.rate_hz / size))
    centres = _centres(cochlea)
    distance = (erb - centres[:, None]) / (centres[1] - centres[0])
    distance[0].clamp_(min=0)
    distance[-1].clamp_(max=0)
    return torch.cos(distance.clamp(-1, 1) * (math.pi / 2)).float().to(device)


def _centres(cochlea: Cochlea) -> Tensor:
    low, high = _hz_to_erb(torch.tensor([cochlea.low_hz, cochlea.high_hz], dtype=torch.float64)).tolist()
    return torch.linspace(low, high, cochlea.bands, dtype=torch.float64)


# Glasberg and Moore 1990: a filter of the ear is 24.7 + f / 9.265 Hz wide.
def _hz_to_erb(hz: Tensor) -> Tensor:
    return 9.265 * torch.log1p(hz / (24.7 * 9.265))


def _erb_to_hz(erb: Tensor) -> Tensor:
    return 24.7 * 9.265 * torch.expm1(erb / 9.265)


@dataclass(frozen=True)
class Texture:
    """What a sound is like over some seconds: statistics of its cochleagram.

    mean, std: (..., bands). modulation: (..., bands, rates), the share of a band's variance at each rate of change.
    correlation: (..., bands, bands).
    """

    mean: Tensor
    std: Tensor
    modulation: Tensor
    correlation: Tensor

    def vector(self) -> Tensor:
        """All of it as (..., features): each pair of bands once."""
        bands = self.mean.shape[-1]
        one, other = torch.triu_indices(bands, bands, offset=1, device=self.mean.device)
        pairs = self.correlation[..., one, other]
        return torch.cat([self.mean, self.std, self.modulation.flatten(-2), pairs], -1)


def modulation_rates_hz(rates: int = 10, low_hz: float = 0.5, high_hz: float = 200.0) -> Tensor:
    """Centres of the filters of modulation, evenly spaced in octaves, (rates,) float64."""
    return torch.logspace(math.log10(low_hz), math.log10(high_hz), rates, dtype=torch.float64)


def texture_statistics(cochleagram: Tensor, frame_hz: float, rates_hz: Tensor | None = None) -> Texture:
    """Statistics over time of cochleagrams (..., bands, frames) at `frame_hz`.

    rates_hz: centres of the modulation filters; without it ten, from 0.5 Hz to 200 Hz or to half of frame_hz. A band
    that does not change has no modulation and no correlation: zeros.
    """
    if rates_hz is None:
        rates_hz = modulation_rates_hz(high_hz=min(200.0, frame_hz / 2))
    mean = cochleagram.mean(-1)
    change = cochleagram - mean[..., None]
    std = change.square().mean(-1).sqrt()
    change = change / std.clamp(min=1e-6)[..., None]
    return Texture(
        mean,
        std,
        _modulation(change, frame_hz, rates_hz),
        change @ change.transpose(-1, -2) / change.shape[-1],
    )


def _modulation(change: Tensor, frame_hz: float, rates_hz: Tensor) -> Tensor:
    """Mean power of `change` (..., bands, frames) under each filter, half a cosine over log frequency."""
    frames = change.shape[-1]
    octave = (torch.arange(1, frames // 2 + 1, dtype=torch.float64) * (frame_hz / frames)).log2()
    centres = rates_hz.cpu().log2()
    distance = (octave[:, None] - centres) / (centres[1] - centres[0])
    filters = torch.cos(distance.clamp(-1, 1) * (math.pi / 2)).square().float().to(change.device)
    power: Tensor = torch.fft.rfft(change)[..., 1:].abs().square() * (2 / frames**2)
    if frames % 2 == 0:
        power[..., -1] /= 2
    return power @ filters
