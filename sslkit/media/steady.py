"""A clip judged without the camera's motion, and what was found in it carried back to the pictures as they were."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sslkit.media import picture
from sslkit.media.stabilise import stabilise

Frames = NDArray[np.uint8]
Map = NDArray[np.float32]


@dataclass(frozen=True)
class Way:
    """From a steadied clip back to its pictures.

    homographies: (T, 3, 3), from pixels of each picture to those of the central one. crop: (top, bottom, left, right)
    pixels that were cut off there. height, width: of the pictures.
    """

    homographies: NDArray[np.float64]
    crop: tuple[int, int, int, int]
    height: int
    width: int

    def back(self, found: Map, number: int) -> Map:
        """A map (h, w) over the steadied clip as one (height, width) over picture `number`; 0 beyond its edge."""
        top, bottom, left, right = self.crop
        inner = (self.width - left - right, self.height - top - bottom)
        central = np.zeros((self.height, self.width), np.float32)
        rows, columns = slice(top, self.height - bottom), slice(left, self.width - right)
        central[rows, columns] = cv2.resize(found, inner, interpolation=cv2.INTER_LINEAR)
        size, flags = (self.width, self.height), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpPerspective(central, self.homographies[number], size, flags=flags), np.float32)


def steadied(frames: Frames, short_side_px: int) -> tuple[Frames, Way, str | None]:
    """A clip (T, H, W, 3) with the camera's motion taken out, the way back, and why it is left as it was, if it is."""
    steady = stabilise(frames)
    _, height, width, _ = frames.shape
    fitted = np.stack([picture.scaled(np.ascontiguousarray(frame), short_side_px) for frame in steady.frames])
    return fitted, Way(steady.homographies, steady.crop, height, width), steady.reason
