"""Prepared datasets, as training and evaluation read them: any window of any sample for one read or two."""

from __future__ import annotations

import json
import math
import zlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import get_worker_info

from sslkit.data import shards, windows
from sslkit.data.entries import DatasetInfo as DatasetInfo
from sslkit.data.entries import Entry as Entry
from sslkit.data.entries import Place, opened
from sslkit.errors import UserError, WorkError
from sslkit.media import read as media
from sslkit.types import Batch, Draw, Reads

AHEAD = 2
"""Batches that a worker may be ahead of the one that the main process was given last."""
LENDS = AHEAD + 2
"""Batches of a worker, after the latest of which it writes over the first: before, the first has to be copied."""
_shared: dict[str, deque[torch.UntypedStorage]] = {}


@dataclass
class Sample:
    """Windows of one sample as numpy arrays.

    frames: (clips, T, H, W, 3) uint8 RGB. flow: (clips, T, 2, H, W) uint8, clips doubled by `Reads.backward`.
    sound: (clips, N) or (clips, 2, N) int16. start_s: of each window in its prepared clip. index: position in the
    split. bars: see `Entry`. source: a number of the recording that it was cut from.
    """

    index: int
    label: int
    start_s: Sequence[float]
    frames: NDArray[np.uint8] | None = None
    flow: NDArray[np.uint8] | None = None
    sound: NDArray[np.int16] | None = None
    bars: Sequence[int] = (0, 0, 0, 0)
    source: int = 0


class Dataset:
    """One split of one or more prepared folders.

    Several folders are concatenated; when their classes differ, every label becomes -1. Raises UserError when a folder
    is not a finished prepared dataset or has no such split.
    """

    def __init__(self, folders: Path | str | Sequence[Path | str], split: str) -> None:
        listed = [folders] if isinstance(folders, (str, Path)) else list(folders)
        paths = tuple(Path(folder) for folder in listed)
        if not paths:
            raise UserError("No prepared dataset was given; name the folder that prepare-data wrote.")
        self.split = split
        self.info, self.entries = opened(paths, split)
        self._reader = shards.Reader()

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        return f"Dataset({self._where()}, {self.split}, {len(self)} samples)"

    def require(self, reads: Reads) -> None:
        """Raise UserError when no sample holds what is read, naming the option of prepare-data that makes it."""
        wanted = [
            ("pictures", "frames", reads.frames > 0, "prepare images or videos"),
            ("optical flow", "flow", reads.flow > 0, "prepare them with --flow dis or --flow tvl1"),
            ("flow of the reversed frames", "backward", reads.flow > 0 and reads.backward, "prepare with --backward"),
            ("sound", "sound", reads.sound_s > 0, "prepare videos that have a sound track, with --sound"),
        ]
        for name, what, needed, fix in wanted:
            if needed and not any(entry.has(what) for entry in self.entries):
                raise UserError(f"The {self.split} split of {self._where()} holds no {name}; {fix}.")
        if max(reads.frames, reads.flow) > 1 and all(entry.kind == "image" for entry in self.entries):
            raise UserError(f"{self._where()} holds single pictures only, but clips are read; prepare videos.")
        self._require_rates(reads)
        late = [f for f, each in zip(self.info.folders, self.info.each, strict=True) if not each.get("synced")]
        if reads.synced and late:
            raise UserError(
                f"Whether the sound of {late[0]} is in time with its pictures is not known; measure it with sslkit "
                "sync, and prepare what is in time with --set synced=true."
            )

    def usable(self, reads: Reads) -> list[int]:
        """Positions of the samples that are long enough, and hold all, for one window of `reads`.

        Raises UserError if there are none. How many were left out is the difference to the length of the dataset.
        """
        self.require(reads)
        positions = [i for i, entry in enumerate(self.entries) if len(windows.possible_starts(entry, reads))]
        if not positions:
            longest = max((entry.seconds for entry in self.entries), default=0.0)
            raise UserError(
                f"No sample of the {self.split} split of {self._where()} is long enough for what is read "
                f"({_asked(reads)}), the longest has {longest:.2f} s; prepare longer clips with --clip-s."
            )
        return positions

    def windows(self, index: int, reads: Reads, draw: Draw | None) -> list[float]:
        """Where the `reads.clips` windows of a sample begin, in seconds from the start of the prepared clip.

        The time is that of the first picture (or flow field). Windows start on prepared frames. Without `draw` only
        "spread" can be answered. Raises ValueError for a sample that `usable` leaves out.
        """
        entry = self.entries[index]
        starts = windows.possible_starts(entry, reads)
        if not len(starts):
            raise ValueError(f"sample {index} ({entry.key}) is too short for {reads}")
        if reads.start == "spread":
            chosen = windows.spread(len(starts), reads.clips)
        elif draw is None:
            raise ValueError(f"windows that start {reads.start!r} need a draw")
        elif reads.start == "any":
            chosen = draw.integers(reads.clips, high=len(starts)).tolist()
        else:
            chosen = draw.choice(torch.from_numpy(windows.moving(entry, reads, starts)), reads.clips).tolist()
        return [starts[position] / entry.fps if entry.fps else 0.0 for position in chosen]

    def read(self, index: int, starts: Sequence[float], reads: Reads) -> Sample:
        """The windows of a sample that begin at `starts` (from `windows`).

        Raises WorkError naming shard and sample when its bytes are damaged.
        """
        entry = self.entries[index]
        first = [math.floor(start * entry.fps + 0.5) for start in starts]
        return Sample(
            index,
            entry.label,
            list(starts),
            self._frames(entry, first, reads) if reads.frames else None,
            self._flow(entry, first, reads) if reads.flow else None,
            self._sound(entry, starts, reads) if reads.sound_s else None,
            entry.bars,
            zlib.crc32(entry.recording.encode()),
        )

    def member(self, index: int, extension: str) -> bytes:
        """The stored bytes of one member (`mp4`, `jpg`, `flac`, `json`, `masks.png`). Raises KeyError without it."""
        entry = self.entries[index]
        return self._bytes(entry, entry.members[extension])

    def meta(self, index: int) -> dict[str, Any]:
        """Everything known of a sample, camera motion and synthetic truth included."""
        try:
            meta: dict[str, Any] = json.loads(self.member(index, "json"))
        except ValueError as error:
            raise _damaged(self.entries[index], error) from error
        return meta

    def masks(self, index: int) -> NDArray[np.uint8]:
        """Object ids of a sample, (T, H, W) uint8. Raises KeyError for a sample without masks."""
        entry = self.entries[index]
        plane = _plane(entry, self.member(index, "masks.png"), entry.frames)
        return plane.reshape(entry.frames, entry.height, entry.width)

    def _where(self) -> str:
        return " + ".join(str(folder) for folder in self.info.folders)

    def _require_rates(self, reads: Reads) -> None:
        rate_hz = min(int(settings.get("rate_hz", reads.rate_hz)) for settings in self.info.each)
        if reads.sound_s and rate_hz < reads.rate_hz:
            raise UserError(
                f"{self._where()} holds sound at {rate_hz} Hz, but {reads.rate_hz} Hz is read; "
                f"prepare it with --rate-hz {reads.rate_hz}."
            )
        if not reads.flow:
            return
        if len({entry.flow_bound for entry in self.entries if entry.has("flow")}) > 1:
            raise UserError(f"The folders {self._where()} differ in --flow-bound-px; prepare them alike.")
        other = [e.fps for e in self.entries if e.has("flow") and reads.fps and abs(e.fps / reads.fps - 1) > 0.02]
        if other:
            raise UserError(
                f"{self._where()} holds flow at {other[0]:g} fps, but {reads.fps:g} fps is read; "
                f"prepare it with --fps {reads.fps:g}."
            )

    def _bytes(self, entry: Entry, place: Place) -> bytes:
        return _checked(entry, self._reader.read(entry.shard, place[0], place[1], entry.key), place)

    def _frames(self, entry: Entry, first: Sequence[int], reads: Reads) -> NDArray[np.uint8]:
        still = entry.kind == "image"
        data = self._bytes(entry, entry.members["jpg" if still else "mp4"])
        indices = [start + offset for start in first for offset in windows.offsets(entry, reads)]
        try:
            pictures = media.prepared(data)[None] if still else media.frames(data, indices)
        except WorkError as error:
            raise _damaged(entry, error) from error
        if pictures.shape[1:3] != (entry.height, entry.width):
            raise _damaged(entry, "its pictures are of another size than the index says")
        pictures = _scaled(pictures, reads.side_px)
        if still and len(first) > 1:
            pictures = np.repeat(pictures, len(first), axis=0)
        return pictures.reshape(len(first), reads.frames, *pictures.shape[1:])

    def _flow(self, entry: Entry, first: Sequence[int], reads: Reads) -> NDArray[np.uint8]:
        tracks = [entry.fwd, entry.bwd] if reads.backward else [entry.fwd]
        fields = np.empty((len(first), len(tracks), reads.flow, 2 * entry.height, entry.width), np.uint8)
        for window, start in zip(fields, first, strict=True):
            # The reversed video plays the last pair of frames first.
            for clip, track, order in zip(window, tracks, (1, -1), strict=False):
                self._fields(entry, track[start : start + reads.flow], clip[::order])
        return fields.reshape(-1, reads.flow, 2, entry.height, entry.width)

    def _fields(self, entry: Entry, places: NDArray[np.int64], fields: NDArray[np.uint8]) -> None:
        """Decode consecutive flow fields into (T, 2H, W), in one read of the bytes that they span."""
        begin, end = int(places[0, 0]), int(places[-1, :2].sum())
        data = self._bytes(entry, (begin, end - begin))
        for field, place in zip(fields, places.tolist(), strict=True):
            at = place[0] - begin
            field[:] = _plane(entry, _checked(entry, data[at : at + place[1]], place), 2)

    def _sound(self, entry: Entry, starts: Sequence[float], reads: Reads) -> NDArray[np.int16]:
        try:
            sound = media.sound(self._bytes(entry, entry.members["flac"]), reads.rate_hz, channels=reads.channels)
        except WorkError as error:
            raise _damaged(entry, error) from error
        length = round(reads.sound_s * reads.rate_hz)
        lead_s = windows.lead_s(entry, reads)
        # Rounding to samples may step over the end by one.
        first = [min(max(round((start + lead_s) * reads.rate_hz), 0), len(sound) - length) for start in starts]
        if min(first) < 0:
            raise _damaged(entry, "its sound is shorter than the index says")
        return np.stack([sound[begin : begin + length].T for begin in first])


def collate(samples: Sequence[Sample]) -> Batch:
    """A batch of samples, padded to the largest height and width among them (pictures with 0, flow with 128).

    A sample wider than twice its height, or the reverse, is cut centrally to 2:1, so that one panorama does not
    blow up the batch. `Batch.size_px` is that of the pictures, or of the flow when no pictures are read; extra["bars"]
    (B, 4) int64 are the black bars of the prepared pictures, in their pixels: top, bottom, left, right. extra["source"]
    (B,) int64 is equal for samples that were cut from the same file.
    """
    frames = [_cut(s.frames, 2) for s in samples if s.frames is not None]
    flow = [_cut(s.flow, 3) for s in samples if s.flow is not None]
    sound = [s.sound for s in samples if s.sound is not None]
    sizes = [a.shape[2:4] for a in frames] or [a.shape[3:5] for a in flow] or [(0, 0)] * len(samples)
    bars = [_bars(sample, size) for sample, size in zip(samples, sizes, strict=True)]
    return Batch(
        label=torch.tensor([s.label for s in samples], dtype=torch.int64),
        index=torch.tensor([s.index for s in samples], dtype=torch.int64),
        start_s=torch.tensor([list(s.start_s) for s in samples], dtype=torch.float32),
        size_px=torch.tensor(sizes, dtype=torch.int64),
        # The channels stay the last in memory, as decoders write them: taking them apart is left to the device.
        frames=_padded(frames, 2, 0, "frames").movedim(-1, 3) if frames else None,
        flow=_padded(flow, 3, 128, "flow") if flow else None,
        sound=torch.from_numpy(np.stack(sound)) if sound else None,
        extra={
            "bars": torch.tensor(bars, dtype=torch.int64),
            "source": torch.tensor([s.source for s in samples], dtype=torch.int64),
        },
    )


def _asked(reads: Reads) -> str:
    asked = [(reads.frames, "pictures"), (reads.flow, "flow fields"), (reads.sound_s, "s of sound")]
    rate = f" at {reads.fps:g} fps" if reads.fps else ""
    return " and ".join(f"{amount:g} {what}" for amount, what in asked if amount) + rate


def _scaled(pictures: NDArray[np.uint8], side_px: int | None) -> NDArray[np.uint8]:
    height, width = pictures.shape[1:3]
    short = min(height, width)
    if side_px is None or side_px == short:
        return pictures
    size = (round(width * side_px / short), round(height * side_px / short))
    method = cv2.INTER_AREA if side_px < short else cv2.INTER_CUBIC
    return np.stack([cv2.resize(picture, size, interpolation=method) for picture in pictures]).astype(np.uint8)


def _plane(entry: Entry, data: bytes, count: int) -> NDArray[np.uint8]:
    """A gray picture of `count` planes of the entry's size, one above the other."""
    try:
        plane = media.plane(data)
    except WorkError as error:
        raise _damaged(entry, error) from error
    if plane.shape != (count * entry.height, entry.width):
        raise _damaged(entry, "its planes are of another size than the index says")
    return plane


def _checked(entry: Entry, data: bytes, place: Sequence[int]) -> bytes:
    """The bytes, if they are those that were written; format 1 does not tell."""
    if len(place) > 2 and zlib.crc32(data) != place[2]:
        raise _damaged(entry, "its bytes are not those that were written")
    return data


def _damaged(entry: Entry, reason: object) -> WorkError:
    return WorkError(f"Sample {entry.key} of {entry.shard} is damaged: {str(reason).rstrip('.')}.")


def _cut(array: NDArray[np.uint8] | None, axis: int) -> NDArray[np.uint8]:
    """Cut the two picture axes, `axis` and the next, centrally to at most 2:1."""
    if array is None:
        raise ValueError("there is nothing to cut")
    for this, other in ((axis, axis + 1), (axis + 1, axis)):
        surplus = array.shape[this] - 2 * array.shape[other]
        if surplus > 0:
            array = np.take(array, range(surplus // 2, surplus // 2 + 2 * array.shape[other]), axis=this)
    return array


def _bars(sample: Sample, kept: Sequence[int]) -> list[int]:
    """The black bars of a sample of which `_cut` kept (height, width)."""
    for array, axis in ((sample.frames, 2), (sample.flow, 3)):
        if array is not None:
            cut = [(array.shape[axis + side] - kept[side]) // 2 for side in (0, 1)]
            return [max(0, bar - cut[number // 2]) for number, bar in enumerate(sample.bars)]
    return list(sample.bars)


def _padded(arrays: Sequence[NDArray[np.uint8]], axis: int, value: int, what: str) -> torch.Tensor:
    """Arrays in one, their picture axes, `axis` and the next, filled up with a value."""
    height, width = (max(array.shape[side] for array in arrays) for side in (axis, axis + 1))
    shape = (len(arrays), *arrays[0].shape[:axis], height, width, *arrays[0].shape[axis + 2 :])
    canvas, before = _canvas(shape, what), (slice(None),) * axis
    for row, array in zip(canvas.numpy(), arrays, strict=True):
        tall, wide = array.shape[axis : axis + 2]
        row[*before, :tall, :wide] = array
        row[*before, tall:] = value
        row[*before, :tall, wide:] = value
    return canvas


def _canvas(shape: tuple[int, ...], what: str) -> torch.Tensor:
    """uint8 memory for a batch. In a worker it is what the main process will read, which saves torch a copy."""
    if get_worker_info() is None:
        return torch.from_numpy(np.empty(shape, np.uint8))
    return torch.empty(0, dtype=torch.uint8).set_(_lent(math.prod(shape), what)).resize_(shape)


def _lent(size: int, what: str) -> torch.UntypedStorage:
    """Memory of at least so many bytes that the main process sees too: that of `LENDS` batches ago, if it will do.

    Memory that is shared anew has to be cleared by the kernel page by page, which can cost more than the decoding.
    """
    lent = _shared.setdefault(what, deque(maxlen=LENDS))
    again = lent[0] if len(lent) == LENDS else None
    if again is None or again.nbytes() < size:
        again = torch.UntypedStorage._new_shared(size)  # type: ignore[no-untyped-call]
    lent.append(again)
    return again
