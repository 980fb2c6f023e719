"""Weights in files: what was changed is noticed, what is hostile costs nothing, and what does not fit is counted."""

import json
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sslkit.errors import SslkitError, UserError, WorkError
from sslkit.models import trunk as trunks
from sslkit.models import weights
from sslkit.models.weights import Match, match

SETTINGS = {"side_px": 16, "width": 0.05}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "trunk.safetensors"
    trunks.save(trunks.build("nin", SETTINGS), path, {"step": 3})
    return path


def test_a_single_flipped_bit_anywhere_is_noticed(file: Path) -> None:
    data, rng = file.read_bytes(), random.Random(0)
    for _ in range(60):
        changed = bytearray(data)
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        file.write_bytes(changed)
        with pytest.raises(SslkitError, match=r"^\S+trunk\.safetensors [^\n]*\.$"):
            trunks.load(file)
    file.write_bytes(data)
    assert trunks.load(file)[1] == {"step": 3}


@pytest.mark.parametrize("cut", [0, 7, 100, -1])
def test_what_is_cut_off_is_refused(file: Path, cut: int) -> None:
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"is damaged, or no safetensors file \("):
        trunks.load(file)


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 100_000,
        b"{}",
        b'{"w":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}',
        b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b'{"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}',
        b'{"w":{"dtype":"X9","shape":[1],"data_offsets":[0,4]}}',
    ],
)
def test_hostile_headers_are_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "trunk.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(UserError, match=r"^\S+trunk\.safetensors is [^\n]*\.$"):
        trunks.load(path)
    path.write_bytes(struct.pack("<Q", 2**63) + header)
    with pytest.raises(UserError, match="header"):
        trunks.load(path)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "null",
        '{"name": "nin"}',
        '{"name": ["nin"], "settings": {}, "about": {}}',
        '{"name": "nin", "settings": 3, "about": {}}',
        '{"name": "nin", "settings": {}, "about": []}',
        '{"name": "nin", "settings": {"width": 1e30}, "about": {}}',
        '{"name": "nin", "settings": {"width": NaN}, "about": {}}',
        '{"name": "nin", "settings": {"width": 100000.0}, "about": {}}',
        '{"name": "tcam", "settings": {"chunks": 0}, "about": {}}',
        '{"name": "alexnet_bn", "settings": {"side_px": 10000000000}, "about": {}}',
        '{"name": "resnet", "settings": {"depth": "50"}, "about": {}}',
    ],
)
def test_what_a_file_asks_for_is_not_made_without_its_weights(tmp_path: Path, text: str) -> None:
    """A hundred thousand times the width would be terabytes."""
    path = tmp_path / "trunk.safetensors"
    save_file({"w": torch.zeros(1)}, str(path), metadata={"sslkit": text})
    with pytest.raises(SslkitError, match=r"^[^\n]*\.$"):
        trunks.load(path)


def test_weights_of_another_type_do_not_pass_for_the_same_bytes(tmp_path: Path) -> None:
    trunk = trunks.build("nin", SETTINGS)
    tensors = {k: v.view(torch.int32) if v.dtype == torch.float32 else v for k, v in trunk.state_dict().items()}
    header = json.dumps({"name": "nin", "settings": SETTINGS, "about": {}})
    save_file(tensors, str(tmp_path / "x.safetensors"), metadata={"sslkit": header})
    with pytest.raises(WorkError, match=r"does not fit nin: 12 of \d+ weights match"):
        trunks.load(tmp_path / "x.safetensors")


def test_files_from_before_the_hash_can_still_be_read(tmp_path: Path) -> None:
    trunk = trunks.build("nin", SETTINGS)
    header = json.dumps({"name": "nin", "settings": SETTINGS, "about": {"step": 1}})
    save_file(trunk.state_dict(), str(tmp_path / "x.safetensors"), metadata={"sslkit": header})
    assert trunks.load(tmp_path / "x.safetensors")[1] == {"step": 1}


def test_equal_trunks_are_equal_files(tmp_path: Path) -> None:
    """In other processes too, where hashes fall out otherwise."""
    code = f"""
import torch; from pathlib import Path; from sslkit.models import trunk
torch.manual_seed(0); trunk.save(trunk.build("nin", {SETTINGS}), Path("PATH"), {{"step": 3, "metrics": {{"a": 1.5}}}})
"""
    for number in range(3):
        subprocess.run([sys.executable, "-c", code.replace("PATH", str(tmp_path / str(number)))], check=True)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_a_full_disk_leaves_the_old_trunk(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(WorkError, match="cannot be written.*free some space"):
        trunks.save(trunks.build("nin", SETTINGS), file, {})
    assert file.read_bytes() == before and [p.name for p in file.parent.iterdir()] == [file.name]


def test_what_matches_is_counted_and_told() -> None:
    wanted = {"a.weight": torch.zeros(2, 3), "a.bias": torch.zeros(2), "head.weight": torch.zeros(4, 2)}
    found = {"a.weight": torch.ones(2, 3), "a.bias": torch.ones(3), "fc.weight": torch.ones(9, 2)}
    one = match(wanted, found)
    assert one == Match(("a.weight",), ("a.bias", "head.weight"), ("a.bias", "fc.weight"))
    assert one.counts() == {"matched": 1, "missing": 2, "unexpected": 2} and one.share == pytest.approx(1 / 3)
    assert one.told() == (
        "1 of 3 weights match, 2 are missing (a.bias, head.weight), 2 in the file are unexpected (a.bias, fc.weight)"
    )
    assert match(wanted, wanted).told() == "3 of 3 weights match"
    assert match(wanted, {"a.weights": torch.ones(1)}).nearest() == "; nearest to a.weight is a.weights"


def test_the_digest_sees_names_types_shapes_and_values() -> None:
    tensors = {"a": torch.arange(4.0), "n": torch.tensor(3)}
    variants = [
        ("", tensors),
        ("x", tensors),
        ("", {**tensors, "a": tensors["a"].reshape(2, 2)}),
        ("", {**tensors, "a": tensors["a"].view(torch.int32)}),
        ("", {"b": tensors["a"], "n": tensors["n"]}),
        ("", {**tensors, "n": torch.tensor(4)}),
    ]
    assert len({weights.digest(text, each) for text, each in variants}) == len(variants)


def test_weights_are_found_in_files_of_any_age(tmp_path: Path) -> None:
    path, state = tmp_path / "net.model", {"a.weight": torch.arange(6.0).reshape(2, 3)}
    for old in (False, True):
        for content in (state, {"epoch": 1, "state_dict": state}):
            torch.save(content, path, _use_new_zipfile_serialization=not old)
            found = weights.tensors(path)[1]
            assert list(found) == ["a.weight"] and torch.equal(found["a.weight"], state["a.weight"])
    whole = path.read_bytes()
    for cut in (20, 60, len(whole) - 5):
        path.write_bytes(whole[:cut])
        with pytest.raises(WorkError, match=r"net\.model is damaged"):
            weights.tensors(path)


def test_code_in_old_files_is_never_run(tmp_path: Path) -> None:
    path, owned = tmp_path / "net.model", tmp_path / "owned"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(owned),)

    torch.save({"a": Evil()}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(UserError, match="could run code, so it was not opened"):
        weights.tensors(path)
    assert not owned.exists()
