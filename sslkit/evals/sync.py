"""Is the offset of sound found? Clips of people who talk, whose sound is moved by every offset of a range in turn.

Protocol: sound is moved by -15 .. 15 frames of 1/25 s, which for vectors that come once a frame is to move them; each
time the offset is looked for among -16 .. 16, so that none of those asked lies at an end. Distances are averaged over
so many neighbouring frames; an answer within one frame is right. Windows of a clip count alike, so do clips of a group.
Confidence is measured by how well it separates a clip's own sound from that of another clip of its group
(ROC AUC). A clip's own timing counts as right: recordings whose sound was late when they were made count as errors, so
the offset found in each clip as it is, by all of its frames, is told as well.
Controls: the training-free method; always answering no offset, which is right for 3 of 31.

Source: Chung and Zisserman, "Out of time", ACCV workshops 2016: within one frame, by the number of frames averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sslkit.errors import WorkError
from sslkit.evals.base import Row
from sslkit.ops.offsets import averaged, best_offset
from sslkit.ops.ranking import roc_auc

FRAMES = (5, 10, 15, 25, 50, 75, 100)
SHIFTS = 15
_REACH = SHIFTS + 1
_STEP = 5
"""Windows of neighbouring frames begin every so many frames."""


@dataclass(frozen=True)
class Clip:
    """One person who talks. sight (T, D), sound (S, D), vectors of each frame; squared: as `demos.watchers.Watcher`."""

    name: str
    group: str
    sight: Tensor
    sound: Tensor
    squared: bool


def evaluate(init: str, clips: Sequence[Clip]) -> list[Row]:
    """One row for each group and number of frames, {"init", "group", "metric", "frames", "value", "clips"}.

    metric: "near_accuracy" in percent; "auc" of confidence; "own_offset", of single clips, in frames. Raises WorkError
    when no clip is long enough.
    """
    groups = {group: [clip for clip in clips if clip.group == group] for group in sorted({c.group for c in clips})}
    if len(groups) > 1:
        groups["all"] = list(clips)
    rows: list[Row] = []
    for group, members in groups.items():
        for frames in (*FRAMES, None):
            found = [near for clip in members if (near := _near(clip, frames)) is not None]
            if found:
                told = "all" if frames is None else frames
                rows.append(_row(init, group, "near_accuracy", 100 * sum(found) / len(found), told, len(found)))
        auc = _separation(members)
        if auc is not None:
            rows.append(_row(init, group, "auc", auc, "all", len(members)))
    if not rows:
        raise WorkError(f"No clip is longer than {2 * _REACH} frames: there is nothing to measure.")
    for clip in clips:
        best = best_offset(_curves(clip.sight, clip.sound, 0, clip.squared).mean(0))
        if bool(best.found):
            rows.append(_row(init, clip.name, "own_offset", float(best.frames), "all", 1))
    return rows


def always_zero(groups: Sequence[str]) -> list[Row]:
    """The rows of answering that there is no offset."""
    return [_row("always zero", group, "near_accuracy", 300 / (2 * SHIFTS + 1), "all", 0) for group in groups]


def _row(init: str, group: str, metric: str, value: float, frames: int | str, clips: int) -> Row:
    return {"init": init, "group": group, "metric": metric, "frames": frames, "value": round(value, 2), "clips": clips}


def _curves(sight: Tensor, sound: Tensor, shift: int, squared: bool) -> Tensor:
    """Distances (rows, 2 reach + 1) to sound that was moved by so many frames; only what is not padding."""
    first, last = _REACH + shift, min(len(sight), len(sound) - _REACH + shift)
    first = max(0, first)
    if last <= first:
        return torch.zeros(0, 2 * _REACH + 1)
    columns = torch.arange(first, last)[:, None] + torch.arange(-_REACH, _REACH + 1) - shift
    inside = (columns >= 0).all(1) & (columns < len(sound)).all(1)
    columns = columns.clamp(0, len(sound) - 1)
    distances = (sight[first:last, None] - sound[columns]).norm(dim=-1)
    rows: Tensor = distances[inside & distances.isfinite().all(1)]
    return rows.square() / 2 if squared else rows


def _near(clip: Clip, frames: int | None) -> float | None:
    """Share of right answers over all shifts and windows; None where the clip is too short."""
    right = []
    for shift in range(-SHIFTS, SHIFTS + 1):
        rows = _curves(clip.sight, clip.sound, shift, clip.squared)
        curves = averaged(rows, frames or max(1, len(rows)))[::_STEP]
        if not len(curves):
            return None
        answers = best_offset(curves)
        right.append(float((answers.found & ((answers.frames - shift).abs() <= 1)).double().mean()))
    return sum(right) / len(right)


def _separation(clips: Sequence[Clip]) -> float | None:
    """ROC AUC of confidence, own sound against that of the clip that lies half the list further on."""
    scores, own = [], []
    for number, clip in enumerate(clips):
        other = clips[(number + max(1, len(clips) // 2)) % len(clips)]
        for sound, matched in ((clip.sound, True), (other.sound, False)):
            curves = _curves(clip.sight, sound, 0, clip.squared)
            if len(curves) and (matched or other is not clip):
                longer = len(curves) ** 0.5 if clip.squared else 1.0  # as sslkit sync has it
                scores.append(float(best_offset(curves.mean(0)).confidence) * longer)
                own.append(matched)
    if len(set(own)) < 2:
        return None
    return roc_auc(torch.tensor(scores), torch.tensor(own))
