"""AVA-ActiveSpeaker: faces in films, marked many times a second as speaking or not.

    SOURCE/**/ava_activespeaker_{train,val,test}_v1.0/<video>-activespeaker.csv     as published, one a video, or
    SOURCE/**/{train,val,test}/<video>-activespeaker.csv                            the same in folders of your own, or
    SOURCE/**/{train,val}*.csv                                                      all videos, with column names
    SOURCE/**/<video>.mp4 (.mkv, .webm, ...)                                        films; times count from their start

Columns are video_id, frame_timestamp, entity_box_x1, _y1, _x2, _y2 (shares of width and height), label, entity_id, and
may go on. Lists of all videos are those that begin with these names, like train_orig.csv and val_orig.csv of
TaoRuijie/TalkNet-ASD, whose *_loader.csv say something else. The published list of val unpacks to a folder
ava_activespeaker_test_v1.0, which is val here as in public code (IntelLabs/GraVi-T, merge_ava_activespeaker.py). Labels
of the real test set are not published; test_orig.csv of TalkNet says SPEAKING_AUDIBLE throughout (its issues 11 and 30)
and is passed over.

`items` are the stretches of one face without a change of label. Of the three labels only SPEAKING_AUDIBLE counts as
speaking, as in the official measure. What is seen of a stretch is the whole picture, of which the label describes one
face: its box, the median one, is the `truth` of the sample; with `--set faces=face` (or mouth) that face is cut out
along its boxes. `tracks` are what an active speaker is measured on.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from sslkit.data.layouts.base import VIDEOS, FaceTrack, Item, files, folder, problems, wrong
from sslkit.data.settings import PrepareSettings
from sslkit.errors import UserError

OPTIONS: tuple[str, ...] = ()
_FOLDERS = {
    "train": "train",
    "val": "val",
    "test": "test",
    "ava_activespeaker_train_v1.0": "train",
    "ava_activespeaker_val_v1.0": "val",
    "ava_activespeaker_test_v1.0": "val",  # what the archive of val unpacks to
}
_MERGED = ("train", "val")
_COLUMNS = "video_id,frame_timestamp,entity_box_x1,entity_box_y1,entity_box_x2,entity_box_y2,label,entity_id"
_SPEAKS = "SPEAKING_AUDIBLE"
_LABELS = ("NOT_SPEAKING", _SPEAKS, "SPEAKING_NOT_AUDIBLE")
_ENDING = "-activespeaker"
# Marks are at least 20 a second: where they are further apart the face was not seen.
_PAUSE_S = 0.2
# What a single mark stands for: one picture at any rate of up to 33 a second.
_PICTURE_S = 0.03

_Mark = tuple[str, str, float, list[float], str]
"""Video, face, second, box, label."""


def items(source: str, settings: PrepareSettings) -> Iterator[Item]:
    """Stretches of equal label, face by face.

    Raises UserError without lists, for lists that cannot be used, and when all films are missing.
    """
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
    """The folder, its films by name, and the marks of each list with their split; no film is in two lists."""
    root = folder(source, "ava_activespeaker", "a folder with lists of marked faces and films")
    paths = list(files(root))
    lists = [(split, path) for path in paths if path.suffix == ".csv" and (split := _split(root, path))]
    if not lists:
        raise wrong("ava_activespeaker", root, f"lists like train/<video>{_ENDING}.csv or train_orig.csv")
    films = {path.stem: path for path in paths if path.suffix.lower() in VIDEOS}
    marked = {path: _marks(path) for _, path in lists}
    list_of: dict[str, Path] = {}
    for path, marks in marked.items():
        for video in dict.fromkeys(mark[0] for mark in marks):
            other = list_of.setdefault(video, path)
            if other != path:
                raise UserError(
                    f"The layout ava_activespeaker expects each film in one list, but {video} is in {other} and in "
                    f"{path}; remove one of the two."
                )
    return root, films, [(split, marked[path]) for split, path in lists]


def _split(root: Path, path: Path) -> str | None:
    if path.stem.endswith(_ENDING):
        return next((_FOLDERS[part] for part in path.relative_to(root).parts[-2::-1] if part in _FOLDERS), None)
    split = path.stem.partition("_")[0]
    return split if split in _MERGED and _is_merged(path) else None


def _is_merged(path: Path) -> bool:
    with path.open(encoding="utf-8-sig") as file:
        return file.readline(len(_COLUMNS)) == _COLUMNS


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
                continue
            if row[6] not in _LABELS:
                bad.append(f"line {number}: label {row[6]!r} is not {', '.join(_LABELS[:-1])} or {_LABELS[-1]}")
    if bad:
        raise problems("ava_activespeaker", path, bad)
    if not found:
        raise UserError(f"The layout ava_activespeaker expects one mark a line in {path}, but found none.")
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
    return (list(stretch) for _, stretch in groupby(face, key=lambda mark: mark[4]))


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
        end_s=max(marks[-1][2], start_s + _PICTURE_S),
        problem=None if film is not None else "the film is missing",
        truth={"face": face, "box": np.median([box for _, _, _, box, _ in marks], 0).round(4).tolist()},
        marked=None if film is None else _track(film, split, marks),
    )
