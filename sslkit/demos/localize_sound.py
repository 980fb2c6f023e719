"""What in the picture makes the sound? Maps over time, the place that fits best, and pictures that show both.

Source: Arandjelovic and Zisserman, "Objects that Sound", ECCV 2018, and the demonstrations of its authors: a sound may
also be that of another file ("what would make this sound").
Departures: two views are always drawn, the raw similarity in the scale of its file, where something is always bright,
and the evidence in a fixed scale, where nothing is when nothing fits.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sslkit.demos import footage, heat
from sslkit.demos.footage import Border, Frames
from sslkit.demos.heat import Found, Progress
from sslkit.demos.scene import Scene, Sound, pieces
from sslkit.demos.sounding import Cut, Finder
from sslkit.errors import UserError, WorkError
from sslkit.media import picture as stills
from sslkit.media import read
from sslkit.ops.sound import level_db
from sslkit.types import Result

_BATCH = 16
_SILENT_DB = -70.0
_SURE = 0.5
_LEAST_S = 0.1


def localize_sound(
    scene: Scene,
    finder: Finder,
    method: str,
    out: Path | None = None,
    overlay: bool = True,
    progress: Progress | None = None,
) -> Result:
    """Find what makes the sound of a scene, which is read in pieces: a long one takes little more memory.

    `Result.fields`: `sight` and `sound`, the two files; `probability` that something seen makes what is heard, mean
    over the moments with a sound (None where a method cannot tell); `peak`, the best place of the clearest moment:
    `time_s`, `peak_xy` in pixels of the file's pictures, `score`, its similarity on the method's scale, `evidence` 0 to
    1 (None where `probability` is); `frames`, the same of all moments with a sound; `heard_share`, how many of all that
    are; `overlay`, the video with its maps. With `out`, a picture <name>-sound.png of the clearest moments goes there,
    and with `overlay` that video, <name>-sound.mp4. Raises WorkError for what cannot be read or has no sound, UserError
    for files in the way.
    """
    began = time.perf_counter()
    targets = _targets(scene, out, overlay)
    if scene.still and not finder.cut.stills:
        raise UserError(f"{scene.sight} is a single picture, in which nothing moves: use --method av_object.")
    if not scene.still and scene.seconds < _LEAST_S:
        raise WorkError(f"{scene.sight} shows its pictures for {scene.seconds:.2f} s only: give a longer video.")
    if not read.probe(scene.sound).has_sound:
        raise WorkError(f"{scene.sound} has no sound: give one with --sound.")
    found = _found(scene, finder, progress)
    best = found.best()
    if not best:
        raise _silent(scene)
    peaks = [found.peaks[number] for number in sorted(best)]
    probability = round(float(np.mean([peak["evidence"] for peak in peaks])), 4) if finder.cut.judges else None
    heard_share = round(len(best) / len(found.heard), 4)
    if "picture" in targets:
        heat.draw(targets["picture"], scene, found, best)
    if "overlay" in targets:
        heat.write_overlay(targets["overlay"], scene, found, progress)
    return Result(
        name="localize-sound",
        fields={
            "input": str(scene.sight),
            "sight": str(scene.sight),
            "sound": str(scene.sound),
            "method": method,
            "probability": probability,
            "peak": found.peaks[best[0]],
            "heard_share": heard_share,
            "frames": peaks,
            "overlay": str(targets["overlay"]) if "overlay" in targets else None,
        },
        shown=[_shown(scene, method, found.peaks[best[0]], probability, heard_share)],
        notes=_notes(scene, found, probability),
        files={name: str(path) for name, path in targets.items()},
        seconds=time.perf_counter() - began,
    )


def _silent(scene: Scene) -> WorkError:
    if scene.sound == scene.sight:
        return WorkError(f"{scene.sight} is silent: there is nothing to find, unless another sound is given (--sound).")
    return WorkError(f"{scene.sound} is silent where {scene.sight} is seen: there is nothing to find.")


def _shown(
    scene: Scene, method: str, peak: dict[str, Any], probability: float | None, heard_share: float
) -> dict[str, Any]:
    """What people want to know first: when and where, in the clearest moment."""
    x, y = peak["peak_xy"]
    heard = {} if scene.sound == scene.sight else {"sound": str(scene.sound)}
    place = {"time_s": peak["time_s"], "x": x, "y": y, "score": peak["score"], "evidence": peak["evidence"]}
    sure = {"probability": probability, "heard_share": heard_share}
    return {"input": str(scene.sight), **heard, "method": method, **place, **sure}


def _notes(scene: Scene, found: Found, probability: float | None) -> list[str]:
    notes = []
    if probability is not None and probability < _SURE:
        notes.append(f"{scene.sight}: nothing in the picture fits the sound well; the peaks are the best of it.")
    if scene.still and read.probe(scene.sound).duration_s > scene.seconds:
        notes.append(f"{scene.sound}: only its first {scene.seconds:.0f} s were listened to.")
    silent = len(found.heard) - sum(found.heard)
    if silent:
        notes.append(f"{scene.sight}: {silent} of {len(found.heard)} moments are silent, and were left out.")
    return notes


def _targets(scene: Scene, out: Path | None, overlay: bool) -> dict[str, Path]:
    if out is None:
        return {}
    name = scene.sight.stem if scene.sound == scene.sight else f"{scene.sight.stem}-{scene.sound.stem}"
    targets = {"picture": out / f"{name}-sound.png"} | ({"overlay": out / f"{name}-sound.mp4"} if overlay else {})
    for path in targets.values():
        if path.exists():
            raise UserError(f"{path} is already there: move it away or give another --out.")
    out.mkdir(parents=True, exist_ok=True)
    return targets


def _found(scene: Scene, finder: Finder, progress: Progress | None) -> Found:
    cut, border, size_px = finder.cut, *_seen(scene, finder.cut)
    found, sound, windows = (
        Found(border, size_px, cut.judges),
        Sound(pieces(scene, cut.rate_hz), cut.rate_hz),
        _windows(scene, cut, border),
    )
    total_s = scene.seconds
    for group in _alike(windows):
        cut = finder.cut.of(len(group[0][1]))
        starts = [first / cut.fps for first, _ in group]
        parts = [sound.part(_heard_from(scene, cut, start, total_s), cut.sound_s) for start in starts]
        heard = torch.from_numpy(np.stack(parts))
        similar, evidence = finder.find(torch.from_numpy(np.stack([frames for _, frames in group])), heard)
        audible = (level_db(heard) >= _SILENT_DB).tolist()
        for number, start in enumerate(starts):
            steps = similar.shape[1]
            for step in range(steps):
                time_s = start + (step + 0.5) * cut.seen_s / steps
                found.add(time_s, similar[number, step].numpy(), evidence[number, step].numpy(), audible[number])
        heat.tell(progress, starts[-1], total_s, f"{scene.sight.name}: maps")
    if not found.heard:
        raise footage.too_short(scene.sight, cut.least, cut.fps)
    return found


def _alike(windows: Iterator[tuple[int, Frames]]) -> Iterator[list[tuple[int, Frames]]]:
    """Windows of one length that follow each other, some at a time."""
    for _, same in groupby(windows, key=lambda window: len(window[1])):
        while group := list(islice(same, _BATCH)):
            yield group


def _heard_from(scene: Scene, cut: Cut, start_s: float, total_s: float) -> float:
    """Where the sound around a window of pictures begins.

    At both ends of a file it is moved to lie within, as no network has learnt what is filled up with zeros; another
    sound, which is repeated, has no end.
    """
    around_s = start_s + (cut.seen_s - cut.sound_s) / 2
    latest_s = total_s - cut.sound_s if scene.sight == scene.sound else around_s
    return max(0.0, min(around_s, latest_s))


def _seen(scene: Scene, cut: Cut) -> tuple[Border, tuple[int, int]]:
    """The bars of what is seen, and its width and height."""
    if scene.still:
        height, width = read.image(scene.sight).shape[:2]
        return footage.NO_BORDER, (width, height)
    about = read.probe(scene.sight)
    if not about.has_video:
        raise WorkError(f"{scene.sight} has no pictures: give the sound with --sound, and a video or a picture.")
    return footage.border(scene.sight, cut.short_side_px), (about.width, about.height)


def _windows(scene: Scene, cut: Cut, border: Border) -> Iterator[tuple[int, Frames]]:
    """Windows of pictures; a still is shown for as long as its sound lasts."""
    if scene.still:
        frame = stills.scaled(read.image(scene.sight), cut.short_side_px)
        return ((number, frame[None]) for number in range(max(1, int(scene.seconds * cut.fps))))
    chunks = footage.content(scene.sight, border, cut.fps, cut.short_side_px, max(64, 2 * cut.frames))
    return footage.windows(chunks, cut.frames, cut.fps, cut.stride, cut.least)
