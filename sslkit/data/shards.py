"""Prepared samples on disk: plain tar files with WebDataset naming, and an index of byte offsets beside them.

A sample is a run of members `<key>.<extension>` that lie next to each other, so one read of one file brings any part of
it. Headers carry no time, owner or machine: equal samples in equal order give equal bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import tarfile
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

from sslkit.errors import WorkError

FORMAT = 2
READABLE = (1, 2)
"""Format 1 has no checksums."""
SPLITS = ("train", "val", "test")
_BLOCK = tarfile.BLOCKSIZE
_NOT_INDEXED = ("camera", "truth", "boxes")
_FLOWS = ("fwd", "bwd")
_OPEN_FILES = 128


@dataclass(frozen=True)
class Stored:
    """One sample as it is stored.

    meta: what `<key>.json` holds; `meta["key"]` has no dot. members: extension -> content, in the order of writing;
    flow fields are `fwd.00000.jpg`, `fwd.00001.jpg`, ... and `bwd.00000.jpg`, ...
    """

    meta: Mapping[str, Any]
    members: Mapping[str, bytes]


@dataclass(frozen=True)
class Run:
    """The tar bytes of one sample, and its index line with offsets that count from the first of these bytes."""

    data: bytes
    record: Mapping[str, Any]

    def at(self, shard: str, offset: int) -> dict[str, Any]:
        """The index line of this run when it begins at byte `offset` of `shard`."""
        record = dict(self.record)
        members = {ext: [offset + first, *rest] for ext, (first, *rest) in record.pop("members").items()}
        flows = {name: [[offset + first, *rest] for first, *rest in record.pop(name)] for name in _FLOWS}
        record.pop("offset", None)
        return {"key": record.pop("key"), "shard": shard, "offset": offset, "members": members, **flows, **record}


def pack(stored: Stored) -> Run:
    """The tar bytes of a sample. Raises ValueError if its key has a dot or a slash, or is too long for a tar header."""
    key = str(stored.meta["key"])
    if "." in key or "/" in key or len(key.encode()) > 80:
        raise ValueError(f"{key!r} cannot be the key of a sample")
    pieces: list[bytes] = []
    members: dict[str, list[int]] = {}
    flows: dict[str, list[list[int]]] = {name: [] for name in _FLOWS}
    position = 0
    for extension, content in {"json": dumps(stored.meta).encode(), **stored.members}.items():
        header = _header(f"{key}.{extension}", len(content))
        filling = bytes(-len(content) % _BLOCK)
        place = [position + len(header), len(content), zlib.crc32(content)]
        kind = extension.partition(".")[0]
        if kind in flows:
            flows[kind].append(place)
        else:
            members[extension] = place
        pieces += [header, content, filling]
        position += len(header) + len(content) + len(filling)
    meta = {name: value for name, value in stored.meta.items() if name not in _NOT_INDEXED}
    return Run(b"".join(pieces), {**meta, "size": position, "members": members, **flows})


def dumps(value: Any) -> str:
    """JSON on one line, as compact as it gets."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


class Writer:
    """Writes the runs of one split to `<split>-00000.tar` ... and, when closed, `<split>-index.jsonl`."""

    def __init__(self, folder: Path, split: str, shard_bytes: int) -> None:
        self._folder, self._split, self._shard_bytes = folder, split, shard_bytes
        self._shards = 0
        self._position = 0
        self._file: IO[bytes] | None = None
        self._index = _partial(folder / f"{split}-index.jsonl").open("wb")
        self._digest = blake2b(digest_size=16)

    def add(self, run: Run) -> None:
        """Append a run; a shard that would grow beyond its size is closed before."""
        if self._file is not None and self._position + len(run.data) > self._shard_bytes:
            self._end_shard()
        if self._file is None:
            self._file = _partial(self._folder / self._name()).open("wb")
        self._file.write(run.data)
        line = (dumps(run.at(self._name(), self._position)) + "\n").encode()
        self._index.write(line)
        self._digest.update(line)
        self._position += len(run.data)

    def close(self) -> str:
        """End the last shard and the index, and return the checksum of the index."""
        self._end_shard()
        self._index.close()
        index = self._folder / f"{self._split}-index.jsonl"
        _partial(index).replace(index)
        return self._digest.hexdigest()

    def abandon(self) -> None:
        """Leave no half file behind after a failure."""
        for file in (self._file, self._index):
            if file is not None:
                # What is still to be written would fail again.
                with contextlib.suppress(OSError):
                    file.close()
                Path(file.name).unlink(missing_ok=True)

    def _name(self) -> str:
        return f"{self._split}-{self._shards:05d}.tar"

    def _end_shard(self) -> None:
        if self._file is None:
            return
        self._file.write(bytes(2 * _BLOCK))
        self._file.close()
        _partial(self._folder / self._name()).replace(self._folder / self._name())
        self._file, self._position, self._shards = None, 0, self._shards + 1


def write(folder: Path, runs: Iterable[tuple[str, Run]], about: Mapping[str, Any], shard_bytes: int = 1 << 28) -> None:
    """Write a whole prepared dataset: shards and indexes of (split, run) pairs, and last `dataset.json`.

    about: the entries of `dataset.json` except `format`, `counts` and `indexes` (checksums), which are filled in here.
    A folder without `dataset.json` is not finished, so an interrupted call leaves nothing that could be taken for one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writers: dict[str, Writer] = {}
    counts: dict[str, dict[str, float]] = {}
    sources: dict[str, set[str]] = {}
    try:
        for split, run in runs:
            if split not in writers:
                writers[split] = Writer(folder, split, shard_bytes)
                counts[split], sources[split] = {"samples": 0, "seconds": 0.0}, set()
            writers[split].add(run)
            counts[split]["samples"] += 1
            counts[split]["seconds"] += seconds(run.record)
            sources[split].add(run.record["source"])
        indexes = {split: writer.close() for split, writer in writers.items()}
    except BaseException:
        for writer in writers.values():
            writer.abandon()
        raise
    for split, count in counts.items():
        count["seconds"] = round(count["seconds"], 3)
        count["sources"] = len(sources[split])
    ordered = {split: counts[split] for split in SPLITS if split in counts}
    replace_json(folder / "dataset.json", {"format": FORMAT, **about, "counts": ordered, "indexes": indexes})


def seconds(record: Mapping[str, Any]) -> float:
    """Duration of a sample; 0 for a still."""
    if record["kind"] == "sound":
        return float(record["sound_s"])
    return float(record["frames"]) / float(record["fps"]) if record["kind"] == "video" else 0.0


def replace_json(path: Path, value: Any) -> None:
    """Write a JSON file so that it is there as a whole or not at all."""
    replace_bytes(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def replace_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is there as a whole or not at all."""
    partial = _partial(path)
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def index(folder: Path, split: str, checksum: str | None = None) -> Iterator[bytes]:
    """The index lines of a split, JSON each. Raises WorkError, at the end, when they are not those of the checksum."""
    path = folder / f"{split}-index.jsonl"
    digest = blake2b(digest_size=16)
    try:
        with path.open("rb") as lines:
            for line in lines:
                digest.update(line)
                yield line
    except OSError as error:
        raise WorkError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}.") from error
    if checksum not in (None, digest.hexdigest()):
        raise WorkError(f"{path} is not what prepare-data wrote; copy it again, or prepare the data into a new folder.")


class Reader:
    """Reads byte ranges of shards with files that stay open; every process that gets a copy opens its own."""

    def __init__(self) -> None:
        self._files: OrderedDict[Path, int] = OrderedDict()

    def read(self, shard: Path, offset: int, size: int, key: str) -> bytes:
        """`size` bytes from `offset`, in one system call. Raises WorkError (naming shard and key) without them."""
        try:
            file = self._open(shard)
            # Asked for before there is memory for as many bytes as a damaged index may want.
            beyond = offset < 0 or size < 0 or offset + size > os.fstat(file).st_size
            data = b"" if beyond else os.pread(file, size, offset)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise WorkError(f"Sample {key} of {shard} cannot be read: {reason}.") from error
        if beyond or len(data) != size:
            raise WorkError(f"Sample {key} lies beyond the end of {shard}; copy or prepare the shard again.")
        return data

    def close(self) -> None:
        """Close the files."""
        while self._files:
            os.close(self._files.popitem()[1])

    def _open(self, shard: Path) -> int:
        if shard not in self._files:
            if len(self._files) >= _OPEN_FILES:
                os.close(self._files.popitem(last=False)[1])
            self._files[shard] = os.open(shard, os.O_RDONLY | os.O_CLOEXEC)
        self._files.move_to_end(shard)
        return self._files[shard]

    def __getstate__(self) -> dict[str, Any]:
        return {"_files": OrderedDict()}

    def __del__(self) -> None:
        self.close()


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o644, 0
    return member.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape")
