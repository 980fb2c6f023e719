"""Is the offset of sound found? Clips of people who talk, whose sound is moved by every offset of a range in turn.

Protocol: sound is moved by -15 .. 15 frames of 1/25 s, which for vectors that come once a frame is to move them; each
time the offset is looked for among -16 .. 16, so that none of those asked lies at an end. Distances are averaged over
so many neighbouring frames; an answer within one frame is right. Windows of a clip count alike, so do clips of a group.
Confidence is measured by how well it separates a clip's own sound from that of another clip of its group (ROC AUC), and
by how often it lets an answer be given; and the own sound of all clips from that of clips that are dubbed. A clip's own
timing counts as right: recordings whose sound was late when they were made count as errors, so the offset found in each
clip as it is, by all of its frames, is told as well.
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


def evaluate(init: str, clips: Sequence[Clip], sure: float, dubbed: Sequence[Clip] = ()) -> list[Row]:
    """One row for each group and number of frames, {"init", "group", "metric", "frames", "value", "clips"}.

    sure: confidence from which an answer is given. dubbed: clips in which another voice is heard. metric: in percent
    "near_accuracy"; "auc" of confidence; "answered" and "other_refused", how often own sound gets an answer and another
    does not; "own_offset", of single clips, in frames. Raises WorkError when no clip is long enough.
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
        own = [_sound_of(clip, clip) for clip in members]
        others = [_sound_of(one, other) for one, other in _swapped(members)]
        rows += _separation(init, group, own, others, sure)
    if dubbed:
        own, voices = ([_sound_of(clip, clip) for clip in side] for side in (clips, dubbed))
        rows += _separation(init, f"all against {dubbed[0].group}", own, voices, sure)
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


def _swapped(clips: Sequence[Clip]) -> list[tuple[Clip, Clip]]:
    """Each clip with the one that lies half the list further on."""
    pairs = [(clip, clips[(number + max(1, len(clips) // 2)) % len(clips)]) for number, clip in enumerate(clips)]
    return [(one, other) for one, other in pairs if one is not other]


def _sound_of(clip: Clip, other: Clip) -> float | None:
    """How sure an offset of a clip's pictures against the sound of another is, by all frames; None where too short.

    At an end of the range, where `sslkit sync` gives no answer, minus that.
    """
    curves = _curves(clip.sight, other.sound, 0, clip.squared)
    if not len(curves):
        return None
    best = best_offset(curves.mean(0))
    longer = len(curves) ** 0.5 if clip.squared else 1.0  # as sslkit sync has it
    return float(best.confidence) * longer * (1 if bool(best.found) else -1)


def _separation(
    init: str, group: str, own: Sequence[float | None], others: Sequence[float | None], sure: float
) -> list[Row]:
    """ROC AUC of confidence, and how often it is enough; nothing where there is only one kind."""
    sides = [torch.tensor([score for score in side if score is not None]) for side in (own, others)]
    count = len(sides[0])
    if not count or not len(sides[1]):
        return []
    auc = roc_auc(torch.cat(sides).abs(), torch.arange(count + len(sides[1])) < count)
    answered, refused = (sides[0] >= sure).double().mean() * 100, (sides[1] < sure).double().mean() * 100
    measured = {"auc": auc, "answered": float(answered), "other_refused": float(refused)}
    return [_row(init, group, metric, value, "all", count) for metric, value in measured.items()]
