"""What moves as the sound goes, whatever the camera does: a few seconds around a moment, with nothing learnt.

What `sslkit localize-sound --method cca` shows, and the control of what networks point to. A hand that holds the camera
moves all places at once, so the camera's motion is taken out first, and the map is carried back to the picture.

Source: `sslkit.ops.pixels_that_sound`. Departures: the camera, which there stands still.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslkit.media.stabilise import stabilise
from sslkit.media.steady import Way
from sslkit.ops.pixels_that_sound import sounding_places

FPS, FRAMES, RATE_HZ, SIDE_PX = 12.5, 33, 16_000, 96
"""What a moment is judged by: its rate, its pictures, of which it is the middle, their short side; and of the sound."""


def followed(frames: NDArray[np.uint8], sound: Tensor, fps: float, number: int) -> Tensor:
    """A map (H, W) float32, not negative, over picture `number` of frames (T, H, W, 3) with their sound (N,) int16.

    Its scale has no meaning beyond these frames. Raises ValueError for fewer than two.
    """
    steady, (_, height, width, _) = stabilise(frames), frames.shape
    pictures = torch.from_numpy(np.ascontiguousarray(steady.frames)).permute(0, 3, 1, 2)
    heat = sounding_places(pictures, sound, RATE_HZ, fps, window=len(frames)).mean(0)
    return torch.from_numpy(Way(steady.homographies, steady.crop, height, width).back(heat.numpy(), number))
