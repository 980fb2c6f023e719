"""Who speaks? Faces that people have marked from moment to moment, scored by how well each goes with the sound.

Protocol: marked faces are cut out at 25 pictures a second along their boxes, in pieces of ten seconds; at every moment
the distance of face and sound, under the median over all offsets, says how sure it is that this face speaks, at the
offset that all faces of a video have in common, where there is a sure one (`ops.speaking.frame_scores`). Scores are
over windows of several lengths. AP is that of the official AVA tool, interpolated, over all marks; F1, as on the
Columbia panel, is measured speaker by speaker (AVA: video by video) at the threshold that is best for all the others,
and averaged without abbas, whom published averages leave out. Recall and precision are of marks when a face speaks by
the rule of `sslkit sync --speakers`.
Controls: the same networks with random weights; chance, which for AP is the share of marks that speak, and for F1 what
calling everybody a speaker gets.
Source: Roth et al., "AVA-ActiveSpeaker", ICASSP 2020; Chakravarty and Tuytelaars, ECCV 2016 (Columbia); Chung and
Zisserman, ACCV workshops 2016 (confidence).
Departures: scores are those of `ops.speaking`; boxes are the marked ones on both sets, so that nothing needs to be
matched; thresholds are never fitted to who is tested.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sslkit import catalog
from sslkit.data.layouts.base import FaceTrack
from sslkit.errors import UserError, WorkError
from sslkit.evals import base
from sslkit.evals.base import Row
from sslkit.media import faces, read
from sslkit.models.lips import FPS, HOP, RATE_HZ, WINDOW, WINDOW_FRAMES
from sslkit.ops import ranking
from sslkit.ops.offsets import best_offset, certainty, compared, offset_distances
from sslkit.ops.speaking import Rule, frame_scores, speaks
from sslkit.types import Result

Progress = Callable[[int, int, str], None]
LAYOUTS = {"columbia": "test", "ava_activespeaker": "val"}
"""Those that mark who speaks, and the split that is measured."""
WINDOWS = (9, 25, 75)
"""Pictures that scores are averaged over."""
RULE = Rule()
_REACH = 15
_PIECE_S = 10.0
_CHUNK_FRAMES = 50
_LARGEST_PX = 720
_NOT_AVERAGED = {"abbas"}


@dataclass(frozen=True)
class Watched:
    """What sees faces and hears sound, as `demos.watchers.Watcher` has it.

    see: frames (1, T, 3, S, S) uint8 to vectors (T - 4, D). hear: sound (1, N) int16 to vectors (windows, D). side_px,
    part: what is cut out. squared: whether squared distances are what is averaged. sure: confidence from which an
    offset is one, as `demos.sync.SyncSettings` has it.
    """

    see: Callable[[Tensor], Tensor]
    hear: Callable[[Tensor], Tensor]
    side_px: int
    part: faces.Part
    squared: bool
    sure: float


@dataclass(frozen=True)
class Piece:
    """Some seconds of a marked face. distances: (rows, 2 reach + 1). row: (N,) int64, the row of each mark.

    offset: that all faces of the video have in common, in frames.
    """

    track: FaceTrack
    distances: Tensor
    row: Tensor
    offset: int = 0

    def scores(self, frames: int) -> Tensor:
        """Of each row, over so many frames, (rows,)."""
        return frame_scores(self.distances, self.offset, frames)


def marked(folder: Path) -> tuple[str, list[FaceTrack]]:
    """The layout of a folder with marked faces, and what is measured of it. Raises UserError for any other folder."""
    reasons = []
    for name, split in LAYOUTS.items():
        try:
            found: list[FaceTrack] = catalog.load("sslkit.data.layouts", name).tracks(str(folder), split)
            return name, found
        except UserError as error:
            reasons.append(str(error))
    raise UserError(f"Nobody's speech is marked in {folder}: {' '.join(reasons)}")


def evaluate(named: Sequence[tuple[str, int, Watched]], folder: Path, *, progress: Progress | None = None) -> Result:
    """Every network, (init, seed, networks), on the marked faces of a folder.

    Rows: {"init", "metric", "value", "seed", "frames", "who"}: metric ap, auc, or f1 (of each who), by the pictures
    that scores are of, recall and precision; then means over seeds. Raises UserError for a folder of another layout;
    WorkError where no face can be scored.
    """
    began = time.perf_counter()
    layout, tracks = marked(folder)
    rows: list[Row] = []
    scored = 0
    for name, seed, watched in named:
        found = pieces(tracks, watched, name, progress)
        spoken, who = _truth(found, layout)
        scored = len(spoken)
        for frames in WINDOWS:
            measured = measures_of(scores(found, frames), spoken, who)
            rows += [
                {"init": name, "metric": metric, "value": value, "seed": seed, "frames": frames, "who": one}
                for (metric, one), value in measured.items()
            ]
        for metric, value in agreement(told(found, RULE), spoken).items():
            rows.append(
                {"init": name, "metric": metric, "value": value, "seed": seed, "frames": RULE.frames, "who": ""}
            )
    total = base.summary([row for row in rows if not row["who"]], ("init", "metric", "frames"))
    guesses = _chance(spoken, who)
    marks = sum(len(track.time_s) for track in tracks)
    return Result(
        name=f"Active speakers of {layout} in {folder.name}",
        fields={
            "protocol": f"active speakers ({layout}, {LAYOUTS[layout]})",
            "data": str(folder),
            "split": {"marks": marks, "scored": scored, "tracks": len(tracks), "speaking": round(guesses["ap"], 2)},
        },
        metrics={f"{row['init']}_{row['metric']}_{row['frames']}": row["value"] for row in total},
        chance=guesses["ap"],
        rows=[*rows, *total, *base.guess_rows({"chance": guesses})],
        shown=[*total, *base.guess_rows({"chance": guesses})],
        notes=[f"{marks - scored} of {marks} marks could not be scored: too short a time."] if scored < marks else [],
        seconds=time.perf_counter() - began,
    )


def measures_of(score: Tensor, speaks: Tensor, who: Sequence[str]) -> dict[tuple[str, str], float]:
    """AP, ROC AUC and F1 of scores (N,) of marks, percent: by metric and, of F1, whom it is of ("": the mean)."""
    found = {("ap", ""): ranking.average_precision(score, speaks, "interpolated")}
    if 0 < int(speaks.sum()) < len(speaks):
        found["auc", ""] = ranking.roc_auc(score, speaks)
    each = held_out_f1(score, speaks, who)
    averaged = [value for name, value in each.items() if name not in _NOT_AVERAGED]
    if averaged:
        found["f1", ""] = float(np.mean(averaged))
    return found | {("f1", name): value for name, value in each.items()}


def held_out_f1(score: Tensor, speaks: Tensor, who: Sequence[str]) -> dict[str, float]:
    """F1 of each of `who` (N names) at the threshold that is best for all the others; nothing for one alone."""
    names = np.asarray(who)
    found = {}
    for name in dict.fromkeys(who):
        own = torch.from_numpy(names == name)
        if bool(own.all()):
            break
        found[name] = ranking.f1(score[own] >= best_threshold(score[~own], speaks[~own]), speaks[own])
    return found


def best_threshold(score: Tensor, positive: Tensor) -> float:
    """The score from which on answers are to be positive for the best F1; the highest of equals. (N,) and (N,) bool."""
    ordered, order = score.double().sort(descending=True)
    hits = positive[order].double().cumsum(0)
    harmonic = 2 * hits / (torch.arange(1, len(hits) + 1) + hits[-1])
    # Equal scores are on the same side.
    harmonic[:-1][ordered[:-1] == ordered[1:]] = -1
    return float(ordered[harmonic.argmax()])


def scores(found: Sequence[Piece], frames: int) -> Tensor:
    """How sure every mark of the pieces is that its face speaks, (N,), over so many pictures."""
    return torch.cat([piece.scores(frames)[piece.row] for piece in found])


def told(found: Sequence[Piece], rule: Rule) -> Tensor:
    """Whether every mark of the pieces is taken to speak, (N,) bool, where faces of a video compete."""
    best: dict[tuple[Path, int], float] = {}
    moments, scored = [], []
    for piece in found:
        start, score = round(float(piece.track.time_s[0]) * FPS), piece.scores(rule.frames).numpy()
        moments.append([(piece.track.video, start + row) for row in range(len(score))])
        scored.append(score)
        for moment, value in zip(moments[-1], score.tolist(), strict=True):
            best[moment] = max(value, best.get(moment, value))
    parts = []
    for piece, these, score in zip(found, moments, scored, strict=True):
        highest = np.array([best[moment] for moment in these], np.float32)
        parts.append(torch.from_numpy(speaks(score, highest, np.ones(len(score), bool), rule))[piece.row])
    return torch.cat(parts)


def agreement(said: Tensor, truth: Tensor) -> dict[str, float]:
    """Recall and precision, percent; no precision where nothing was said. (N,) bool each."""
    right = float((said & truth).sum())
    found = {"recall": 100 * right / max(1, int(truth.sum()))}
    return found | ({"precision": 100 * right / int(said.sum())} if said.any() else {})


def _offset(found: Sequence[Piece], watched: Watched) -> int:
    """The offset that the faces of a video have in common; 0 where it is not sure."""
    curve, rows = sum(piece.distances.double().sum(0) for piece in found), sum(len(piece.distances) for piece in found)
    best = best_offset(torch.as_tensor(curve) / rows)
    confidence = certainty(float(best.confidence), rows, watched.squared)
    return int(best.frames) if bool(best.found) and confidence >= watched.sure else 0


def _truth(found: Sequence[Piece], layout: str) -> tuple[Tensor, list[str]]:
    speaks = torch.from_numpy(np.concatenate([piece.track.speaks for piece in found]))
    named = (piece.track.name if layout == "columbia" else piece.track.video.stem for piece in found)
    who = [name for name, piece in zip(named, found, strict=True) for _ in piece.row]
    return speaks, who


def _chance(speaks: Tensor, who: Sequence[str]) -> dict[str, float]:
    names = np.asarray(who)
    each = [speaks[torch.from_numpy(names == name)] for name in dict.fromkeys(who) if name not in _NOT_AVERAGED]
    always = [ranking.f1(torch.ones_like(one), one) for one in each]
    return {"ap": 100 * float(speaks.double().mean()), "auc": 50.0, "f1": float(np.mean(always))}


def pieces(
    tracks: Sequence[FaceTrack], watched: Watched, name: str = "", progress: Progress | None = None
) -> list[Piece]:
    """The distances of all marked faces, piece by piece. Raises WorkError where there is none long enough."""
    found = []
    for number, track in enumerate(tracks):
        for part in _cut(track):
            distances = _distances(part, watched)
            if len(distances):
                row = np.round((part.time_s - part.time_s[0]) * FPS) - WINDOW_FRAMES // 2
                found.append(Piece(part, distances, torch.from_numpy(row).long().clamp(0, len(distances) - 1)))
        if progress is not None:
            progress(number + 1, len(tracks), f"faces watched by {name}")
    if not found:
        raise WorkError(f"No marked face is seen for {WINDOW_FRAMES} pictures: check the marks' times.")
    videos = dict.fromkeys(piece.track.video for piece in found)
    offset = {video: _offset([piece for piece in found if piece.track.video == video], watched) for video in videos}
    return [replace(piece, offset=offset[piece.track.video]) for piece in found]


def _cut(track: FaceTrack) -> list[FaceTrack]:
    """The track in pieces of equal length, of ten seconds at most."""
    span_s = float(track.time_s[-1] - track.time_s[0])
    count = max(1, int(np.ceil(span_s / _PIECE_S)))
    edges = np.searchsorted(track.time_s, track.time_s[0] + span_s * np.arange(1, count) / count)
    parts = [np.split(values, edges) for values in (track.time_s, track.boxes, track.speaks)]
    return [
        FaceTrack(track.video, track.name, track.split, times, boxes, speaks, track.relative)
        for times, boxes, speaks in zip(*parts, strict=True)
        if len(times)
    ]


@torch.no_grad()
def _distances(part: FaceTrack, watched: Watched) -> Tensor:
    """(rows, 2 reach + 1): of each window of pictures to the sounds around it."""
    cut = _crops(part, watched)
    windows = len(cut) - WINDOW_FRAMES + 1
    if windows < 1:
        return torch.zeros(0, 2 * _REACH + 1)
    sight = watched.see(torch.from_numpy(cut).permute(0, 3, 1, 2)[None]).cpu()
    # A window of sound is a little longer than five frames, with the same middle.
    early_s = (WINDOW - WINDOW_FRAMES * HOP) / 2 / RATE_HZ
    heard = _sound(part.video, float(part.time_s[0]) - _REACH / FPS - early_s, windows + 2 * _REACH)
    sound = watched.hear(torch.from_numpy(heard)[None]).cpu()
    # The search leaves out as many frames as its range at either end: they are no frames of the face.
    found = offset_distances(F.pad(sight, (0, 0, _REACH, _REACH)), sound, _REACH)
    return compared(found, watched.squared)


def _crops(part: FaceTrack, watched: Watched) -> NDArray[np.uint8]:
    """The face or mouth at 25 pictures a second, (T, S, S, 3)."""
    about = read.probe(part.video)
    side_px = min(about.height, about.width, _LARGEST_PX) // 2 * 2
    start_s, end_s = float(part.time_s[0]), float(part.time_s[-1]) + 0.5 / FPS
    found, first = [np.zeros((0, watched.side_px, watched.side_px, 3), np.uint8)], 0
    for chunk in read.video_chunks(part.video, FPS, side_px, _CHUNK_FRAMES, start_s, end_s):
        at_s = start_s + (first + np.arange(len(chunk))) / FPS
        squares = part.squares_at(at_s, (chunk.shape[2], chunk.shape[1]), (about.width, about.height))
        found.append(faces.crops(chunk, squares, watched.side_px, watched.part))
        first += len(chunk)
    return np.concatenate(found)


def _sound(video: Path, start_s: float, windows: int) -> NDArray[np.int16]:
    """Sound for so many windows from a time that may lie before the first picture; zeros where there is none."""
    samples = (windows - 1) * HOP + WINDOW
    missing = round((max(0.0, start_s) - start_s) * RATE_HZ)
    begin_s = max(0.0, start_s)
    sound = read.sound(video, RATE_HZ, begin_s, begin_s + (samples - missing) / RATE_HZ)
    return np.pad(sound, (missing, samples - missing - len(sound)))
