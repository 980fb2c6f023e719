"""Spectra of sound over time, as the published networks take them: log spectrograms, log-mel and MFCC.

A front end is a `Spectrum`, plain numbers that can be stored beside the weights that were learnt on it. Waveforms are
(..., N) on the scale of int16 (see `sslkit.ops.sound`); each front end converts to the scale it was published for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
import torchaudio.functional
from torch import Tensor

from sslkit.ops.precision import in_float32
from sslkit.ops.sound import scaled


@dataclass(frozen=True)
class Spectrum:
    """The settings of `log_spectrogram`.

    rate_hz: of the waveforms. full_scale: what full scale becomes before anything else.
    window, hop, n_fft: in samples; a shorter window stands in the middle of its n_fft. taper: the window's shape.
    padding: how a waveform goes on beyond its ends, half an n_fft each, so that column k is centred on sample k hop;
        "none": column k begins at sample k hop and all its samples exist.
    power: 1 magnitude, 2 power. density: power per Hz of both halves of the spectrum, each window's mean taken out, as
        scipy.signal.spectrogram has it.
    bands: bands of the mel scale (0: none, the spectrum stays linear) between low_hz and high_hz (None: the highest
        there is), on the scale "htk" or "slaney"; the latter's bands are also divided by their width, as in librosa.
    log: "plus" log(x + floor), "max" log(max(x, floor)), "db" 10 log10(max(x, floor)) under the loudest place of the
        waveform, down to -80. The result is (log - shift) / divisor.
    """

    rate_hz: int
    n_fft: int
    window: int
    hop: int
    full_scale: float = 1.0
    taper: Literal["hann", "tukey"] = "hann"
    padding: Literal["none", "reflect", "constant"] = "none"
    power: Literal[1, 2] = 1
    density: bool = False
    bands: int = 0
    low_hz: float = 0.0
    high_hz: float | None = None
    scale: Literal["htk", "slaney"] = "htk"
    log: Literal["plus", "max", "db"] = "plus"
    floor: float = 1e-6
    shift: float = 0.0
    divisor: float = 1.0


L3 = Spectrum(48_000, 512, 512, 242, log="max", floor=1e-12, divisor=5.0)
"""257 x 197 a second. Look, Listen and Learn, ICCV 2017, as in marl/l3embedding; the paper's window of 480 and hop of
240 samples give 257 x 198."""

AVE = Spectrum(48_000, 512, 512, 238, full_scale=32768.0, taper="tukey", power=2, density=True, floor=1e-7)
"""257 x 200 a second. Objects that Sound, ECCV 2018, as in rohitrango/objects-that-sound (which takes int16)."""

LVS = Spectrum(16_000, 512, 512, 238, taper="tukey", power=2, density=True, floor=1e-7, divisor=12.0)
"""257 x 66 a second. Localizing Visual Sounds the Hard Way, CVPR 2021."""

MATCHING = Spectrum(
    16_000, 512, 400, 160, full_scale=32768.0, padding="reflect", power=2, bands=40, high_hz=8000.0, floor=1e-6
)
"""40 x 101 a second. Perfect Match, ICASSP 2019, as in joonson/syncnet_trainer, which then standardises each band over
time: see `standardised`."""

OPENL3 = Spectrum(48_000, 2048, 2048, 242, padding="constant", bands=128, scale="slaney", log="db", floor=1e-10)
"""128 x 199 a second. marl/openl3 from 0.4 on, the front end by librosa."""

SYNCHFORMER = Spectrum(
    16_000, 1024, 400, 160, padding="reflect", power=2, bands=128, floor=1e-6, shift=-4.2677, divisor=2 * 4.5690
)
"""128 x 101 a second. Synchformer, ICASSP 2024; there each segment is padded with zeros to 66 columns."""


def log_spectrogram(sound: Tensor, form: Spectrum) -> Tensor:
    """Log spectrogram, linear or mel, of waveforms (..., N): (..., bands or n_fft / 2 + 1, columns) float32.

    Raises ValueError where a waveform is shorter than one window.
    """
    spectrum = _spectrum(scaled(sound, form.full_scale), form)
    if form.bands:
        with in_float32(sound):
            spectrum = mel_filters(form).to(sound.device) @ spectrum
    if form.log == "db":
        level = 10 * spectrum.clamp(min=form.floor).log10()
        level = (level - level.amax((-2, -1), keepdim=True)).clamp(min=-80)
    else:
        level = (spectrum + form.floor if form.log == "plus" else spectrum.clamp(min=form.floor)).log()
    return (level - form.shift) / form.divisor


def mel_filters(form: Spectrum) -> Tensor:
    """The weights (bands, n_fft / 2 + 1) of the triangles of a mel front end."""
    bank: Tensor = torchaudio.functional.melscale_fbanks(
        form.n_fft // 2 + 1,
        form.low_hz,
        form.high_hz or form.rate_hz / 2,
        form.bands,
        form.rate_hz,
        norm="slaney" if form.scale == "slaney" else None,
        mel_scale=form.scale,
    )
    return bank.T


def _spectrum(sound: Tensor, form: Spectrum) -> Tensor:
    """Magnitude, power or power density of each column, (..., n_fft / 2 + 1, columns)."""
    if form.padding != "none":
        sound = _padded(sound, form.n_fft // 2, form.padding)
    if sound.shape[-1] < form.n_fft:
        raise ValueError(f"{sound.shape[-1]} samples are fewer than one window of {form.n_fft}: pad the sound")
    pieces = sound.unfold(-1, form.n_fft, form.hop)
    if form.density:
        pieces = pieces - pieces.mean(-1, keepdim=True)
    taper = _taper(form).to(sound.device)
    magnitude: Tensor = torch.fft.rfft(pieces * taper).abs().transpose(-1, -2)
    if form.power == 1:
        return magnitude
    power = magnitude.square()
    if form.density:
        power = power / (form.rate_hz * taper.square().sum())
        power[..., 1:-1, :] *= 2
    return power


def _padded(sound: Tensor, samples: int, mode: str) -> Tensor:
    if mode == "reflect" and sound.shape[-1] <= samples:
        raise ValueError(f"{sound.shape[-1]} samples cannot be mirrored over {samples}: pad the sound")
    flat = F.pad(sound.reshape(1, -1, sound.shape[-1]), (samples, samples), mode=mode)
    return flat.reshape(*sound.shape[:-1], -1)


def _taper(form: Spectrum) -> Tensor:
    """The window, (n_fft,)."""
    if form.taper == "hann":
        taper = torch.hann_window(form.window)
    else:
        # Tukey's, a quarter of it raised cosine, one sample longer than is used: scipy's default.
        at = torch.arange(form.window) / form.window
        edge = (torch.minimum(at, 1 - at) / 0.125).clamp(max=1)
        taper = (1 - torch.cos(math.pi * edge)) / 2
    before = (form.n_fft - form.window) // 2
    return F.pad(taper, (before, form.n_fft - form.window - before))


def standardised(spectrogram: Tensor) -> Tensor:
    """Each band of (..., bands, columns) with mean 0 and deviation 1 over time: torch's instance norm over columns."""
    mean = spectrogram.mean(-1, keepdim=True)
    variance = spectrogram.var(-1, correction=0, keepdim=True)
    return (spectrogram - mean) / (variance + 1e-5).sqrt()


_COEFFICIENTS, _MEL_BANDS, _LIFTER, _PRE_EMPHASIS = 13, 26, 22, 0.97
# What a power of exactly zero becomes: the rounding unit of float64.
_SMALLEST = 2.0**-52


def mfcc(
    sound: Tensor, rate_hz: int = 16_000, window_s: float = 0.025, hop_s: float = 0.01, n_fft: int = 512
) -> Tensor:
    """MFCC of waveforms (..., N) on the scale of int16: (..., columns, 13) float32; SyncNet's front end.

    The same numbers as python_speech_features 0.6 by default: pre-emphasis 0.97, a rectangular window, 26 mel bands
    from 0 Hz to the highest whose corners are whole Fourier bins, an orthonormal DCT, lifter 22, and the log energy of
    the window in place of coefficient 0. Column k begins at sample k hop; the last is filled up with zeros. Neither
    torchaudio's nor librosa's MFCC can be set to this. Only coefficient 0 knows the gain.
    """
    if sound.shape[-1] == 0:
        raise ValueError("there is no MFCC of an empty sound")
    waveform = scaled(sound)
    waveform = torch.cat([waveform[..., :1], waveform[..., 1:] - _PRE_EMPHASIS * waveform[..., :-1]], -1)
    window, hop = (math.floor(seconds * rate_hz + 0.5) for seconds in (window_s, hop_s))
    columns = 1 + max(0, math.ceil((sound.shape[-1] - window) / hop))
    waveform = F.pad(waveform, (0, (columns - 1) * hop + window - sound.shape[-1]))
    power = torch.fft.rfft(waveform.unfold(-1, window, hop), n_fft).abs().square() / n_fft
    filters, cosines = _speech_filters(rate_hz, n_fft).to(sound.device), _lifted_cosines().to(sound.device)
    with in_float32(sound):
        cepstrum = _log(power @ filters) @ cosines
    return torch.cat([_log(power.sum(-1, keepdim=True)), cepstrum[..., 1:]], -1)


def _log(power: Tensor) -> Tensor:
    return torch.where(power == 0, _SMALLEST, power).log()


def _speech_filters(rate_hz: int, n_fft: int) -> Tensor:
    """Triangles (n_fft / 2 + 1, bands) between whole bins; torchaudio's have corners between bins."""
    mel = torch.linspace(0, 2595 * math.log10(1 + rate_hz / 2 / 700), _MEL_BANDS + 2, dtype=torch.float64)
    corners = ((n_fft + 1) * 700 * (10 ** (mel / 2595) - 1) / rate_hz).floor()
    # Several corners in one bin make an empty slope.
    low, middle, high = corners[:-2], corners[1:-1], corners[2:]
    bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64)[:, None]
    rising = (bins - low) / (middle - low).clamp(min=1) * ((bins >= low) & (bins < middle))
    falling = (high - bins) / (high - middle).clamp(min=1) * ((bins >= middle) & (bins < high))
    return (rising + falling).float()


def _lifted_cosines() -> Tensor:
    """The orthonormal DCT times the lifter, (bands, coefficients)."""
    cosines: Tensor = torchaudio.functional.create_dct(_COEFFICIENTS, _MEL_BANDS, norm="ortho")
    return cosines * (1 + _LIFTER / 2 * torch.sin(math.pi * torch.arange(_COEFFICIENTS) / _LIFTER))
