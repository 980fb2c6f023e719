"""Prepared datasets of which a file is damaged: the reader says so, or gives exactly what was stored."""

from __future__ import annotations

import functools
import json
import random
import shutil
import zlib
from hashlib import blake2b
from pathlib import Path

import numpy as np
from kinds import Kind, Substituted
from mutate import mutated

from sslkit.data.dataset import Dataset, Sample
from sslkit.data.prepare import prepare
from sslkit.data.settings import PrepareSettings
from sslkit.types import Reads

_SETTINGS = PrepareSettings(short_side_px=48, clips=10, stills=4, seconds=0.4, flow="dis")
_SPLITS = ("train", "val")
_READS = (Reads(frames=4), Reads(flow=3, backward=True), Reads(sound_s=0.2), Reads(frames=1))


class Shards(Kind):
    """A prepared toybox; one file of those that match `pattern` is damaged."""

    def __init__(self, name: str, pattern: str) -> None:
        self.name, self._pattern = name, pattern

    def make(self, folder: Path) -> None:
        shutil.rmtree(folder)
        prepare("toybox", "", folder, _SETTINGS)

    def targets(self, folder: Path) -> list[Path]:
        return sorted(folder.glob(self._pattern))

    def consume(self, folder: Path, good: Path) -> str | None:
        expected, found = _read(good), _look(folder)
        if found.keys() != expected.keys():
            raise Substituted(f"{sorted(found.keys() ^ expected.keys())} is there in one of them only")
        for name, sample in found.items():
            if not _alike(sample, expected[name]):
                raise Substituted(f"{name} is another sample than what was stored")
        return None


@functools.cache
def _read(folder: Path) -> dict[str, Sample]:
    return _look(folder)


class Resealed(Shards):
    """A dataset that somebody made: members are damaged, or lines of the index, and all checksums fit.

    What comes out may then differ, but it comes out, or the reason why not.
    """

    def damage(self, target: Path, rng: random.Random, other: bytes) -> str:
        folder, split = target.parent, target.name.partition("-")[0]
        index, about = folder / f"{split}-index.jsonl", folder / "dataset.json"
        if target != index:
            data, how = bytearray(target.read_bytes()), []
            for place in _places(index):
                if rng.random() < 0.3:
                    damaged, step = mutated(bytes(data[place[0] : sum(place[:2])]), rng)
                    data[place[0] : sum(place[:2])] = damaged[: place[1]].ljust(place[1], b"\0")
                    how.append(step)
            _replace(target, bytes(data))
            text = index.read_text()
            for place in _places(index):
                crc = zlib.crc32(data[place[0] : sum(place[:2])])
                text = text.replace(str(place).replace(" ", ""), f"[{place[0]},{place[1]},{crc}]")
            _replace(index, text.encode())
        else:
            how = [super().damage(target, rng, other)]
        told = json.loads(about.read_text())
        told["indexes"][split] = blake2b(index.read_bytes(), digest_size=16).hexdigest()
        _replace(about, json.dumps(told).encode())
        return " ".join(how)

    def consume(self, folder: Path, good: Path) -> str | None:
        _look(folder)
        return None


def _places(index: Path) -> list[list[int]]:
    lines = [json.loads(line) for line in index.read_text().splitlines()]
    return [place for line in lines for place in (*line["members"].values(), *line["fwd"], *line["bwd"])]


def _replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def _look(folder: Path) -> dict[str, Sample]:
    """One window of every sample, every way to read it."""
    found = {}
    for split in _SPLITS:
        dataset = Dataset(folder, split)
        for reads in _READS:
            for index in dataset.usable(reads):
                found[f"{split} {dataset.entries[index].key} {reads}"] = dataset.read(index, [0.0], reads)
    return found


def _alike(one: Sample, other: Sample) -> bool:
    pairs = ((one.frames, other.frames), (one.flow, other.flow), (one.sound, other.sound))
    same = all(a is b or (a is not None and b is not None and np.array_equal(a, b)) for a, b in pairs)
    return same and one.label == other.label


KINDS: list[Kind] = [
    Shards("shard", "*.tar"),
    Shards("index", "*-index.jsonl"),
    Shards("dataset.json", "dataset.json"),
    Resealed("resealed shard", "*.tar"),
    Resealed("resealed index", "*-index.jsonl"),
]
