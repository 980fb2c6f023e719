"""Is the offset of sound found? Clips of people who talk, whose sound is moved by every offset of a range in turn.

Protocol: sound is moved by -15 .. 15 frames of 1/25 s, which for vectors that come once a frame is to move them; each
time the offset is looked for among -16 .. 16, so that none of those asked lies at an end. Distances are averaged over
so many neighbouring frames; an answer within one frame is right. Windows of a clip count alike, so do clips of a group.
How far answers are from the truth, and where they lie, is told as histograms: a peak at either end of the range is a
network that has learnt nothing. Confidence is measured by how well it separates a clip's own sound from that of another
clip of its group, and from its own where it is moved far beyond the range (ROC AUC), and by how often it lets an answer
be given; and the own sound of all clips from that of clips that are dubbed. A clip's own timing counts as right:
recordings whose sound was late when they were made count as errors, so the offset found in each clip as it is, by all
of its frames, is told as well.
Controls: the same networks untrained; the training-free method; always answering no offset, right for 3 of 31.

Source: Chung and Zisserman, "Out of time", ACCV workshops 2016: within one frame, by the number of frames averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from sslkit.errors import WorkError
from sslkit.evals.base import Row
from sslkit.models.lips import FPS
from sslkit.ops.offsets import averaged, best_offset, certainty, compared, offset_distances
from sslkit.ops.ranking import roc_auc
from sslkit.types import Published

FRAMES = (5, 7, 9, 10, 11, 13, 15, 25, 50, 75, 100)
SHIFTS = 15
PAPER = Published(96.1, "SyncNet on broadcasts like LRS2, 15 frames averaged; not the same data", "near_accuracy_15")
_PUBLISHED = {5: 75.8, 7: 82.3, 9: 87.6, 11: 91.8, 13: 94.5, 15: 96.1, 100: 99.0}
"""SyncNet by frames averaged [mem?], on broadcasts like LRS2; by 100 it is more than that, says the lecture."""
_DRAWN = (25, None)
"""Numbers of frames whose answers are drawn as histograms; None is all of a clip."""
_IN_SHORT = {"near_accuracy": (5, 15, 25, 50, 100, "all"), "mean_error_ms": (25, "all"), "at_ends": (25, "all")}
_REACH = SHIFTS + 1
LEAST_FRAMES = 2 * _REACH
"""A clip must be longer."""
_BEYOND = _REACH + 10
"""Frames by which sound is moved at least to be beyond the range: a vector knows of some frames around its own."""
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


@dataclass(frozen=True)
class _Answers:
    """What is said of a clip whose sound is moved by each shift in turn, (N,) each.

    frames: where the curve is lowest, which at an end of the range is no answer. error: that less the shift, in frames.
    share: of all, float64, so that every shift counts alike; the sum is 1.
    """

    frames: Tensor
    error: Tensor
    found: Tensor
    share: Tensor


@dataclass(frozen=True)
class Sure:
    """answer: confidence from which an answer is given. denial: below it a face is said not to be whose voice it is."""

    answer: float
    denial: float


def evaluate(init: str, clips: Sequence[Clip], sure: Sure, dubbed: Sequence[Clip] = ()) -> list[Row]:
    """One row for each group and number of frames, {"init", "group", "metric", "frames", "value", "clips"}.

    dubbed: clips in which another voice is heard. metric: in percent
    "near_accuracy"; "at_ends", how often the curve is lowest at an end of the range; "error_histogram", of each "error"
    in frames, "beyond" 15 and "not found"; "answer_histogram", of each "answer", the ends too; "auc" of confidence
    against another sound, "beyond_auc" against the own beyond the range; "answered", "other_refused" and
    "beyond_refused", how often own sound gets an answer and these do not; "own_denied" and "other_denied", how often
    a face is said not to be whose voice is heard. Also "mean_error_ms", of answers found; "own_offset", of single
    clips, in frames. Raises WorkError when no clip is long enough.
    """
    groups = {group: [clip for clip in clips if clip.group == group] for group in sorted({c.group for c in clips})}
    if len(groups) > 1:
        groups["all"] = list(clips)
    moved = {id(clip): _moved(clip) for clip in clips}
    rows: list[Row] = []
    for group, members in groups.items():
        for frames in (*FRAMES, None):
            answers = [said for clip in members if (said := _answers(moved[id(clip)], frames)) is not None]
            if answers:
                rows += _of_answers(init, group, frames, answers)
        own = [_sound_of(clip, clip) for clip in members]
        others = [_sound_of(one, other) for one, other in _swapped(members)]
        rows += _separation(init, group, own, others, sure)
        rows += _separation(init, group, own, [_sound_beyond(clip) for clip in members], sure, "beyond")
    if dubbed:
        own, voices = ([_sound_of(clip, clip) for clip in side] for side in (clips, dubbed))
        rows += _separation(init, f"all against {dubbed[0].group}", own, voices, sure)
    if not rows:
        raise WorkError(f"No clip is longer than {LEAST_FRAMES} frames: there is nothing to measure.")
    for clip in clips:
        best = best_offset(_curves(clip.sight, clip.sound, 0, clip.squared).mean(0))
        if bool(best.found):
            rows.append(_row(init, clip.name, "own_offset", float(best.frames), "all", 1))
    return rows


def in_short(rows: Sequence[Row]) -> list[Row]:
    """The rows that a table on a terminal has room for: no histogram, no single clip, some numbers of frames."""
    kept = [row for row in rows if row["metric"] != "own_offset" and not row["metric"].endswith("_histogram")]
    return [row for row in kept if row["frames"] in _IN_SHORT.get(row["metric"], ("all", "file"))]


def measurable(clip: Clip) -> bool:
    """Whether there is a frame for each shift whose whole range is heard."""
    return all(map(len, _moved(clip)))


def always_zero(groups: Sequence[str]) -> list[Row]:
    """The rows of answering that there is no offset."""
    return [_row("always zero", group, "near_accuracy", 300 / (2 * SHIFTS + 1), "all", 0) for group in groups]


def published() -> list[Row]:
    """The rows of what the paper's network finds, by the frames averaged: not on the same data."""
    return [_row("SyncNet (paper)", "LRS2", "near_accuracy", value, frames, 0) for frames, value in _PUBLISHED.items()]


def main_figures(init: str, rows: Sequence[Row]) -> dict[str, float]:
    """Of all clips by one network: what the paper prints, where clips are long enough, and the same of whole clips."""
    groups = dict.fromkeys(row["group"] for row in rows if row["metric"] == "near_accuracy")
    group = "all" if "all" in groups else next(iter(groups), "")
    own = {(row["metric"], row["frames"]): row["value"] for row in rows if (row["init"], row["group"]) == (init, group)}
    wanted = {"near_accuracy_15": ("near_accuracy", 15), "near_accuracy": ("near_accuracy", "all")}
    wanted |= {"mean_error_ms": ("mean_error_ms", "all"), "auc": ("auc", "all")}
    return {name: own[of] for name, of in wanted.items() if of in own}


def _row(init: str, group: str, metric: str, value: float, frames: int | str, clips: int) -> Row:
    return {"init": init, "group": group, "metric": metric, "frames": frames, "value": round(value, 2), "clips": clips}


def _curves(sight: Tensor, sound: Tensor, shift: int, squared: bool) -> Tensor:
    """Distances (rows, 2 reach + 1) to sound that was moved by so many frames; only what is not padding."""
    distances = offset_distances(functional.pad(sight, (0, 0, max(-shift, -len(sight)), 0)), sound, _REACH)
    return compared(distances[distances.isfinite().all(1)], squared)


def _moved(clip: Clip) -> list[Tensor]:
    """The curves of a clip for each shift of its sound."""
    return [_curves(clip.sight, clip.sound, shift, clip.squared) for shift in range(-SHIFTS, SHIFTS + 1)]


def _answers(moved: Sequence[Tensor], frames: int | None) -> _Answers | None:
    """What is said of all shifts and windows of so many frames; None where the clip is too short."""
    parts = []
    for shift, rows in enumerate(moved, -SHIFTS):
        curves = averaged(rows, frames or max(1, len(rows)))[::_STEP]
        if not len(curves):
            return None
        best = best_offset(curves)
        share = torch.full((len(curves),), 1 / len(curves) / len(moved), dtype=torch.float64)
        parts.append((best.frames, best.frames - shift, best.found, share))
    return _Answers(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _of_answers(init: str, group: str, frames: int | None, answers: Sequence[_Answers]) -> list[Row]:
    """The rows of one group and number of frames."""
    told: int | str = "all" if frames is None else frames

    def row(metric: str, so: Sequence[Tensor], **at: int | str) -> Row:
        value = 100 * sum(float(one.share[which].sum()) for one, which in zip(answers, so, strict=True)) / len(answers)
        return _row(init, group, metric, value, told, len(answers)) | at

    right = [one.found & (one.error.abs() <= 1) for one in answers]
    rows = [row("near_accuracy", right), *_mean_error(init, group, told, answers)]
    rows.append(row("at_ends", [one.frames.abs() == _REACH for one in answers]))
    if frames not in _DRAWN:
        return rows
    for error in range(-SHIFTS, SHIFTS + 1):
        rows.append(row("error_histogram", [one.found & (one.error == error) for one in answers], error=error))
    far = [one.found & (one.error.abs() > SHIFTS) for one in answers]
    rows.append(row("error_histogram", far, error="beyond"))
    rows.append(row("error_histogram", [~one.found for one in answers], error="not found"))
    for answer in range(-_REACH, _REACH + 1):
        rows.append(row("answer_histogram", [one.frames == answer for one in answers], answer=answer))
    return rows


def _mean_error(init: str, group: str, told: int | str, answers: Sequence[_Answers]) -> list[Row]:
    """How far answers are from the truth, of those that were found; nothing where none was."""
    found = [one for one in answers if bool(one.found.any())]
    if not found:
        return []
    errors = [float((one.error.abs() * one.share)[one.found].sum() / one.share[one.found].sum()) for one in found]
    return [_row(init, group, "mean_error_ms", 1000 / FPS * sum(errors) / len(errors), told, len(found))]


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
    return certainty(float(best.confidence), len(curves), clip.squared) * (1 if bool(best.found) else -1)


def _sound_beyond(clip: Clip) -> float | None:
    """As `_sound_of` for the clip's own sound, its second half before its first; None where that is too near.

    So as many frames are compared as where it is in time, and surer for their number is neither.
    """
    half = len(clip.sound) // 2
    return None if half < _BEYOND else _sound_of(clip, replace(clip, sound=clip.sound.roll(half, 0)))


def _separation(
    init: str, group: str, own: Sequence[float | None], others: Sequence[float | None], sure: Sure, kind: str = ""
) -> list[Row]:
    """ROC AUC of confidence, and how often it is enough; nothing where there is only one kind."""
    sides = [torch.tensor([score for score in side if score is not None]) for side in (own, others)]
    count = len(sides[0])
    if not count or not len(sides[1]):
        return []
    auc = roc_auc(torch.cat(sides).abs(), torch.arange(count + len(sides[1])) < count)
    answered, refused = _percent(sides[0] >= sure.answer), _percent(sides[1] < sure.answer)
    denied = [_percent(side.abs() < sure.denial) for side in sides]
    measured = {"auc": auc, "answered": answered, "other_refused": refused}
    measured |= {"own_denied": denied[0], "other_denied": denied[1]}
    if kind:  # how often own sound gets an answer was told
        measured = {f"{kind}_auc": auc, f"{kind}_refused": refused}
    return [_row(init, group, metric, value, "all", count) for metric, value in measured.items()]


def _percent(which: Tensor) -> float:
    return 100 * float(which.double().mean())
