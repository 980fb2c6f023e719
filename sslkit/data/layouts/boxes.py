"""Boxes around what sounds in videos: a CSV file with the columns file, start_s, end_s, left, top, right and bottom.

SOURCE is the CSV file; its file names are relative to it. Boxes are in pixels of the file as it is shown, black bars
included, and hold from start_s to end_s, or, where both are empty, for the whole file. Lines of the same file and times
are one clip in which several things sound. Optional columns: split (train, val or test, without it test) and label;
a clip has a label where its boxes have one, and all of theirs as tags. Further columns are ignored. Videos disappear:
`max_skipped` must allow for those that are missing.

Boxes are the `truth` of a sample, in the form of the toybox: `size` of the file, one frame of `boxes`, [thing, left,
top, right, bottom] each, and `sounds`, each of which is heard all the time. `border` tells what was cut off.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sslkit.data.layouts.base import SOUNDS, Item, is_image, listed, problems
from sslkit.data.settings import PrepareSettings
from sslkit.errors import UserError, WorkError
from sslkit.media import read

OPTIONS: tuple[str, ...] = ()
_SIDES = ("left", "top", "right", "bottom")
_COLUMNS = ("file", "start_s", "end_s", *_SIDES)
_ALWAYS_S = 1e6
_Clip = tuple[str, str, float | None, float | None]


@dataclass(frozen=True)
class _Line:
    """One box of the list. number: of its line."""

    number: int
    file: str
    split: str
    start_s: float | None
    end_s: float | None
    box: tuple[float, ...]
    label: str

    @property
    def clip(self) -> _Clip:
        """What lines of one clip have in common."""
        return self.file, self.split, self.start_s, self.end_s


def items(source: str, settings: PrepareSettings) -> Iterator[Item]:
    """Every clip, in the order of the list. Raises UserError with all bad lines at once, and when no file is there."""
    path = Path(source)
    if settings.stabilise or settings.faces != "none":
        raise UserError("The layout boxes needs pictures in which things are where they were: no stabilise, no faces.")
    lines = [_line(number, row) for number, row in listed(path, "boxes", _COLUMNS, "box", _reasons)]
    clips: dict[_Clip, list[_Line]] = {}
    for line in lines:
        clips.setdefault(line.clip, []).append(line)
    files = {line.file: path.parent / line.file for line in lines}
    known = {name: _probed(file) for name, file in files.items() if file.is_file()}
    if not known:
        raise UserError(
            f"The layout boxes expects videos beside {path}, but none of the {len(files)} it names is there."
        )
    bad = [f"line {line.number}: {why}" for line in lines for why in _outside(line, known.get(line.file))]
    if bad:
        raise problems("boxes", path, bad)
    return (_item(path.parent, of_clip, known) for of_clip in clips.values())


def _line(number: int, row: dict[str, str]) -> _Line:
    start_s, end_s = (float(row[name]) if row[name].strip() else None for name in ("start_s", "end_s"))
    box = tuple(float(row[side]) for side in _SIDES)
    return _Line(number, row["file"], _split(row), start_s, end_s, box, (row.get("label") or "").strip())


def _split(row: dict[str, str]) -> str:
    return (row.get("split") or "").strip() or "test"


def _reasons(row: dict[str, str]) -> Iterator[str]:
    """What is wrong with a line, whatever its file holds."""
    name = Path(row["file"])
    if is_image(name) or name.suffix.lower() in SOUNDS:
        yield f"{row['file']!r} is no video"
    if _split(row) not in ("train", "val", "test"):
        yield f"split {row['split']!r} is not train, val or test"
    times = row["start_s"].strip(), row["end_s"].strip()
    if times != ("", "") and not _rise(*times):
        yield f"start_s {times[0]!r} and end_s {times[1]!r} are no segment"
    left, top, right, bottom = (row[side].strip() for side in _SIDES)
    if not (_rise(left, right, least=1, from_0=False) and _rise(top, bottom, least=1, from_0=False)):
        yield f"{left}, {top}, {right}, {bottom} is no box of at least a pixel: left, top, right, bottom in pixels"


def _rise(first: str, last: str, least: float = 0.0, from_0: bool = True) -> bool:
    """Whether two numbers are in order, by more than nothing and at least by `least`."""
    try:
        low, high = float(first), float(last)
    except ValueError:
        return False
    return (
        math.isfinite(low) and math.isfinite(high) and low < high and high - low >= least and not (from_0 and low < 0)
    )


def _probed(file: Path) -> read.Probe | None:
    """What a file holds; None where it cannot be read, which is told when it is prepared."""
    try:
        return read.probe(file)
    except WorkError:
        return None


def _outside(line: _Line, about: read.Probe | None) -> Iterator[str]:
    """That a box has nothing of the picture in it."""
    left, top, right, bottom = line.box
    if about is not None and about.has_video and not (left < about.width and top < about.height and right > 0 < bottom):
        yield f"the box lies outside of the picture, which is {about.width} pixels wide and {about.height} high"


def _item(root: Path, lines: Sequence[_Line], known: dict[str, read.Probe | None]) -> Item:
    first = lines[0]
    about, labels = known.get(first.file), tuple(dict.fromkeys(line.label for line in lines if line.label))
    missing = None if first.file in known else "the file is missing"
    return Item(
        source=first.file,
        split=first.split,
        group=first.file,
        key=f"{Path(first.file).stem}-{first.number}",
        path=root / first.file,
        label_name=labels[0] if len(labels) == 1 else None,
        start_s=first.start_s,
        end_s=first.end_s,
        problem="it has no sound" if about is not None and not about.has_sound else missing,
        tags=labels,
        truth=None if about is None else _truth([line.box for line in lines], about),
    )


def _truth(boxes: Sequence[tuple[float, ...]], about: read.Probe) -> dict[str, Any]:
    sound = {"kind": "marked", "time_s": 0.0, "end_s": _ALWAYS_S, "level": 1.0}
    return {
        "size": [about.width, about.height],
        "fps": 1.0,
        "boxes": [[[number, *box] for number, box in enumerate(boxes)]],
        "sounds": [{**sound, "object": number} for number in range(len(boxes))],
    }
