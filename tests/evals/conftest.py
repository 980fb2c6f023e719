"""Small prepared datasets whose classes are colours, and features whose classes are known."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sslkit.data import shards
from sslkit.data.dataset import Dataset
from sslkit.evals.features import Features
from sslkit.media import write

CLASSES = ("red", "green", "blue")
MakeFeatures = Callable[..., Features]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def make_features() -> MakeFeatures:
    """Features from {layer: (N, D)} and labels; a source and group a sample unless others are named."""

    def make(
        layers: dict[str, Tensor], label: Tensor, group: Sequence[str] | None = None, prefix: str = ""
    ) -> Features:
        names = list(group) if group is not None else [f"{prefix}{i}" for i in range(len(label))]
        shapes = {name: tuple(values.shape[1:]) for name, values in layers.items()}
        return Features(layers, label, torch.arange(len(label)), names, names, shapes)

    return make


def _picture(label: int, random: np.random.Generator) -> np.ndarray:
    picture = random.integers(0, 110, (24, 30, 3), dtype=np.uint8)
    picture[..., label] += 120
    return picture


def _still(split: str, number: int, label: int, random: np.random.Generator) -> shards.Run:
    name = f"{split}/{number}"
    meta = {
        "key": f"{split}{number}", "kind": "image", "label": label, "label_name": CLASSES[max(label, 0)],
        "source": name, "group": name, "start_s": 0.0, "end_s": 0.0, "fps": 0.0, "frames": 1, "height": 24, "width": 30,
        "sound_s": 0.0, "motion": [0.0], "border": [0, 0, 0, 0], "camera": None, "flow_bound": 20.0, "truth": None,
    }  # fmt: skip
    return shards.pack(shards.Stored(meta, {"jpg": write.jpeg(_picture(max(label, 0), random))}))


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared dataset: 24 train and 16 test stills, 30x24, red, green and blue in turn; the last has no label."""
    folder, random = tmp_path_factory.mktemp("data") / "colours", np.random.default_rng(0)
    runs = [("train", _still("train", i, i % 3, random)) for i in range(24)]
    runs += [("test", _still("test", i, i % 3 if i < 15 else -1, random)) for i in range(16)]
    about = {"layout": "folder", "settings": {"short_side_px": 24}, "classes": list(CLASSES), "source_hash": "0"}
    shards.write(folder, runs, about)
    return folder


@pytest.fixture
def train_set(colours: Path) -> Dataset:
    return Dataset(colours, "train")


@pytest.fixture
def test_set(colours: Path) -> Dataset:
    return Dataset(colours, "test")
