"""Sound for silent pictures: what a run of `indicated_sound` foretells, made audible.

Source: Owens et al., "Visually indicated sounds", CVPR 2016: at each peak of what is foretold, the sound of the
training hit whose features are nearest ("example"), or noise that is shaped until it has the foretold cochleagram
("noise"). Features are compared over 8 frames, from the one before the peak on [mem].
Departures: a peak is where the loudness rises most, and those of training clips are found in the same way. What is
foretold is blurred in time: only its bands are compared, on average over these frames, and with clear hits alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from sslkit.errors import WorkError
from sslkit.ops.onset import peaks
from sslkit.ops.sound import FULL_SCALE, level_db
from sslkit.ops.texture import synthesised
from sslkit.tasks.indicated_sound import IndicatedSound
from sslkit.types import Batch

_COMPARED, _BEFORE = 8, 1
_RISE_S = 0.08
_FADE_S = 0.03
# Of the average rise of training hits: those that rise less are none, and what is foretold rises much less.
_CLEAR, _LEAST = 0.5, 0.07


@dataclass(frozen=True)
class Examples:
    """Hits to choose from: bands (N, bands), how loud each band is around them, of length 1; and what was heard, (N,
    samples) int16, from a frame before it on. rise: how much louder hits become on average.
    """

    bands: Tensor
    sounds: Tensor
    rise: float

    @classmethod
    @torch.no_grad()
    def of(cls, task: IndicatedSound, batches: Iterable[Batch]) -> Examples:
        """The strongest hit of each window of training batches, on the CPU."""
        found = [_hits(task, batch) for batch in batches if batch.sound is not None]
        if not sum(len(rises) for *_, rises in found):
            raise WorkError(
                "There are no examples to choose sounds from: name data that have a train split with sound to be heard."
            )
        bands, sounds, rises = (torch.cat(parts) for parts in zip(*found, strict=True))
        rise = float(rises.mean())
        clear = rises >= _CLEAR * rise
        return cls(bands[clear], sounds[clear], rise)

    def nearest(self, bands: Tensor) -> Tensor:
        """The sounds (n, samples) of the examples nearest to bands (n, bands) of length 1."""
        return self.sounds[(bands @ self.bands.T).argmax(1)]


def _hits(task: IndicatedSound, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Bands, sound and rise of the hit of each window that can be heard."""
    sound = task.cut(batch)[1]
    audible = (level_db(sound) >= task.settings.silent_db).cpu()
    heard = task.heard(sound)
    rises = _rise(task, heard)
    kept = task.rebuilt(task.known(heard))
    moment_hz = task.settings.fps * task.settings.steps
    first = rises.argmax(1) - _BEFORE * task.settings.steps
    # What would lie before or beyond the window is silence.
    silence, length = torch.zeros_like(sound), sound.shape[1]
    samples = length + (first * task.settings.rate_hz / moment_hz).round().long()[:, None]
    samples = samples + torch.arange(length, device=sound.device)
    rows = torch.arange(len(sound), device=sound.device)[:, None]
    from_it = torch.cat([silence, _ended(sound, task), silence], 1)[rows, samples]
    return _bands(task, kept, first).cpu()[audible], from_it.cpu()[audible], rises.amax(1).cpu()[audible]


def _bands(task: IndicatedSound, cochleagrams: Tensor, first: Tensor) -> Tensor:
    """How loud each band of cochleagrams (N, bands, moments) is from moments `first` (N,) on: (N, bands), length 1."""
    moments = first[:, None] + torch.arange(_COMPARED * task.settings.steps, device=first.device)
    inside = moments.clamp(0, cochleagrams.shape[2] - 1)[:, None].expand(-1, cochleagrams.shape[1], -1)
    return torch.nn.functional.normalize(cochleagrams.gather(2, inside).mean(2), dim=1)


def _ended(sound: Tensor, task: IndicatedSound) -> Tensor:
    """Sounds (N, samples) that fade out."""
    left = torch.arange(sound.shape[1], 0, -1, device=sound.device)
    return (sound * (left / (_FADE_S * task.settings.rate_hz)).clamp(max=1)).round().to(sound.dtype)


def _rise(task: IndicatedSound, cochleagram: Tensor) -> Tensor:
    """How much louder cochleagrams (..., bands, moments) become around each moment, (..., moments)."""
    reach = max(1, round(_RISE_S * task.settings.fps * task.settings.steps) // 2)
    loudness = cochleagram.mean(-2)
    rise = (loudness[..., 2 * reach :] - loudness[..., : -2 * reach]).clamp(min=0)
    return torch.nn.functional.pad(rise, (reach, reach))


@torch.no_grad()
def dubbed(task: IndicatedSound, frames: Tensor, examples: Examples | None = None) -> Tensor:
    """The sound of frames (T, 3, H, W) uint8 at the task's rate: (samples,) int16, as long as they are.

    examples: what the sounds are taken from; without any, noise is shaped. The task is in evaluation mode.
    Raises WorkError for fewer frames than a window.
    """
    settings, window = task.settings, task.settings.frames
    if len(frames) < window:
        raise WorkError(
            f"{len(frames)} pictures are fewer than the {window} that the run learnt from: take longer clips."
        )
    starts = sorted({*range(0, len(frames) - window, max(1, window // 2)), len(frames) - window})
    size_px = torch.tensor([frames.shape[-2:]])
    device = task.mean.device
    clips = (task.plain(frames[None, start : start + window].to(device), size_px) for start in starts)
    said = torch.cat([task.components(clip).float().cpu() for clip in clips]).transpose(1, 2)
    whole = _faded(said, [start * settings.steps for start in starts])
    foretold = task.rebuilt(whole.T[None].to(device))[0].cpu()
    samples = round(len(frames) / settings.fps * settings.rate_hz)
    if examples is not None:
        sound = _placed(task, foretold, examples, samples)
    else:
        noise = torch.randn(samples, generator=torch.Generator().manual_seed(0))
        sound = synthesised(foretold, noise, task.ear)
    return sound.clamp(-FULL_SCALE, FULL_SCALE - 1).round().to(torch.int16)


def _placed(task: IndicatedSound, foretold: Tensor, examples: Examples, samples: int) -> Tensor:
    """The sounds of the nearest examples, each at its peak of a foretold cochleagram (bands, moments)."""
    settings = task.settings
    moment_hz = settings.fps * settings.steps
    total = torch.zeros(samples)
    fade = (torch.arange(examples.sounds.shape[1]) / (_FADE_S * settings.rate_hz)).clamp(max=1)
    for time_s in peaks(_rise(task, foretold), moment_hz, _LEAST * examples.rise):
        first = round(time_s * moment_hz) - _BEFORE * settings.steps
        sound = examples.nearest(_bands(task, foretold[None], torch.tensor([first])))[0] * fade
        begin = round(first / moment_hz * settings.rate_hz)
        skipped, end = max(0, -begin), min(samples, begin + len(sound))
        total[begin + skipped : end] += sound[skipped : end - begin]
    return total


def _faded(pieces: Tensor, starts: list[int]) -> Tensor:
    """Pieces (n, ..., L) that begin at `starts`, faded into each other where they overlap: (..., starts[-1] + L)."""
    length = pieces.shape[-1]
    at = torch.arange(length)
    fade = torch.minimum(at + 1, length - at) / length
    total, share = pieces.new_zeros(*pieces.shape[1:-1], starts[-1] + length), pieces.new_zeros(starts[-1] + length)
    for piece, start in zip(pieces, starts, strict=True):
        total[..., start : start + length] += piece * fade
        share[start : start + length] += fade
    return total / share
