"""What sees mouths and hears sound, as `demos.sync` asks it: trained networks, or a method that needs no training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sslkit.media import faces
from sslkit.models.lips import FPS, HOP, RATE_HZ, WINDOW, WINDOW_FRAMES
from sslkit.ops import onset
from sslkit.tasks.lip_sync import LipSync

_MOUTH_PX = 64


class Watcher(Protocol):
    """What sees mouths and hears sound: vectors whose distance is least where they belong together."""

    @property
    def side_px(self) -> int:
        """Side of the squares that are cut out."""

    @property
    def part(self) -> faces.Part:
        """What they show."""

    @property
    def squared(self) -> bool:
        """Whether squared distances are what is averaged, as where they are logarithms of likelihoods."""

    def see(self, frames: Tensor) -> Tensor:
        """Frames (1, T, 3, S, S) uint8 to vectors (T - 4, D)."""

    def hear(self, sound: Tensor) -> Tensor:
        """Sound (1, N) int16 to vectors (windows, D)."""


@dataclass(frozen=True)
class Trained:
    """The networks of a run of lip_sync. side_px, part: as its data were prepared."""

    task: LipSync
    device: torch.device
    side_px: int
    part: faces.Part

    @property
    def squared(self) -> bool:
        """As they were trained."""
        return self.task.squared

    def see(self, frames: Tensor) -> Tensor:
        """Vectors (T - 4, D)."""
        return self.task.seen(frames.to(self.device))[0]

    def hear(self, sound: Tensor) -> Tensor:
        """Vectors (windows, D)."""
        return self.task.heard(sound.to(self.device))[0]


class Opening:
    """The training-free method: how dark the middle of a mouth is, as an open one is, against onsets of the sound.

    Vectors are single numbers, standardised over a chunk.
    """

    side_px: int = _MOUTH_PX
    part: faces.Part = "mouth"
    squared: bool = False

    def see(self, frames: Tensor) -> Tensor:
        """How dark each window's middle frame is inside, compared with around it, (T - 4, 1)."""
        gray = frames[0].float().mean(1)
        height, width = gray.shape[1:]
        inside = gray[:, height * 13 // 32 : height * 22 // 32, width * 9 // 32 : width * 23 // 32]
        darkness = gray.mean((1, 2)) - inside.mean((1, 2))
        return _standard(darkness[2:-2])

    def hear(self, sound: Tensor) -> Tensor:
        """How much louder it gets in each window's middle, (windows, 1)."""
        windows = (sound.shape[-1] - WINDOW) // HOP + 1
        found = onset.onsets(sound[0], RATE_HZ, FPS, frames=windows + WINDOW_FRAMES - 1)
        return _standard(found[2 : windows + 2])


def _standard(values: Tensor) -> Tensor:
    return ((values - values.mean()) / (values.std(correction=0) + 1e-6))[:, None]
