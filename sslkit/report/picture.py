"""Numbers into pictures, many at a time: flow as colours, heat maps over frames, filters, montages with captions.

Every function returns RGB uint8 of shape (..., H, W, 3); tensors and arrays are both taken.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.colors import Colormap
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from sslkit.ops.colour import flow_to_rgb

Picture = NDArray[np.uint8]

RIGHT, WRONG, NEITHER = (46, 139, 94), (200, 76, 60), (128, 134, 142)
_PAPER = (250, 250, 248)
_GAP = (172, 174, 177)  # between pictures: neither glares on a dark page nor disappears on a light one
_INK = (28, 32, 38)
_STILL_STEPS = 4.0  # packed flow below this length is noise and must not be stretched to full colour


def to_uint8(values: Tensor | NDArray[Any], low: float = 0.0, high: float = 1.0) -> Picture:
    """Pictures (..., C, H, W) with C 1 or 3 and values in [low, high] as (..., H, W, 3); uint8 keeps its values."""
    array = _array(values)
    if array.dtype != np.uint8:
        span = (array.astype(np.float32) - low) / max(high - low, 1e-12)
        array = np.rint(np.nan_to_num(span).clip(0, 1) * 255).astype(np.uint8)
    picture = np.moveaxis(array, -3, -1)
    if picture.shape[-1] == 1:
        picture = np.repeat(picture, 3, axis=-1)
    if picture.shape[-1] != 3:
        raise ValueError(f"a picture has 1 or 3 channels, not {picture.shape[-1]}")
    return np.ascontiguousarray(picture)


def flow_scale(flow: Tensor | NDArray[Any], percentile: float = 99.0) -> float:
    """Packed steps from 128 that full colour should stand for, one for all the fields (..., 2, H, W) given."""
    steps = _array(flow).astype(np.float32) - 128
    lengths = np.hypot(steps[..., 0, :, :], steps[..., 1, :, :])
    return max(float(np.percentile(lengths, percentile)), _STILL_STEPS)


def flow_colours(flow: Tensor | NDArray[Any], scale: float | None = None) -> Picture:
    """Packed fields (..., 2, H, W), 128 is no motion, as colours: hue is the direction, white is no motion.

    `scale` is the length in packed steps that gets full colour; by default one for all fields given (`flow_scale`),
    so that the fields of a clip do not flicker.
    """
    packed = torch.from_numpy(np.ascontiguousarray(_array(flow)))
    return _array(flow_to_rgb(packed, flow_scale(flow) if scale is None else scale))


def flow_legend(side_px: int = 96) -> Picture:
    """A disc (side_px, side_px, 3) with the colour of motion from its middle towards each point; white beyond."""
    axis = 127 * np.linspace(-1, 1, side_px, dtype=np.float32)
    steps = np.stack(np.meshgrid(axis, axis))
    disc = flow_colours(steps + 128, scale=127.0)
    disc[np.hypot(*steps) > 127] = 255
    return disc


def heat_scale(maps: Tensor | NDArray[Any], percentile: float = 99.0) -> tuple[float, float]:
    """(0, top) for maps of evidence (T, h, w): one scale for a whole clip, where single peaks do not dim the rest."""
    top = float(np.percentile(_array(maps).astype(np.float32), percentile))
    return 0.0, max(top, 1e-6)


def overlay(
    frames: Tensor | NDArray[Any],
    maps: Tensor | NDArray[Any],
    scale: tuple[float, float],
    strength: float = 0.65,
    colours: str = "inferno",
) -> Picture:
    """Heat maps over frames: where the map is at the low end of `scale` the frame stays as it is.

    frames: (T, H, W, 3) uint8. maps: (T, h, w), resized bilinearly. scale: (low, high), the same for every frame of
    a clip (`heat_scale`), so that nothing flickers. strength: opacity at the high end.
    """
    picture = _array(frames)
    heat = torch.from_numpy(np.ascontiguousarray(_array(maps), dtype=np.float32))[:, None]
    heat = torch.nn.functional.interpolate(heat, size=picture.shape[1:3], mode="bilinear", align_corners=False)[:, 0]
    low, high = scale
    level = ((heat.numpy() - low) / max(high - low, 1e-12)).clip(0, 1)
    colour = _colour_table(colours)[np.rint(level * 255).astype(np.uint8)]
    opacity = (strength * level)[..., None]
    blended: Picture = np.rint((1 - opacity) * picture + opacity * colour).astype(np.uint8)
    return blended


@functools.cache
def _colour_table(colours: str) -> NDArray[np.float32]:
    colormap: Colormap = matplotlib.colormaps[colours]
    return (colormap(np.arange(256))[:, :3] * 255).astype(np.float32)


def filters(weight: Tensor | NDArray[Any], scale_px: int = 8, gap_px: int = 4) -> Picture:
    """First-layer filters (out, in, kh, kw) as one grid of pictures.

    in 3: colours. in 1: grey. in 2n, n fields of flow as horizontal, vertical, horizontal, ...: a filter is the row of
    its n fields as flow colours. Each filter is stretched to its own range; `scale_px` is the side of one weight.
    Other depths show the mean over their channels in grey.
    """
    array = _array(weight).astype(np.float32)
    depth = array.shape[1]
    if depth % 2 == 0:
        reach = np.abs(array).max(axis=(1, 2, 3), keepdims=True) + 1e-12
        fields = (128 + 127 * array / reach).reshape(len(array), depth // 2, 2, *array.shape[2:])
        tiles = np.concatenate(list(np.moveaxis(flow_colours(fields, scale=127.0), 1, 0)), axis=2)
    else:
        planes = array if depth in (1, 3) else array.mean(axis=1, keepdims=True)
        reach = np.abs(planes).max(axis=(1, 2, 3), keepdims=True) + 1e-12
        tiles = to_uint8(planes / reach, low=-1.0, high=1.0)
    tiles = tiles.repeat(scale_px, axis=1).repeat(scale_px, axis=2)
    height, width = tiles.shape[1:3]
    wanted = math.sqrt(len(tiles) * 1.6 * height / width)
    full = [n for n in range(1, len(tiles) + 1) if len(tiles) % n == 0 and 0.6 < n / wanted < 1.7]
    columns = min(full, key=lambda n: abs(n - wanted), default=max(1, round(wanted)))
    return grid(list(tiles), columns, gap_px)


def contact_sheet(clips: Tensor | NDArray[Any], shown: int = 4, gap_px: int = 2) -> list[Picture]:
    """One picture a clip, with `shown` evenly spaced frames side by side; clips (B, T, H, W, 3) uint8."""
    array = _array(clips)
    picks = np.linspace(0, array.shape[1] - 1, min(shown, array.shape[1])).round().astype(np.int64)
    return [grid([clip[i] for i in picks], len(picks), gap_px) for clip in array]


def grid(pictures: Sequence[Picture], columns: int, gap_px: int = 4) -> Picture:
    """Pictures (H, W, 3) of any sizes in rows of `columns`, each cell as large as the largest picture."""
    if not pictures:
        raise ValueError("a grid needs at least one picture")
    columns = min(columns, len(pictures))
    height, width = (max(p.shape[axis] for p in pictures) for axis in (0, 1))
    rows = math.ceil(len(pictures) / columns)
    sheet = np.empty((rows * (height + gap_px) - gap_px, columns * (width + gap_px) - gap_px, 3), dtype=np.uint8)
    sheet[:] = _GAP
    for place, picture in enumerate(pictures):
        top, left = (place // columns) * (height + gap_px), (place % columns) * (width + gap_px)
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return sheet


def montage(
    pictures: Sequence[Picture],
    captions: Sequence[str] = (),
    right: Sequence[bool | None] = (),
    columns: int = 8,
    frame_px: int = 3,
) -> Picture:
    """Pictures in a grid, each with a frame that says right, wrong or neither, and its caption below."""
    cells = []
    for place, picture in enumerate(pictures):
        verdict = right[place] if place < len(right) else None
        cell = framed(picture, NEITHER if verdict is None else RIGHT if verdict else WRONG, frame_px)
        cells.append(captioned(cell, captions[place]) if place < len(captions) else cell)
    return grid(cells, columns, gap_px=2 * frame_px)


def framed(picture: Picture, colour: tuple[int, int, int], frame_px: int = 3) -> Picture:
    """A picture with a border of one colour around it, (H + 2 frame_px, W + 2 frame_px, 3)."""
    height, width = picture.shape[:2]
    sheet = np.empty((height + 2 * frame_px, width + 2 * frame_px, 3), dtype=np.uint8)
    sheet[:] = colour
    sheet[frame_px : frame_px + height, frame_px : frame_px + width] = picture
    return sheet


def captioned(picture: Picture, text: str, size_px: int = 12) -> Picture:
    """A picture with one line of text below it, shortened where it is too long."""
    band = Image.new("RGB", (picture.shape[1], round(size_px * 1.6)), _PAPER)
    ImageDraw.Draw(band).text((2, 1), _fitting(text, picture.shape[1] - 4, size_px), fill=_INK, font=_font(size_px))
    return np.concatenate([picture, np.asarray(band)])


def labelled(frames: Tensor | NDArray[Any], texts: Sequence[str]) -> Picture:
    """Frames (T, H, W, 3) with one text each on a darkened strip along the bottom; the size stays as it is.

    A frame whose text is empty stays as it is, too.
    """
    marked = _array(frames).copy()
    height, width = marked.shape[1:3]
    size_px = max(8, round(min(height, width) / 18))
    strip = min(height, round(size_px * 1.7))
    for text in dict.fromkeys(filter(None, texts)):
        here = np.array([other == text for other in texts])
        mask = Image.new("L", (width, strip), 0)
        fitting = _fitting(text, width - size_px, size_px)
        ImageDraw.Draw(mask).text((size_px // 2, size_px // 5), fitting, fill=255, font=_font(size_px))
        ink = np.asarray(mask, dtype=np.float32)[None, ..., None] / 255
        below = marked[here, height - strip :] * 0.35
        marked[here, height - strip :] = np.rint(below + (255 - below) * ink).astype(np.uint8)
    return marked


def boxed(
    frame: Picture, boxes: Sequence[NDArray[Any]], colours: Sequence[tuple[int, int, int]], texts: Sequence[str]
) -> Picture:
    """A frame (H, W, 3) with boxes, each (4,) left, top, right, bottom, in its colour and with its text above."""
    image = Image.fromarray(frame)
    draw, side_px = ImageDraw.Draw(image), min(image.size)
    size_px, width_px = max(9, side_px // 24), max(2, side_px // 160)
    for box, colour, text in zip(boxes, colours, texts, strict=True):
        left, top, right, bottom = (round(float(value)) for value in box)
        draw.rectangle((left, top, right, bottom), outline=colour, width=width_px)
        if text:
            above = max(0, top - round(1.3 * size_px))
            length = _font(size_px).getlength(text)
            draw.rectangle(
                (left, above, left + round(length) + size_px // 2, above + round(1.3 * size_px)), fill=colour
            )
            draw.text((left + size_px // 4, above), text, fill=(255, 255, 255), font=_font(size_px))
    return np.asarray(image)


@functools.lru_cache(maxsize=16)
def legend(width_px: int, entries: tuple[tuple[tuple[int, int, int], str], ...], note: str = "") -> Picture:
    """A dark strip (h, W, 3), h even, with a square of each colour before its text, and a note at its right end.

    Where there is no room for all of them, it is the entries that are left out, the last ones first.
    """
    size_px = max(8, min(18, width_px // 40))
    height, left = round(0.9 * size_px) * 2, size_px // 2
    image = Image.new("RGB", (width_px, height), _INK)
    draw = ImageDraw.Draw(image)
    start = max(left, width_px - round(_font(size_px).getlength(note)) - size_px // 2)
    for colour, text in entries:
        end = left + round(2.4 * size_px + _font(size_px).getlength(text))
        if end > start:
            break
        draw.rectangle((left, height // 2 - size_px // 2, left + size_px, height // 2 + size_px // 2), fill=colour)
        draw.text((left + 1.4 * size_px, size_px // 4), text, fill=_PAPER, font=_font(size_px))
        left = end
    draw.text((start, size_px // 4), note, fill=_PAPER, font=_font(size_px))
    return np.asarray(image)


@functools.cache
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    # The font that matplotlib carries covers Latin, Greek and Cyrillic, and is there on every machine.
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size_px)


def _fitting(text: str, width_px: int, size_px: int) -> str:
    font, line = _font(size_px), " ".join(text.split())
    if font.getlength(line) <= width_px:
        return line
    while line and font.getlength(line + "…") > width_px:
        line = line[:-1]
    return line + "…"


def _array(values: Tensor | NDArray[Any]) -> NDArray[Any]:
    if not isinstance(values, Tensor):
        return np.asarray(values)
    host = values.detach().cpu()
    return (host.float() if host.dtype == torch.bfloat16 else host).numpy()
