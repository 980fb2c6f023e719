"""What is known of a prepared dataset before any of its media are read: its settings, and one entry for each sample."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslkit.data import shards
from sslkit.errors import UserError, WorkError

Place = tuple[int, int]
_NO_FLOW = np.zeros((0, 2), np.int64)
_STILL = np.zeros(1, np.float32)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the index.

    fps, frames: of the prepared clip (a still has fps 0 and one frame). height, width: prepared size in pixels.
    motion: (frames,) float32, mean absolute grey difference to the frame before, 0..255. border: top, bottom, left and
    right pixels that were removed. start_s, end_s: place in the source. sound_s: 0 without sound. shard, offset, size:
    where the sample lies. members: extension -> (offset, size). fwd, bwd: (fields, 2) int64 offset and size of each
    flow field.
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

    Raises UserError when a folder is not a finished prepared dataset or has no such split.
    """
    info = _info(tuple(folders), [_about(folder, split) for folder in folders])
    labelled = bool(info.classes)
    return info, [_entry(folder, line, labelled) for folder in folders for line in shards.index(folder, split)]


def _about(folder: Path, split: str) -> dict[str, Any]:
    path = folder / "dataset.json"
    if not path.is_file():
        raise UserError(f"{folder} is not a prepared dataset (it has no dataset.json); make one with prepare-data.")
    try:
        about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WorkError(f"{path} is damaged; prepare the data again into a new folder.") from error
    if about.get("format") != shards.FORMAT:
        raise UserError(f"{path} has format {about.get('format')}, not {shards.FORMAT}; prepare the data again.")
    if split not in about["counts"]:
        raise UserError(f"{folder} has no split called {split!r}; it has {', '.join(about['counts']) or 'none'}.")
    return about


def _info(folders: tuple[Path, ...], abouts: Sequence[Mapping[str, Any]]) -> DatasetInfo:
    each = tuple(about["settings"] for about in abouts)
    agreed = {name: value for name, value in each[0].items() if all(s.get(name) == value for s in each)}
    classes = {tuple(about["classes"]) for about in abouts}
    counts: dict[str, dict[str, float]] = {}
    for about in abouts:
        for split, count in about["counts"].items():
            total = counts.setdefault(split, dict.fromkeys(count, 0))
            for name, value in count.items():
                total[name] += value
    layouts = "+".join(dict.fromkeys(str(about["layout"]) for about in abouts))
    hashes = tuple(str(about["source_hash"]) for about in abouts)
    return DatasetInfo(folders, layouts, agreed, each, classes.pop() if len(classes) == 1 else (), counts, hashes)


def _entry(folder: Path, line: dict[str, Any], labelled: bool) -> Entry:
    values = {name: line[name] for name in Entry.__slots__ if name in line}
    values["shard"] = folder / line["shard"]
    values["label"] = line["label"] if labelled else -1
    # A million stills share what is the same in all of them.
    values["kind"] = sys.intern(line["kind"])
    values["motion"] = np.asarray(line["motion"], np.float32) if line["kind"] == "video" else _STILL
    values["border"] = tuple(line["border"])
    values["members"] = {extension: tuple(place) for extension, place in line["members"].items()}
    for name in ("fwd", "bwd"):
        values[name] = np.asarray(line[name], np.int64) if line[name] else _NO_FLOW
    return Entry(**values)
