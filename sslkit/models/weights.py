"""Weights in files: read without trusting them, and held against the network that is to have them."""

from __future__ import annotations

import difflib
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor, nn

from sslkit.errors import UserError, WorkError

_NAMED = 3
_CHUNK = 1 << 20
_NESTS = ("state_dict", "model", "model_state_dict", "net", "task")
# How files begin that torch.save wrote before 1.6: the pickle of a magic number.
_OLD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


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


def tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata (of safetensors) and weights by name in a file of any program, whatever they are wrapped in.

    Raises as `read` and `saved` do.
    """
    if path.suffix == ".safetensors":
        return read(path)
    content = saved(path, old_too=True)
    for _ in _NESTS:  # at most so deep: a hostile file may hold itself
        nest = next(
            (name for name in _NESTS if isinstance(content, dict) and isinstance(content.get(name), dict)), None
        )
        content = content[nest] if nest else content
    found = content.items() if isinstance(content, dict) else ()
    return {}, {str(name): value for name, value in found if isinstance(value, Tensor)}


def saved(path: Path, mmap: bool = False, old_too: bool = False) -> Any:
    """What any program wrote with `torch.save`, on the CPU. mmap: leave the tensors on the disk, unchecked.

    old_too: also in the form of before torch 1.6, which has no checksums. No code in the file is run. Raises WorkError
    for a damaged file, UserError for one that holds more than weights.
    """
    try:
        if not (old_too and _is_old(path)):
            _require_whole(path, tensors=not mmap)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} holds more than weights and plain values, which could run code, so it was not opened: "
            "save its state_dict alone."
        ) from error
    except UserError:
        raise
    except Exception as error:  # torch and zipfile fail in many ways on bytes that are not theirs
        raise WorkError(f"{path} is damaged: copy it again, or delete it to go on without it.") from error


def _require_whole(path: Path, tensors: bool) -> None:
    """Hold the checksums of the file, which torch writes and does not read; tensors: those of its tensors too."""
    if not zipfile.is_zipfile(path):
        _refuse_foreign(path)
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        # Compressed, a small file may become more than the memory holds.
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise UserError(f"{path} is compressed, so torch.save did not write it: give a file that it wrote.")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise zipfile.BadZipFile("its members overlap")
        for member in members:
            if tensors or "/data/" not in member.filename:
                with archive.open(member) as stream:
                    while stream.read(_CHUNK):
                        pass


def _is_old(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_OLD)) == _OLD


def _refuse_foreign(path: Path) -> None:
    """A file without the directory at the end of every archive: cut off if it begins like one, else none at all."""
    with path.open("rb") as file:
        if not b"PK".startswith(file.read(2)):
            raise UserError(f"{path} was not written by torch.save: give a file that it wrote.")
    raise zipfile.BadZipFile("it is cut off")


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
