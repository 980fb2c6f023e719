"""Checkpoints from anywhere: what is damaged is noticed, what is foreign is refused, and nothing in them is run."""

import io
import os
import pickle
import random
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

from sslkit.engine import checkpoint
from sslkit.errors import SslkitError, UserError, WorkError
from sslkit.models import weights


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.pt"
    checkpoint.write(path, {"step": 3, "task": {"w": torch.arange(1000.0), "b": torch.ones(3)}})
    return path


class Evil:
    """What runs when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.folder),)


def test_a_single_flipped_bit_anywhere_is_noticed(file: Path) -> None:
    data, rng = file.read_bytes(), random.Random(0)
    noticed = 0
    for _ in range(200):
        changed = bytearray(data)
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        file.write_bytes(changed)
        try:
            state = checkpoint.read(file)
        except SslkitError as error:
            noticed += 1
            assert str(error).startswith(f"{file} ") and str(error).endswith(".") and "\n" not in str(error)
        else:
            # Only filling between the members and dates in their headers are not covered by a checksum.
            assert torch.equal(state["task"]["w"], torch.arange(1000.0)) and state["step"] == 3
    assert noticed > 100


@pytest.mark.parametrize("cut", [0, 1, 2, 100, 2000, -1])
def test_what_is_cut_off_is_damaged(file: Path, cut: int) -> None:
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(WorkError, match=r"checkpoint\.pt is damaged: .*delete it"):
        checkpoint.read(file)


@pytest.mark.parametrize("mmap", [False, True])
def test_code_is_never_run(tmp_path: Path, mmap: bool) -> None:
    path, owned = tmp_path / "x.pt", tmp_path / "owned"
    torch.save({"format": checkpoint.FORMAT, "step": Evil(owned)}, path)
    with pytest.raises(UserError, match=r"could run code, so it was not opened"):
        checkpoint.read(path, mmap)
    torch.save({"step": Evil(owned)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(UserError, match=r"not written by torch\.save"):
        checkpoint.read(path, mmap)
    path.write_bytes(pickle.dumps(Evil(owned)))
    with pytest.raises(UserError):
        checkpoint.read(path, mmap)
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("pickle")
        content = pickle.dumps(Evil(owned))
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    with pytest.raises(UserError):
        checkpoint.read(path, mmap)
    assert not owned.exists()


def test_a_small_file_does_not_become_a_large_one(file: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(UserError, match="is compressed"):
        checkpoint.read(file)


def test_foreign_files_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_text("no weights at all")
    with pytest.raises(UserError, match="not written by torch"):
        checkpoint.read(path)
    torch.save({"state_dict": {"w": torch.ones(2)}}, path)
    with pytest.raises(UserError, match="no checkpoint of this version"):
        checkpoint.read(path)
    assert torch.equal(weights.saved(path)["state_dict"]["w"], torch.ones(2))
