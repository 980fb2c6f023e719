"""Files that are either whole or absent."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from sslkit.errors import WorkError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
        raise unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # on a disk that has become read-only, nothing can be taken away either
            partial.unlink(missing_ok=True)


def unwritable(path: Path, error: OSError) -> WorkError:
    """The sentence about a file that cannot be written, with the way out that fits the reason."""
    fix = "free some space and start again" if error.errno in _FULL else "make it writable or choose another --out"
    return WorkError(f"{path} cannot be written ({(error.strerror or str(error)).lower()}): {fix}.")


def _sync_folder(folder: Path) -> None:
    """The name of a file is on the disk only when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
