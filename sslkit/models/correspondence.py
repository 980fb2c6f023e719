"""What decides whether a sight and a sound belong together: four small heads on the maps of two trunks.

A head first describes each side alone, then scores pairs, so that a batch is described once whatever is paired.

Source: `Fusion`: Arandjelovic and Zisserman, "Look, Listen and Learn", ICCV 2017; `Distance` (AVE-Net) and `Places`
(AVOL-Net): the same, "Objects that Sound", ECCV 2018; `Directions`: the cosines and the temperature of Chen et al.,
"Localizing Visual Sounds the Hard Way", CVPR 2021, with the largest of a picture's places in place of soft masks.
Departures: a pair gets one logit that it belongs together, which is the difference of the published two.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslkit.ops.precision import in_float32

_SHARPEST = 100.0


class Fusion(nn.Module):
    """Both vectors side by side through one hidden layer. They need not be alike, so neither finds the other."""

    def __init__(self, sight: int, sound: int, wide: int = 128) -> None:
        super().__init__()
        self.fuse = nn.Sequential(nn.Linear(sight + sound, wide), nn.ReLU(), nn.Linear(wide, 1))

    def look(self, maps: Tensor) -> Tensor:
        """Maps (B, C, H, W) as (B, C)."""
        return maps.amax((2, 3))

    def hear(self, maps: Tensor) -> Tensor:
        """Maps (B, C, F, T) as (B, C)."""
        return maps.amax((2, 3))

    def score(self, sight: Tensor, sound: Tensor) -> Tensor:
        """Logits (Q,) that pairs of what `look` and `hear` gave belong together."""
        logits: Tensor = self.fuse(torch.cat([sight, sound], 1))
        return logits[:, 0]


class Distance(nn.Module):
    """Vectors of length 1 whose Euclidean distance alone decides, so that near ones are alike across the senses."""

    def __init__(self, sight: int, sound: int, dimensions: int = 128) -> None:
        super().__init__()
        self.sight, self.sound = _embed(sight, dimensions), _embed(sound, dimensions)
        # Unit vectors that know nothing of each other are the root of 2 apart, those of one batch at first nearer.
        self.slope, self.bias = nn.Parameter(torch.tensor(-4.0)), nn.Parameter(torch.tensor(4.0))

    def look(self, maps: Tensor) -> Tensor:
        """Maps (B, C, H, W) as vectors (B, dimensions) of length 1."""
        return F.normalize(self.sight(maps.amax((2, 3))).float(), dim=1)

    def hear(self, maps: Tensor) -> Tensor:
        """Maps (B, C, F, T) as vectors (B, dimensions) of length 1."""
        return F.normalize(self.sound(maps.amax((2, 3))).float(), dim=1)

    def score(self, sight: Tensor, sound: Tensor) -> Tensor:
        """Logits (Q,) that pairs of what `look` and `hear` gave belong together."""
        # The root has no slope at 0.
        apart = (sight - sound).square().sum(1).clamp(min=1e-9).sqrt()
        return self.slope * apart + self.bias


class Places(nn.Module):
    """A sound against every place of a picture; the place that fits best decides."""

    def __init__(self, sight: int, sound: int, dimensions: int = 128) -> None:
        super().__init__()
        self.sight = nn.Sequential(nn.Conv2d(sight, dimensions, 1), nn.ReLU(), nn.Conv2d(dimensions, dimensions, 1))
        self.sound = _embed(sound, dimensions)
        self.slope, self.bias = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(0.0))
        self.scale = 1 / math.sqrt(dimensions)

    def look(self, maps: Tensor) -> Tensor:
        """Maps (B, C, H, W) as a vector for each place, (B, dimensions, H, W)."""
        places: Tensor = self.sight(maps)
        return places

    def hear(self, maps: Tensor) -> Tensor:
        """Maps (B, C, F, T) as (B, dimensions)."""
        vectors: Tensor = self.sound(maps.amax((2, 3)))
        return vectors

    def similar(self, sight: Tensor, sound: Tensor) -> Tensor:
        """The raw similarity of places (Q, dimensions, H, W) to sounds (Q, dimensions): (Q, H, W)."""
        return (sight.float() * sound.float()[:, :, None, None]).sum(1) * self.scale

    def evidence(self, similar: Tensor) -> Tensor:
        """Logits (Q, H, W) that each place makes the sound, from `similar`."""
        return self.slope * similar + self.bias

    def score(self, sight: Tensor, sound: Tensor) -> Tensor:
        """Logits (Q,) that pairs of what `look` and `hear` gave belong together."""
        return self.evidence(self.similar(sight, sound)).amax((1, 2))


class Directions(Places):
    """As `Places`, but vectors have length 1, so that only their direction counts: similarities are cosines.

    A picture's similarity to a sound is that of its best place, times a sharpness that is learnt.
    """

    def __init__(self, sight: int, sound: int, dimensions: int = 128) -> None:
        super().__init__(sight, sound, dimensions)
        self.scale = 1.0
        self.sharpness = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        nn.init.constant_(self.slope, 10.0)
        nn.init.constant_(self.bias, -5.0)

    def look(self, maps: Tensor) -> Tensor:
        """Maps (B, C, H, W) as a vector of length 1 for each place, (B, dimensions, H, W)."""
        return F.normalize(super().look(maps).float(), dim=1)

    def hear(self, maps: Tensor) -> Tensor:
        """Maps (B, C, F, T) as vectors (B, dimensions) of length 1."""
        return F.normalize(super().hear(maps).float(), dim=1)

    def sharp(self, similar: Tensor) -> Tensor:
        """Similarities as logits."""
        return similar * self.sharpness.exp().clamp(max=_SHARPEST)

    def against(self, sight: Tensor, sound: Tensor, among: Tensor) -> Tensor:
        """Every picture (B, dimensions, H, W) against every sound (M, dimensions): logits (B, M).

        among: (B, H, W) bool, the places of each picture that may decide, one at least.
        """
        with in_float32(sight):
            similar = torch.einsum("bdhw,md->bmhw", sight, sound)
        return self.sharp(similar.masked_fill(~among[:, None], -torch.inf).amax((2, 3)))


Head = Fusion | Distance | Places


def _embed(inputs: int, dimensions: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, dimensions), nn.ReLU(), nn.Linear(dimensions, dimensions))
