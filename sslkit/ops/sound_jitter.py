"""Distortions of whole batches of sound that move nothing in time: drawn on the CPU, then applied on any device.

Waveforms are (B, ..., N) on the scale of int16 (see `sslkit.ops.sound`); each sample has one value of each distortion,
shared by what lies between the first and the last axis (clips, channels). What changes time is in `sslkit.ops.tempo`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torchaudio.functional
from torch import Tensor

from sslkit.ops.sound import FULL_SCALE, scaled
from sslkit.types import Draw

Noise = Literal["white", "pink", "babble"]
_PINK_DB = -10 * math.log10(2)
_PIVOT_HZ, _LOWEST_HZ = 1000.0, 50.0


@dataclass(frozen=True)
class SoundRanges:
    """How far sounds are distorted; a range whose ends are 0, or a chance of 0, switches a distortion off.

    gain_db: last of all, and lowered to what full scale allows. tilt_db: equaliser, dB an octave around 1 kHz.
    flip_chance: of turned polarity. noise_chance, noises, snr_db: one kind of noise, sound over noise; "babble" is
    another sample of the batch. reverb_chance, reverb_s, direct_db: a tail that falls by 60 dB in reverb_s, and by how
    much the direct sound is stronger than all of it.
    """

    gain_db: tuple[float, float] = (-10.0, 10.0)
    tilt_db: tuple[float, float] = (-3.0, 3.0)
    flip_chance: float = 0.5
    noise_chance: float = 0.5
    noises: tuple[Noise, ...] = ("white", "pink", "babble")
    snr_db: tuple[float, float] = (3.0, 25.0)
    reverb_chance: float = 0.3
    reverb_s: tuple[float, float] = (0.1, 0.6)
    direct_db: tuple[float, float] = (0.0, 12.0)


@dataclass(frozen=True)
class SoundJitter:
    """What was drawn for a batch of B sounds, on the CPU.

    gain_db, tilt_db, sign (B,). response (B, L): what is convolved with, 1 at sample 0. noise: as the sounds, white.
    snr_db (B,): inf is no noise. noises: the kinds that are used, which (B,) int64 the one for each sample. partner
    (B,): in [0, 1), whose babble, counted round the batch; a batch of one babbles with itself.
    """

    gain_db: Tensor
    tilt_db: Tensor
    sign: Tensor
    response: Tensor
    noise: Tensor
    snr_db: Tensor
    noises: tuple[Noise, ...]
    which: Tensor
    partner: Tensor


def draw_sound_jitter(shape: tuple[int, ...], rate_hz: int, ranges: SoundRanges, draw: Draw) -> SoundJitter:
    """Distortions for sounds of a `shape` (B, ..., N)."""
    rows = shape[0]

    def within(ends: tuple[float, float]) -> Tensor:
        return draw.uniform(rows, low=ends[0], high=ends[1])

    gain_db, tilt_db = within(ranges.gain_db), within(ranges.tilt_db)
    flipped = draw.uniform(rows) < ranges.flip_chance
    noisy = draw.uniform(rows) < ranges.noise_chance
    return SoundJitter(
        gain_db=gain_db,
        tilt_db=tilt_db,
        sign=1.0 - 2.0 * flipped,
        response=_draw_response(rows, rate_hz, ranges, draw),
        noise=draw.normal(*shape),
        snr_db=torch.where(noisy, within(ranges.snr_db), torch.inf),
        noises=ranges.noises,
        which=draw.integers(rows, high=len(ranges.noises)),
        partner=draw.uniform(rows),
    )


def _draw_response(rows: int, rate_hz: int, ranges: SoundRanges, draw: Draw) -> Tensor:
    """Noise that dies away after an impulse at sample 0, (rows, L)."""
    samples = max(2, round(ranges.reverb_s[1] * rate_hz))
    fall_s = draw.uniform(rows, 1, low=ranges.reverb_s[0], high=ranges.reverb_s[1]).clamp(min=1e-3)
    wet = 10 ** (-draw.uniform(rows, 1, low=ranges.direct_db[0], high=ranges.direct_db[1]) / 20)
    wet = wet * (draw.uniform(rows, 1) < ranges.reverb_chance)
    time_s = torch.arange(1, samples) / rate_hz
    tail = draw.normal(rows, samples - 1) * 10 ** (-3 * time_s / fall_s)
    return torch.cat([torch.ones(rows, 1), wet * tail / tail.norm(dim=1, keepdim=True)], 1)


def jitter_sound(sound: Tensor, jitter: SoundJitter, rate_hz: int) -> Tensor:
    """Sounds (B, ..., N) distorted as drawn, float32 within full scale: polarity, tilt, room, noise, gain."""
    clean = scaled(sound)
    distorted = tilted(clean * _each(jitter.sign, clean), jitter.tilt_db, rate_hz)
    distorted = reverberated(distorted, jitter.response)
    distorted = with_noise(distorted, _noise(clean, jitter, rate_hz), jitter.snr_db)
    return amplified(distorted, jitter.gain_db)


def amplified(sound: Tensor, gain_db: Tensor) -> Tensor:
    """Sounds (B, ..., N) louder by gain_db (B,), but never beyond full scale: a gain that would clip is lowered."""
    peak, limit = sound.abs().flatten(1).amax(1).clamp(min=1e-6), FULL_SCALE - 1
    factor = torch.minimum(10 ** (gain_db.to(sound.device) / 20), limit / peak)
    return (sound * _each(factor, sound)).clamp(-limit, limit)  # rounding may pass it by a digit


def tilted(sound: Tensor, tilt_db: Tensor, rate_hz: int) -> Tensor:
    """Sounds (B, ..., N) with tilt_db (B,) dB an octave more above 1 kHz and less below; no phase, so nothing moves."""
    samples = sound.shape[-1]
    size = -(-(samples + rate_hz // 20) // 1024) * 1024
    hz = torch.fft.rfftfreq(size, 1 / rate_hz, device=sound.device).clamp(min=_LOWEST_HZ)
    gain = 10 ** (_each(tilt_db, sound) * (hz / _PIVOT_HZ).log2() / 20)
    shaped: Tensor = torch.fft.irfft(torch.fft.rfft(sound, size) * gain, size)
    return shaped[..., :samples]


def reverberated(sound: Tensor, response: Tensor) -> Tensor:
    """Sounds (B, ..., N) in rooms with an impulse `response` (B, L), whose sample 0 is the direct sound."""
    rooms = response.to(sound.device).reshape(len(sound), *[1] * (sound.dim() - 2), -1)
    full: Tensor = torchaudio.functional.fftconvolve(sound, rooms)
    return full[..., : sound.shape[-1]]


def with_noise(sound: Tensor, noise: Tensor, snr_db: Tensor) -> Tensor:
    """Sounds (B, ..., N) with `noise`, their like, so strong that the sound is snr_db (B,) above it, over all of N.

    Silent noise adds nothing (torchaudio's add_noise would give nan), nor does any to silence.
    """
    power, noise_power = (each.flatten(1).square().mean(1) for each in (sound, noise))
    factor = (power / noise_power.clamp(min=1e-12)).sqrt() * 10 ** (-snr_db.to(sound.device) / 20)
    return sound + noise * _each(factor, sound)


def _noise(clean: Tensor, jitter: SoundJitter, rate_hz: int) -> Tensor:
    """Each sample's kind of noise, of any loudness."""
    white = jitter.noise.to(clean.device)
    rows = len(clean)
    away = 1 + (jitter.partner * (rows - 1)).long()
    others = clean[((torch.arange(rows) + away) % rows).to(clean.device)]
    kinds = {"white": white, "pink": tilted(white, torch.full((rows,), _PINK_DB), rate_hz), "babble": others}
    chosen = torch.stack([kinds[kind] for kind in jitter.noises])
    return chosen[jitter.which.to(clean.device), torch.arange(rows, device=clean.device)]


def _each(values: Tensor, sound: Tensor) -> Tensor:
    """(B,) values beside (B, ..., N) sounds."""
    return values.to(sound.device).reshape(-1, *[1] * (sound.dim() - 1))
