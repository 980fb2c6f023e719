"""What sounds like this picture, and what looks like this sound? The nearest samples of a dataset, in either sense.

Of a picture its sight is asked, of a sound file its sound, of a video what is not looked for: its sight finds sounds,
its sound finds sights, unless told otherwise. A query is one moment: a picture and the sound around it, as in the
evaluation (`sslkit.evals.senses`), whose vectors and distances these are. As there, nothing of its own source is found:
what was cut from a file of the query's name is left out. Of a source prepared data know no more than its name, and
media are stored in another form, so that a copy of another name is found like anything else.

Source: Arandjelovic and Zisserman, "Objects that Sound", ECCV 2018.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from sslkit.data import windows
from sslkit.data.dataset import Dataset, Sample, collate
from sslkit.data.layouts.base import SOUNDS, is_image
from sslkit.demos import footage
from sslkit.errors import UserError, WorkError
from sslkit.evals import retrieval, senses
from sslkit.evals.senses import Sense, Space
from sslkit.media import picture, read, write
from sslkit.ops.sound import level_db
from sslkit.ops.spectrum import MATCHING, log_spectrogram
from sslkit.report.picture import to_uint8
from sslkit.types import Panel, Reads, Result

Progress = Callable[[int, int, str], None]
OTHER: dict[Sense, Sense] = {"sight": "sound", "sound": "sight"}
_SILENT_DB = -70.0
_PLAYED_S = 2.0
_PLAYED_HZ = 16_000
_SIDE_PX = 128
_CAPTION = 24
_COLUMNS = 5


@dataclass(frozen=True)
class Gallery:
    """The samples of a dataset in one sense: vectors (N, D) of length 1, and the split and number of each."""

    sense: Sense
    vectors: torch.Tensor
    places: list[tuple[Dataset, int]]

    @classmethod
    def of(
        cls, space: Space, splits: Sequence[Dataset], sense: Sense, workers: int = 0, progress: Progress | None = None
    ) -> Gallery:
        """Of all splits that hold the sense. Raises UserError where no sample holds it."""
        parts, places = [], []
        for dataset in holding(splits, space.reads(sense)):
            found, numbers = senses.describe(space, dataset, (sense,), workers, progress)
            parts.append(found[sense])
            places += [(dataset, number) for number in numbers]
        return cls(sense, torch.cat(parts), places)


def holding(splits: Sequence[Dataset], reads: Reads) -> list[Dataset]:
    """Those splits with a sample that holds what is read. Raises UserError, about the first, where none does."""
    found = [one for one in splits if any(len(windows.possible_starts(entry, reads)) for entry in one.entries)]
    if not found:
        splits[0].usable(reads)
    return found


@dataclass(frozen=True)
class Query:
    """One moment of a file, and the sense that is asked. frame: (H, W, 3) uint8. sound: (N,) int16."""

    sense: Sense
    at_s: float
    frame: NDArray[np.uint8] | None
    sound: NDArray[np.int16] | None = None
    rate_hz: int = 16_000


def retrieve(
    path: Path,
    space: Space,
    gallery: Gallery,
    *,
    by: Sense | None = None,
    at_s: float | None = None,
    count: int = 9,
    short_side_px: int = 256,
    remove_borders: bool = True,
    players: bool = True,
) -> Result:
    """The nearest samples to a file: fields `by`, `to`, `at_s` and `neighbours`, and a panel of them.

    by: the sense that is asked. at_s: the moment; the middle without. short_side_px, remove_borders: as the data of the
    run were prepared. players: put sounds into the panel. What was cut from the file itself is left out, and a note
    says so. Raises WorkError for a file that does not hold the sense.
    """
    began = time.perf_counter()
    query = asked(path, space, by or _sense_of(path, gallery.sense), at_s, short_side_px, remove_borders)
    own = [row for row, (one, number) in enumerate(gallery.places) if _is_of(path, one.entries[number].source)]
    near = _nearest(query, space, gallery, count, own)
    neighbours = [_told(gallery, space, row, distance) for row, distance in near]
    return Result(
        name="retrieve",
        fields={
            "input": str(path),
            "by": query.sense,
            "to": gallery.sense,
            "at_s": round(query.at_s, 3),
            "neighbours": neighbours,
        },
        shown=[{"input": str(path), "by": query.sense, "to": gallery.sense} | _named(one) for one in neighbours],
        panels=[_panel(path, query, gallery, near, players)],
        notes=[f"{path}: what the data hold of a file of this name ({len(own)}) was left out."] if own else [],
        seconds=time.perf_counter() - began,
    )


def asked(
    path: Path, space: Space, sense: Sense, at_s: float | None, short_side_px: int, remove_borders: bool
) -> Query:
    """The moment of a file that is asked about, with its picture too where a video is asked by its sound."""
    if is_image(path):
        if sense == "sound":
            raise WorkError(f"{path} is a picture and has no sound: ask it by its sight (--by sight).")
        return Query("sight", 0.0, picture.scaled(read.image(path), short_side_px))
    about = read.probe(path)
    if not (about.has_video if sense == "sight" else about.has_sound):
        missing = "pictures" if sense == "sight" else "sound"
        raise WorkError(f"{path} has no {missing}: ask it by its {OTHER[sense]} (--by {OTHER[sense]}).")
    middle_s = about.duration_s / 2 if at_s is None else at_s
    if not 0 <= middle_s <= about.duration_s:
        raise WorkError(f"{path} has {about.duration_s:.1f} s, but its moment at {middle_s:g} s is asked for (--at).")
    frame = _frame(path, middle_s, short_side_px, remove_borders) if about.has_video else None
    sound = _sound(path, space, middle_s) if about.has_sound else None
    if sense == "sound" and float(level_db(torch.from_numpy(sound))) < _SILENT_DB:
        raise WorkError(f"{path} is silent at {middle_s:.1f} s: ask about another moment with --at.")
    return Query(sense, middle_s, frame, sound, space.task.trunks["sound"].takes.rate_hz)


def _sense_of(path: Path, to: Sense) -> Sense:
    """What is asked of a file by default."""
    if is_image(path):
        return "sight"
    return "sound" if path.suffix.lower() in SOUNDS else OTHER[to]


def _frame(path: Path, at_s: float, short_side_px: int, remove_borders: bool) -> NDArray[np.uint8]:
    about = read.probe(path)
    bars = footage.border(path, short_side_px) if remove_borders else footage.NO_BORDER
    start_s = max(0.0, min(at_s, about.duration_s - 1 / about.fps))
    shown = read.video(path, about.fps, None, start_s, start_s + 1 / about.fps).frames
    rows, columns = footage.inside(shown, bars)
    return picture.scaled(np.ascontiguousarray(shown[0, rows, columns]), short_side_px)


def _sound(path: Path, space: Space, at_s: float) -> NDArray[np.int16]:
    """The window of sound around a moment, moved to lie within the file; zeros where that is shorter."""
    takes = space.task.trunks["sound"].takes
    start_s = max(0.0, min(at_s - takes.sound_s / 2, read.probe(path).duration_s - takes.sound_s))
    return read.sound(path, takes.rate_hz, start_s, start_s + takes.sound_s)


def _is_of(path: Path, source: str) -> bool:
    """Whether a sample may have been cut from a file: its source is told as a path from some folder on."""
    told = [part for part in Path(source).parts if part != ".."]
    return bool(told) and any(list(full.parts[-len(told) :]) == told for full in (path.absolute(), path.resolve()))


def _nearest(query: Query, space: Space, gallery: Gallery, count: int, own: Sequence[int]) -> list[tuple[int, float]]:
    """Rows of the gallery but `own`, nearest first, and their distances."""
    held: dict[str, Any] = {}
    if query.sense == "sight":
        if space.task.trunks["sight"].takes.frames != 1:
            raise UserError("The network takes clips, not pictures: files can be looked for with single pictures only.")
        assert query.frame is not None
        held["frames"] = query.frame[None, None]
    else:
        assert query.sound is not None
        held["sound"] = query.sound[None]
    batch = collate([Sample(0, -1, [0.0], **held)]).to(space.device)
    apart = torch.cdist(space.vectors(query.sense, batch).double(), gallery.vectors.double())[0]
    apart[list(own)] = torch.inf
    found = apart.topk(min(count, len(apart) - len(own)), largest=False)
    return list(zip(found.indices.tolist(), found.values.tolist(), strict=True))


def _told(gallery: Gallery, space: Space, row: int, distance: float) -> dict[str, Any]:
    dataset, number = gallery.places[row]
    entry = dataset.entries[number]
    start_s = dataset.windows(number, space.reads(gallery.sense), None)[0]
    return {
        "source": entry.source,
        "split": dataset.split,
        "start_s": round(entry.start_s + start_s, 3),
        "label": entry.label_name,
        "tags": list(entry.tags),
        "distance": round(distance, 4),
    }


def _named(neighbour: dict[str, Any]) -> dict[str, Any]:
    """What a terminal shows of a neighbour."""
    return {key: neighbour[key] for key in ("distance", "source", "split", "start_s", "label")}


def _panel(path: Path, query: Query, gallery: Gallery, near: Sequence[tuple[int, float]], players: bool) -> Panel:
    """The query first, then what it found; without labels captions name the sources."""
    panel = Panel(
        title=f"{path.name}: its {query.sense} finds {gallery.sense}s",
        pictures=[_square(query)],
        captions=[path.stem[:_CAPTION]],
        note=f"First what was asked, at {query.at_s:.1f} s, then the nearest with their distances.",
        columns=_COLUMNS,
        sounds=[write.flac(query.sound, query.rate_hz) if players and query.sound is not None else None],
    )
    for row, distance in near:
        dataset, number = gallery.places[row]
        entry = dataset.entries[number]
        sound = _stored(dataset, number) if entry.has("sound") else None
        panel.pictures.append(retrieval.picture(dataset, number) if entry.has("frames") else _drawn(sound))
        panel.captions.append(f"{distance:.2f} {retrieval.called(dataset, entry.label, number)}")
        panel.sounds.append(write.flac(sound, _PLAYED_HZ) if players and sound is not None else None)
    return panel


def _stored(dataset: Dataset, number: int) -> NDArray[np.int16]:
    """Two seconds from the middle of a sample's sound."""
    sound = read.sound(dataset.member(number, "flac"), _PLAYED_HZ)
    first = max(0, (len(sound) - round(_PLAYED_S * _PLAYED_HZ)) // 2)
    return sound[first : first + round(_PLAYED_S * _PLAYED_HZ)]


def _square(query: Query) -> NDArray[np.uint8]:
    """The central square of the query's picture; of a sound without one its spectrogram."""
    if query.frame is None:
        return _drawn(query.sound)
    height, width = query.frame.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return picture.fitted(np.ascontiguousarray(query.frame[top : top + side, left : left + side]), _SIDE_PX, _SIDE_PX)


def _drawn(sound: NDArray[np.int16] | None) -> NDArray[np.uint8]:
    """The mel spectrogram of a sound, high above low, light is loud."""
    heard = np.zeros(0, np.int16) if sound is None else sound
    waveform = torch.from_numpy(np.pad(heard, (0, max(0, MATCHING.n_fft - len(heard)))))
    level = log_spectrogram(waveform, MATCHING).flip(0)
    shown = F.interpolate(level[None, None], (_SIDE_PX, _SIDE_PX))[0]
    return to_uint8(shown, float(level.min()), float(level.max()))
