"""Does a network that was never told find what makes a sound? Its maps against boxes around what sounds.

Protocol: windows spread over each sample of the split, whole pictures. A window counts when something is heard and its
source is seen: of the toybox, the objects whose sounds have at least a tenth of the energy of the strongest one within
the window; of annotated data, the consensus of its boxes. Pointing is the share of windows whose hottest place lies
inside; cIoU predicts the hotter half of the picture, is counted from 0.5 on, and its AUC is over all thresholds. Beside
them: what looks at nothing (a hill in the centre, the central half, the whole picture), the same network untrained, the
same network with the sound of a sample of another source, whose evidence should be less (ROC AUC) and whose peak should
not know the source, the same in silence, and what moves as the sound goes in the seconds around ("cca"), for which
nothing is trained. Of each, how much more often it points right than the centre does in the same windows, with its
interval, and the mean of the largest similarity, which a network that listens has lower for what is not the sound.

Source: pointing, Arandjelovic and Zisserman, "Objects that Sound", ECCV 2018; cIoU, Senocak et al., CVPR 2018, as
released by Chen et al., CVPR 2021.
Departures: videos give several windows, and intervals are over sources.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from sslkit.data.dataset import Dataset, collate
from sslkit.errors import UserError
from sslkit.evals import following
from sslkit.evals.base import Row, interval
from sslkit.ops import ranking
from sslkit.ops.localisation import (
    baselines,
    centre_heat,
    ciou,
    consensus_map,
    enlarged,
    localised,
    pointing,
    success_auc,
    upper_half,
)
from sslkit.ops.sound import level_db
from sslkit.types import Published, Reads, Result

PAPER = Published(81.7, "AVOL-Net on AudioSet-Instruments, where the centre has 57.2 %; not the same data", "pointing")
_LEAST_SHARE = 0.1
_RING_S = 0.1
"""An impact is heard for about so long, whatever the truth says of its end."""
_SILENT_DB = -60.0
_VOTES = {1: 1, 2: 1}
_MATCHED, _OTHER, _SILENCE = "matched sound", "another sound", "silence"
_UNTRAINED, _CCA = "untrained", "cca"


class Localiser(Protocol):
    """A task that can say where a sound comes from."""

    @property
    def window(self) -> Reads:
        """The pictures and the sound that `localise` takes."""

    def localise(self, frames: Tensor, sound: Tensor) -> Tensor:
        """Raw similarity (N, h, w) of the places of windows (N, T, 3, H, W) to sounds (N, M)."""


@dataclass
class _Case:
    """One window: the truth map (H, W), the maps of all networks at its size, evidence of each, and what it is of."""

    source: str
    groups: tuple[str, ...]
    truth: Tensor
    heat: dict[str, Tensor]
    evidence: dict[str, float] = field(default_factory=dict)


def sources_at(
    truth: Mapping[str, Any], time_s: float, sound_s: float, border: Sequence[int] = (0, 0, 0, 0)
) -> tuple[list[list[float]], int]:
    """Boxes (left, top, right, bottom), in shares of the picture, of what is heard around a time; votes for credit.

    truth: of a toybox sample, or {"boxes": ...} of an annotated one. border: top, bottom, left and right, in pixels of
    the toybox, was cut off. No boxes: the source is not seen.
    """
    if "sounds" not in truth:
        boxes = [list(map(float, box)) for box in truth.get("boxes") or []]
        return boxes, _VOTES.get(len(boxes), 2)
    energy = _energy(truth, time_s - sound_s / 2, time_s + sound_s / 2)
    loud = {owner for owner, value in energy.items() if value >= _LEAST_SHARE * max(energy.values())}
    frame = min(max(0, int(time_s * truth["fps"])), len(truth["boxes"]) - 1)
    top, bottom, left, right = border
    width, height = truth["size"][0] - left - right, truth["size"][1] - top - bottom
    offsets, sides = (left, top, left, top), (width, height, width, height)
    boxes = [
        [min(max((p - offset) / side, 0.0), 1.0) for p, offset, side in zip(box, offsets, sides, strict=True)]
        for owner, *box in truth["boxes"][frame]
        if owner in loud
    ]
    seen = [box for box in boxes if box[0] < box[2] and box[1] < box[3]]
    return seen, 1


def _energy(truth: Mapping[str, Any], start_s: float, end_s: float) -> dict[int, float]:
    """What each object adds to the sound between two times."""
    energy: dict[int, float] = {}
    for one in truth["sounds"]:
        until = min(one["end_s"], one["time_s"] + _RING_S) if one["kind"] == "impact" else one["end_s"]
        heard_s = min(until, end_s) - max(one["time_s"], start_s)
        if heard_s > 0:
            energy[one["object"]] = energy.get(one["object"], 0.0) + one["level"] ** 2 * heard_s
    return energy


@torch.inference_mode()
def evaluate(
    task: Localiser,
    untrained: Localiser,
    dataset: Dataset,
    device: torch.device,
    clips: int = 5,
    progress: Callable[[int, int, str], None] | None = None,
) -> Result:
    """Rows of pointing, cIoU and AUC for each kind of scene and each network or baseline, for scripts and people.

    Raises UserError for data without boxes, and where pictures were moved after boxes had been drawn.
    """
    began = time.perf_counter()
    reads = task.window.but(clips=clips, start="spread")
    usable, cases = dataset.usable(reads), []
    for number, index in enumerate(usable):
        windows = dataset.windows(index, reads, None)
        batch = collate([dataset.read(index, windows, reads)]).to(device)
        assert batch.frames is not None and batch.sound is not None
        frames, sound = batch.frames[0], batch.sound[0]
        maps = {_MATCHED: task.localise(frames, sound), _UNTRAINED: untrained.localise(frames, sound)}
        maps[_SILENCE] = task.localise(frames, torch.zeros_like(sound))
        other = _other(dataset, usable, number)
        if other is not None:
            maps[_OTHER] = task.localise(frames, _heard(dataset, other, reads).to(device))
        followed = _followed(dataset, index, [start + _middle_s(dataset, index, reads) for start in windows])
        if followed is not None:
            maps[_CCA] = followed
        cases += _cases(dataset, index, windows, reads, sound, (frames.shape[-2], frames.shape[-1]), maps)
        if progress is not None:
            progress(number + 1, len(usable), "maps")
    if not cases:
        where = ", ".join(str(folder) for folder in dataset.info.folders)
        raise UserError(f"{where} does not say what makes its sounds: use the toybox, or data with boxes.")
    rows = _rows(cases)
    return Result(
        name=f"localisation on the {dataset.split} split of {', '.join(str(f) for f in dataset.info.folders)}",
        fields={
            "protocol": "localise",
            "data": [str(folder) for folder in dataset.info.folders],
            "prepared": dataset.info.records,
            "split": dataset.split,
            "clips": clips,
        },
        metrics={"pointing": rows[0]["pointing"], "sound_roc_auc": _told_apart(cases)},
        chance=next(row["pointing"] for row in rows if row["network"] == "centre"),
        paper=PAPER,
        rows=rows,
        seconds=time.perf_counter() - began,
    )


def _other(dataset: Dataset, usable: Sequence[int], number: int) -> int | None:
    """The sample before one, and before the first the last, that is of another source; None where there is none."""
    own = dataset.entries[usable[number]].recording
    before = (usable[number - step] for step in range(1, len(usable)))
    return next((index for index in before if dataset.entries[index].recording != own), None)


def _heard(dataset: Dataset, index: int, reads: Reads) -> Tensor:
    """The sounds (N, M) of as many windows of a sample, without its pictures."""
    alone = reads.but(frames=0)
    sound = dataset.read(index, dataset.windows(index, alone, None), alone).sound
    assert sound is not None
    return torch.from_numpy(sound)


def _cases(
    dataset: Dataset,
    index: int,
    windows: Sequence[float],
    reads: Reads,
    sound: Tensor,
    size: tuple[int, int],
    maps: Mapping[str, Tensor],
) -> list[_Case]:
    """The windows of a sample whose source is seen and heard."""
    entry, meta = dataset.entries[index], dataset.meta(index)
    truth = meta.get("truth") or {}
    middle_s = _middle_s(dataset, index, reads)
    audible, found = (level_db(sound) >= _SILENT_DB).tolist(), []
    for number, start_s in enumerate(windows):
        time_s = start_s + middle_s
        boxes, votes = sources_at(truth, time_s, reads.sound_s, meta.get("border", (0, 0, 0, 0))) if truth else ([], 1)
        if not boxes or not audible[number]:
            continue
        if meta.get("camera") is not None or meta.get("boxes") is not None:
            raise UserError(
                f"The pictures of {entry.key} were stabilised or cut to a face, so that the boxes of what sounds are "
                "elsewhere: prepare the data without stabilise and faces."
            )
        height, width = size
        left, top, right, bottom = torch.tensor(boxes, dtype=torch.float64).unbind(1)
        pixels = torch.stack([top * height, left * width, bottom * height, right * width], 1).round().long()
        area = consensus_map(pixels, height, width, votes)
        if bool(area.any()):
            heat = {
                name: enlarged(one[number : number + 1].float().cpu(), height, width)[0] for name, one in maps.items()
            }
            evidence = {name: float(one[number].max()) for name, one in maps.items()}
            found.append(_Case(entry.source or entry.key, _groups(truth, boxes), area, heat, evidence))
    return found


def _middle_s(dataset: Dataset, index: int, reads: Reads) -> float:
    """From the start of a window to the middle of its pictures."""
    return reads.frames / (reads.fps or dataset.entries[index].fps or 1.0) / 2


def _followed(dataset: Dataset, index: int, times_s: Sequence[float]) -> Tensor | None:
    """Maps (N, h, w) at some times of the places whose motion follows the sound of a sample; None for a picture."""
    entry = dataset.entries[index]
    fps = min(following.FPS, entry.fps) if entry.kind != "image" else 0.0
    count = int(min(entry.seconds, entry.sound_s) * fps)
    if count < 2:
        return None
    rate_hz, side_px = following.RATE_HZ, following.SIDE_PX
    whole = Reads(frames=count, fps=fps, side_px=side_px, sound_s=count / fps, rate_hz=rate_hz, start="spread")
    starts = dataset.windows(index, whole, None)
    batch = collate([dataset.read(index, starts, whole)])
    assert batch.frames is not None and batch.sound is not None
    length = max(2, round(following.FRAMES / following.FPS * fps))
    frames, sound, maps = batch.frames[0, 0].permute(0, 2, 3, 1).numpy(), batch.sound[0, 0], []
    for time_s in times_s:
        number = min(count - 1, max(0, int((time_s - starts[0]) * fps)))
        first = max(0, min(number - length // 2, count - length))
        around = frames[first : first + length]
        begin, end = (round(at / fps * rate_hz) for at in (first, first + len(around)))
        maps.append(following.followed(around, sound[begin:end], fps, number - first))
    return torch.stack(maps)


def _groups(truth: Mapping[str, Any], boxes: Sequence[Sequence[float]]) -> tuple[str, ...]:
    """What a window counts for: all, its kind of scene, and whether something else might have made the sound."""
    groups = ["all"]
    if "type" in truth:
        groups.append(str(truth["type"]))
    if len(truth.get("objects") or ()) > len(boxes):
        groups.append("one of several")
    return tuple(groups)


def _rows(cases: Sequence[_Case]) -> list[Row]:
    rows = []
    for group in dict.fromkeys(name for case in cases for name in case.groups):
        chosen = [case for case in cases if group in case.groups]
        names = list(dict.fromkeys(name for case in chosen for name in case.heat))
        for name in names:
            kept = [case for case in chosen if name in case.heat]
            rows.append(_row(group, name, kept, [case.heat[name] for case in kept]))
        rows.append(_row(group, "centre", chosen, [centre_heat(*case.truth.shape) for case in chosen]))
        rows += [_blind_row(group, name, chosen) for name in ("centre half", "whole picture")]
    return rows


def _blind_row(group: str, name: str, cases: Sequence[_Case]) -> Row:
    """An area that is the same in every picture, which points nowhere."""
    overlap = torch.stack([ciou(baselines(*c.truth.shape)[name][None], c.truth[None])[0] for c in cases])
    scores = {"ciou": round(localised(overlap), 2), "auc": round(success_auc(overlap), 2)}
    return {"scenes": group, "network": name, "windows": len(cases), **scores}


def _row(group: str, name: str, cases: Sequence[_Case], maps: Sequence[Tensor]) -> Row:
    pairs = [(heat[None], case.truth[None]) for case, heat in zip(cases, maps, strict=True)]
    hit = torch.stack([pointing(heat, truth)[0] for heat, truth in pairs])
    centre = torch.stack([pointing(centre_heat(*truth.shape[1:])[None], truth)[0] for _, truth in pairs])
    overlap = torch.stack([ciou(upper_half(heat), truth)[0] for heat, truth in pairs])
    sources = [case.source for case in cases]
    found = [case.evidence[name] for case in cases if name in case.evidence]
    (low, high), (least, most) = interval(hit.double(), sources), interval((hit - centre).double(), sources)
    return {
        "scenes": group,
        "network": name,
        "windows": len(cases),
        "pointing": round(100 * float(hit.mean()), 2),
        "low": round(100 * low, 2),
        "high": round(100 * high, 2),
        "above_centre": round(100 * float((hit - centre).mean()), 2),
        "above_low": round(100 * least, 2),
        "above_high": round(100 * most, 2),
        "ciou": round(localised(overlap), 2),
        "auc": round(success_auc(overlap), 2),
    } | ({"mean_max": round(sum(found) / len(found), 4)} if found else {})


def _told_apart(cases: Sequence[_Case]) -> float:
    """ROC AUC of the largest similarity: the window's own sound against another's; 50 by chance."""
    both = [case.evidence for case in cases if _OTHER in case.evidence]
    if not both:
        return 50.0
    scores = torch.tensor([[one[_MATCHED], one[_OTHER]] for one in both]).T.flatten()
    return round(ranking.roc_auc(scores, torch.arange(2 * len(both)) < len(both)), 2)
