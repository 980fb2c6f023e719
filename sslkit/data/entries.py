"""What is known of a prepared dataset before any of its media are read: its settings, and one entry for each sample."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslkit.data import shards
from sslkit.data.about import About, Line
from sslkit.errors import UserError, WorkError

Place = tuple[int, ...]
"""Offset, size and, in format 2, CRC-32 of some bytes of a shard."""
_NO_FLOW = np.zeros((0, 2), np.int64)
_STILL = np.zeros(1, np.float32)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the index.

    fps, frames: of the prepared clip (a still has fps 0 and one frame; sound without pictures counts hundredths of a
    second). height, width: prepared size in pixels.
    motion: (frames,) float32, mean absolute grey difference to the frame before, 0..255. border: top, bottom, left and
    right pixels of the source that were removed. bars: the same of the prepared pictures that are black bars. start_s,
    end_s: place in the source. sound_s: 0 without sound. shard, offset, size: where the sample lies. members:
    extension -> place. fwd, bwd: (fields, 2 or 3) int64 places of the flow fields. fold: of an official
    cross-validation, from 1, None without one. tags: all that the sample is said to hold, where that may be several.
    """

    key: str
    kind: str
    label: int
    label_name: str | None
    source: str
    group: str
    start_s: float
    end_s: float
    fps: float
    frames: int
    height: int
    width: int
    sound_s: float
    motion: NDArray[np.float32]
    border: tuple[int, ...]
    flow_bound: float
    shard: Path
    offset: int
    size: int
    members: Mapping[str, Place]
    bars: tuple[int, ...] = (0, 0, 0, 0)
    fold: int | None = None
    tags: tuple[str, ...] = ()
    fwd: NDArray[np.int64] = field(default_factory=_NO_FLOW.copy)
    bwd: NDArray[np.int64] = field(default_factory=_NO_FLOW.copy)

    def has(self, what: str) -> bool:
        """Whether the sample holds "frames", "sound", "flow", "backward" (flow of the reversed frames) or "masks"."""
        places: dict[str, bool] = {
            "frames": "mp4" in self.members or "jpg" in self.members,
            "sound": "flac" in self.members,
            "flow": len(self.fwd) > 0,
            "backward": len(self.bwd) > 0,
            "masks": "masks.png" in self.members,
        }
        return places[what]

    @property
    def recording(self) -> str:
        """What all samples of one recording have in common, and those of no other folder of data."""
        return f"{self.shard.parent}/{self.group or self.source or self.key}"

    @property
    def seconds(self) -> float:
        """Duration of the prepared clip; 0 for a still."""
        return self.frames / self.fps if self.fps else 0.0


@dataclass(frozen=True)
class DatasetInfo:
    """What `dataset.json` says, over all folders that were opened together.

    settings: those on which all folders agree. each: the settings of every folder, in order. classes: empty when the
    folders differ. counts: split -> samples, seconds and sources, summed. source_hashes: of every folder, in order.
    """

    folders: tuple[Path, ...]
    layout: str
    settings: Mapping[str, Any]
    each: tuple[Mapping[str, Any], ...]
    classes: tuple[str, ...]
    counts: Mapping[str, Mapping[str, float]]
    source_hashes: tuple[str, ...]

    @property
    def records(self) -> list[dict[str, Any]]:
        """What a run writes down of its data: {"folder", "source_hash", "settings"} of every folder."""
        each = zip(self.folders, self.source_hashes, self.each, strict=True)
        return [{"folder": str(folder), "source_hash": found, "settings": dict(how)} for folder, found, how in each]


def opened(folders: Sequence[Path], split: str) -> tuple[DatasetInfo, list[Entry]]:
    """What one or more prepared folders hold, and the entries of one split of all of them.

    Raises UserError when a folder is not a finished prepared dataset or has no such split; WorkError when what it says
    of itself is damaged.
    """
    abouts = [About.of(folder) for folder in folders]
    info = _info(tuple(folders), abouts)
    entries = []
    for folder, found in zip(folders, abouts, strict=True):
        if split not in found.counts:
            raise UserError(f"{folder} has no split called {split!r}; it has {', '.join(found.counts) or 'none'}.")
        entries += _entries(folder, split, found, bool(info.classes))
    return info, entries


def _entries(folder: Path, split: str, found: About, labelled: bool) -> list[Entry]:
    path = folder / f"{split}-index.jsonl"
    lines = [
        Line.of(line, f"{path}:{number}")
        for number, line in enumerate(shards.index(folder, split, found.indexes.get(split)), start=1)
    ]
    if len(lines) != found.counts[split].get("samples", len(lines)):
        raise WorkError(f"{path} has {len(lines)} lines, which is not what dataset.json says; copy the folder again.")
    names = dict(enumerate(found.classes))
    for line in lines:
        if line.label >= 0 and line.label_name is not None and line.label_name != names.get(line.label):
            raise WorkError(f"{folder / 'dataset.json'} names other classes than {path}; copy the folder again.")
    places = {line.shard: folder / line.shard for line in lines}
    return [_entry(places[line.shard], line, labelled) for line in lines]


def _info(folders: tuple[Path, ...], abouts: Sequence[About]) -> DatasetInfo:
    each = tuple(about.settings for about in abouts)
    agreed = {name: value for name, value in each[0].items() if all(s.get(name) == value for s in each)}
    classes = {tuple(about.classes) for about in abouts}
    counts: dict[str, dict[str, float]] = {}
    for about in abouts:
        for split, count in about.counts.items():
            total = counts.setdefault(split, dict.fromkeys(count, 0))
            for name, value in count.items():
                total[name] = total.get(name, 0) + value
    layouts = "+".join(dict.fromkeys(about.layout for about in abouts))
    hashes = tuple(about.source_hash for about in abouts)
    return DatasetInfo(folders, layouts, agreed, each, classes.pop() if len(classes) == 1 else (), counts, hashes)


def _entry(shard: Path, line: Line, labelled: bool) -> Entry:
    clip = line.kind == "video"
    values = {name: getattr(line, name) for name in Entry.__slots__}
    values["label"] = line.label if labelled else -1
    # A million stills share what is the same in all of them.
    values["shard"] = shard
    values["kind"] = sys.intern(line.kind)
    values["motion"] = np.asarray(line.motion, np.float32) if clip else _STILL
    values |= {name: tuple(getattr(line, name)) for name in ("border", "bars", "tags")}
    values["members"] = {extension: tuple(place) for extension, place in line.members.items()}
    values |= {name: _places(getattr(line, name)) for name in ("fwd", "bwd")}
    return Entry(**values)


def _places(found: list[list[int]]) -> NDArray[np.int64]:
    return np.asarray(found, np.int64) if found else _NO_FLOW
