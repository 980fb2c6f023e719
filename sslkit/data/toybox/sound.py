"""What things sound like: damped partials for impacts, sustained ones for humming, noise for rolling and steps.

All sounds are float arrays at 16 kHz, full scale 1; sample n of a clip is at n/16000 s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sslkit.data.toybox.scene import RATE_HZ


@dataclass(frozen=True)
class Timbre:
    """pitch_hz: lowest partial. ratios, levels: of all partials. ring_s: time to fall to 1/e. click: share of noise."""

    pitch_hz: float
    ratios: tuple[float, ...]
    levels: tuple[float, ...]
    ring_s: float
    click: float


TIMBRE: dict[str, Timbre] = {
    "ball": Timbre(300, (1, 2.0, 3.0), (1, 0.35, 0.1), 0.07, 0.05),
    "football": Timbre(130, (1, 1.59, 2.14, 2.65), (1, 0.6, 0.3, 0.2), 0.06, 0.1),
    "wheel": Timbre(470, (1, 1.5, 2.76, 5.4), (0.6, 1, 0.4, 0.2), 0.16, 0.1),
    "donut": Timbre(200, (1, 1.2, 1.9), (0.6, 1, 0.3), 0.035, 0.35),
    "gear": Timbre(1750, (1, 1.37, 1.93, 2.6), (1, 0.8, 0.6, 0.4), 0.3, 0.08),
    "nut": Timbre(2900, (1, 1.41, 2.1), (1, 0.5, 0.4), 0.2, 0.06),
    "crate": Timbre(240, (1, 2.3, 3.9, 5.6), (0.8, 1, 0.5, 0.4), 0.045, 0.3),
    "dice": Timbre(1350, (1, 1.7, 3.1), (1, 0.3, 0.4), 0.03, 0.3),
    "brick": Timbre(620, (1, 1.83, 2.9, 4.2, 6.3), (0.5, 0.7, 1, 0.8, 0.6), 0.03, 0.6),
    "star": Timbre(1050, (1, 2.0, 3.01, 4.1), (1, 0.7, 0.5, 0.35), 0.35, 0.03),
    "wedge": Timbre(820, (1, 2.76, 5.4), (1, 0.5, 0.2), 0.11, 0.1),
    "cross": Timbre(560, (1, 3.9, 9.2), (1, 0.6, 0.3), 0.22, 0.05),
}
"""By name, for every name in `scene.KINDS`: the model of each is a bar, a membrane, a bell, a box, ..."""


class Mix:
    """Sounds added up over `samples` samples; what starts before or ends after is cut."""

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self._sum = np.zeros(samples)

    def add(self, wave: np.ndarray, time_s: float) -> None:
        """Add a wave whose first sample is at `time_s`, rounded to a whole sample."""
        start = round(time_s * RATE_HZ)
        first, last = max(start, 0), min(start + len(wave), self.samples)
        if first < last:
            self._sum[first:last] += wave[first - start : last - start]

    def finish(self, rng: np.random.Generator, hiss: float = 4e-4) -> np.ndarray:
        """int16, softly limited, on a floor of faint noise (a recording is never digital silence)."""
        whole = np.tanh(self._sum) + hiss * rng.standard_normal(self.samples)
        return np.round(np.clip(whole, -1, 1) * 32_000).astype(np.int16)


def strike(timbre: Timbre, rng: np.random.Generator, size: float = 1.0) -> np.ndarray:
    """The ring of one object of a kind after a unit impact; `size` 1 is usual, larger is lower."""
    time = np.arange(int(min(5 * timbre.ring_s, 0.8) * RATE_HZ)) / RATE_HZ
    pitch = timbre.pitch_hz * rng.uniform(0.97, 1.03) / size**0.2
    wave = np.zeros(len(time))
    for order, (ratio, level) in enumerate(zip(timbre.ratios, timbre.levels, strict=True)):
        if pitch * ratio < 0.48 * RATE_HZ:
            decay = np.exp(-time / (timbre.ring_s / (1 + 0.4 * order)))
            wave += level * rng.uniform(0.85, 1.15) * decay * np.sin(2 * np.pi * pitch * ratio * time)
    click = rng.standard_normal(len(time)) * np.exp(-time / 0.004)
    wave = wave / np.abs(wave).max() + 3 * timbre.click * click
    return np.asarray(wave / np.abs(wave).max() * _fade(len(time), 0.02))


def hum(timbre: Timbre, rng: np.random.Generator, time: np.ndarray, size: float = 1.0) -> np.ndarray:
    """The same partials, sustained at `time` (N,), as if a motor shook the object: unsteady in pitch and pulsating."""
    pitch = timbre.pitch_hz * rng.uniform(0.97, 1.03) / size**0.2
    slow = rng.uniform(12, 31)
    phase = 2 * np.pi * pitch * (time + 0.012 / slow * np.sin(slow * time + rng.uniform(0, 6)))
    wave = np.zeros(len(time))
    for ratio, level in zip(timbre.ratios, timbre.levels, strict=True):
        if pitch * ratio < 0.47 * RATE_HZ:
            wave += level * rng.uniform(0.85, 1.15) * np.sin(ratio * phase + rng.uniform(0, 6))
    pulse = 0.7 + 0.3 * np.sin(2 * np.pi * rng.uniform(11, 22) * time)
    return np.asarray(0.25 * wave / np.abs(wave).max() * pulse)


def roll(ring: np.ndarray, speed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rolling or sliding: noise, as loud as the speed (px/s, one per sample), through an object's own ring."""
    rough = rng.standard_normal(len(speed)) * np.minimum(speed / 150, 1.5)
    short = ring[: int(0.1 * RATE_HZ)]
    size = len(rough) + len(short)
    wave = np.fft.irfft(np.fft.rfft(rough, size) * np.fft.rfft(short, size), size)[: len(rough)]
    return np.asarray(0.035 * wave / (np.sqrt(np.sum(short**2)) + 1e-9))


def thud(rng: np.random.Generator, weight: float) -> np.ndarray:
    """A foot, or a body, on the floor. weight: 0 (a light step) to 1 (a fall)."""
    time = np.arange(int(0.3 * RATE_HZ)) / RATE_HZ
    low = np.sin(2 * np.pi * (150 - 70 * weight) * rng.uniform(0.9, 1.1) * time) * np.exp(
        -time / (0.03 + 0.05 * weight)
    )
    knock = band(rng, len(time), 500, 2500) * np.exp(-time / 0.012)
    return np.asarray((0.25 + 0.6 * weight) * (0.8 * low + 0.35 * knock) * _fade(len(time), 0.05))


def creak(rng: np.random.Generator) -> np.ndarray:
    """A seat that takes weight: slow ticks through wood."""
    time = np.arange(int(0.25 * RATE_HZ)) / RATE_HZ
    ticks = np.zeros(len(time))
    ticks[np.cumsum(rng.integers(90, 260, 18)).clip(0, len(time) - 1)] = rng.uniform(0.3, 1, 18)
    knock = np.exp(-time / 0.006) * np.sin(2 * np.pi * rng.uniform(600, 900) * time)
    return np.asarray(0.25 * np.convolve(ticks, knock)[: len(time)] * _fade(len(time), 0.05))


def swish(rng: np.random.Generator, speed: np.ndarray) -> np.ndarray:
    """Cloth and air: noise, as loud as the speed of a limb (one value per sample, 1 is fast)."""
    return np.asarray(0.05 * band(rng, len(speed), 1200, 5000) * np.minimum(speed, 1.5) ** 2)


def band(rng: np.random.Generator, samples: int, low_hz: float, high_hz: float) -> np.ndarray:
    """Noise of unit variance between two frequencies, with soft edges."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequency = np.fft.rfftfreq(samples, 1 / RATE_HZ) + 1e-3
    spectrum /= np.sqrt(1 + (low_hz / frequency) ** 6) * np.sqrt(1 + (frequency / high_hz) ** 6)
    wave = np.fft.irfft(spectrum, samples)
    return np.asarray(wave / wave.std())


def _fade(samples: int, share: float) -> np.ndarray:
    """1, but falling to 0 over the last share."""
    return np.minimum(1.0, np.arange(samples, 0, -1) / max(1.0, share * samples))
