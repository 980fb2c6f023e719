"""Is a video played forwards or backwards, how sure is the network, and where in the picture does it see that?

Source: Wei, Lim, Freeman, Zisserman, "Learning and Using the Arrow of Time", CVPR 2018.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslkit.demos import footage
from sslkit.demos.footage import Border, Frames
from sslkit.errors import UserError
from sslkit.media import read, write
from sslkit.media.steady import Way, steadied
from sslkit.ops import flow
from sslkit.report import picture
from sslkit.types import Result

_BATCH_CLIPS = 4
_SOUND_HZ = 48_000
_SAME_S = 1e-6
_UNDECIDED = 0.1  # logits this small are 47.5 to 52.5 %


@dataclass(frozen=True)
class ArrowSettings:
    """How the videos that the network learnt from were prepared: a video is judged after the same preparation.

    fps, short_side_px, flow_method, flow_bound_px, remove_borders, stabilise: as in the data's dataset.json. fields:
    flow fields in a clip. both_ways: also judge the reversed clip, whose flow is computed anew, and take half the
    difference of the two logits and maps, in which a general leaning of the network towards one answer cancels.
    """

    fps: float
    short_side_px: int
    flow_method: Literal["dis", "tvl1"] = "dis"
    flow_bound_px: float = 20.0
    fields: int = 20
    remove_borders: bool = True
    stabilise: bool = False
    both_ways: bool = True


class Scorer(Protocol):
    """What is needed of `sslkit.tasks.arrow_of_time.ArrowOfTime`, with its weights loaded."""

    def score(self, flow: Tensor) -> tuple[Tensor, Tensor]:
        """Packed flow (B, T, 2, H, W) uint8 to logits (B,) for forwards and maps (B, h, w) whose means they are."""

    def to(self, device: torch.device) -> Any:
        """Move to a device, in place."""

    def eval(self) -> Any:
        """Switch dropout and batch statistics off."""


@dataclass(frozen=True)
class _Clip:
    start_s: float
    end_s: float
    logit: float
    evidence: NDArray[np.float32]
    way: Way | None = None
    unsteady: str | None = None


def arrow(
    video: Path,
    task: Scorer,
    device: torch.device,
    settings: ArrowSettings,
    out: Path | None = None,
    overlay: bool = False,
) -> Result:
    """Judge a video: `p_forward` and `verdict` for all of it and for each clip of `settings.fields` flow fields.

    Clips share their first or last picture at most, except for the last one of a shot, which ends with it; none crosses
    a cut. With `overlay` a copy of the video with the evidence for the verdict in colour, and its sound, is written to
    the folder `out` as <name>-arrow.mp4. Where the data were stabilised, so is every clip that can be.
    Raises WorkError if the video cannot be read or no shot of it is long enough, UserError if `out` is missing or
    already holds the overlay.
    """
    began = time.perf_counter()
    target = _target(video, out) if overlay else None
    task.to(device)
    task.eval()
    border = footage.border(video, settings.short_side_px) if settings.remove_borders else footage.NO_BORDER
    content = footage.content(video, border, settings.fps, settings.short_side_px, max(128, 4 * settings.fields))
    clips = list(_judged(footage.windows(content, settings.fields + 1, settings.fps), task, device, settings))
    if not clips:
        raise footage.too_short(video, settings.fields + 1, settings.fps)
    logit = float(np.mean([clip.logit for clip in clips]))
    if target is not None:
        _write_overlay(target, video, clips, border, 1.0 if logit > 0 else -1.0)
    return Result(
        name="arrow",
        fields={
            "input": str(video),
            "p_forward": round(_p(logit), 4),
            "verdict": "forwards" if logit > 0 else "backwards",
            "clips": [
                {"start_s": round(c.start_s, 3), "end_s": round(c.end_s, 3), "p_forward": round(_p(c.logit), 4)}
                for c in clips
            ],
            "overlay": None if target is None else str(target),
        },
        notes=_notes(video, clips, logit),
        files={} if target is None else {"overlay": str(target)},
        seconds=time.perf_counter() - began,
    )


def _notes(video: Path, clips: list[_Clip], logit: float) -> list[str]:
    notes, unsteady = [], [clip.unsteady for clip in clips if clip.unsteady]
    if unsteady:
        notes.append(f"{video}: {len(unsteady)} of {len(clips)} clips still move with the camera. {unsteady[0]}")
    if abs(logit) < _UNDECIDED:
        notes.append(f"{video}: the network cannot tell, the verdict is a guess.")
    return notes


def _target(video: Path, out: Path | None) -> Path:
    if out is None:
        raise UserError(f"{video}: an overlay needs a folder to be written to: give --out.")
    target = out / f"{video.stem}-arrow.mp4"
    if target.exists():
        raise UserError(f"{target} is already there: move it away or give another --out.")
    out.mkdir(parents=True, exist_ok=True)
    return target


def _p(logit: float) -> float:
    return float(torch.tensor(logit).sigmoid())


def _judged(
    windows: Iterable[tuple[int, Frames]], task: Scorer, device: torch.device, settings: ArrowSettings
) -> Iterator[_Clip]:
    windows = iter(windows)
    # Steadied clips differ in shape.
    while group := list(islice(windows, 1 if settings.stabilise else _BATCH_CLIPS)):
        pictures, way, unsteady = [frames for _, frames in group], None, None
        if settings.stabilise:
            steady, way, unsteady = steadied(pictures[0], settings.short_side_px)
            pictures = [steady]
        logits, maps = _scored(pictures, task, device, settings)
        for (start, _), logit, evidence in zip(group, logits.tolist(), maps.numpy(), strict=True):
            end = start + settings.fields + 1
            yield _Clip(start / settings.fps, end / settings.fps, logit, evidence, way, unsteady)


@torch.inference_mode()
def _scored(clips: list[Frames], task: Scorer, device: torch.device, settings: ArrowSettings) -> tuple[Tensor, Tensor]:
    """Logits (B,) and maps (B, h, w) of clips, on the CPU."""
    method, bound_px, both = settings.flow_method, settings.flow_bound_px, settings.both_ways
    found = [flow.fields(clip, method, bound_px, backward=both, device=device) for clip in clips]
    packed = [forwards for forwards, _ in found]
    # The reversed clip plays its fields from the last to the first.
    packed += [backwards[::-1] for _, backwards in found if backwards is not None]
    logits, maps = (a.float().cpu() for a in task.score(torch.from_numpy(np.stack(packed)).to(device)))
    if not both:
        return logits, maps
    (logits, reversed_logits), (maps, reversed_maps) = logits.chunk(2), maps.chunk(2)
    return (logits - reversed_logits) / 2, (maps - reversed_maps) / 2


def _write_overlay(target: Path, video: Path, clips: list[_Clip], border: Border, sign: float) -> None:
    about = read.probe(video)
    sound = read.sound(video, _SOUND_HZ) if about.has_sound else None
    pictures = _overlaid(video, about.fps, clips, border, sign)
    write.video(target, pictures, about.fps, sound=sound, rate_hz=_SOUND_HZ)


def _overlaid(video: Path, fps: float, clips: list[_Clip], border: Border, sign: float) -> Iterator[Frames]:
    """Pictures (H, W, 3) of the video with the evidence on them, in one scale for all of it.

    An odd last row or column is left out, as the encoder wants even sides.
    """
    scale = picture.heat_scale(np.concatenate([(sign * clip.evidence).ravel() for clip in clips]))
    texts = [f"forwards: {_p(clip.logit):.0%}" for clip in clips] + ["too short to judge"]
    seen = 0
    for chunk in read.video_chunks(video, fps, chunk_frames=32):
        times = (seen + np.arange(len(chunk))) / fps
        which = _clips_at(times, clips)
        seen += len(chunk)
        rows, columns = footage.inside(chunk, border)
        shown = chunk.copy()
        shown[:, rows, columns] = picture.overlay(
            chunk[:, rows, columns], sign * np.stack(list(_evidence(clips, which, times))), scale
        )
        height, width = (side - side % 2 for side in chunk.shape[1:3])
        yield from picture.labelled(shown[:, :height, :width], [texts[i] for i in which])


def _evidence(
    clips: list[_Clip], which: NDArray[np.int64], times_s: NDArray[np.float64]
) -> Iterator[NDArray[np.float32]]:
    """What the clip that is shown at each time has found, where it lies in the picture of that time."""
    for number, time_s in zip(which.tolist(), times_s.tolist(), strict=True):
        clip = clips[number]
        found = clip.evidence if number >= 0 else np.zeros_like(clip.evidence)
        if clip.way is not None:
            there = (time_s - clip.start_s) / (clip.end_s - clip.start_s) * len(clip.way.homographies)
            found = clip.way.back(found, min(max(0, int(there + _SAME_S)), len(clip.way.homographies) - 1))
        yield found


def _clips_at(times_s: NDArray[np.float64], clips: list[_Clip]) -> NDArray[np.int64]:
    """Number of the clip that is shown at each time, -1 where there is none."""
    starts, ends = (np.array([getattr(clip, name) for clip in clips]) for name in ("start_s", "end_s"))
    which = np.searchsorted(starts, times_s + _SAME_S, side="right") - 1
    return np.where(times_s < ends[which] - _SAME_S, which, -1)
