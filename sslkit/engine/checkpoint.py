"""Checkpoint files that are either whole or absent, and that are read without trusting them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from sslkit.errors import UserError
from sslkit.files import replacing as replacing
from sslkit.models.weights import saved

FORMAT = "sslkit checkpoint 1"


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
    state = saved(path, mmap)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(f"{path} is no checkpoint of this version of sslkit: take the one that the run wrote.")
    return state
