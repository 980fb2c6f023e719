"""Shards are plain tar files, and their indexes point at the right bytes."""

from __future__ import annotations

import json
import pickle
import tarfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from sslkit.data import shards
from sslkit.errors import WorkError


def run(key: str, size: int = 700, **meta: object) -> shards.Run:
    about = {"key": key, "kind": "video", "frames": 10, "fps": 5.0, "source": key, "camera": [1], "truth": {"a": 1}}
    members = {
        "mp4": key.encode() * size,
        "flac": b"f",
        "fwd.00000.jpg": b"0" * 600,
        "fwd.00001.jpg": b"1",
        "bwd.00000.jpg": b"2",
        "masks.png": b"",
    }
    return shards.pack(shards.Stored({**about, **meta}, members))


def index(folder: Path, split: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in shards.index(folder, split)]


def test_members_are_where_the_index_says(tmp_path: Path) -> None:
    shards.write(tmp_path, [("train", run("one")), ("val", run("two")), ("train", run("three"))], {"settings": {}})
    for split, keys in {"train": ["one", "three"], "val": ["two"]}.items():
        lines = index(tmp_path, split)
        assert [line["key"] for line in lines] == keys
        for line in lines:
            data = (tmp_path / line["shard"]).read_bytes()
            with tarfile.open(tmp_path / line["shard"]) as tar:
                for extension, (offset, size, crc) in line["members"].items():
                    content = tar.extractfile(f"{line['key']}.{extension}").read()
                    assert data[offset : offset + size] == content and crc == zlib.crc32(content)
            assert [data[o : o + n][:1] + bytes([n % 7]) for o, n, _ in line["fwd"]] == [
                b"0" + bytes([5]),
                b"1" + bytes([1]),
            ]
            assert [data[o : o + n] for o, n, _ in line["bwd"]] == [b"2"]
            assert "camera" not in line and "truth" not in line
            offset, size, _ = line["members"]["json"]
            assert json.loads(data[offset : offset + size])["camera"] == [1]


def test_tar_is_what_webdataset_expects(tmp_path: Path) -> None:
    shards.write(tmp_path, [("train", run("one")), ("train", run("two"))], {})
    with tarfile.open(tmp_path / "train-00000.tar") as tar:
        names = tar.getnames()
        assert all(member.mtime == 0 and member.uid == 0 for member in tar.getmembers())
    assert names[:3] == ["one.json", "one.mp4", "one.flac"]
    assert [name.partition(".")[0] for name in names] == ["one"] * 7 + ["two"] * 7


def test_shards_are_closed_before_they_grow_too_big(tmp_path: Path) -> None:
    runs = [("train", run(f"k{number}")) for number in range(5)]
    size = len(runs[0][1].data)
    shards.write(tmp_path, runs, {}, shard_bytes=2 * size)
    assert [line["shard"] for line in index(tmp_path, "train")] == [
        f"train-0000{number}.tar" for number in (0, 0, 1, 1, 2)
    ]
    assert [line["offset"] for line in index(tmp_path, "train")] == [0, size, 0, size, 0]
    for number in range(3):
        with tarfile.open(tmp_path / f"train-0000{number}.tar") as tar:
            assert len(tar.getnames()) == (14, 14, 7)[number]


def test_counts(tmp_path: Path) -> None:
    runs = [("train", run("a", source="x")), ("train", run("b", source="x")), ("test", run("c", kind="image"))]
    shards.write(tmp_path, runs, {"layout": "folder"})
    about = json.loads((tmp_path / "dataset.json").read_text())
    assert about["format"] == 2 and about["layout"] == "folder"
    assert about["counts"] == {
        "train": {"samples": 2, "seconds": 4.0, "sources": 1},
        "test": {"samples": 1, "seconds": 0.0, "sources": 1},
    }


def test_failure_leaves_no_dataset(tmp_path: Path) -> None:
    def runs() -> object:
        yield "train", run("a")
        raise WorkError("no")

    with pytest.raises(WorkError):
        shards.write(tmp_path, runs(), {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["a.b", "a/b", "a" * 90])
def test_bad_keys_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        run(key)


def test_reader_names_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "train-00000.tar"
    path.write_bytes(b"0123456789")
    reader = shards.Reader()
    assert reader.read(path, 2, 3, "k") == b"234"
    assert pickle.loads(pickle.dumps(reader)).read(path, 9, 1, "k") == b"9"
    with pytest.raises(WorkError, match=r"Sample k .*train-00000.tar"):
        reader.read(path, 8, 3, "k")
    with pytest.raises(WorkError, match=r"Sample k .*no such file"):
        reader.read(tmp_path / "train-00001.tar", 0, 3, "k")


def test_reader_keeps_few_files_open(tmp_path: Path) -> None:
    reader = shards.Reader()
    for number in range(300):
        path = tmp_path / f"{number}"
        path.write_bytes(b"%d" % number)
        assert reader.read(path, 0, 1, "k") == b"%d" % (number // 10 ** (len(str(number)) - 1))
    assert len(reader._files) <= 128
    reader.close()


def test_an_index_that_is_not_what_was_written_is_told(tmp_path: Path) -> None:
    shards.write(tmp_path, [("train", run("one")), ("train", run("two"))], {})
    checksum = json.loads((tmp_path / "dataset.json").read_text())["indexes"]["train"]
    path = tmp_path / "train-index.jsonl"
    assert len(list(shards.index(tmp_path, "train", checksum))) == 2
    path.write_bytes(path.read_bytes().replace(b'"frames":10', b'"frames":11', 1))
    assert len(list(shards.index(tmp_path, "train"))) == 2
    with pytest.raises(WorkError, match=r"train-index.jsonl is not what prepare-data wrote"):
        list(shards.index(tmp_path, "train", checksum))
