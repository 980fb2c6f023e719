"""How well a map says where something is: consensus of boxes, cIoU, pointing, and what no map at all would score.

Maps are (B, H, W). Source of cIoU: Senocak et al., "Learning to localize sound source in visual scenes", CVPR 2018, in
the form of the released evaluation of Chen et al., "Localizing visual sounds the hard way", CVPR 2021.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.errors import WorkError


def consensus_map(boxes: Tensor, height: int, width: int, votes: int = 2) -> Tensor:
    """How far annotators agree that a pixel belongs to the source, (height, width) float32 in [0, 1].

    boxes: (A, 4) int64 (y0, x0, y1, x1) in pixels, of all annotators together; `votes` boxes make full credit (Senocak:
    2 of 3 annotators; VGG-SS: 1, the union).
    """
    y0, x0, y1, x1 = boxes[:, :, None].unbind(1)
    y, x = torch.arange(height, device=boxes.device), torch.arange(width, device=boxes.device)
    inside = ((y >= y0) & (y < y1))[:, :, None] & ((x >= x0) & (x < x1))[:, None, :]
    return (inside.sum(0) / votes).clamp(max=1)


def enlarged(heat: Tensor, height: int, width: int) -> Tensor:
    """Heat maps (B, h, w) at the size of their pictures, (B, height, width), bilinear."""
    return F.interpolate(heat[:, None], (height, width), mode="bilinear", align_corners=False)[:, 0]


def upper_half(heat: Tensor) -> Tensor:
    """Where heat (B, H, W) is above its median, bool: half of every picture, at any scale; a flat map has none."""
    flat = heat.flatten(1)
    median = flat.sort(1).values[:, flat.shape[1] // 2]
    return heat > median[:, None, None]


def ciou(predicted: Tensor, truth: Tensor) -> Tensor:
    """Consensus intersection over union, (B,) in [0, 1]: predicted (B, H, W) bool, truth (B, H, W) in [0, 1].

    Credit found, over all credit and what was predicted where there is none. The papers predict the `upper_half`.
    """
    found = (predicted * truth).sum((1, 2))
    wrong = (predicted & (truth == 0)).sum((1, 2))
    return found / (truth.sum((1, 2)) + wrong).clamp(min=1e-9)


def localised(values: Tensor, least: float = 0.5) -> float:
    """Share of items whose cIoU reaches `least`, percent: what papers call cIoU. Raises WorkError without items."""
    _items(values)
    return 100.0 * float((values >= least).double().mean())


def success_auc(values: Tensor) -> float:
    """Area under `localised` for thresholds 0, 0.05 .. 1, percent: papers' AUC. Raises WorkError without items."""
    _items(values)
    least = torch.arange(21, dtype=torch.float64, device=values.device) * 0.05
    success = (values[:, None].double() >= least).double().mean(0)
    return 100.0 * float(torch.trapezoid(success, dx=0.05))


def pointing(heat: Tensor, truth: Tensor) -> Tensor:
    """Whether the hottest place lies inside, (B,) float32 0 or 1: heat (B, H, W), truth (B, H, W), inside where not 0.

    Of several hottest places each has its share: a flat map gets the share of the picture that is inside.
    """
    hottest = heat == heat.amax((1, 2), keepdim=True)
    return (hottest & (truth > 0)).sum((1, 2)) / hottest.sum((1, 2)).clamp(min=1)


def centre_heat(height: int, width: int) -> Tensor:
    """A Gaussian hill in the middle of a picture, a quarter of each side wide: (height, width), 1 at its top."""
    y, x = (_from_middle(side) for side in (height, width))
    return torch.exp(-(y[:, None].square() + x.square()) / (2 * 0.25**2))


def baselines(height: int, width: int) -> dict[str, Tensor]:
    """Predictions (height, width) bool that look at nothing, to be printed beside every cIoU."""
    y, x = (_from_middle(side).abs() < 0.5**1.5 for side in (height, width))
    return {
        "whole picture": torch.ones(height, width, dtype=torch.bool),
        "centre half": y[:, None] & x,
    }


def _from_middle(side: int) -> Tensor:
    """Places of the pixels of a line, as shares of it from its middle."""
    return (2 * torch.arange(side) + 1 - side) / (2 * side)


def _items(values: Tensor) -> None:
    if not len(values):
        raise WorkError("There are no annotated items to measure: check that the annotations name files of the data.")
