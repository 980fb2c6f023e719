"""Crops of whole batches on the device. Each is split in two: a box is drawn (CPU), then it is cut out (any device).

Boxes are (B, 4) float32 `(y0, x0, y1, x1)` in pixels; pixel i covers [i, i + 1). Pictures are (B, ..., H, W); what lies
between the first and the last two axes is cut alike (channels, frames). `size_px` (B, 2) int64 says which part of
the common canvas is picture; boxes stay inside it.
"""

from typing import Protocol

import torch
import torchvision.ops
from torch import Tensor

from sslkit.types import Draw

_TRIES = 10


def resized_boxes(
    size_px: Tensor, draw: Draw, scale: tuple[float, float] = (0.08, 1.0), ratio: tuple[float, float] = (3 / 4, 4 / 3)
) -> Tensor:
    """Boxes of "inception" crops: a share of the area in `scale`, an aspect ratio (w / h) in `ratio`, placed at random.

    As torchvision's RandomResizedCrop, for a batch: ten tries a sample, then the central box of an allowed shape.
    """
    size = size_px.cpu().float()
    height, width = size[:, :1], size[:, 1:]
    area = height * width * draw.uniform(len(size), _TRIES, low=scale[0], high=scale[1])
    low, high = torch.tensor(ratio).log().tolist()
    aspect = draw.uniform(len(size), _TRIES, low=low, high=high).exp()
    tall, wide = (area / aspect).sqrt(), (area * aspect).sqrt()
    fits = (tall <= height) & (wide <= width)
    first = fits.int().argmax(1, keepdim=True)
    fallback = torch.minimum(height, width)
    any_fits = fits.any(1, keepdim=True)
    tall = torch.where(any_fits, tall.gather(1, first), fallback)
    wide = torch.where(any_fits, wide.gather(1, first), fallback)
    place = draw.uniform(len(size), 2)
    place = torch.where(any_fits, place, torch.full_like(place, 0.5))
    return _placed(size, torch.cat([tall, wide], 1), place)


def centre_boxes(size_px: Tensor, share: float = 0.875) -> Tensor:
    """Central squares whose side is `share` of the short side (0.875 = 224 of 256)."""
    size = size_px.cpu().float()
    side = size.min(1, keepdim=True).values * share
    return _placed(size, side.expand(-1, 2), torch.full_like(size, 0.5))


def corner_boxes(size_px: Tensor, side_px: int, draw: Draw | None) -> Tensor:
    """Squares of `side_px` at one of five places, four corners and centre; without `draw` the centre. Whole pixels.

    The side shrinks to the short side of a picture that is smaller.
    """
    size = size_px.cpu().float()
    side = size.min(1, keepdim=True).values.clamp(max=side_px).expand(-1, 2)
    places = torch.tensor([[0.5, 0.5], [0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    which = torch.zeros(len(size), dtype=torch.int64) if draw is None else draw.integers(len(size), high=len(places))
    return _placed(size, side, places[which]).floor()


def _placed(size: Tensor, box: Tensor, place: Tensor) -> Tensor:
    """Boxes of (B, 2) sides `box` at a (B, 2) share `place` of the room left: 0 top or left, 1 bottom or right."""
    start = (size - box) * place
    return torch.cat([start, start + box], 1)


def crop(pictures: Tensor, boxes: Tensor, out_px: int, flip: Tensor | None = None) -> Tensor:
    """Cut one box from each picture and scale it to a square of `out_px`; float32, the values' range is kept.

    Each output pixel is the mean of enough bilinear samples that shrinking does not alias. `flip` (B,) bool mirrors
    left and right. A whole-pixel box of `out_px` is returned exactly.
    """
    flat = pictures.flatten(1, -3) if pictures.dim() > 4 else pictures
    x0y0x1y1 = boxes[:, [1, 0, 3, 2]].to(pictures.device)
    rows = torch.arange(len(flat), device=pictures.device, dtype=torch.float32)[:, None]
    cut: Tensor = torchvision.ops.roi_align(
        flat.float(), torch.cat([rows, x0y0x1y1], 1), out_px, sampling_ratio=-1, aligned=True
    )
    cut = cut.reshape(*pictures.shape[:-2], out_px, out_px)
    return mirror(cut, flip) if flip is not None else cut


def cut(pictures: Tensor, boxes: Tensor, side_px: int) -> Tensor:
    """Cut whole-pixel squares of `side_px` without resampling; the type is kept. Boxes of another side are scaled.

    The way for optical flow, whose values would have to change with its size.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    if not bool((sides == side_px).all()):
        return crop(pictures, boxes, side_px).round().to(pictures.dtype)
    flat = pictures.flatten(1, -3) if pictures.dim() > 4 else pictures
    span = torch.arange(side_px)
    y = (boxes[:, :1].long() + span).to(pictures.device)
    x = (boxes[:, 1:2].long() + span).to(pictures.device)
    sample = torch.arange(len(flat), device=pictures.device)[:, None, None]
    out = flat.permute(0, 2, 3, 1)[sample, y[:, :, None], x[:, None, :]]
    return out.permute(0, 3, 1, 2).reshape(*pictures.shape[:-2], side_px, side_px)


class Crops(Protocol):
    """What is asked of the crops of a task: the share of the area in training, whether to mirror half, and the share of
    the short side in evaluation."""

    scale: tuple[float, float]
    flip: bool
    centre_share: float


def cropped(pictures: Tensor, size_px: Tensor, out_px: int, asked: Crops, draw: Draw | None) -> Tensor:
    """The usual crops of a task: `resized_boxes` in training; without `draw` the centre."""
    if draw is None:
        return crop(pictures, centre_boxes(size_px, asked.centre_share), out_px)
    boxes = resized_boxes(size_px, draw, asked.scale)
    return crop(pictures, boxes, out_px, draw.uniform(len(pictures)) < 0.5 if asked.flip else None)


def mirror(pictures: Tensor, which: Tensor) -> Tensor:
    """Mirror left and right those pictures of a batch where `which` (B,) is true."""
    chosen = which.to(pictures.device).reshape(-1, *[1] * (pictures.dim() - 1))
    return torch.where(chosen, pictures.flip(-1), pictures)
