"""Weights in files: read without trusting them, and held against the network that is to have them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import safetensors
import torch
from torch import Tensor, nn

from sslkit.errors import UserError, WorkError

_NAMED = 3


@dataclass(frozen=True)
class Match:
    """How the weights of a file go with those of a network: by name and shape.

    matched, missing: names of the network that the file has, and that it lacks or has in another shape. unexpected:
    names of the file that go nowhere.
    """

    matched: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Share of the network's weights that the file has, 0 to 1."""
        return len(self.matched) / max(1, len(self.matched) + len(self.missing))

    def counts(self) -> dict[str, int]:
        """How many of each, for scripts."""
        return {"matched": len(self.matched), "missing": len(self.missing), "unexpected": len(self.unexpected)}

    def told(self) -> str:
        """How many of each, and the first names: `12 of 14 weights match, 2 are missing (head.bias, head.weight)`."""
        said = f"{len(self.matched)} of {len(self.matched) + len(self.missing)} weights match"
        if self.missing:
            said += f", {len(self.missing)} are missing ({_first(self.missing)})"
        if self.unexpected:
            said += f", {len(self.unexpected)} in the file are unexpected ({_first(self.unexpected)})"
        return said

    def nearest(self) -> str:
        """The name in the file that looks most like one that is missing, for an error's sentence; or nothing."""
        for name in self.missing:
            alike = difflib.get_close_matches(name, self.unexpected, 1)
            if alike:
                return f"; nearest to {name} is {alike[0]}"
        return ""


def match(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], same_dtype: bool = False) -> Match:
    """Which of the weights `wanted` are among those `found`. same_dtype: what is to be converted does not match."""
    fit = {
        name
        for name, value in wanted.items()
        if name in found and found[name].shape == value.shape and (not same_dtype or found[name].dtype == value.dtype)
    }
    missing = [name for name in wanted if name not in fit]
    return Match(tuple(sorted(fit)), tuple(missing), tuple(name for name in found if name not in fit))


def fill(network: nn.Module, found: object, where: str) -> Match:
    """Load a state dict, which must hold all that the network has and no more. where: names its origin in the sentence.

    Raises WorkError, with the numbers of those that match, are missing and are unexpected, when they are others.
    """
    listed = found if isinstance(found, Mapping) else {}
    tensors = {str(name): value for name, value in listed.items() if isinstance(value, Tensor)}
    fit = match(network.state_dict(), tensors)
    if fit.missing or fit.unexpected:
        raise WorkError(
            f"The weights in {where} are of another version of it: {fit.told()}{fit.nearest()}; train it again."
        )
    network.load_state_dict(tensors)
    return fit


def read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata and the tensors of a safetensors file. Raises UserError when it is none."""
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            return dict(file.metadata() or {}), tensors
    except Exception as error:  # the library fails in many ways on bytes that are not its own
        reason = " ".join(str(error).split()).rstrip(".")[:200]
        raise UserError(
            f"{path} is damaged, or no safetensors file ({reason}): copy it again or give another."
        ) from error


def digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Hash of a text and of tensors with their names, types and shapes."""
    total = blake2b(text.encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
