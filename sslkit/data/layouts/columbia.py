"""Columbia: a panel of speakers in one film of 87 minutes, heads marked as speaking or not.

    SOURCE/**/*.mp4 (.mkv, ...)              the film: the only video there is
    SOURCE/**/fusion/<speaker>.txt           lines `<frame> <x> <y> <side> <0|1>`, 29.97 frames a second

Boxes are squares in pixels of the film, left and top first; frames count from 0. The format is that of the labels which
go with TaoRuijie/TalkNet-ASD (`col_labels`); the set itself has more, which is passed over. All of it is test. `items`
are the stretches of one head without a change of label, whose `truth` is the median box, and which `--set faces=face`
(or mouth) cuts out along its boxes; `tracks` are what an active speaker is measured on, one for each stretch of
neighbouring marks. Published averages leave the speaker abbas out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from sslkit.data.layouts.base import VIDEOS, FaceTrack, Item, files, folder, problems, wrong
from sslkit.data.settings import PrepareSettings

OPTIONS: tuple[str, ...] = ()
_FPS = 30_000 / 1001
_PAUSE_FRAMES = 5


def items(source: str, settings: PrepareSettings) -> Iterator[Item]:
    """Stretches of equal label, speaker by speaker. Raises UserError when labels or film are missing."""
    root = folder(source, "columbia", "a folder with the film and fusion/<speaker>.txt")
    for track in tracks(source):
        changes = np.flatnonzero(np.diff(track.speaks)) + 1
        for first, last in zip([0, *changes], [*changes, len(track.time_s)], strict=True):
            start_s = float(track.time_s[first])
            end_s = max(float(track.time_s[last - 1]), start_s + 1 / _FPS)  # one mark is of one picture
            yield Item(
                source=str(track.video.relative_to(root)),
                split="test",
                group=track.video.stem,
                key=f"{track.name}-{start_s:.2f}".replace(".", "_"),
                path=track.video,
                label_name="speaking" if track.speaks[first] else "silent",
                start_s=start_s,
                end_s=end_s,
                truth={"face": track.name, "box": np.median(track.boxes[first:last], 0).round(1).tolist()},
                marked=_part(track, first, last),
            )


def tracks(source: str, split: str = "test") -> list[FaceTrack]:
    """The marked heads. Raises UserError when labels or film are missing, and for another split than test."""
    root = folder(source, "columbia", "a folder with the film and fusion/<speaker>.txt")
    paths = list(files(root))
    labels = sorted(path for path in paths if path.suffix == ".txt" and path.parent.name == "fusion")
    films = [path for path in paths if path.suffix.lower() in VIDEOS]
    if not labels or len(films) != 1 or split != "test":
        raise wrong("columbia", root, "one film and labels like fusion/bell.txt, all of them test,")
    return [track for path in labels for track in _tracks(films[0], path)]


def _part(track: FaceTrack, first: int, last: int) -> FaceTrack:
    inside = slice(first, last)
    return replace(track, time_s=track.time_s[inside], boxes=track.boxes[inside], speaks=track.speaks[inside])


def _tracks(film: Path, path: Path) -> Iterator[FaceTrack]:
    marks, bad = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            frame, x, y, side, speaks = (int(value) for value in line.split())
            marks.append((frame, x, y, x + side, y + side, speaks))
        except ValueError:
            bad.append(f"line {number}: {line.strip()!r} is not `frame x y side 0|1`")
    if bad or not marks:
        raise problems("columbia", path, bad or ["it has no line at all"])
    found = np.array(sorted(marks))
    pauses = np.flatnonzero(np.diff(found[:, 0]) > _PAUSE_FRAMES) + 1
    for part in np.split(found, pauses):
        yield FaceTrack(film, path.stem, "test", part[:, 0] / _FPS, part[:, 1:5].astype(float), part[:, 5] > 0)
