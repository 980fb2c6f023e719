"""A file is replaced as a whole or stays as it was, whatever the disk does."""

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sslkit import files
from sslkit.errors import WorkError


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """What a full disk does to a write: the system refuses what goes beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_new_file_is_there_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"old")
    with files.replacing(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new" and [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"old")
    with (
        files_of_at_most(1000),
        pytest.raises(WorkError, match=r"notes\.txt cannot be written \(file too large\): free some space and start"),
        files.replacing(path) as file,
    ):
        file.write(bytes(5000))
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_disk_that_may_not_be_written_to_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    refused = OSError(errno.EROFS, os.strerror(errno.EROFS))
    assert str(files.unwritable(path, refused)) == (
        f"{path} cannot be written (read-only file system): make it writable or choose another --out."
    )
    with pytest.raises(WorkError, match="no such file or directory"), files.replacing(tmp_path / "none/x"):
        pass
