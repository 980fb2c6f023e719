"""A voice and the mouth that makes it: syllables of consonant and vowel, pulses or noise through formants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sslkit.data.toybox import sound
from sslkit.data.toybox.scene import RATE_HZ

_VOWELS = {
    "a": (850.0, 1250.0, 1.0, 0.85),
    "e": (520.0, 1900.0, 0.6, 1.0),
    "i": (300.0, 2350.0, 0.4, 1.1),
    "o": (500.0, 880.0, 0.68, 0.6),
    "u": (320.0, 750.0, 0.38, 0.42),
    "ae": (700.0, 1700.0, 0.85, 0.98),
}
"""First and second formant, Hz (round numbers near those of adults); opening of the mouth, its relative width."""
_CONSONANTS = ("none", "hiss", "burst", "closed")


@dataclass(frozen=True)
class Speech:
    """What is said between start_s and its end.

    wave: float samples at 16 kHz, the first at start_s. opening: (N,) 0..1, width: (N,) about 1, on the same samples.
    """

    start_s: float
    wave: np.ndarray
    opening: np.ndarray
    width: np.ndarray

    def mouth(self, time_s: float) -> tuple[float, float]:
        """Opening and width at a time."""
        sample = min(max(round((time_s - self.start_s) * RATE_HZ), 0), len(self.opening) - 1)
        return float(self.opening[sample]), float(self.width[sample])


@dataclass(frozen=True)
class Voice:
    """pitch_hz: of the pulses. tract: scale of the formants (a small head has high ones). pace: syllables per s."""

    pitch_hz: float
    tract: float
    pace: float


def voice(rng: np.random.Generator) -> Voice:
    """A random voice, deep or high."""
    high = rng.random()
    return Voice(95 * 2 ** (1.2 * high) * rng.uniform(0.92, 1.08), 0.95 + 0.2 * high, rng.uniform(3.6, 5.2))


def speak(rng: np.random.Generator, speaker: Voice, start_s: float, end_s: float) -> Speech:
    """Say random syllables. The mouth opens with the sound of each vowel, by an amount that is the vowel's own."""
    samples = round((end_s - start_s) * RATE_HZ)
    wave, opening, width = np.zeros(samples), np.zeros(samples), np.ones(samples)
    source = _pulses(rng, speaker, samples)
    at = int(rng.uniform(0, 0.15) * RATE_HZ)
    while True:
        length = int(rng.uniform(0.75, 1.3) / speaker.pace * RATE_HZ)
        if at + length >= samples:
            break
        span = slice(at, at + length)
        first, second, openness, wide = _VOWELS[str(rng.choice(list(_VOWELS)))]
        stress = rng.uniform(0.65, 1.1)
        swell = _swell(length, rng.uniform(0.3, 0.5))
        opening[span] = np.maximum(opening[span], np.minimum(stress * openness, 1.0) * swell)
        width[span] += (wide - 1) * swell
        vowel = _filtered(source[span], first * speaker.tract, second * speaker.tract)
        wave[span] += (0.35 + 0.65 * openness) * stress * swell**1.3 * vowel
        _consonant(rng, wave, at)
        # Syllables run into each other, and now and then there is a pause for breath.
        at += int(length * rng.uniform(0.8, 1.0))
        if rng.random() < 0.14:
            at += int(rng.uniform(0.12, 0.35) * RATE_HZ)
    return Speech(start_s, 0.75 * wave / (np.abs(wave).max() + 1e-9), opening, width)


def _swell(length: int, peak: float) -> np.ndarray:
    """Rise and fall of a syllable, 0..1, highest at the share `peak`."""
    u = np.linspace(0, 1, length)
    bent = np.where(u < peak, 0.5 * u / peak, 0.5 + 0.5 * (u - peak) / (1 - peak))
    return np.asarray(np.sin(np.pi * bent) ** 1.5)


def _pulses(rng: np.random.Generator, speaker: Voice, samples: int) -> np.ndarray:
    """One pulse per vibration of the vocal folds, pitch rising and falling, and a breath of noise."""
    time = np.arange(samples) / RATE_HZ
    melody = 0.12 * np.sin(2 * np.pi * 0.6 * time + rng.uniform(0, 6)) + 0.05 * np.sin(9 * time + rng.uniform(0, 6))
    turns = np.cumsum(speaker.pitch_hz * 2**melody) / RATE_HZ
    pulses = np.diff(np.floor(turns), prepend=0.0)
    return np.asarray(pulses + 0.02 * rng.standard_normal(samples))


def _filtered(source: np.ndarray, first_hz: float, second_hz: float) -> np.ndarray:
    """The source through the resonances of a vocal tract, unit variance."""
    size = 1 << int(np.ceil(np.log2(len(source) + 800)))
    s = 2j * np.pi * np.fft.rfftfreq(size, 1 / RATE_HZ)
    response = 1 / (1 + s / (2 * np.pi * 300))
    for centre, wide in ((first_hz, 90.0), (second_hz, 120.0), (2750.0, 180.0), (3600.0, 260.0)):
        w = 2 * np.pi * centre
        response = response * w**2 / (s**2 + 2 * np.pi * wide * s + w**2)
    # Lips radiate high frequencies better.
    wave = np.fft.irfft(np.fft.rfft(source, size) * response * (s / 2000 + 0.3), size)[: len(source)]
    return np.asarray(wave / (wave.std() + 1e-9))


def _consonant(rng: np.random.Generator, wave: np.ndarray, at: int) -> None:
    """Put a consonant just before a syllable, while the mouth is nearly closed; added in place."""
    kind = str(rng.choice(_CONSONANTS, p=[0.25, 0.3, 0.25, 0.2]))
    if kind in ("none", "closed"):
        return
    seconds, low, high, level = (0.08, 2500, 7000, 0.45) if kind == "hiss" else (0.018, 800, 4500, 0.7)
    length = int(seconds * RATE_HZ)
    noise = sound.band(rng, length, low * rng.uniform(0.8, 1.2), high)
    shape = np.hanning(length) if kind == "hiss" else np.linspace(1, 0, length)
    begin = max(at - (length * 2) // 3, 0)
    room = wave[begin : begin + length]
    room += level * (noise * shape)[: len(room)]
