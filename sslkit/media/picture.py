"""Turn a still file or a decoded video frame into a plain RGB picture, the right way up and in the wanted size."""

from __future__ import annotations

import struct
import warnings
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sslkit.errors import WorkError
from sslkit.media.container import Source, name, stream_of


def still(source: Source) -> np.ndarray:
    """A still picture as (H, W, 3) uint8 RGB: turned as its EXIF data says, transparency over white, 16 bits to 8.

    The first picture of an animation. Raises WorkError for anything that cannot be decoded completely, and for
    pictures of more than 178 million pixels.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns about half its limit already; the limit itself is an error, and enough.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with stream_of(source) as stream, Image.open(stream) as picture:
                return _rgb(ImageOps.exif_transpose(picture))
    except WorkError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly every kind on damaged files.
        raise WorkError(f"{name(source)} cannot be read as a picture: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is not a picture in a known format"
    return str(error).rstrip(".") or type(error).__name__


def _rgb(picture: Image.Image) -> np.ndarray:
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        # A table needs little memory beside the picture, however large.
        levels = np.rint(np.arange(65_536) / 257).astype(np.uint8)
        return _gray(levels[np.clip(np.asarray(picture), 0, 65_535)])
    if picture.mode == "F":
        return _gray(np.clip(np.rint(np.nan_to_num(np.asarray(picture))), 0, 255).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        front = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", front.size, "white"), front)
    return np.array(picture.convert("RGB"))


def _gray(levels: np.ndarray) -> np.ndarray:
    return np.repeat(levels[..., None], 3, axis=2)


def upright(frame: Any) -> np.ndarray:
    """A decoded video frame as (H, W, 3) uint8 RGB, turned and mirrored as the file's display matrix says.

    Pixels stay as they are stored: a sample aspect ratio other than 1 is not applied. Transparency is over white.
    """
    if any(component.is_alpha for component in frame.format.components):
        picture = _rgb(Image.fromarray(frame.to_ndarray(format="rgba")))
    else:
        picture = frame.to_ndarray(format="rgb24")
    for side in frame.side_data:
        if side.type.name == "DISPLAYMATRIX":
            return _turned(picture, struct.unpack("<9i", bytes(side)[:36]))
    return picture


def _turned(picture: np.ndarray, matrix: tuple[int, ...]) -> np.ndarray:
    """Apply a display matrix (x' = ax + cy, y' = bx + dy; ISO 14496-12, 6.2.2), rounded to right angles."""
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    if abs(a) + abs(d) < abs(b) + abs(c):
        picture = picture.transpose(1, 0, 2)
        a, d = c, b
    flipped = picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    return np.ascontiguousarray(flipped)


def scaled_size(height: int, width: int, short_side_px: int | None) -> tuple[int, int]:
    """Height and width after scaling so that the short side is `short_side_px`; both even, as video codecs want them.

    With None the size stays as it is, odd or not.
    """
    if short_side_px is None:
        return height, width
    short = max(2, short_side_px // 2 * 2)
    long = max(short, round(max(height, width) * short / min(height, width) / 2) * 2)
    return (short, long) if height <= width else (long, short)


def scaled(picture: np.ndarray, short_side_px: int | None) -> np.ndarray:
    """(H, W, 3) or (H, W) uint8, scaled to the size that `scaled_size` tells: areas averaged when it shrinks."""
    return fitted(picture, *scaled_size(picture.shape[0], picture.shape[1], short_side_px))


def fitted(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W, 3) or (H, W) uint8 stretched to `height` by `width`: areas averaged down, bicubic up."""
    if picture.shape[:2] == (height, width):
        return picture
    shrinks = height * width < picture.shape[0] * picture.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (width, height), interpolation=method))
