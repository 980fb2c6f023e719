"""Sound for silent pictures: what a run of `indicated_sound` foretells, made audible.

Source: Owens et al., "Visually indicated sounds", CVPR 2016: the sound of the training clip whose features are nearest
to those foretold ("example"), or noise that is shaped until it has the foretold cochleagram ("noise").
Departures: examples stand for whole windows, which overlap by half and are faded into each other, not for single hits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from sslkit.errors import WorkError
from sslkit.ops.sound import FULL_SCALE
from sslkit.ops.texture import synthesised
from sslkit.tasks.indicated_sound import IndicatedSound
from sslkit.types import Batch


@dataclass(frozen=True)
class Examples:
    """Sounds to choose from: components (N, moments, C), and what was heard, (N, samples) int16."""

    components: Tensor
    sounds: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, task: IndicatedSound, batches: Iterable[Batch]) -> Examples:
        """The windows of training batches, on the CPU."""
        found = [(task.known(task.heard(batch)).cpu(), batch.sound.flatten(0, 1).cpu())
                 for batch in batches if batch.sound is not None]  # fmt: skip
        if not found:
            raise WorkError(
                "There are no examples to choose sounds from: name data that have a train split with sound."
            )
        return cls(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    def nearest(self, components: Tensor) -> Tensor:
        """The sounds (n, samples) of the examples nearest to components (n, moments, C)."""
        which = torch.cdist(components.flatten(1), self.components.flatten(1)).argmin(1)
        return self.sounds[which]


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
    said = torch.cat([task.components(clip).float().cpu() for clip in clips])
    if examples is not None:
        sounds = examples.nearest(said).float()
        sound = _faded(sounds, [round(start / settings.fps * settings.rate_hz) for start in starts])
    else:
        foretold = _faded(task.rebuilt(said.to(device)).cpu(), [start * settings.steps for start in starts])
        samples = round(len(frames) / settings.fps * settings.rate_hz)
        noise = torch.randn(samples, generator=torch.Generator().manual_seed(0))
        sound = synthesised(foretold, noise, task.ear)
    return sound.clamp(-FULL_SCALE, FULL_SCALE - 1).round().to(torch.int16)


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
