"""AVA-ActiveSpeaker: faces in films, marked many times a second as speaking or not.

    SOURCE/**/{train,val,test}/<video>-activespeaker.csv      as published, one a video, without column names, or
    SOURCE/**/{train,val,test}*.csv                           all videos of a split, with column names
    SOURCE/**/<video>.mp4 (.mkv, .webm, ...)                  the films; times count from their start

Columns are video_id, frame_timestamp, entity_box_x1, _y1, _x2, _y2 (shares of width and height), label, entity_id, and
may go on. `items` are the stretches of one face without a change of label. Only SPEAKING_AUDIBLE counts as speaking, as
in the official measure. What is seen of a stretch is the whole picture, of which the label describes one face: its box,
the median one, is the `truth` of the sample; with `--set faces=face` (or mouth) that face is cut out along its boxes.
`tracks` are what an active speaker is measured on.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from sslkit.data.layouts.base import VIDEOS, FaceTrack, Item, files, folder, problems, wrong
from sslkit.data.settings import PrepareSettings

OPTIONS: tuple[str, ...] = ()
_SPLITS = ("train", "val", "test")
_SPEAKS = "SPEAKING_AUDIBLE"
_ENDING = "-activespeaker"
# Marks are at least 20 a second: where they are further apart the face was not seen.
_PAUSE_S = 0.2

_Mark = tuple[str, str, float, list[float], str]
"""Video, face, second, box, label."""


def items(source: str, settings: PrepareSettings) -> Iterator[Item]:
    """Stretches of equal label, face by face. Raises UserError without lists, or when all films are missing."""
    root, films, marked = _read(source)
    listed = [
        _item(root, films, split, stretch, number)
        for split, marks in marked
        for number, stretch in enumerate(part for face in _faces(marks) for part in _stretches(face))
    ]
    if all(item.problem for item in listed):
        raise wrong("ava_activespeaker", root, "films like <video>.mp4 that the lists name")
    return iter(listed)


def tracks(source: str, split: str = "val") -> list[FaceTrack]:
    """The marked faces of a split whose films are there. Raises UserError as `items` does."""
    root, films, marked = _read(source)
    found = [
        _track(films[face[0][0]], split, face)
        for this, marks in marked
        if this == split
        for face in _faces(marks)
        if face[0][0] in films
    ]
    if not found:
        raise wrong("ava_activespeaker", root, f"a list of {split} and its films")
    return found


def _track(film: Path, split: str, face: Sequence[_Mark]) -> FaceTrack:
    return FaceTrack(
        video=film,
        name=face[0][1],
        split=split,
        time_s=np.array([time_s for _, _, time_s, _, _ in face]),
        boxes=np.array([box for _, _, _, box, _ in face]),
        speaks=np.array([label == _SPEAKS for *_, label in face]),
        relative=True,
    )


def _read(source: str) -> tuple[Path, dict[str, Path], list[tuple[str, list[_Mark]]]]:
    """The folder, its films by name, and the marks of each list with their split."""
    root = folder(source, "ava_activespeaker", "a folder with lists of marked faces and films")
    paths = list(files(root))
    lists = [(split, path) for path in paths if path.suffix == ".csv" and (split := _split(root, path))]
    if not lists:
        raise wrong("ava_activespeaker", root, f"lists like train/<video>{_ENDING}.csv")
    films = {path.stem: path for path in paths if path.suffix.lower() in VIDEOS}
    return root, films, [(split, _marks(path)) for split, path in lists]


def _split(root: Path, path: Path) -> str | None:
    if path.stem.endswith(_ENDING):
        return next((part for part in path.relative_to(root).parts[-2::-1] if part in _SPLITS), None)
    return next((split for split in _SPLITS if path.stem.partition("_")[0] == split), None)


def _marks(path: Path) -> list[_Mark]:
    found, bad = [], []
    with path.open(newline="", encoding="utf-8-sig") as file:
        for number, row in enumerate(csv.reader(file), start=1):
            if not row or (number == 1 and row[0] == "video_id"):
                continue
            try:
                time_s, *box = (float(value) for value in row[1:6])
                found.append((row[0], row[7], time_s, box, row[6]))
            except (IndexError, ValueError):
                bad.append(f"line {number}: it is not `video,second,x1,y1,x2,y2,label,face`")
    if bad:
        raise problems("ava_activespeaker", path, bad)
    return found


def _faces(marks: Sequence[_Mark]) -> list[list[_Mark]]:
    """Marks in order, face by face, a face again where it was not seen for a while."""
    ordered = sorted(marks, key=lambda mark: (mark[0], mark[1], mark[2]))
    found: list[list[_Mark]] = []
    for mark in ordered:
        last = found[-1][-1] if found else None
        if last and last[:2] == mark[:2] and mark[2] - last[2] <= _PAUSE_S:
            found[-1].append(mark)
        else:
            found.append([mark])
    return found


def _stretches(face: Sequence[_Mark]) -> Iterator[list[_Mark]]:
    for _, stretch in groupby(face, key=lambda mark: mark[4]):
        marks = list(stretch)
        if len(marks) > 1:
            yield marks


def _item(root: Path, films: dict[str, Path], split: str, marks: Sequence[_Mark], number: int) -> Item:
    video, face, start_s, _, label = marks[0]
    film = films.get(video)
    return Item(
        source=video if film is None else str(film.relative_to(root)),
        split=split,
        group=video,
        key=f"{video}-{number}",
        path=film,
        label_name=label,
        start_s=start_s,
        end_s=marks[-1][2],
        problem=None if film is not None else "the film is missing",
        truth={"face": face, "box": np.median([box for _, _, _, box, _ in marks], 0).round(4).tolist()},
        marked=None if film is None else _track(film, split, marks),
    )
