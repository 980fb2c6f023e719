"""What every layout yields, and how layouts look at folders."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import UserError

VIDEOS = frozenset(
    {".mp4", ".mkv", ".avi", ".mov", ".webm", ".mpg", ".mpeg", ".m4v", ".wmv", ".flv", ".3gp", ".ogv", ".ts", ".mts"}
    | {".m2ts", ".vob"}
)
SOUNDS = frozenset({".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".wma"})
IMAGES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})
_MOST_TOLD = 20


@dataclass(frozen=True)
class Item:
    """One thing to prepare: a picture, a sound, a video, or a segment of one.

    source: its name for people, relative to SOURCE. group: all items of one source recording share it, and lie in one
    split. key: short name. path: its file, None for a synthetic `scene`. start_s, end_s: segment, None for all of it.
    problem: why it cannot be prepared at all (a listed file that is missing), None otherwise.
    fold: of an official cross-validation, from 1; None without one. tags: all that a sample is said to hold, where it
    may be more than one thing. heard: the file of the sound that belongs to a picture. truth: what else is known of it.
    marked: the face of its video that it is about, where people have marked it.
    """

    source: str
    split: str
    group: str
    key: str
    path: Path | None = None
    label_name: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    scene: Any = None
    problem: str | None = None
    fold: int | None = None
    tags: tuple[str, ...] = ()
    heard: Path | None = None
    truth: Mapping[str, Any] | None = None
    marked: FaceTrack | None = field(default=None, compare=False, repr=False)

    @property
    def still(self) -> bool:
        """Whether it is a single picture."""
        return bool(self.scene.still) if self.scene is not None else is_image(self.path or Path(self.source))

    @property
    def sound(self) -> bool:
        """Whether it is sound without pictures."""
        return self.scene is None and (self.path or Path(self.source)).suffix.lower() in SOUNDS


@dataclass(frozen=True)
class FaceTrack:
    """One face of a video, marked by people from moment to moment.

    time_s: (N,) of the marks, ascending. boxes: (N, 4) left, top, right, bottom, in pixels, or, where `relative`, in
    shares of the width and height. speaks: (N,) bool, whether this face is heard to speak.
    """

    video: Path
    name: str
    split: str
    time_s: NDArray[np.float64]
    boxes: NDArray[np.float64]
    speaks: NDArray[np.bool_]
    relative: bool = False

    def squares_at(
        self, at_s: NDArray[np.float64], size_px: tuple[int, int], film_px: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Squares (T, 4) around the middles of the boxes between the marks, as long as the mean of their sides.

        In pixels of pictures of `size_px` (width, height) of the film, whose own size is `film_px`.
        """
        scale = np.array(size_px) / (1.0 if self.relative else np.array(film_px))
        boxes = np.stack([np.interp(at_s, self.time_s, column) for column in self.boxes.T], 1) * np.tile(scale, 2)
        middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).mean(1, keepdims=True) / 2
        return np.concatenate([middle - half, middle + half], 1).astype(np.float32)


def is_image(path: Path) -> bool:
    """Whether the name is that of a picture."""
    return path.suffix.lower() in IMAGES


def is_media(path: Path) -> bool:
    """Whether the name is that of a picture, a video or a sound."""
    return path.suffix.lower() in VIDEOS | SOUNDS or is_image(path)


def folder(source: str, layout: str, expected: str) -> Path:
    """SOURCE as an existing folder. Raises UserError saying what was expected."""
    path = Path(source)
    if not path.is_dir():
        what = "a file" if path.exists() else "nothing"
        raise UserError(f"The layout {layout} expects {expected}, but there is {what} at {source}.")
    return path


def wrong(layout: str, path: Path, expected: str) -> UserError:
    """The error for a folder of another layout: what was expected, and what is there."""
    return UserError(f"The layout {layout} expects {expected} in {path}, but found {found(path)}.")


def found(path: Path) -> str:
    """What is in a folder, in a few words."""
    if not path.is_dir():
        return "no such folder"
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    names = [entry.name + "/" * entry.is_dir() for entry in entries]
    if not names:
        return "an empty folder"
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def media_files(root: Path) -> Iterator[Path]:
    """Pictures, videos and sounds anywhere below a folder, sorted by relative path; hidden ones are left out."""
    for path in files(root):
        if is_media(path):
            yield path


def by_stem(root: Path) -> dict[str, Path]:
    """Videos and sounds anywhere below a folder, by the stems of their names; one of each, as `one_of_each` says."""
    return one_of_each((path for path in media_files(root) if not is_image(path)), lambda path: path.stem)


def one_of_each(paths: Iterable[Path], name: Callable[[Path], str]) -> dict[str, Path]:
    """One file of each name: of a video and a sound of the same name the video, as its sound goes with it."""
    return {name(path): path for path in sorted(paths, key=lambda path: path.suffix.lower() in VIDEOS)}


def files(root: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Path]:
    """Files anywhere below a folder, sorted folder by folder; hidden ones are left out, links are followed.

    Raises UserError for a link to a folder that it lies in. above: identities of the folders that `root` lies in.
    """
    about = root.stat()
    here = (about.st_dev, about.st_ino)
    if here in above:
        raise UserError(f"{root} is a link to a folder that it lies in, so that there would be no end; remove it.")
    with os.scandir(root) as entries:
        visible = sorted((e for e in entries if not e.name.startswith(".")), key=lambda entry: entry.name)
    for entry in visible:
        # Unlike `entry.is_dir()`, a link that leads to itself is a file that cannot be read, and no failure.
        if os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir():
            yield from files(Path(entry.path), above | {here})
        else:
            yield Path(entry.path)


def listed(
    path: Path, layout: str, columns: Sequence[str], one: str, wrong_with: Callable[[dict[str, str]], Iterable[str]]
) -> list[tuple[int, dict[str, str]]]:
    """(number of the line, what it says by column) of each line of a CSV file that has these columns and maybe others.

    one: what a line is. wrong_with: what is wrong with a line that has all columns. Raises UserError for a file without
    them or without lines, and with its bad lines as `problems` tells them.
    """
    if not path.is_file():
        raise UserError(
            f"The layout {layout} expects a CSV file, but {path} is {'a folder' if path.exists() else 'missing'}."
        )
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if not set(columns) <= set(rows.fieldnames or ()):
            raise UserError(
                f"The layout {layout} expects the columns {', '.join(columns)} in {path}, but its first line is "
                f"{','.join(rows.fieldnames or ['empty'])!r}."
            )
        found = [(rows.line_num, row) for row in rows]
    if not found:
        raise UserError(f"The layout {layout} expects one {one} a line in {path}, but found only the column names.")
    bad = []
    for number, row in found:
        cut_short = any(row[name] is None for name in columns)
        reasons = ["it has too few columns"] if cut_short else wrong_with(row)
        bad += [f"line {number}: {reason}" for reason in reasons]
    if bad:
        raise problems(layout, path, bad)
    return found


def clip_of(found: Mapping[str, Path], video: str, start_s: float, end_s: float) -> Path | None:
    """The file of a clip that was cut from a video on the net: `<video>_<start>[_<end>]`, however times are written.

    found: files by stem. Times may be in seconds, filled up with zeros or with decimals, or in milliseconds; programs
    that fetch such lists do it in all of these ways. None where there is no such file.
    """
    times = [(f"{s:g}", f"{s:06g}", f"{s:.3f}", f"{1000 * s:.0f}") for s in (start_s, end_s)]
    names = [f"{video}_{start}{rest}" for start, end in zip(*times, strict=True) for rest in ("", f"_{end}")]
    return next((found[name] for name in names if name in found), None)


def listed_clip(
    root: Path,
    found: Mapping[str, Path],
    video: str,
    times: tuple[float, float],
    split: str,
    key: str,
    label_name: str | None,
    tags: tuple[str, ...] = (),
) -> Item:
    """A clip of a video on the net that a list names: the file of the clip, or else its part of the whole video.

    found: files by stem. times: start and end in seconds. Without either file the item has a problem.
    """
    cut = clip_of(found, video, *times)
    path = cut or found.get(video)
    return Item(
        source=key if path is None else str(path.relative_to(root)),
        split=split,
        group=video,
        key=key,
        path=path,
        label_name=label_name,
        start_s=None if cut else times[0],
        end_s=None if cut else times[1],
        problem=None if path is not None else "the file is missing",
        tags=tags,
    )


def said(path: Path) -> dict[str, str] | None:
    """The sentence of a clip of LRS2 or LRS3 as the `truth` of a sample, from its text file; None without the file."""
    if not path.is_file():
        return None
    first = next(iter(path.read_text(encoding="utf-8").splitlines()), "")
    return {"text": first.partition("Text:")[2].strip()}


def rank(name: str, seed: int) -> str:
    """A hash by which names are put into a random order that does not depend on the machine."""
    return blake2b(f"{seed}/{name}".encode(errors="surrogateescape"), digest_size=16).hexdigest()


def held_out(names: list[str], share: float, seed: int) -> set[str]:
    """The `share` of the names that go to val: chosen by hash, at least one of two or more unless the share is 0."""
    distinct = sorted(set(names), key=lambda name: rank(name, seed))
    wanted = max(round(share * len(distinct)), 1 if share > 0 and len(distinct) > 1 else 0)
    return set(distinct[:wanted])


def problems(layout: str, path: Path, lines: list[str]) -> UserError:
    """The error that reports the bad lines of an annotation file at once: how many they are, and the first of them."""
    plural = "line" if len(lines) == 1 else "lines"
    more = f"; and {len(lines) - _MOST_TOLD} more" if len(lines) > _MOST_TOLD else ""
    told = "; ".join(lines[:_MOST_TOLD])
    return UserError(f"The layout {layout} cannot use {len(lines)} {plural} of {path}: {told}{more}.")
