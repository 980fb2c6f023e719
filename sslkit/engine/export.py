"""Trunks in forms that other programs open: safetensors, under torchvision's names where there are such, and ONNX."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from sslkit.engine import checkpoint
from sslkit.errors import UserError, WorkError
from sslkit.models.trunk import Trunk

OPSET = 18
"""The one in which torch's exporter writes; it needs no conversion, and every current runtime reads it."""

VECTOR = "vector"
"""Output of the ONNX network beside its layers: what `Trunk.vector` gives."""

_NEEDED = ("onnx", "onnxruntime", "onnxscript")
_LARGEST_RELATIVE = 1e-3
_BATCHES = (1, 3)
_TOLD = ("task", "trunk", "step", "recipe", "data", "metrics", "versions")


@dataclass(frozen=True)
class Difference:
    """How far a network in ONNX is from its trunk on the same raw media, over all outputs.

    largest: of the absolute differences. relative: largest of the differences of each output to that output's largest
    value. output: the one with that difference.
    """

    largest: float
    relative: float
    output: str


def describe(trunk: Trunk, about: Mapping[str, Any]) -> dict[str, str]:
    """What a file has to say besides its weights, each value as text or as JSON.

    `input` says what is fed: its values, its shape, and the constants by which the network (ONNX), or whoever rebuilds
    it (safetensors), converts them. about: what the trunk's own file says of it, such as task, recipe and data.
    """
    facts = {
        "format": "pt",
        "network": trunk.name,
        "settings": trunk.settings,
        "layers": trunk.widths,
        "input": {**_input(trunk), **trunk.front_end},
        **({"torchvision": trunk.torchvision} if trunk.torchvision else {}),
        **{key: about[key] for key in _TOLD if key in about},
    }
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}


def as_safetensors(trunk: Trunk, about: Mapping[str, Any], path: Path) -> None:
    """Write weights and statistics; a network of torchvision gets the names that torchvision gives them.

    `torchvision.models.resnet50().load_state_dict(..., strict=False)` then misses nothing but its last layer, `fc`.
    """
    prefix = "net." if trunk.torchvision else ""
    tensors = {
        name.removeprefix(prefix): value.detach().cpu().contiguous() for name, value in trunk.state_dict().items()
    }
    with checkpoint.replacing(path) as file:
        file.write(safetensors.torch.save(tensors, metadata=describe(trunk, about)))


def as_onnx(trunk: Trunk, about: Mapping[str, Any], path: Path) -> Difference:
    """Write a network that takes raw uint8 media, any number at a time, and gives every layer and `vector`.

    Before it is written, its answers are compared with the trunk's. Raises WorkError when they differ by more than a
    thousandth, or when the network cannot be exported.
    """
    trunk = trunk.cpu().eval()
    with _quietly():
        network = _exported(trunk, describe(trunk, about))
        found = _difference(trunk, network)
    if not found.relative <= _LARGEST_RELATIVE:
        raise WorkError(
            f"{path} was not written: in ONNX {found.output} differs by {found.relative:.2g} of its largest value, "
            f"above {_LARGEST_RELATIVE:g}; another version of torch or onnxruntime may do better."
        )
    with checkpoint.replacing(path) as file:
        file.write(network)
    return found


def require_onnx() -> None:
    """Raise UserError, naming the command that mends it, where the packages that ONNX needs are missing."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"ONNX needs {' and '.join(missing)}: run pip install {' '.join(missing)}, or give --format safetensors."
        )


class _Outputs(nn.Module):
    """A trunk with its answers in a row, as ONNX has them."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, raw: Tensor) -> tuple[Tensor, ...]:
        maps = self.trunk(raw)
        return (*maps.values(), self.trunk.vector(maps).clone())


def _shape(trunk: Trunk) -> tuple[int, ...]:
    """Shape of one input without the batch."""
    if trunk.takes.flow:
        return (trunk.takes.flow, 2, trunk.crop_px, trunk.crop_px)
    return (3, trunk.crop_px, trunk.crop_px)


def _input(trunk: Trunk) -> dict[str, Any]:
    values = "uint8, RGB, 0 to 255"
    if trunk.takes.flow:
        values = "uint8 optical flow, horizontal then vertical, 128 + 127 v / bound for a motion of v pixels"
    return {"name": "raw", "values": values, "shape": ["batch", *_shape(trunk)]}


def _raw(trunk: Trunk, batch: int) -> Tensor:
    random = torch.Generator().manual_seed(batch)
    return torch.randint(0, 256, (batch, *_shape(trunk)), dtype=torch.uint8, generator=random)


def _exported(trunk: Trunk, header: Mapping[str, str]) -> bytes:
    """The network as the bytes of an ONNX file."""
    try:
        program = torch.onnx.export(
            _Outputs(trunk).eval(),
            (_raw(trunk, 2),),
            input_names=["raw"],
            output_names=[*trunk.widths, VECTOR],
            opset_version=OPSET,
            dynamic_shapes={"raw": {0: torch.export.Dim("batch")}},
            dynamo=True,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        raise WorkError(f"Trunk {trunk.name} cannot be exported to ONNX: {str(error).splitlines()[0]}") from error
    if program is None:
        raise WorkError(f"Trunk {trunk.name} cannot be exported to ONNX by this version of torch.")
    program.model.metadata_props.update(header)
    network: bytes = program.model_proto.SerializeToString()
    return network


def _difference(trunk: Trunk, network: bytes) -> Difference:
    """The worst over all outputs, at batch sizes other than the one of the export."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    found = []
    for batch in _BATCHES:
        raw = _raw(trunk, batch)
        with torch.no_grad():
            wanted = dict(zip([*trunk.widths, VECTOR], _Outputs(trunk)(raw), strict=True))
        given = session.run(list(wanted), {"raw": raw.numpy()})
        found += [_apart(name, one, wanted[name].numpy()) for name, one in zip(wanted, given, strict=True)]
    return Difference(max(one.largest for one in found), *max((one.relative, one.output) for one in found))


def _apart(output: str, given: np.ndarray, wanted: np.ndarray) -> Difference:
    if given.shape != wanted.shape or not np.isfinite(given).all():
        return Difference(float("inf"), float("inf"), output)
    largest = float(np.abs(given - wanted).max())
    return Difference(largest, largest / max(float(np.abs(wanted).max()), 1e-12), output)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """The exporter talks to its developers, in warnings and logs; the user asked for a file."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.disable(before)
