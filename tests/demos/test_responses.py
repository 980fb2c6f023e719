from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sslkit.data.dataset import Sample
from sslkit.demos.responses import top_responses
from sslkit.types import Draw, Panel, Reads

SIZES_PX = [(64, 64), (64, 128), (96, 64), (64, 64)]


class Scenes:
    """Pictures of several shapes with a bright square at the right edge, each of a class of its own."""

    split, info = "test", SimpleNamespace(folders=["scenes"])
    entries = [SimpleNamespace(key=str(i), label_name=f"shape {i}", source=str(i)) for i in range(len(SIZES_PX))]

    def usable(self, reads: Reads) -> list[int]:
        return list(range(len(SIZES_PX)))

    def windows(self, index: int, reads: Reads, draw: Draw | None) -> list[float]:
        return [0.0, 1.0, 2.0]

    def read(self, index: int, starts: list[float], reads: Reads) -> Sample:
        height, width = SIZES_PX[index]
        frames = np.full((3, 1, height, width, 3), 40, np.uint8)
        frames[1, :, 16:32, width - 16 :] = 200 + index
        return Sample(index, 0, starts, frames, sound=np.zeros((3, 16_000), np.int16))


class Brightest:
    """Where it is bright; remembers what it was shown."""

    window = Reads(frames=1, sound_s=1.0)

    def __init__(self) -> None:
        self.shown: list[torch.Size] = []

    def localise(self, frames: Tensor, sound: Tensor) -> Tensor:
        self.shown.append(frames.shape)
        return torch.nn.functional.avg_pool2d(frames[:, 0].float().mean(1), 16)


def test_maps_of_pictures_of_several_shapes_cover_them(monkeypatch: pytest.MonkeyPatch) -> None:
    task, heat = Brightest(), dict[str, Tensor]()

    def drawn(name: str, several: Any) -> Panel:
        heat[name] = several[0].heat
        assert several[0].frame[0, 20, -1] > 190 and several[0].start_s == 1.0
        return Panel(name, [])

    monkeypatch.setattr("sslkit.demos.responses._panel", drawn)
    result = top_responses(task, Scenes(), torch.device("cpu"))  # type: ignore[arg-type]
    assert sorted(tuple(shape[-2:]) for shape in task.shown) == sorted(set(SIZES_PX))
    assert [row["response"] for row in result.rows] == [200, 201, 202, 203]
    for index, (height, width) in enumerate(SIZES_PX):
        peak = divmod(int(heat[f"shape {index}"].argmax()), width // 16)
        assert heat[f"shape {index}"].shape == (height // 16, width // 16) and peak == (1, width // 16 - 1)
