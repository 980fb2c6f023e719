"""ESC-50: 2000 sounds of 5 s in 50 classes, in five folds; or its subset of 10 classes (`esc10`).

    SOURCE/meta/esc50.csv     columns filename, fold, category, esc10, src_file (and target, take)
    SOURCE/audio/<fold>-<recording>-<take>-<class>.wav

Fold `fold` is test and the others are train; every sample keeps the number of its fold, so that all five can be tested
in turn. Sounds cut from one recording share a fold: the folds are taken as published, never drawn anew.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from sslkit.data.layouts.base import Item, folder, problems, wrong
from sslkit.data.settings import PrepareSettings
from sslkit.errors import UserError

OPTIONS: tuple[str, ...] = ("fold", "esc10")
_COLUMNS = {"filename", "fold", "category", "esc10", "src_file"}


def items(source: str, settings: PrepareSettings) -> Iterator[Item]:
    """Every listed sound. Raises UserError when the list or all of the sounds are missing."""
    root = folder(source, "esc50", "a folder with meta/esc50.csv and audio/")
    path = root / "meta" / "esc50.csv"
    if not path.is_file():
        raise wrong("esc50", root, "meta/esc50.csv")
    listed = _listed(root, path, settings)
    if all(item.problem for item in listed):
        raise wrong("esc50", root, "sounds like audio/1-100032-A-0.wav")
    if settings.fold not in {item.fold for item in listed}:
        raise UserError(f"{path} has no fold {settings.fold}: give --fold 1 to --fold 5.")
    return iter(listed)


def _listed(root: Path, path: Path, settings: PrepareSettings) -> list[Item]:
    chosen, bad = [], []
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if not set(rows.fieldnames or ()) >= _COLUMNS:
            raise UserError(f"The layout esc50 expects the columns {', '.join(sorted(_COLUMNS))} in {path}.")
        for row in rows:
            if not row["filename"] or not str(row["fold"]).isdecimal():
                bad.append(f"line {rows.line_num}: it names no file, or no fold")
            elif not settings.esc10 or row["esc10"] == "True":
                chosen.append(_item(root, row, settings.fold))
    if bad:
        raise problems("esc50", path, bad)
    if not chosen:
        raise UserError(f"The layout esc50 expects one sound a line in {path}, but found none.")
    return chosen


def _item(root: Path, row: dict[str, str], test: int) -> Item:
    name, fold = f"audio/{row['filename']}", int(row["fold"])
    path = root / "audio" / row["filename"]
    return Item(
        source=name,
        split="test" if fold == test else "train",
        group=row["src_file"] or name,
        key=path.stem,
        path=path,
        label_name=row["category"],
        problem=None if path.is_file() else "the file is missing",
        fold=fold,
    )
