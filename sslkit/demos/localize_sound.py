"""What in the picture makes the sound? Maps over time, the place that fits best, and pictures that show both.

Source: Arandjelovic and Zisserman, "Objects that Sound", ECCV 2018, and the demonstrations of its authors: a sound may
also be that of another file ("what would make this sound").
Departures: two views are always drawn, the raw similarity in the scale of its file, where something is always bright,
and the evidence in a fixed scale, where nothing is when nothing fits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sslkit.data.layouts.base import is_image
from sslkit.demos import footage
from sslkit.demos.footage import Border, Frames
from sslkit.demos.sounding import Cut, Finder
from sslkit.errors import UserError, WorkError
from sslkit.media import picture as stills
from sslkit.media import read, write
from sslkit.ops.sound import level_db
from sslkit.report import picture
from sslkit.types import Result

Progress = Callable[[int, int, str], None]

_BATCH = 16
_PIECE_S = 10.0
_DRAWN_FRAMES = 8
_AROUND_S = 0.25
_SOUND_HZ = 48_000
_SILENT_DB = -70.0
_SHOWN = 6
_LONGEST_STILL_S = 30.0
_STILL_FPS = 5.0
_SURE = 0.5


@dataclass(frozen=True)
class Scene:
    """What is seen and what is heard: a video or a picture, and the file of the sound, which may be the same."""

    sight: Path
    sound: Path

    @property
    def still(self) -> bool:
        """Whether it is a single picture."""
        return is_image(self.sight)


@dataclass
class Found:
    """Maps of a whole file, one after the other.

    border: black bars of the pictures, which the maps leave out. size_px: width and height of the pictures. heat,
    evidence: (h, w) float16 each, which is exact enough to be shown. peaks: the best place of each: `time_s` of the
    middle, `x` and `y` in pixels of the file's pictures, `similarity` and `evidence` there. clear: the highest evidence
    and similarity of each. heard: whether there is any sound then.
    """

    border: Border
    size_px: tuple[int, int]
    heat: list[NDArray[np.float16]] = field(default_factory=list)
    evidence: list[NDArray[np.float16]] = field(default_factory=list)
    peaks: list[dict[str, float]] = field(default_factory=list)
    clear: list[tuple[float, float]] = field(default_factory=list)
    heard: list[bool] = field(default_factory=list)

    def add(self, time_s: float, heat: NDArray[np.float32], evidence: NDArray[np.float32], heard: bool) -> None:
        """Keep the maps (h, w) of a moment."""
        self.peaks.append(self._peak(time_s, heat, evidence))
        self.clear.append((float(evidence.max()), float(heat.max())))
        self.heat.append(heat.astype(np.float16))
        self.evidence.append(evidence.astype(np.float16))
        self.heard.append(heard)

    def _peak(self, time_s: float, heat: NDArray[np.float32], evidence: NDArray[np.float32]) -> dict[str, float]:
        (width, height), (top, bottom, left, right) = self.size_px, self.border
        row, column = np.unravel_index(int(heat.argmax()), heat.shape)
        x = left + (1 - left - right) * (column + 0.5) / heat.shape[1]
        y = top + (1 - top - bottom) * (row + 0.5) / heat.shape[0]
        return {
            "time_s": round(time_s, 3),
            "x": round(float(x * width), 1),
            "y": round(float(y * height), 1),
            "similarity": round(float(heat[row, column]), 4),
            "evidence": round(float(evidence[row, column]), 4),
        }

    def best(self) -> list[int]:
        """The maps with a sound, the clearest first."""
        return sorted((i for i, heard in enumerate(self.heard) if heard), key=self.clear.__getitem__, reverse=True)


def localize_sound(
    scene: Scene,
    finder: Finder,
    method: str,
    out: Path | None = None,
    overlay: bool = True,
    progress: Progress | None = None,
) -> Result:
    """Find what makes the sound of a scene, which is read in pieces: a long one takes little more memory.

    `Result.fields`: `probability` that something seen makes what is heard, mean over the moments with a sound (None
    where a method cannot tell); `peak`, the best place of the clearest moment: `time_s`, `x` and `y` in pixels of the
    file's pictures, `similarity` on the method's scale, `evidence` 0 to 1; `moments`, the same of all moments with a
    sound; `heard_share`, how many of all that are. With `out`, a picture <name>-sound.png of the clearest moments goes
    there, and with `overlay` the video with its maps, <name>-sound.mp4. Raises WorkError for what cannot be read or has
    no sound, UserError for files in the way.
    """
    began = time.perf_counter()
    targets = _targets(scene, out, overlay)
    if scene.still and not finder.cut.stills:
        raise UserError(f"{scene.sight} is a single picture, in which nothing moves: use --method av_object.")
    if not read.probe(scene.sound).has_sound:
        raise WorkError(f"{scene.sound} has no sound: give one with --sound.")
    found = _found(scene, finder, progress)
    best = found.best()
    if not best:
        raise WorkError(f"{scene.sound} is silent where {scene.sight} is seen: there is nothing to find.")
    peaks = [found.peaks[number] for number in sorted(best)]
    probability = float(np.mean([peak["evidence"] for peak in peaks])) if finder.cut.judges else None
    if "picture" in targets:
        _draw(targets["picture"], scene, found, best)
    if "overlay" in targets:
        _write_overlay(targets["overlay"], scene, found, progress)
    return Result(
        name="localize-sound",
        fields={
            "input": str(scene.sight),
            "sound": str(scene.sound),
            "method": method,
            "probability": None if probability is None else round(probability, 4),
            "peak": found.peaks[best[0]],
            "heard_share": round(len(best) / len(found.heard), 4),
            "moments": peaks,
        },
        notes=_notes(scene, found, probability),
        files={name: str(path) for name, path in targets.items()},
        seconds=time.perf_counter() - began,
    )


def _notes(scene: Scene, found: Found, probability: float | None) -> list[str]:
    notes = []
    if probability is not None and probability < _SURE:
        notes.append(f"{scene.sight}: nothing in the picture fits the sound well; the peaks are the best of it.")
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
    found, sound, windows = Found(border, size_px), _Sound(scene, cut.rate_hz), _windows(scene, cut, border)
    total_s = _still_s(scene) if scene.still else read.probe(scene.sight).duration_s
    while group := list(islice(windows, _BATCH)):
        starts = [first / cut.fps for first, _ in group]
        lead_s = (cut.seen_s - cut.sound_s) / 2
        heard = torch.from_numpy(np.stack([sound.part(start + lead_s, cut.sound_s) for start in starts]))
        heat, evidence = finder.find(torch.from_numpy(np.stack([frames for _, frames in group])), heard)
        audible = (level_db(heard) >= _SILENT_DB).tolist()
        for number, start in enumerate(starts):
            steps = heat.shape[1]
            for step in range(steps):
                time_s = start + (step + 0.5) * cut.seen_s / steps
                found.add(time_s, heat[number, step].numpy(), evidence[number, step].numpy(), audible[number])
        _tell(progress, starts[-1], total_s, f"{scene.sight.name}: maps")
    if not found.heard:
        raise footage.too_short(scene.sight, cut.frames, cut.fps)
    return found


def _tell(progress: Progress | None, done_s: float, total_s: float, text: str) -> None:
    if progress is not None:
        progress(round(done_s), round(total_s), f"{text}, s")


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
        return ((number, frame[None]) for number in range(max(1, int(_still_s(scene) * cut.fps))))
    chunks = footage.content(scene.sight, border, cut.fps, cut.short_side_px, max(64, 2 * cut.frames))
    return footage.windows(chunks, cut.frames, cut.fps, cut.stride)


def _still_s(scene: Scene) -> float:
    return min(read.probe(scene.sound).duration_s, _LONGEST_STILL_S)


class _Sound:
    """Parts of a sound, each later than the one before, zeros beyond its ends; little more than a part is held.

    The sound of another file is repeated for as long as is seen.
    """

    def __init__(self, scene: Scene, rate_hz: int) -> None:
        self._rate_hz, self._held, self._held_from = rate_hz, np.zeros(0, np.int16), 0
        self._pieces = _pieces(scene, rate_hz)

    def part(self, start_s: float, seconds: float) -> NDArray[np.int16]:
        """(N,) int16 from a time on the clock of the pictures."""
        first, length = round(start_s * self._rate_hz), round(seconds * self._rate_hz)
        kept = [self._held[max(0, first - self._held_from) :]]
        held_from = self._held_from + len(self._held) - len(kept[0])
        end = held_from + len(kept[0])
        while end < first + length and (piece := next(self._pieces, None)) is not None:
            kept.append(piece)
            end += len(piece)
        self._held, self._held_from = np.concatenate(kept), held_from
        before = max(0, held_from - first)
        heard = self._held[max(0, first - held_from) :][: length - before]
        return np.pad(heard, (before, length - before - len(heard)))


def _pieces(scene: Scene, rate_hz: int) -> Iterator[NDArray[np.int16]]:
    """The sound of a scene, some seconds at a time; that of another file again and again."""
    for turn in range(1) if scene.sight == scene.sound else count():
        ended = True
        for piece in read.sound_chunks(scene.sound, rate_hz, _PIECE_S):
            yield piece
            ended = False
        if ended and turn == 0:
            return


def _up_to(pieces: Iterator[NDArray[np.int16]], samples: int) -> Iterator[NDArray[np.int16]]:
    """Pieces until there are so many samples."""
    for piece in pieces:
        yield piece[:samples]
        samples -= len(piece)
        if samples <= 0:
            return


def _draw(target: Path, scene: Scene, found: Found, best: list[int]) -> None:
    """One column a moment: the picture, its similarity in the scale of the file, its evidence in the fixed one."""
    chosen = sorted(best[:_SHOWN])
    pictures, captions = [], []
    scale = _scale(found)
    shown = [_picture_at(scene, found, number) for number in chosen]
    views = (("", None, None), ("similarity", found.heat, scale), ("evidence 0 to 1", found.evidence, (0.0, 1.0)))
    for title, maps, limits in views:
        for number, still in zip(chosen, shown, strict=True):
            drawn = (
                still if maps is None or limits is None else _over(still[None], maps[number][None], limits, found)[0]
            )
            pictures.append(drawn)
            captions.append(title or f"{found.peaks[number]['time_s']:.2f} s, {found.clear[number][0]:.0%}")
    target.write_bytes(write.png(picture.montage(pictures, captions, columns=len(chosen))))


def _picture_at(scene: Scene, found: Found, number: int) -> Frames:
    if scene.still:
        return stills.scaled(read.image(scene.sight), 240)
    time_s = found.peaks[number]["time_s"]
    # The last picture of a file may end before the middle of the moment that it was seen for.
    start_s = max(0.0, time_s - _AROUND_S)
    around = read.video(scene.sight, short_side_px=240, start_s=start_s, end_s=time_s + _AROUND_S)
    frame: Frames = around.frames[min(len(around.frames) - 1, int((time_s - start_s) * around.fps))]
    return frame


def _scale(found: Found) -> tuple[float, float]:
    """The usual and the highest similarity of a file, between which its colours lie."""
    values = np.stack([heat for heat, heard in zip(found.heat, found.heard, strict=True) if heard]).astype(np.float32)
    low, high = np.percentile(values, [50, 99.5])
    return float(low), float(max(high, low + 1e-6))


def _over(frames: Frames, maps: NDArray[np.floating[Any]], scale: tuple[float, float], found: Found) -> Frames:
    rows, columns = footage.inside(frames, found.border)
    shown = frames.copy()
    shown[:, rows, columns] = picture.overlay(frames[:, rows, columns], maps, scale)
    return shown


def _write_overlay(target: Path, scene: Scene, found: Found, progress: Progress | None) -> None:
    if scene.still:
        fps, total_s, chunks = _STILL_FPS, _still_s(scene), _repeated(scene)
    else:
        about = read.probe(scene.sight)
        fps, total_s = about.fps, about.duration_s
        chunks = read.video_chunks(scene.sight, fps, chunk_frames=_DRAWN_FRAMES)
    sound = _pieces(scene, _SOUND_HZ)
    if scene.still or scene.sight != scene.sound:
        sound = _up_to(sound, round(total_s * _SOUND_HZ))
    shown = _overlaid(_counted(chunks, fps, total_s, f"{scene.sight.name}: overlay", progress), fps, found)
    write.video(target, shown, fps, sound=sound, rate_hz=_SOUND_HZ)


def _counted(
    chunks: Iterator[Frames], fps: float, total_s: float, text: str, progress: Progress | None
) -> Iterator[Frames]:
    done = 0
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        _tell(progress, done / fps, total_s, text)


def _repeated(scene: Scene) -> Iterator[Frames]:
    still = read.image(scene.sight)
    for _ in range(max(1, int(_still_s(scene) * _STILL_FPS))):
        yield still[None]


def _overlaid(chunks: Iterator[Frames], fps: float, found: Found) -> Iterator[Frames]:
    """Pictures with the similarity of the moment over them, and how probable its best place is."""
    scale, times, seen = _scale(found), np.array([peak["time_s"] for peak in found.peaks]), 0
    order = np.argsort(times)
    for chunk in chunks:
        moments = (seen + np.arange(len(chunk))) / fps
        which = order[np.abs(times[order][:, None] - moments).argmin(0)]
        seen += len(chunk)
        maps = np.stack([found.heat[i] if found.heard[i] else np.full_like(found.heat[i], scale[0]) for i in which])
        texts = [f"{found.clear[i][0]:.0%}" if found.heard[i] else "silent" for i in which]
        height, width = (side - side % 2 for side in chunk.shape[1:3])
        yield from picture.labelled(_over(chunk, maps, scale, found)[:, :height, :width], texts)
