"""Kinetics (400, 600, 700): clips of ten seconds, named after the video and the seconds that they were cut from.

    SOURCE/*.csv or SOURCE/annotations/*.csv    columns label, youtube_id, time_start, time_end, split
    SOURCE/**/<youtube_id>_<start>_<end>.mp4    start and end with six digits, in any folders

Videos disappear: clips that are listed but missing count as skipped, so `max_skipped` must allow for them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from sslkit.data.layouts.base import Item, by_stem, folder, problems, wrong
from sslkit.data.settings import PrepareSettings

OPTIONS: tuple[str, ...] = ()
_COLUMNS = {"label", "youtube_id", "time_start", "time_end", "split"}
_SPLITS = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "test"}


def items(source: str, settings: PrepareSettings) -> Iterator[Item]:
    """Every row of every list. Raises UserError without lists, or when none of the clips is there."""
    root = folder(source, "kinetics", "a folder with lists (CSV) and clips")
    lists = [path for place in (root, root / "annotations") for path in sorted(place.glob("*.csv")) if _is_list(path)]
    if not lists:
        raise wrong("kinetics", root, f"a CSV file with the columns {', '.join(sorted(_COLUMNS))}")
    clips = by_stem(root)
    listed = [item for path in lists for item in _listed(root, path, clips)]
    if all(item.problem for item in listed):
        raise wrong("kinetics", root, "clips like <youtube_id>_000010_000020.mp4")
    return iter(listed)


def _is_list(path: Path) -> bool:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return set(csv.DictReader(file).fieldnames or ()) >= _COLUMNS


def _listed(root: Path, path: Path, clips: Mapping[str, Path]) -> list[Item]:
    chosen, bad = [], []
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        for row in rows:
            try:
                name = f"{row['youtube_id']}_{int(float(row['time_start'])):06d}_{int(float(row['time_end'])):06d}"
                split = _SPLITS[row["split"]]
            except (KeyError, TypeError, ValueError):
                bad.append(f"line {rows.line_num}: its times or its split cannot be read")
                continue
            video = clips.get(name)
            source = name if video is None else str(video.relative_to(root))
            problem = "the file is missing" if video is None else None
            label = row["label"] or None
            chosen.append(Item(source, split, row["youtube_id"], name, video, label, problem=problem))
    if bad:
        raise problems("kinetics", path, bad)
    return chosen
