"""Distortions of whole batches of clips, the same for all frames of a clip: drawn on the CPU, then applied anywhere.

Clips are (N, T, 3, H, W), uint8 or float in 0..255, RGB; a picture is a clip of one frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.types import Draw

_LUMA = (0.299, 0.587, 0.114)
# The two axes of colour beside brightness, I and Q of analogue television.
_CHROMA = ((0.596, -0.274, -0.322), (0.211, -0.523, 0.312))


@dataclass(frozen=True)
class ClipRanges:
    """How far clips are distorted; a range whose ends are 1 (factors) or 0 (the others) switches a distortion off.

    brightness, contrast, saturation: factors, contrast around the clip's mean. hue_turns: of the circle of colours.
    gray_chance: of no colour at all. blur_chance, blur_px: deviation of a Gaussian.
    turn_deg: clockwise. zoom: factor, above 1 is larger. shift: share of the side, to the right and down. shear_deg: of
    upright lines. shake_px: the most that a single frame is out of its place, each for itself.
    erase_chance, erase_share: a rectangle of that share of the area is replaced by the clip's mean colour.
    """

    brightness: tuple[float, float] = (0.7, 1.3)
    contrast: tuple[float, float] = (0.7, 1.3)
    saturation: tuple[float, float] = (0.5, 1.5)
    hue_turns: tuple[float, float] = (-0.05, 0.05)
    gray_chance: float = 0.1
    blur_chance: float = 0.3
    blur_px: tuple[float, float] = (0.1, 1.5)
    turn_deg: tuple[float, float] = (-10.0, 10.0)
    zoom: tuple[float, float] = (0.9, 1.1)
    shift: tuple[float, float] = (-0.05, 0.05)
    shear_deg: tuple[float, float] = (-5.0, 5.0)
    shake_px: float = 0.0
    erase_chance: float = 0.0
    erase_share: tuple[float, float] = (0.02, 0.2)


@dataclass(frozen=True)
class ClipJitter:
    """What was drawn for a batch of N clips of T frames, on the CPU.

    brightness, contrast, saturation, hue_turns, blur_px: (N,) float32. source: (N, T, 2, 3) float32, takes a place
    (x, y, 1) of the result, in pixels from the middle, to the place in the frame that is seen there. erased: (N, 4)
    int64 boxes (y0, x0, y1, x1) in pixels of the result, empty where nothing is.
    """

    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    hue_turns: Tensor
    blur_px: Tensor
    source: Tensor
    erased: Tensor


def draw_clip_jitter(shape: tuple[int, ...], ranges: ClipRanges, draw: Draw) -> ClipJitter:
    """Distortions for clips of a `shape` (N, T, 3, H, W)."""
    clips = shape[0]

    def within(ends: tuple[float, float]) -> Tensor:
        return draw.uniform(clips, low=ends[0], high=ends[1])

    brightness, contrast, saturation = within(ranges.brightness), within(ranges.contrast), within(ranges.saturation)
    gray, blurred = draw.uniform(clips) < ranges.gray_chance, draw.uniform(clips) < ranges.blur_chance
    return ClipJitter(
        brightness=brightness,
        contrast=contrast,
        saturation=saturation * ~gray,
        hue_turns=within(ranges.hue_turns),
        blur_px=within(ranges.blur_px) * blurred,
        source=_draw_source(shape, ranges, draw),
        erased=_draw_boxes(shape, ranges, draw),
    )


def _draw_source(shape: tuple[int, ...], ranges: ClipRanges, draw: Draw) -> Tensor:
    clips, frames, _, height, width = shape
    turn, shear = (
        draw.uniform(clips, low=ends[0], high=ends[1]).deg2rad() for ends in (ranges.turn_deg, ranges.shear_deg)
    )
    zoom = draw.uniform(clips, low=ranges.zoom[0], high=ranges.zoom[1])
    shift = draw.uniform(clips, 2, low=ranges.shift[0], high=ranges.shift[1]) * torch.tensor([width, height])
    shake = draw.uniform(clips, frames, 2, low=-ranges.shake_px, high=ranges.shake_px)
    return source_of(turn, zoom, shear, shift[:, None] + shake)


def source_of(turn: Tensor, zoom: Tensor, shear: Tensor, shift_px: Tensor) -> Tensor:
    """The `source` of a jitter, (N, T, 2, 3), from angles in radians and zoom (N,), and shift_px (N, T, 2) as (x, y).

    Sheared, turned, zoomed, then shifted, around the middle, as torchvision's `affine` does with shear (x, 0).
    """
    cos, sin, tan = turn.cos(), turn.sin(), shear.tan()
    rows = torch.stack([cos, -cos * tan - sin, sin, -sin * tan + cos], -1).reshape(-1, 2, 2)
    back = torch.linalg.inv(rows * zoom[:, None, None])[:, None].expand(-1, shift_px.shape[1], -1, -1)
    return torch.cat([back, -back @ shift_px[..., None]], -1)


def _draw_boxes(shape: tuple[int, ...], ranges: ClipRanges, draw: Draw) -> Tensor:
    clips, (height, width) = shape[0], shape[-2:]
    share = draw.uniform(clips, low=ranges.erase_share[0], high=ranges.erase_share[1])
    share = share * (draw.uniform(clips) < ranges.erase_chance)
    # Up to twice as wide as the picture's own shape, or half as wide.
    stretch = 2 ** draw.uniform(clips, low=-0.5, high=0.5)
    sides = torch.stack([height * share.sqrt() / stretch, width * share.sqrt() * stretch], 1)
    canvas = torch.tensor([height, width])
    sides = sides.round().clamp(max=canvas)
    start = (draw.uniform(clips, 2) * (canvas - sides)).round()
    return torch.cat([start, start + sides], 1).long()


def jitter_clips(clips: Tensor, jitter: ClipJitter) -> Tensor:
    """Clips (N, T, 3, H, W) distorted as drawn, float32 in 0..255: place, blur, colour, then what is erased."""
    placed = blurred(placed_at(clips.float(), jitter.source), jitter.blur_px)
    return erased(coloured(placed, jitter), jitter.erased)


def placed_at(clips: Tensor, source: Tensor) -> Tensor:
    """Each frame seen through its `source` (N, T, 2, 3), bilinear; beyond its edges a frame goes on as its edge."""
    if bool((source == torch.eye(2, 3)).all()):
        return clips
    height, width = clips.shape[-2:]
    half = torch.tensor([width / 2, height / 2])
    # grid_sample counts from the middle in half sides.
    matrix = source * torch.cat([half, torch.ones(1)]) / half[:, None]
    flat = clips.flatten(0, 1)
    grid = F.affine_grid(matrix.flatten(0, 1).to(clips.device), list(flat.shape), align_corners=False)
    return F.grid_sample(flat, grid, padding_mode="border", align_corners=False).reshape(clips.shape)


def blurred(clips: Tensor, deviation_px: Tensor) -> Tensor:
    """Each clip under a Gaussian of deviation_px (N,), 0 for none; at the edges, over what there is."""
    if not bool(deviation_px.any()):
        return clips
    rows, columns = (_smoothing(side, deviation_px).to(clips.device)[:, None, None] for side in clips.shape[-2:])
    return rows @ clips @ columns.transpose(-1, -2)


def _smoothing(side: int, deviation_px: Tensor) -> Tensor:
    """The blur of a line as a matrix, (N, side, side)."""
    place = torch.arange(side, dtype=torch.float32)
    distance = (place - place[:, None]) / deviation_px.clamp(min=1e-3)[:, None, None]
    weight = torch.exp(-distance.square() / 2)
    return weight / weight.sum(-1, keepdim=True)


def coloured(clips: Tensor, jitter: ClipJitter) -> Tensor:
    """Clips with brightness, contrast, saturation and hue changed, clipped to 0..255."""
    luma = torch.tensor(_LUMA)
    gain = jitter.brightness * jitter.contrast
    matrix = (gain[:, None, None] * _hue(jitter.hue_turns) @ _saturation(jitter.saturation)).to(clips.device)
    mean = (clips.mean((1, 3, 4)) * luma.to(clips.device)).sum(1)
    rest = ((1 - jitter.contrast) * jitter.brightness).to(clips.device) * mean
    mixed = (matrix[:, None] @ clips.flatten(3)).reshape(clips.shape)
    return (mixed + rest[:, None, None, None, None]).clamp(0, 255)


def _saturation(factor: Tensor) -> Tensor:
    """Between all gray (0), as it was (1) and beyond; (N, 3, 3)."""
    gray = torch.tensor(_LUMA).expand(3, 3)
    return gray + factor[:, None, None] * (torch.eye(3) - gray)


def _hue(turns: Tensor) -> Tensor:
    """Colours turned around the axis of grays, brightness kept; (N, 3, 3)."""
    axes = torch.tensor([_LUMA, *_CHROMA])
    angle = turns * (2 * torch.pi)
    turn = torch.eye(3).repeat(len(turns), 1, 1)
    turn[:, 1, 1] = turn[:, 2, 2] = angle.cos()
    turn[:, 1, 2], turn[:, 2, 1] = -angle.sin(), angle.sin()
    mixed: Tensor = torch.linalg.inv(axes) @ turn @ axes
    return mixed


def erased(clips: Tensor, boxes: Tensor) -> Tensor:
    """Clips whose `boxes` (N, 4), the same in all frames, show the clip's mean colour."""
    y0, x0, y1, x1 = boxes.to(clips.device)[:, :, None].unbind(1)
    y, x = (torch.arange(side, device=clips.device) for side in clips.shape[-2:])
    inside = ((y >= y0) & (y < y1))[:, :, None] & ((x >= x0) & (x < x1))[:, None, :]
    return torch.where(inside[:, None, None], clips.mean((1, 3, 4), keepdim=True), clips)
