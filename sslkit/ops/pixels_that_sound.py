"""Which places of a clip move with its sound: sparse canonical correlation, with nothing learnt but on the clip itself.

Every place has a motion signal, the sound has its envelope. In a short window there are many more places than frames,
so that many mixtures of places follow the sound; the one that needs the fewest is found by a linear program.

Source: Kidron, Schechner and Elad, "Pixels that sound", CVPR 2005.
Departures: places are squares of several sizes, in place of wavelets; their motion is the size of the change, each
divided by its deviation, so that a strong motion is no better than one that fits; weights are not negative, as what
makes a sound moves when it is heard; the sound need not be followed exactly, which on noisy pictures needs places that
only follow the noise.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import linprog
from torch import Tensor

from sslkit.ops.onset import envelope

_SIZES = 4
# Deviation, in gray levels, under which the motion of a place is noise of camera and codec.
_NOISE = 0.5
_QUIETEST = 1e-4


def sounding_places(
    frames: Tensor,
    sound: Tensor,
    rate_hz: int,
    fps: float,
    side_px: int = 32,
    window: int = 32,
    exactness: float = 1.5,
) -> Tensor:
    """A heat map of what follows the sound, for each frame: (T, h, w) float32, not negative.

    frames: (T, H, W) or (T, 3, H, W) of 0 to 255. sound: (N,) on the scale of int16, from the first frame on; beyond
    its end there is silence. side_px: length of the map's short side, about; `sslkit.ops.localisation.enlarged` brings
    it to the size of the frames. window: frames that are explained together, half of them by the next window too; the
    map is that of all windows around a frame. exactness: see `sparse_weights`.

    The scale of a map has no meaning beyond its clip. It is zero where nothing moves, or where the sound does not
    change. Takes about 0.15 s a window on one core. Raises ValueError for fewer than two frames.
    """
    if len(frames) < 2:
        raise ValueError("one frame shows no motion: two at least are needed")
    # Change k lies between the frames k and k + 1.
    loudness = envelope(sound, rate_hz, fps, len(frames)).unfold(0, 2, 1).mean(1).cpu()
    scales = _motion(frames, side_px)
    changes = torch.cat([scale.flatten(1) for scale in scales], 1)
    heat, share = torch.zeros(len(frames), *scales[0].shape[1:]), torch.zeros(len(frames), 1, 1)
    for start in _starts(len(changes), window):
        part = slice(start, start + window)
        weights = sparse_weights(_standardised(changes[part], _NOISE), _standardised(loudness[part], 0.0), exactness)
        frames_seen = slice(start, start + window + 1)
        heat[frames_seen] += _drawn(weights, scales)
        share[frames_seen] += 1
    return heat / share


def sparse_weights(motion: Tensor, sound: Tensor, exactness: float = 1.5) -> Tensor:
    """The weights (N,) float32 of the places that follow a sound: motion (T, N) and sound (T,), both centred over time.

    The weights w >= 0 make sum(w) + price sum |motion w - sound| smallest. The price is `exactness` times the smallest
    that leaves any place a weight: infinite, the sound is followed exactly wherever that is possible, as in the paper;
    near 1, only the places that follow it best are left. All zero where nothing goes with the sound.
    """
    places, goal = motion.double().numpy(), sound.double().numpy()
    gain = float((places.T @ np.sign(goal)).max(initial=0.0))
    if gain <= 0:
        return torch.zeros(places.shape[1])
    return torch.from_numpy(_solved(places, goal, exactness / gain)).float()


def _solved(places: NDArray[np.float64], goal: NDArray[np.float64], price: float) -> NDArray[np.float64]:
    """The linear program: weights, and what is left over on either side of the goal at a price."""
    frames, count = places.shape
    left = np.eye(frames)
    # An infinite price is one that no weight can reach: the program is then exact where that is possible.
    cost = np.concatenate([np.ones(count), np.full(2 * frames, min(price, 1e6))])
    found = linprog(cost, A_eq=np.hstack([places, left, -left]), b_eq=goal, bounds=(0, None), method="highs")
    # Leaving everything over is always possible, so that there is always a solution.
    weights: NDArray[np.float64] = found.x[:count].clip(min=0)
    return weights


def _motion(frames: Tensor, side_px: int) -> list[Tensor]:
    """Size of the change of squares from each frame to the next, (T - 1, h, w) of the smallest, then ever larger."""
    pictures = frames[:, None] if frames.dim() == 3 else frames
    square = max(1, round(min(pictures.shape[-2:]) / side_px))
    # One frame after the other: all of them as float would be four times the clip.
    gray = [picture.float().mean(0) for picture in pictures]
    change = torch.stack([F.avg_pool2d((b - a).abs()[None], square)[0] for a, b in pairwise(gray)])
    scales = [change.cpu()]
    while len(scales) < _SIZES and min(scales[-1].shape[1:]) > 1:
        scales.append(F.avg_pool2d(scales[-1][:, None], 2, ceil_mode=True)[:, 0])
    return scales


def _starts(changes: int, window: int) -> list[int]:
    """Where windows begin: every half window, and one that ends with the clip."""
    last = max(0, changes - window)
    return sorted({*range(0, last, max(1, window // 2)), last})


def _standardised(signals: Tensor, noise: float) -> Tensor:
    """Signals (T, ...) with mean 0 and, where they are stronger than noise, deviation 1; what hardly changes is 0."""
    centred = signals - signals.mean(0)
    deviation = centred.square().mean(0).sqrt()
    return centred / (deviation + noise).clamp(min=_QUIETEST) * (deviation >= _QUIETEST)


def _drawn(weights: Tensor, scales: list[Tensor]) -> Tensor:
    """The weights of squares of all sizes, laid over each other as a map of the smallest."""
    height, width = scales[0].shape[1:]
    parts = torch.split(weights, [scale[0].numel() for scale in scales])
    heat = torch.zeros(height, width)
    for size, (part, scale) in enumerate(zip(parts, scales, strict=True)):
        squares = part.reshape(scale.shape[1:]).repeat_interleave(2**size, 0).repeat_interleave(2**size, 1)
        heat += squares[:height, :width]
    return heat
