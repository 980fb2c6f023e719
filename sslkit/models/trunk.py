"""What a trunk is: the part of a network that evaluations keep, and how it travels on disk."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor, nn

from sslkit.catalog import nearest
from sslkit.errors import UserError, WorkError
from sslkit.types import Reads

# name -> (module, class); a table, because the modules import torch and a look-up by name must not import them all.
TRUNKS: dict[str, tuple[str, str]] = {
    "alexnet_bn": ("alexnet", "AlexNetBN"),
    "nin": ("nin", "NIN"),
    "resnet": ("resnet", "ResNet"),
    "tcam": ("tcam", "TCAM"),
}


class Trunk(nn.Module):
    """Maps raw media to the feature maps of its layers.

    It owns its input conversion (mean, scale, colour space), so that every evaluation feeds every trunk raw values.

    name, settings: `build(name, settings)` makes the same network again.
    takes: what one input holds (frames=1: a picture (B, 3, H, W); flow=n: fields (B, n, 2, H, W)); values are those of
        the uint8 media, 0 to 255, as uint8 or as float after resampling.
    crop_px: side of the square input that the network was made for.
    widths: channels of each layer, in order from input to output.
    front_end: constants of the input conversion, plain values, for programs that use the weights without this code.
    torchvision: the network of torchvision whose weights these are, below `net.`; None for all others.
    """

    name: str
    settings: dict[str, Any]
    takes: Reads
    crop_px: int
    widths: dict[str, int]
    front_end: dict[str, Any]
    torchvision: str | None = None

    def forward(self, raw: Tensor) -> dict[str, Tensor]:
        """Feature maps (B, C, H', W') or vectors (B, C) by layer name, in the order of `widths`."""
        raise NotImplementedError

    @property
    def vector_width(self) -> int:
        """Length of what `vector` gives."""
        return list(self.widths.values())[-1]

    def vector(self, maps: Mapping[str, Tensor]) -> Tensor:
        """One vector (B, vector_width) a sample: the last layer, averaged over its map. What a head stands on."""
        last = maps[next(reversed(self.widths))]
        return last.mean((2, 3)) if last.dim() == 4 else last


def build(name: str, settings: Mapping[str, Any] | None = None) -> Trunk:
    """The trunk of a name with random weights; `settings` are the keyword arguments of its class.

    Raises UserError for an unknown name or setting.
    """
    if name not in TRUNKS:
        raise UserError(f"No trunk is called {name!r}; {nearest(name, list(TRUNKS))}.")
    module, class_name = TRUNKS[name]
    try:
        trunk: Trunk = getattr(importlib.import_module(f"sslkit.models.{module}"), class_name)(**dict(settings or {}))
    except TypeError as error:
        raise UserError(f"Trunk {name!r}: {error}.") from error
    return trunk


def save(trunk: Trunk, path: Path, about: Mapping[str, Any]) -> None:
    """Write weights with everything needed to use them: name, settings, and `about` (recipe, versions, scores)."""
    header = {"name": trunk.name, "settings": trunk.settings, "about": dict(about)}
    tensors = {key: value.detach().cpu().contiguous() for key, value in trunk.state_dict().items()}
    partial = path.with_suffix(".partial")
    safetensors.torch.save_file(tensors, str(partial), metadata={"sslkit": json.dumps(header)})
    partial.replace(path)


def load(path: Path) -> tuple[Trunk, dict[str, Any]]:
    """The trunk in a file that `save` wrote, in evaluation mode, and its `about`.

    Raises UserError when the file is missing or was not written by sslkit, WorkError when its weights do not fit.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist: give the folder of a finished run, or its trunk.safetensors.")
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            header = json.loads((file.metadata() or {})["sslkit"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        trunk = build(header["name"], header["settings"])
    except (safetensors.SafetensorError, KeyError, ValueError, OSError) as error:
        raise UserError(
            f"{path} is not a trunk written by sslkit ({error}): train one with sslkit pretrain."
        ) from error
    fit = {k for k, v in trunk.state_dict().items() if k in tensors and tensors[k].shape == v.shape}
    if len(fit) < len(trunk.state_dict()):
        missing = sorted(set(trunk.state_dict()) - fit)
        raise WorkError(
            f"{path}: {len(fit)} of {len(trunk.state_dict())} weights match {header['name']}; missing {missing[0]}."
        )
    trunk.load_state_dict(tensors)
    return trunk.eval(), header["about"]
