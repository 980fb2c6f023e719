"""A network that sees and hears from early on: pictures and a waveform are joined after a few layers, over time.

Source: Owens and Efros, "Audio-visual scene analysis with self-supervised multisensory features", ECCV 2018; code
andrewowens/multisensory.
Departures: the sound is brought to the length of the pictures by adaptive pooling, which is the same each time, in
place of fractional pooling; without a sound, what it would add is zero; batch norm forgets sooner, has a learnt scale,
and is not renormalised; weights begin as PyTorch has it; `still`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslkit.models.trunk import Trunk
from sslkit.ops.sound import companded
from sslkit.types import Reads

Stride = tuple[int, int, int]
_HALF = 127.5
"""Gray levels: pictures are brought to -1 to 1."""
_EPS = 1e-3


class Multisensory(Trunk):
    """conv1, res2, fused, res3, res4, res5. Takes frames (B, T, 3, H, W); maps stand one above the other over time.

    As a trunk it only sees; `seen`, `heard` and `joined` are its parts. `width` scales the channels. cam: keep the
    places of res4 in res5, for maps of evidence twice as fine. still: how much of the mean picture of a clip is seen:
    with 0 only what changes, which is else a small part of what the first layer sees, and is found late. channels: of
    the sound; with 2, sound of one channel comes from both sides.
    """

    name = "multisensory"

    def __init__(
        self,
        frames: int = 125,
        fps: float = 29.97,
        side_px: int = 224,
        width: float = 1.0,
        cam: bool = False,
        still: float = 1.0,
        channels: int = 1,
    ) -> None:
        super().__init__()
        self.settings = {
            "frames": frames, "fps": fps, "side_px": side_px, "width": width, "cam": cam, "still": still,
            "channels": channels,
        }  # fmt: skip
        self.takes = Reads(frames=frames, fps=fps)
        self.crop_px = side_px
        self.still = still
        self.front_end = {"mean": [_HALF], "std": [_HALF], "mu_law": [255.0], "still": [still]}
        base = max(4, round(64 * width))
        self.widths = {
            "conv1": base, "res2": base, "fused": 2 * base, "res3": 2 * base, "res4": 4 * base, "res5": 8 * base
        }  # fmt: skip
        self.first = nn.Sequential(
            nn.Conv3d(3, base, (5, 7, 7), 2, (2, 3, 3), bias=False), nn.BatchNorm3d(base, _EPS), nn.ReLU()
        )
        self.see = nn.Sequential(_Residual3d(base, base), _Residual3d(base, base, (2, 2, 2)))
        self.hear = nn.Sequential(
            nn.Conv1d(channels, base, 65, 4, 32, bias=False), nn.BatchNorm1d(base, _EPS), nn.ReLU(), nn.MaxPool1d(4),
            _Residual1d(base, 2 * base), _Residual1d(2 * base, 2 * base), _Residual1d(2 * base, 4 * base),
        )  # fmt: skip
        self.matched = nn.Sequential(
            nn.Conv1d(4 * base, 2 * base, 3, padding=1, bias=False), nn.BatchNorm1d(2 * base, _EPS), nn.ReLU()
        )
        self.fuse = nn.Sequential(
            nn.Conv3d(3 * base, 8 * base, 1, bias=False), nn.BatchNorm3d(8 * base, _EPS), nn.ReLU(),
            nn.Conv3d(8 * base, 2 * base, 1, bias=False),
        )  # fmt: skip
        self.fused_norm = nn.BatchNorm3d(2 * base, _EPS)
        self.later = nn.ModuleDict(
            {
                "res3": nn.Sequential(*(_Residual3d(2 * base, 2 * base) for _ in range(2))),
                "res4": nn.Sequential(_Residual3d(2 * base, 4 * base, (2, 2, 2)), _Residual3d(4 * base, 4 * base)),
                "res5": nn.Sequential(
                    _Residual3d(4 * base, 8 * base, (1, 1, 1) if cam else (1, 2, 2)), _Residual3d(8 * base, 8 * base)
                ),
            }
        )

    def forward(self, raw: Tensor) -> dict[str, Tensor]:
        """Maps (B, C, T' H', W') of the layers without any sound; see `Trunk.forward`."""
        conv1, seen = self._layers(raw)
        silent = seen.new_zeros(len(seen), self.widths["fused"], seen.shape[2])
        maps = {"conv1": conv1, "res2": seen, **self.joined(seen, silent)}
        return {name: one.flatten(2, 3) for name, one in maps.items()}

    def seen(self, raw: Tensor) -> Tensor:
        """What is seen before any sound, (B, C, T', H', W'): frames (B, T, 3, H, W)."""
        return self._layers(raw)[1]

    def heard(self, sound: Tensor, steps: int) -> Tensor:
        """What is heard, (B, C', steps): sound (B, N) or (B, 2, N) on the scale of int16, as long as the pictures."""
        sides = sound[:, None].expand(-1, self.settings["channels"], -1) if sound.dim() == 2 else sound
        joined: Tensor = self.matched(F.adaptive_max_pool1d(self.hear(companded(sides)), steps))
        return joined

    def joined(self, seen: Tensor, heard: Tensor) -> dict[str, Tensor]:
        """Maps (B, C, T', H', W') of the layers from the fusion on, of pairs of what was seen and what was heard."""
        spread = heard[..., None, None].expand(-1, -1, -1, *seen.shape[3:])
        # As published: what passes by the fusion is the pictures, and the last channels of the sound.
        past = torch.cat([seen, spread[:, seen.shape[1] :]], 1)
        x = F.relu(self.fused_norm(self.fuse(torch.cat([seen, spread], 1)) + past))
        maps = {"fused": x}
        for name, stage in self.later.items():
            x = maps[name] = stage(x)
        return maps

    def _layers(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        pictures = (raw.float() / _HALF - 1).transpose(1, 2)
        pictures = pictures - (1 - self.still) * pictures.mean(2, keepdim=True)
        conv1 = self.first(pictures)
        return conv1, self.see(F.max_pool3d(conv1, (1, 3, 3), (1, 2, 2), (0, 1, 1)))


class _Residual3d(nn.Module):
    """Two 3x3x3 convolutions beside a shortcut, which is pooled and widened where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: Stride = (1, 1, 1)) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm3d(outputs, _EPS), nn.ReLU(),
            nn.Conv3d(outputs, outputs, 3, 1, 1, bias=False),
        )  # fmt: skip
        widened = nn.Sequential(nn.Conv3d(inputs, outputs, 1, bias=False), nn.BatchNorm3d(outputs, _EPS))
        self.past = nn.Identity() if inputs == outputs else widened
        self.stride, self.norm = stride, nn.BatchNorm3d(outputs, _EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Batch norm stands after the sum."""
        past = self.past(F.max_pool3d(x, 1, self.stride) if max(self.stride) > 1 else x)
        return F.relu(self.norm(self.body(x) + past))


class _Residual1d(nn.Module):
    """The same over time: 15 samples wide, every fourth kept."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(inputs, outputs, 15, 4, 7, bias=False), nn.BatchNorm1d(outputs, _EPS), nn.ReLU(),
            nn.Conv1d(outputs, outputs, 15, 1, 7, bias=False),
        )  # fmt: skip
        # As published, one whose width stays is not convolved on its way past.
        widened = nn.Sequential(nn.Conv1d(inputs, outputs, 1, 4, bias=False), nn.BatchNorm1d(outputs, _EPS))
        self.past = nn.MaxPool1d(1, 4) if inputs == outputs else widened
        self.norm = nn.BatchNorm1d(outputs, _EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Batch norm stands after the sum."""
        return F.relu(self.norm(self.body(x) + self.past(x)))
