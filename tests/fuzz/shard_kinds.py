"""Prepared datasets of which a file is damaged: the reader says so, or gives exactly what was stored."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

import numpy as np
from kinds import Kind, Substituted

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
    Shards("index", "*.jsonl"),
    Shards("dataset.json", "dataset.json"),
]
