"""Random colours. RGB, 0..255, floats."""

from __future__ import annotations

import colorsys
from functools import lru_cache

import numpy as np

from sslkit.data.toybox.canvas import Colour


def vivid(rng: np.random.Generator) -> Colour:
    """A clear colour of any hue."""
    return from_hsv(rng.random(), rng.uniform(0.5, 0.95), rng.uniform(0.5, 1.0))


def contrast(rng: np.random.Generator, colour: Colour) -> Colour:
    """A colour that stands out from `colour`: another hue, and much lighter or much darker."""
    hue, _, _ = colorsys.rgb_to_hsv(*(c / 255 for c in colour))
    light = sum(colour) / 765
    value = rng.uniform(0.1, 0.4) if light > rng.uniform(0.35, 0.55) else rng.uniform(0.85, 1.0)
    return from_hsv(hue + rng.uniform(0.2, 0.8), rng.uniform(0.1, 0.8), value)


def muted(rng: np.random.Generator, value: tuple[float, float]) -> Colour:
    """A colour of little saturation, for what should stay behind."""
    return from_hsv(rng.random(), rng.uniform(0.08, 0.4), rng.uniform(*value))


@lru_cache(maxsize=256)
def shaded(colour: Colour, factor: float) -> Colour:
    """The colour in less (or more) light."""
    red, green, blue = (min(255.0, c * factor) for c in colour)
    return red, green, blue


def between(first: Colour, last: Colour, share: float) -> Colour:
    """A mixture, `share` of it from `last`."""
    red, green, blue = (a + (b - a) * share for a, b in zip(first, last, strict=True))
    return red, green, blue


def from_hsv(hue: float, saturation: float, value: float) -> Colour:
    """Hue in turns, saturation and value in 0..1."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return 255 * red, 255 * green, 255 * blue
