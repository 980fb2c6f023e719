"""What a trunk is: the part of a network that evaluations keep, and how it travels on disk."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from sslkit.catalog import nearest
from sslkit.errors import UserError, WorkError, is_out_of_memory
from sslkit.files import replacing
from sslkit.models import weights
from sslkit.types import Reads

# name -> (module, class); a table, because the modules import torch and a look-up by name must not import them all.
TRUNKS: dict[str, tuple[str, str]] = {
    "alexnet_bn": ("alexnet", "AlexNetBN"),
    "codebook_sight": ("codebook", "SightCodebook"),
    "codebook_sound": ("codebook", "SoundCodebook"),
    "l3_sight": ("l3", "L3Sight"),
    "l3_sound": ("l3", "L3Sound"),
    "lip_motion": ("lip_motion", "LipMotion"),
    "lips": ("lips", "Lips"),
    "multisensory": ("multisensory", "Multisensory"),
    "nin": ("nin", "NIN"),
    "resnet": ("resnet", "ResNet"),
    "soundnet": ("soundnet", "SoundNet"),
    "speech": ("lips", "Speech"),
    "speech_bands": ("lip_motion", "SpeechBands"),
    "syncnet_sight": ("syncnet", "SyncNetSight"),
    "syncnet_sound": ("syncnet", "SyncNetSound"),
    "tcam": ("tcam", "TCAM"),
}


_HASH = "blake2b"


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
    def last(self) -> str:
        """Name of the deepest layer."""
        return next(reversed(self.widths))

    @property
    def vector_width(self) -> int:
        """Length of what `vector` gives."""
        return self.widths[self.last]

    def vector(self, maps: Mapping[str, Tensor]) -> Tensor:
        """One vector (B, vector_width) a sample: the last layer, averaged over its map. What a head stands on."""
        last = maps[self.last]
        return last.mean((2, 3)) if last.dim() == 4 else last


def build(name: str, settings: Mapping[str, Any] | None = None) -> Trunk:
    """The trunk of a name with random weights; `settings` are the keyword arguments of its class.

    Raises UserError for an unknown name or setting, and for settings that make no network.
    """
    if name not in TRUNKS:
        raise UserError(f"No trunk is called {name!r}; {nearest(str(name), list(TRUNKS))}.".replace("?.", "?"))
    module, class_name = TRUNKS[name]
    made_by = getattr(importlib.import_module(f"sslkit.models.{module}"), class_name)
    try:
        trunk: Trunk = made_by(**dict(settings or {}))
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise UserError(f"Trunk {name!r}: {' '.join(str(error).split()).rstrip('.')}; change its settings.") from error
    return trunk


def save(trunk: Trunk, path: Path, about: Mapping[str, Any]) -> None:
    """Write weights with everything needed to use them: name, settings, and `about` (recipe, versions, scores).

    A hash of all that goes into the file too. Raises WorkError for a full disk; an old file stays then.
    """
    header = {"name": trunk.name, "settings": trunk.settings, "about": dict(about)}
    tensors = {key: value.detach().cpu().contiguous() for key, value in trunk.state_dict().items()}
    header[_HASH] = weights.digest(json.dumps(header), tensors)
    # One entry: of several, safetensors writes now one and now another first, and equal trunks should be equal files.
    with replacing(path) as file:
        file.write(safetensors.torch.save(tensors, metadata={"sslkit": json.dumps(header)}))


def load(path: Path) -> tuple[Trunk, dict[str, Any]]:
    """The trunk in a file that `save` wrote, in evaluation mode, and its `about`.

    Raises UserError when the file is missing or was not written by sslkit, WorkError when it has changed since or its
    weights do not fit.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist: give the folder of a finished run, or its trunk.safetensors.")
    metadata, tensors = weights.read(path)
    if "sslkit" not in metadata:
        raise UserError(f"{path} is not a trunk written by sslkit: train one with sslkit pretrain.")
    header = _header(path, metadata["sslkit"])
    old = _HASH not in header
    if header.pop(_HASH, None) != weights.digest(json.dumps(header), tensors) and not old:
        raise WorkError(f"{path} has changed since it was written: copy it again, or train it again.")
    name, settings, about = header["name"], header["settings"], header["about"]
    # First without memory: what a file asks for is made only when the file has the weights for it.
    with torch.device("meta"):
        found = weights.match(build(name, settings).state_dict(), tensors, same_dtype=True)
    if found.missing or found.unexpected:
        raise WorkError(f"{path} does not fit {name}: {found.told()}{found.nearest()}; train it again.")
    trunk = build(name, settings)
    trunk.load_state_dict(tensors)
    return trunk.eval(), about


def is_ours(path: Path) -> bool:
    """Whether a file is to be read by `load`: it is none of another program that can be recognised."""
    return not path.is_file() or (path.suffix == ".safetensors" and "sslkit" in weights.read(path)[0])


def _header(path: Path, text: str) -> dict[str, Any]:
    """Name, settings, `about` and hash of a trunk."""
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        header = None
    kinds = {"name": str, "settings": dict, "about": dict}
    known = isinstance(header, dict) and header.keys() - {_HASH} == kinds.keys()
    if not known or not all(isinstance(header[key], kind) for key, kind in kinds.items()):
        raise UserError(f"{path} has a damaged header: copy it again, or train it again.")
    return dict(header)
