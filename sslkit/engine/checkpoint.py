"""Checkpoint files that are either whole or absent, and that are read without trusting them."""

from __future__ import annotations

import contextlib
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from sslkit.errors import UserError, WorkError
from sslkit.files import replacing as replacing

FORMAT = "sslkit checkpoint 1"
_CHUNK = 1 << 20


def write(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values, marked as ours. Raises WorkError for a full disk; the old file stays."""
    with replacing(path) as file, _told_by_the_disk():
        torch.save({"format": FORMAT, **state}, file)


@contextlib.contextmanager
def _told_by_the_disk() -> Iterator[None]:
    """torch covers up a failed write with an error of its own, about the position in the file."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def read(path: Path, mmap: bool = False) -> dict[str, Any]:
    """What `write` wrote, on the CPU. mmap: leave the tensors on the disk until they are used, unchecked.

    No code in the file is run. Raises WorkError for a damaged file, UserError for one that sslkit did not write.
    """
    state = weights(path, mmap)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(f"{path} is no checkpoint of this version of sslkit: take the one that the run wrote.")
    return state


def weights(path: Path, mmap: bool = False) -> Any:
    """What any program wrote with `torch.save`, on the CPU; otherwise as `read`."""
    try:
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


def _refuse_foreign(path: Path) -> None:
    """A file without the directory at the end of every archive: cut off if it begins like one, else none at all."""
    with path.open("rb") as file:
        if not b"PK".startswith(file.read(2)):
            raise UserError(f"{path} was not written by torch.save: give a file that it wrote.")
    raise zipfile.BadZipFile("it is cut off")
