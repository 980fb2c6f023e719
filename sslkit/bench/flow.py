"""What a pair of pictures costs TV-L1, ours in torch, against OpenCV's DIS and scikit-image's TV-L1."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from sslkit.bench.base import Bench, Clock, Row, Spent, compared, taking_turns, timed
from sslkit.data import toybox
from sslkit.ops import flow

Gray = NDArray[np.uint8]
_SIZE_PX = (170, 128)


def rows(bench: Bench) -> Iterator[Row]:
    """Pairs of neighbours of one clip, all of them in a batch for ours, one after the other for the rest."""
    gray = pictures(bench.pairs + 1)
    device = torch.device(bench.device)
    ones, twos = (torch.from_numpy(side)[:, None].to(device) for side in (gray[:-1], gray[1:]))

    def ours() -> Spent:
        return timed(lambda: flow.tvl1(ones, twos).cpu()).per(bench.pairs)

    def each(method: Callable[[Gray, Gray], object]) -> Callable[[], Spent]:
        return lambda: timed(lambda: [method(*pair) for pair in itertools.pairwise(gray)]).per(bench.pairs)

    rivals: dict[str, Callable[[Gray, Gray], object]] = {"DIS of OpenCV": flow.dis}
    if importlib.util.find_spec("skimage"):
        rivals["TV-L1 of scikit-image"] = _of_scikit_image
    else:
        yield Row("flow", "TV-L1", note="scikit-image is not installed: pip install scikit-image")
    note = f"{bench.pairs} pairs of {_SIZE_PX[0]}x{_SIZE_PX[1]} pixels, {device.type}"
    for name, method in rivals.items():
        turns = taking_turns(ours, each(method), min(bench.turns, 3))
        clock: Clock = "wall" if device.type == "cuda" else "cpu"
        yield compared("flow", "TV-L1, a pair", turns, name, clock=clock, note=note)


def pictures(count: int) -> Gray:
    """The first pictures of a toybox scene, gray, (count, H, W)."""
    width, height = _SIZE_PX
    scene = toybox.scenes(0, clips=1, seconds=count / toybox.FPS, width_px=width, height_px=height)[0]
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in toybox.render(scene).frames]).astype(np.uint8)


def _of_scikit_image(first: Gray, second: Gray) -> object:
    from skimage.registration import optical_flow_tvl1

    return optical_flow_tvl1(first / 255.0, second / 255.0)
