"""Two small networks for people who talk: one watches a mouth for five frames, one hears that time.

Both are dense: a clip gives one vector for each window of five frames, 25 a second, without computing anything twice.

Source: the shape of SyncNet (Chung and Zisserman, ACCV workshops 2016): time is consumed by the first convolution of
the picture network, the sound network sees 20 columns of 10 ms; 40 mel bands as joonson/syncnet_trainer.
Departures: a tenth of the channels on 48 px mouths, so that a processor is enough; gray pictures, standardised per
clip, beside what differs from the clip's mean picture, which tells motion and not the person. A vector of the sound
network also hears 0.1 s more on either side, where there is some.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslkit.models.trunk import Trunk
from sslkit.ops.precision import in_float32
from sslkit.ops.spectrum import Spectrum, log_spectrogram
from sslkit.types import Reads

WINDOW_FRAMES = 5
FPS = 25.0
RATE_HZ = 16_000
HOP = round(RATE_HZ / FPS)
WINDOW = 20 * 160 + 240
"""Samples that one vector hears: 20 columns of 10 ms, the last one 25 ms long."""
WINDOW_S = WINDOW / RATE_HZ
_LUMA = (0.299, 0.587, 0.114)
_BANDS = 40


class Lips(Trunk):
    """conv1 .. conv4, fc, embedding. Takes frames (B, T, 3, S, S) of a mouth, 25 a second, T >= 5.

    Maps of clips longer than five frames stand one above the other, (B, C, (T - 4) H, W).
    """

    name = "lips"

    def __init__(self, side_px: int = 48, width: int = 32, dimensions: int = 128, dropout: float = 0.0) -> None:
        super().__init__()
        self.settings = {"side_px": side_px, "width": width, "dimensions": dimensions, "dropout": dropout}
        self.takes = Reads(frames=WINDOW_FRAMES, fps=FPS)
        self.crop_px = side_px
        self.front_end = {"luma": list(_LUMA), "least_deviation": [5.0, 2.0]}
        channels = [width, 2 * width, 3 * width, 4 * width]
        self.first = nn.Conv3d(2, width, (WINDOW_FRAMES, 5, 5), (1, 2, 2), (0, 2, 2), bias=False)
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1, bias=False) for before, after in pairwise(channels)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(count) for count in channels)
        self.fc = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(4 * width * 9, 8 * width), nn.BatchNorm1d(8 * width), nn.ReLU()
        )
        self.embed = nn.Sequential(nn.Dropout(dropout), nn.Linear(8 * width, dimensions))
        self.widths = {f"conv{n}": count for n, count in enumerate(channels, 1)}
        self.widths |= {"fc": 8 * width, "embedding": dimensions}

    def dense(self, raw: Tensor) -> Tensor:
        """(B, T - 4, dimensions): vector t is of the frames t .. t + 4."""
        return self._layers(raw)["embedding"].reshape(len(raw), -1, self.widths["embedding"])

    def forward(self, raw: Tensor) -> dict[str, Tensor]:
        """Maps of the layers; see `Trunk.forward`."""
        maps = {name: x.reshape(len(raw), -1, *x.shape[1:]) for name, x in self._layers(raw).items()}
        return {n: x.mean(1) if x.dim() == 3 else x.transpose(1, 2).flatten(2, 3) for n, x in maps.items()}

    def _layers(self, raw: Tensor) -> dict[str, Tensor]:
        """Every layer with the windows of all clips on the first axis."""
        x = self.first(_looked(raw)).transpose(1, 2).flatten(0, 1)
        maps = {"conv1": F.relu(self.norms[0](x))}
        for number, (conv, norm) in enumerate(zip(self.convs, self.norms[1:], strict=True), 2):
            # conv3 and conv4 look at the same scale.
            x = maps[f"conv{number - 1}"]
            x = conv(F.max_pool2d(x, 2) if number < 4 else x)
            maps[f"conv{number}"] = F.relu(norm(x))
        pooled = F.adaptive_max_pool2d(maps["conv4"], 3)
        maps["fc"] = self.fc(pooled.flatten(1))
        maps["embedding"] = self.embed(maps["fc"])
        return maps


class Speech(Trunk):
    """conv1 .. conv6, fc, embedding. Takes sound (B, N) on the scale of int16 at 16 kHz, N >= 3440."""

    name = "speech"

    def __init__(self, width: int = 32, dimensions: int = 128, dropout: float = 0.0) -> None:
        super().__init__()
        self.settings = {"width": width, "dimensions": dimensions, "dropout": dropout}
        self.takes = Reads(sound_s=WINDOW_S, rate_hz=RATE_HZ)
        self.crop_px = 0
        # No column reaches beyond its 25 ms, so that windows of a clip hear what they would hear alone.
        self.form = Spectrum(RATE_HZ, 400, 400, 160, power=2, bands=_BANDS, low_hz=60.0, high_hz=7600.0, floor=1e-6)
        self.front_end = {"bands": _BANDS, "window": 400, "hop": 160, "low_hz": 60, "high_hz": 7600}
        shapes = [(1, 1, 2, 1), (1, 2, 2, 1), (2, 2, 1, 2), (2, 3, 2, 1), (3, 4, 1, 2), (4, 4, 1, 1)]
        blocks = []
        for number, (before, after, down, along) in enumerate(shapes):
            inputs = before * width if number else 1
            conv = nn.Conv2d(inputs, after * width, 3, (down, along), 1, bias=False)
            blocks.append(nn.Sequential(conv, nn.BatchNorm2d(after * width), nn.ReLU()))
        self.blocks = nn.ModuleList(blocks)
        self.fc = nn.Sequential(nn.Conv1d(4 * width * 5, 8 * width, 5), nn.BatchNorm1d(8 * width), nn.ReLU())
        self.embed = nn.Sequential(nn.Dropout(dropout), nn.Conv1d(8 * width, dimensions, 1))
        self.widths = {f"conv{number}": after * width for number, (_, after, _, _) in enumerate(shapes, 1)}
        self.widths |= {"fc": 8 * width, "embedding": dimensions}

    def dense(self, raw: Tensor) -> Tensor:
        """(B, (N - 3440) / 640 + 1, dimensions): vector t hears 0.215 s from 0.04 t s on."""
        return self._layers(raw)["embedding"].transpose(1, 2)

    def forward(self, raw: Tensor) -> dict[str, Tensor]:
        """Maps (B, C, bands, columns) of the layers, and vectors; see `Trunk.forward`."""
        return {name: value.mean(2) if value.dim() == 3 else value for name, value in self._layers(raw).items()}

    def _layers(self, raw: Tensor) -> dict[str, Tensor]:
        # Not more columns than whole steps of 40 ms: the strides must fall on them.
        steps = (raw.shape[-1] - WINDOW) // HOP
        level = log_spectrogram(raw[..., : steps * HOP + WINDOW], self.form)
        x = (level - level.mean((1, 2), keepdim=True)) / (level.std((1, 2), keepdim=True) + 0.1)
        x, maps = x[:, None], {}
        for number, block in enumerate(self.blocks, 1):
            x = maps[f"conv{number}"] = block(x)
        maps["fc"] = self.fc(x.flatten(1, 2))
        maps["embedding"] = self.embed(maps["fc"])
        return maps


def _looked(raw: Tensor) -> Tensor:
    """Two gray views of a clip, (B, 2, T, S, S): standardised, and what differs from the clip's mean picture."""
    with in_float32(raw):
        gray = torch.einsum("btchw,c->bthw", raw.float(), torch.tensor(_LUMA, device=raw.device))
    whole = (1, 2, 3)
    looks = (gray - gray.mean(whole, keepdim=True)) / (gray.std(whole, keepdim=True) + 5.0)
    moved = gray - gray.mean(1, keepdim=True)
    return torch.stack([looks, moved / (moved.std(whole, keepdim=True) + 2.0)], 1)
