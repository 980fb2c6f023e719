"""What sees mouths and hears sound, as `demos.sync` asks it: trained networks, or a method that needs no training.

The released SyncNet is given what joonson/syncnet_python gives it. Departures: another detector finds the faces, whose
squares are about as high; boxes at the ends of a track are not drawn towards zero by the median; pictures are not
compressed again on the way; sound is cut out of the whole of it, so that a track's first sample has one before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from sslkit.engine.device import place
from sslkit.media import faces
from sslkit.models import syncnet, weights
from sslkit.models.lips import FPS, HOP, RATE_HZ, WINDOW, WINDOW_FRAMES
from sslkit.models.syncnet import SyncNetSight, SyncNetSound
from sslkit.ops import onset
from sslkit.tasks.lip_sync import LipSync, LipSyncSettings

_MOUTH_PX = 64
RELEASED: dict[str, Any] = {
    "sight_trunk": "syncnet_sight",
    "sound_trunk": "syncnet_sound",
    "sound": {"late_samples": syncnet.LATE_SAMPLES},
    "loss": "contrastive",
    "compare": "distance",
    "crop_share": 1.0,
}
"""Settings of lip_sync that compute what joonson/syncnet_python computes."""


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
    """Networks of lip_sync. side_px, part: as their data were prepared."""

    task: LipSync
    device: torch.device
    side_px: int
    part: faces.Part

    @property
    def squared(self) -> bool:
        """As they were trained."""
        return self.task.squared

    @property
    def front_end(self) -> dict[str, Any]:
        """What the networks are given, for the record of a result."""
        trunks = {"sight": self.task.sight.front_end, "sound": self.task.sound.front_end}
        return {"part": self.part, "side_px": self.side_px, **trunks}

    def see(self, frames: Tensor) -> Tensor:
        """Vectors (T - 4, D)."""
        return self.task.seen(frames.to(self.device))[0]

    def hear(self, sound: Tensor) -> Tensor:
        """Vectors (windows, D)."""
        return self.task.heard(sound.to(self.device))[0]


def released(path: Path, device: torch.device) -> Trained:
    """SyncNet with the weights in a file, a state dict of joonson/syncnet_python, its crop of faces and its front end.

    Raises UserError that names the first weight which is missing or has another shape, and as `weights.tensors`.
    """
    learner = LipSync(LipSyncSettings(**RELEASED)).eval()
    sight, sound = cast(SyncNetSight, learner.sight), cast(SyncNetSound, learner.sound)
    syncnet.fill(sight, sound, weights.tensors(path)[1], path)
    place(learner, device)
    return Trained(learner, device, syncnet.SIDE_PX, "syncnet")


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
