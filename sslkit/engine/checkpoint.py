"""Checkpoint files that are either whole or absent."""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch

from sslkit.errors import UserError, WorkError

FORMAT = "sslkit checkpoint 1"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, which takes the place of `path` only when all of it is on the disk.

    A power cut or an exception in between leaves the old file. Raises WorkError when the disk is full or read-only.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise WorkError(f"{path} cannot be written ({error.strerror or error}); free some space and resume.") from error
    finally:
        partial.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """The name of a file is on the disk only when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values, marked as ours."""
    with replacing(path) as file:
        torch.save({"format": FORMAT, **state}, file)


def read(path: Path, mmap: bool = False) -> dict[str, Any]:
    """What `write` wrote, on the CPU. mmap: leave the tensors on the disk until they are used.

    No code in the file is run. Raises WorkError for a damaged file, UserError for one that sslkit did not write.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} was not written by sslkit, or is damaged; choose another --out.") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise WorkError(f"{path} is damaged; delete it to start the run again.") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(f"{path} is not a checkpoint of this version of sslkit; choose another --out.")
    return state
