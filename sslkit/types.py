"""The plain data that crosses from one folder of the package to the next."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

Start = Literal["any", "moving", "spread"]


@dataclass(frozen=True)
class Reads:
    """What a task or a trunk needs from one sample of a prepared dataset.

    frames: pictures in a clip (an image is one frame; 0 means that no pictures are read).
    fps: rate at which those pictures (and flow fields) follow each other; None takes the prepared rate.
    side_px: short side to which pictures are scaled while they are read; None takes the prepared size.
        Flow always comes at the prepared size.
    flow: optical-flow fields in a clip, each from one prepared frame to the next (0: none).
    backward: also read the flow that was computed on the reversed frames, as a second clip in playing order.
    sound_s, rate_hz: seconds of sound in a clip, centred on its pictures, and its sampling rate (0: none).
    channels: of the sound; 2 is left and right, which are the same in data that were prepared with one.
    synced: only data whose sound is known to be in time with the pictures will do.
    clips: windows cut from one sample.
    start: where windows begin: "any" draws uniformly, "moving" in proportion to the motion inside the window,
        "spread" spaces them evenly over the sample (no randomness: evaluation).
    """

    frames: int = 0
    fps: float | None = None
    side_px: int | None = None
    flow: int = 0
    backward: bool = False
    sound_s: float = 0.0
    rate_hz: int = 16_000
    channels: int = 1
    synced: bool = False
    clips: int = 1
    start: Start = "any"

    def but(self, **changes: Any) -> Reads:
        """A copy with some fields changed."""
        return replace(self, **changes)


@dataclass
class Batch:
    """Raw media of B samples, nothing invented: the only thing that crosses from data to tasks.

    frames: (B, clips, T, 3, H, W) uint8, RGB, or None.
    flow: (B, clips, T, 2, H, W) uint8, (horizontal, vertical), 128 is no motion (see `sslkit.ops.flow`), or None.
        With `Reads.backward` the clips axis is doubled: clip 2i runs forwards, clip 2i + 1 is the same window of the
        reversed video.
    sound: (B, clips, N) int16 or None; with two channels read, (B, clips, 2, N).
    label: (B,) int64, -1 where a sample has none.
    index: (B,) int64, position of the sample in its dataset split.
    start_s: (B, clips) float32, start of each window in its prepared clip.
    size_px: (B, 2) int64, height and width that are picture; what lies beyond, to the right and below, is padding with
        zeros (flow: 128) because the samples of a batch differ in shape.
    extra: further tensors with B as their first axis (bars, masks, keypoints, boxes, camera motion).
    """

    label: Tensor
    index: Tensor
    start_s: Tensor
    size_px: Tensor
    frames: Tensor | None = None
    flow: Tensor | None = None
    sound: Tensor | None = None
    extra: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.label)

    def map(self, function: Callable[[Tensor], Any]) -> Batch:
        """A batch with `function` applied to every tensor: `batch.map(lambda t: t.pin_memory())`."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "extra"}
        moved: dict[str, Any] = {name: None if v is None else function(v) for name, v in values.items()}
        return Batch(**moved, extra={name: function(value) for name, value in self.extra.items()})

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The batch on a device."""
        return self.map(lambda t: t.to(device, non_blocking=non_blocking))


@dataclass(frozen=True)
class Part:
    """Some rows of a batch that is shared by processes or worked off in parts: `rows` of `of`, from row `first` on."""

    first: int
    rows: int
    of: int


class Draw:
    """Every random number of one training step, drawn on the CPU so that CPU, GPU and resumed runs see the same views.

    Draws with equal (seed, step, rank, stream) give equal numbers in the order asked. All results are CPU tensors:
    a caller moves them to its device.

    part: which rows of the step's batch are at hand. The numbers are then drawn for the whole batch and cut to those
    rows, so that a sample's numbers depend neither on the number of processes nor on that of parts. This asks that the
    first axis counts the samples: n numbers each, those of one sample side by side. Anything else raises ValueError;
    what all samples share is drawn from `common`. A single number and a shuffle are shared in any case.
    """

    def __init__(self, seed: int, step: int, rank: int = 0, stream: str = "views", part: Part | None = None) -> None:
        self.seed, self.step, self.rank, self.stream, self._part = seed, step, rank, stream, part
        digest = hashlib.blake2b(f"{seed}/{step}/{rank}/{stream}".encode(), digest_size=8).digest()
        self._generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)

    @property
    def common(self) -> Draw:
        """The same sequence of numbers, for what the whole batch shares: shapes are taken as they are."""
        shared = copy.copy(self)
        shared._part = None
        return shared

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """float32 tensor of `shape`, uniform in [low, high)."""
        return low + (high - low) * self._rows(shape, lambda whole: torch.rand(whole, generator=self._generator))

    def normal(self, *shape: int) -> Tensor:
        """float32 tensor of `shape`, standard normal."""
        return self._rows(shape, lambda whole: torch.randn(whole, generator=self._generator))

    def integers(self, *shape: int, low: int = 0, high: int) -> Tensor:
        """int64 tensor of `shape`, uniform in [low, high)."""
        return self._rows(shape, lambda whole: torch.randint(low, high, whole, generator=self._generator))

    def shuffle(self, n: int) -> Tensor:
        """A random order of 0 .. n-1, int64."""
        return torch.randperm(n, generator=self._generator)

    def choice(self, weights: Tensor, n: int = 1) -> Tensor:
        """`n` indices, int64, drawn with replacement in proportion to `weights` (1-D, not all zero)."""
        chances = weights.double()
        return self._rows((n,), lambda whole: torch.multinomial(chances, whole[0], True, generator=self._generator))

    def _rows(self, shape: tuple[int, ...], draw: Callable[[tuple[int, ...]], Tensor]) -> Tensor:
        """What `draw` gives for the whole batch, cut to the rows at hand."""
        part = self._part
        if part is None or not shape:
            return draw(shape)
        each, left = divmod(shape[0], part.rows)
        if left:
            raise ValueError(
                f"{shape[0]} numbers were drawn for {part.rows} samples: draw as many for each, or use draw.common"
            )
        return draw((each * part.of, *shape[1:]))[each * part.first : each * (part.first + part.rows)]


@dataclass
class Panel:
    """A grid of pictures with a caption each, for the report page.

    pictures: (H, W, 3) uint8 arrays, RGB. captions: one short text a picture. right: True, False or None (neither) a
    picture, drawn as the colour of its frame. note: what the reader is looking at, one or two sentences. leads: the
    first picture of each row is the one that the row is about, and is marked as such. sounds: FLAC or None a picture,
    to be played below it; none at all where nothing is heard.
    """

    title: str
    pictures: list[np.ndarray]
    captions: list[str] = field(default_factory=list)
    right: list[bool | None] = field(default_factory=list)
    note: str = ""
    columns: int = 8
    leads: bool = False
    sounds: list[bytes | None] = field(default_factory=list)


@dataclass(frozen=True)
class Published:
    """A figure of the paper, and where it is printed."""

    value: float
    where: str
    metric: str = ""


@dataclass
class Answer:
    """What a task's forward pass returns.

    loss: scalar with gradients. logs: scalars worth a curve, e.g. {"accuracy": ...}, detached.
    scores, target: (N, classes) float and (N,) int64, detached, where the task is a classification;
    sample: (N,) int64, the row of the batch that each of the N questions came from.
    pictures: whatever `Task.show` wants to keep (heat maps, ...), detached.
    """

    loss: Tensor
    logs: dict[str, Tensor] = field(default_factory=dict)
    scores: Tensor | None = None
    target: Tensor | None = None
    sample: Tensor | None = None
    pictures: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Result:
    """What every command returns.

    fields: the command's own entries of its `--json` object (see the README), e.g. {"run": ..., "task": ...}.
    metrics: name -> value. chance: what guessing gives, by the same metric. rows: a table, one dict a row.
    shown: the rows that a terminal prints, where all would be too many.
    files: what was written, name -> path. notes: sentences for people; in a record, too, but their words may change.
    """

    name: str
    fields: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    chance: float | None = None
    paper: Published | None = None
    rows: Sequence[Mapping[str, Any]] = ()
    shown: Sequence[Mapping[str, Any]] | None = None
    panels: list[Panel] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def record(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        record: dict[str, Any] = dict(self.fields)
        if self.metrics:
            record["metrics"] = self.metrics
        if self.chance is not None:
            record["chance"] = self.chance
        if self.paper is not None:
            record["paper"] = {"value": self.paper.value, "where": self.paper.where}
        if self.rows:
            record["rows"] = [dict(row) for row in self.rows]
        if self.files:
            record["files"] = self.files
        if self.notes:
            record["notes"] = self.notes
        record["seconds"] = round(self.seconds, 3)
        return record
