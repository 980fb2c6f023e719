"""What a prepared folder says of itself is checked before it is believed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sslkit.data import shards
from sslkit.data.dataset import Dataset
from sslkit.errors import SslkitError, UserError, WorkError
from sslkit.types import Reads


@pytest.fixture
def folder(toybox: Path, tmp_path: Path) -> Path:
    return shutil.copytree(toybox, tmp_path / "data")


def edited(folder: Path, **changes: Any) -> None:
    """dataset.json with other entries; indexes are not checked as a whole any more, so that lines can be changed."""
    path = folder / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "indexes": {}, **changes}))


def line(folder: Path, **changes: Any) -> None:
    """The third line of the index of train with other entries."""
    edited(folder)
    path = folder / "train-index.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    lines[2] = json.dumps({**json.loads(lines[2]), **changes}) + "\n"
    path.write_text("".join(lines))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 3}, r"dataset.json has format 3, not 2"),
        ({"format": "2"}, r"dataset.json is damaged \(format: "),
        ({"classes": None}, r"dataset.json is damaged \(classes: "),
        ({"counts": {"train": {"samples": -1}}}, r"dataset.json is damaged \(counts.train.samples"),
        (
            {"counts": {"train": {"samples": 3}}},
            r"train-index.jsonl has \d+ lines, which is not",
        ),
        ({"classes": ["x", "y"]}, r"dataset.json names other classes than .*train-index.jsonl"),
        ({"indexes": {"train": "0"}}, r"train-index.jsonl is not what prepare-data wrote"),
    ],
)
def test_a_damaged_dataset_json_is_told(folder: Path, changes: dict[str, Any], said: str) -> None:
    edited(folder, **changes)
    with pytest.raises(SslkitError, match=said):
        Dataset(folder, "train")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_no_json_is_told(folder: Path, content: bytes) -> None:
    (folder / "dataset.json").write_bytes(content)
    with pytest.raises(WorkError, match=r"dataset.json is damaged"):
        Dataset(folder, "train")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shard": "../other/train-00000.tar"}, "shard"),
        ({"shard": "/etc/passwd"}, "shard"),
        ({"shard": ".."}, "shard"),
        ({"shard": "a\u0000.tar"}, "shard"),
        ({"frames": 0}, "frames"),
        ({"frames": 10**12}, "motion"),
        ({"frames": True}, "frames"),
        ({"fps": 0.0}, "rate"),
        ({"kind": "smell"}, "kind"),
        ({"members": {}}, "no pictures"),
        ({"members": {"mp4": [-5, 10]}}, "members.mp4"),
        ({"members": {"mp4": [0, 10**30]}}, "members.mp4"),
        ({"fwd": [[1]]}, "fwd.0"),
        ({"label": "0"}, "label"),
    ],
)
def test_a_damaged_line_is_told_with_its_number(folder: Path, changes: dict[str, Any], said: str) -> None:
    line(folder, **changes)
    with pytest.raises(WorkError, match=rf"train-index.jsonl:3 is damaged \(.*{said}"):
        Dataset(folder, "train")


@pytest.mark.parametrize("place", [[0, 10**15], [10**15, 10], [0, 1 << 40]])
def test_places_outside_of_the_shard_are_told(folder: Path, place: list[int]) -> None:
    line(folder, members={"mp4": place})
    with pytest.raises(WorkError, match=r"Sample .* lies beyond the end of .*train-00000.tar"):
        Dataset(folder, "train").read(2, [0.0], Reads(frames=2))


def test_another_samples_bytes_are_not_taken_for_these(folder: Path) -> None:
    lines = [json.loads(one) for one in (folder / "train-index.jsonl").read_text().splitlines()]
    mine, other = lines[2]["members"], lines[3]["members"]
    moved = {name: [*other[name][:2], *place[2:]] for name, place in mine.items()}
    line(folder, members=moved)
    with pytest.raises(WorkError, match=r"damaged: its bytes are not those that were written"):
        Dataset(folder, "train").read(2, [0.0], Reads(frames=2))


def test_pictures_of_another_size_are_told(folder: Path) -> None:
    line(folder, height=81)
    with pytest.raises(WorkError, match=r"damaged: its pictures are of another size"):
        Dataset(folder, "train").read(2, [0.0], Reads(frames=2))
    with pytest.raises(WorkError, match=r"damaged: its planes are of another size"):
        Dataset(folder, "train").read(2, [0.0], Reads(flow=2))


def test_names_within_a_shard_lead_nowhere(folder: Path) -> None:
    """Samples are read by their place: what a tar header calls them is not looked at."""
    before = Dataset(folder, "train").read(2, [0.0], Reads(frames=2)).frames
    shard = folder / "train-00000.tar"
    entry = Dataset(folder, "train").entries[2]
    data = bytearray(shard.read_bytes())
    header = entry.members["mp4"][0] - 512
    data[header : header + 100] = b"../../evil.mp4".ljust(100, b"\0")
    shard.write_bytes(data)
    assert np.array_equal(Dataset(folder, "train").read(2, [0.0], Reads(frames=2)).frames, before)
    assert not (folder.parent / "evil.mp4").exists() and not (folder.parent.parent / "evil.mp4").exists()


def test_what_has_no_checksums_is_still_read(folder: Path) -> None:
    whole = Dataset(folder, "train").read(0, [0.0], Reads(frames=2, flow=2))
    path = folder / "train-index.jsonl"
    old = []
    for one in path.read_text().splitlines():
        record = json.loads(one)
        record["members"] = {name: place[:2] for name, place in record["members"].items()}
        record |= {name: [place[:2] for place in record[name]] for name in ("fwd", "bwd")}
        old.append(shards.dumps(record) + "\n")
    path.write_text("".join(old))
    edited(folder, format=1)
    again = Dataset(folder, "train").read(0, [0.0], Reads(frames=2, flow=2))
    assert np.array_equal(whole.frames, again.frames) and np.array_equal(whole.flow, again.flow)


def test_an_index_that_is_missing_is_told(folder: Path) -> None:
    (folder / "train-index.jsonl").unlink()
    with pytest.raises(WorkError, match=r"train-index.jsonl cannot be read: no such file"):
        Dataset(folder, "train")
    with pytest.raises(UserError, match="no dataset.json"):
        Dataset(folder.parent, "train")
