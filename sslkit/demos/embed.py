"""What a trunk makes of any files: one vector a picture, and one a window of a video.

Files are prepared as the data of the run were (size, rate, black bars, steadied, optical flow), and windows are cut and
pooled as probes do it (`sslkit.evals.features`), so that a vector can stand beside those of a prepared dataset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from sslkit.data import clips
from sslkit.data.dataset import Sample, collate
from sslkit.data.layouts.base import is_image
from sslkit.demos import footage
from sslkit.demos.vectors import Place, Rows, Vectors
from sslkit.errors import SslkitError, UserError, WorkError
from sslkit.evals import features
from sslkit.media import picture, read
from sslkit.media.steady import steadied
from sslkit.models.trunk import Trunk
from sslkit.ops import flow
from sslkit.types import Result

Cut = tuple[float, float, Sample]
"""Start and end in seconds, and what was cut there."""

EVERY_S = 1.0
_CENTRE_SHARE = 0.875
_CHUNK_FRAMES = 16


@dataclass(frozen=True)
class EmbedSettings:
    """How files become what the trunk takes.

    short_side_px, fps, flow_method, flow_bound_px, remove_borders, stabilise: as in the dataset.json of the run's data.
    every_s: seconds from one window of a video to the next. None: pictures every second, flow without a gap.
    """

    short_side_px: int
    fps: float | None = None
    flow_method: Literal["dis", "tvl1"] = "dis"
    flow_bound_px: float = 20.0
    remove_borders: bool = True
    stabilise: bool = False
    every_s: float | None = None


def settings_of(trunk: Trunk, prepared: Mapping[str, Any], every_s: float | None = None) -> EmbedSettings:
    """The settings of a trunk's data. prepared: those on which all its datasets agree, as its file tells them.

    Raises UserError for a trunk that takes neither single pictures nor flow, and where the data of flow are not told.
    """
    takes = trunk.takes
    if takes.frames != 1 and not takes.flow:
        raise UserError(
            f"{trunk.name} takes neither single pictures nor optical flow, which is all that embed can cut."
        )
    if every_s is not None and not every_s > 0:
        raise UserError(f"--every-s {every_s:g}: give more than 0 seconds.")
    missing = [key for key in ("flow", "flow_bound_px", "short_side_px") if prepared.get(key) is None]
    if takes.flow and (missing or prepared["flow"] == "none"):
        raise UserError(
            f"The weights do not say how their optical flow was made ({', '.join(missing)}): train them again."
        )
    return EmbedSettings(
        short_side_px=prepared.get("short_side_px") or round(trunk.crop_px / _CENTRE_SHARE),
        fps=prepared.get("fps"),
        flow_method=prepared["flow"] if takes.flow else "dis",
        flow_bound_px=prepared.get("flow_bound_px") or 20.0,
        remove_borders=bool(prepared.get("remove_borders", True)),
        stabilise=bool(prepared.get("stabilise", False)),
        every_s=every_s,
    )


@dataclass
class Embedder:
    """Cuts files, runs a trunk on batches of windows across files, and adds one pooled layer to `vectors`.

    The trunk is on its device and in evaluation mode.
    """

    trunk: Trunk
    settings: EmbedSettings
    layer: str
    vectors: Vectors
    device: torch.device
    pool_dims: int = 9000
    batch: int = 32
    _waiting: list[tuple[Place, Sample]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.layer not in self.trunk.widths:
            raise UserError(f"{self.trunk.name} has no layer {self.layer!r}: it has {', '.join(self.trunk.widths)}.")

    def add(self, path: Path) -> Result:
        """Embed one file; one that cannot be read to its end leaves nothing but a result with an error."""
        windows = 0
        for cut in self._cuts(path):
            if isinstance(cut, SslkitError):
                self.vectors.forget(str(path))
                return failed(path, cut)
            start_s, end_s, sample = cut
            self._waiting.append((Place(str(path), start_s, end_s), sample))
            windows += 1
            if len(self._waiting) >= self.batch:
                self.flush()
        return Result(name="embed", fields={"input": str(path), "windows": windows})

    def flush(self) -> None:
        """Run the trunk on the windows that wait. Raises WorkError when what it says is not finite."""
        if not self._waiting:
            return
        places, samples = zip(*self._waiting, strict=True)
        self._waiting = []
        self.vectors.add(places, self._rows(samples))

    @torch.inference_mode()
    def _rows(self, samples: tuple[Sample, ...]) -> Rows:
        raw = features.inputs(collate(samples).to(self.device), self.trunk)
        pooled = features.pool_map(self.trunk(raw)[self.layer].float(), self.pool_dims).flatten(1)
        if not bool(pooled.isfinite().all()):
            raise WorkError(f"Layer {self.layer} of {self.trunk.name} is not finite: the run has diverged.")
        rows: Rows = pooled.cpu().numpy()
        return rows

    def _cuts(self, path: Path) -> Iterator[Cut | SslkitError]:
        """The windows of a file; what is wrong with it comes last, so that it is told from what is wrong elsewhere."""
        cut = _fields if self.trunk.takes.flow else _still if is_image(path) else _frames
        try:
            yield from cut(path, self.trunk, self.settings, self.device)
        except SslkitError as error:
            yield error


def failed(path: Path, error: SslkitError) -> Result:
    """The result of an input that cannot be embedded."""
    return Result(name="embed", fields={"input": str(path), "error": str(error), "kind": error.kind})


def _still(path: Path, trunk: Trunk, settings: EmbedSettings, device: torch.device) -> Iterator[Cut]:
    """A picture, in the prepared size."""
    yield 0.0, 0.0, _pictures(picture.scaled(read.image(path), settings.short_side_px))


def _frames(path: Path, trunk: Trunk, settings: EmbedSettings, device: torch.device) -> Iterator[Cut]:
    """Single pictures of a video."""
    every_s, number = settings.every_s or EVERY_S, 0
    for chunk in footage.content(path, _border(path, settings), 1 / every_s, settings.short_side_px, _CHUNK_FRAMES):
        for frame in chunk:
            yield number * every_s, number * every_s, _pictures(frame)
            number += 1


def _fields(path: Path, trunk: Trunk, settings: EmbedSettings, device: torch.device) -> Iterator[Cut]:
    """Windows of optical flow, none of which crosses a cut."""
    if is_image(path):
        raise WorkError(f"{path} is a single picture, but {trunk.name} takes clips: give videos.")
    fps, length = clips.rate(read.probe(path).fps, settings.fps), trunk.takes.flow + 1
    stride = None if settings.every_s is None else max(1, round(settings.every_s * fps))
    content = footage.content(path, _border(path, settings), fps, settings.short_side_px, max(_CHUNK_FRAMES, length))
    windows = 0
    for first, frames in footage.windows(content, length, fps, stride):
        if settings.stabilise:
            frames, _, _ = steadied(frames, settings.short_side_px)
        fields, _ = flow.fields(frames, settings.flow_method, settings.flow_bound_px, device=device)
        yield first / fps, (first + length) / fps, Sample(0, -1, [0.0], flow=fields[None])
        windows += 1
    if not windows:
        raise footage.too_short(path, length, fps)


def _border(path: Path, settings: EmbedSettings) -> footage.Border:
    return footage.border(path, settings.short_side_px) if settings.remove_borders else footage.NO_BORDER


def _pictures(frame: NDArray[np.uint8]) -> Sample:
    return Sample(0, -1, [0.0], frames=frame[None, None])
