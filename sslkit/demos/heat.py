"""Maps of what sounds, drawn: a sheet of the clearest moments, and the video with its maps over it.

Source of the colours of av_sync: Owens and Efros, "Audio-Visual Scene Analysis with Self-Supervised Multisensory
Features", ECCV 2018, as released.
Departures: colours lie between the median and the 99.5th percentile of a file, up to 65 % opaque, for every method,
so that they can be compared; there between half the 97th percentile and all of it, up to 35 % opaque.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslkit.demos import footage
from sslkit.demos.footage import Border, Frames
from sslkit.demos.scene import Scene, pieces, up_to
from sslkit.media import picture as stills
from sslkit.media import read, write
from sslkit.report import picture

Progress = Callable[[int, int, str], None]

_SOUND_HZ = 48_000
_SHOWN = 6
_STILL_FPS = 5.0
_DRAWN_FRAMES = 8
_AROUND_S = 0.25


@dataclass
class Found:
    """Maps of a whole file, one after the other.

    border: black bars of the pictures, which the maps leave out. size_px: width and height of the pictures. heat,
    evidence: (h, w) float16 each, which is exact enough to be shown. peaks: the best place of each: `time_s` of the
    middle, `peak_xy` in pixels of the file's pictures, its similarity `score`, and `evidence`. clear: the highest
    evidence and similarity of each. heard: whether there is any sound then. judges: whether the evidence says how
    probable a place is; else none is told.
    """

    border: Border
    size_px: tuple[int, int]
    judges: bool = True
    heat: list[NDArray[np.float16]] = field(default_factory=list)
    evidence: list[NDArray[np.float16]] = field(default_factory=list)
    peaks: list[dict[str, Any]] = field(default_factory=list)
    clear: list[tuple[float, float]] = field(default_factory=list)
    heard: list[bool] = field(default_factory=list)

    def add(self, time_s: float, heat: NDArray[np.float32], evidence: NDArray[np.float32], heard: bool) -> None:
        """Keep the maps (h, w) of a moment."""
        self.peaks.append(self._peak(time_s, heat, evidence))
        self.clear.append((float(evidence.max()), float(heat.max())))
        self.heat.append(heat.astype(np.float16))
        self.evidence.append(evidence.astype(np.float16))
        self.heard.append(heard)

    def _peak(self, time_s: float, heat: NDArray[np.float32], evidence: NDArray[np.float32]) -> dict[str, Any]:
        (width, height), (top, bottom, left, right) = self.size_px, self.border
        row, column = np.unravel_index(int(heat.argmax()), heat.shape)
        x = left + (1 - left - right) * (column + 0.5) / heat.shape[1]
        y = top + (1 - top - bottom) * (row + 0.5) / heat.shape[0]
        return {
            "time_s": round(time_s, 3),
            "peak_xy": [round(float(x * width), 1), round(float(y * height), 1)],
            "score": round(float(heat[row, column]), 4),
            "evidence": round(float(evidence[row, column]), 4) if self.judges else None,
        }

    def sure(self, number: int) -> str:
        """How probable the best place of a moment is, in words."""
        return f"{self.clear[number][0]:.0%}" if self.judges else ""

    def best(self) -> list[int]:
        """The maps with a sound, the clearest first."""
        return sorted((i for i, heard in enumerate(self.heard) if heard), key=self.clear.__getitem__, reverse=True)


def tell(progress: Progress | None, done_s: float, total_s: float, text: str) -> None:
    """Show how many seconds of a file are done, where that is wanted."""
    if progress is not None:
        progress(round(done_s), round(total_s), f"{text}, s")


def draw(target: Path, scene: Scene, found: Found, best: list[int]) -> None:
    """One column a moment: the picture, its similarity in the scale of the file, its evidence in the fixed one.

    Of a method that cannot say how probable a place is, the latter is the similarity in the scale of the moment.
    """
    chosen = sorted(best[:_SHOWN])
    pictures, captions = [], []
    scale = _scale(found)
    shown = [_picture_at(scene, found, number) for number in chosen]
    fixed = "evidence 0 to 1" if found.judges else "of its moment"
    views = (("", None, None), ("similarity", found.heat, scale), (fixed, found.evidence, (0.0, 1.0)))
    for title, maps, limits in views:
        for number, still in zip(chosen, shown, strict=True):
            drawn = (
                still if maps is None or limits is None else _over(still[None], maps[number][None], limits, found)[0]
            )
            pictures.append(drawn)
            captions.append(title or f"{found.peaks[number]['time_s']:.2f} s {found.sure(number)}")
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


def write_overlay(target: Path, scene: Scene, found: Found, progress: Progress | None) -> None:
    """The video, or the picture for as long as its sound lasts, with its maps and its sound."""
    if scene.still:
        fps, chunks = _STILL_FPS, _repeated(scene)
    else:
        fps = read.probe(scene.sight).fps
        chunks = read.video_chunks(scene.sight, fps, chunk_frames=_DRAWN_FRAMES)
    sound, total_s = pieces(scene, _SOUND_HZ), scene.seconds
    if scene.still or scene.sight != scene.sound:
        sound = up_to(sound, round(total_s * _SOUND_HZ))
    shown = _overlaid(_counted(chunks, fps, total_s, f"{scene.sight.name}: overlay", progress), fps, found)
    write.video(target, shown, fps, sound=sound, rate_hz=_SOUND_HZ)


def _counted(
    chunks: Iterator[Frames], fps: float, total_s: float, text: str, progress: Progress | None
) -> Iterator[Frames]:
    done = 0
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        tell(progress, done / fps, total_s, text)


def _repeated(scene: Scene) -> Iterator[Frames]:
    still = read.image(scene.sight)
    for _ in range(max(1, int(scene.seconds * _STILL_FPS))):
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
        texts = [found.sure(i) if found.heard[i] else "silent" for i in which]
        height, width = (side - side % 2 for side in chunk.shape[1:3])
        yield from picture.labelled(_over(chunk, maps, scale, found)[:, :height, :width], texts)
