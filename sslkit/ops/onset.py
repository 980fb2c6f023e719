"""When a sound does something: loudness and onsets at the frame rate of a video, centred on its frames.

Value m belongs to the time m / frame_hz, counted from the first sample, and is gathered alike from one frame before and
after: an event at a frame shows at that frame alone, and one between two frames in both, by their distance.
Waveforms are (..., N) on the scale of int16 (see `sslkit.ops.sound`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.ops.sound import sampled, scaled, triangle

_STEP_S = 0.0025
_WINDOW_S = 0.008
# Loudness goes with about this power of the energy, and silence has no onsets, as it would have after a logarithm.
_LOUDNESS = 0.3


def envelope(sound: Tensor, rate_hz: int, frame_hz: float, frames: int | None = None) -> Tensor:
    """Root mean square amplitude around each frame of a video, in [0, 1] for a full scale of 1; (..., frames) float32.

    frames: how many; without it as many as begin before the sound ends. Beyond the sound there is silence.
    """
    step = max(1, round(rate_hz * _STEP_S))
    power = scaled(sound, 1.0).square()
    power = F.pad(power, (0, -power.shape[-1] % step)).reshape(*sound.shape[:-1], -1, step).mean(-1)
    middle = (step - 1) / 2
    return _pooled(power, rate_hz / step, middle / step, frame_hz, _frames(sound, rate_hz, frame_hz, frames)).sqrt()


def onsets(sound: Tensor, rate_hz: int, frame_hz: float, frames: int | None = None) -> Tensor:
    """How much louder the sound gets around each frame, summed over frequencies; (..., frames) float32, not negative.

    Each frequency counts where it rises, over windows of 8 ms; an onset is found up to 3 ms early.
    """
    step = max(1, round(rate_hz * _STEP_S))
    size = 2 ** math.ceil(math.log2(_WINDOW_S * rate_hz))
    flat = scaled(sound, 1.0).reshape(-1, sound.shape[-1])
    window = torch.hann_window(size, device=sound.device)
    spectrum = torch.stft(flat, size, step, window=window, pad_mode="constant", return_complex=True)
    loudness = (spectrum.abs() / size) ** (2 * _LOUDNESS)
    # The difference across two steps belongs to the step between them.
    rise = (loudness[..., 2:] - loudness[..., :-2]).clamp(min=0).sum(1)
    rise = F.pad(rise, (1, 1)).reshape(*sound.shape[:-1], -1)
    return _pooled(rise, rate_hz / step, 0.0, frame_hz, _frames(sound, rate_hz, frame_hz, frames))


def peaks(strength: Tensor, frame_hz: float, least: float, apart_s: float = 0.1) -> list[float]:
    """Seconds at which strength (frames,) is at least `least`, above zero, and the largest within `apart_s`; of equal
    ones the first.
    """
    reach = max(1, round(apart_s * frame_hz))
    around = F.max_pool1d(strength[None, None].float(), 2 * reach + 1, 1, reach)[0, 0]
    highest = ((strength >= around) & (strength >= least) & (strength > 0)).nonzero()[:, 0]
    return separate([frame / frame_hz for frame in highest.tolist()], apart_s)


def separate(times_s: Sequence[float], apart_s: float = 0.1) -> list[float]:
    """Of rising times those that come more than `apart_s` after the one that was kept before."""
    found: list[float] = []
    for time_s in times_s:
        if not found or time_s - found[-1] > apart_s:
            found.append(time_s)
    return found


def matches(said_s: Sequence[float], true_s: Sequence[float], within_s: float) -> int:
    """How many of the moments `said_s` can each be given one of `true_s` of its own, at most `within_s` away."""
    said, true, found = sorted(said_s), sorted(true_s), 0
    while said and true:
        if abs(said[0] - true[0]) <= within_s:
            found += 1
            said, true = said[1:], true[1:]
        elif said[0] < true[0]:
            said = said[1:]
        else:
            true = true[1:]
    return found


def _frames(sound: Tensor, rate_hz: int, frame_hz: float, frames: int | None) -> int:
    return math.ceil(sound.shape[-1] / rate_hz * frame_hz) if frames is None else frames


def _pooled(values: Tensor, values_hz: float, first: float, frame_hz: float, frames: int) -> Tensor:
    """Mean of `values`, the first of which stands at `first` of its steps, around each frame."""
    reach = values_hz / frame_hz
    position = torch.arange(frames, dtype=torch.float64, device=values.device) * reach - first
    kernel = triangle(reach)
    share = sampled(torch.ones_like(values), position, math.ceil(reach), kernel)
    return sampled(values, position, math.ceil(reach), kernel) / share.clamp(min=1e-6)
