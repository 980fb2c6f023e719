"""VGGSound: ten seconds of a video each, with what is seen to make the sound.

    SOURCE/vggsound.csv                         lines YTID, start_s, label, train|test; no column names
    SOURCE/**/<YTID>_<start>.mp4                start with six digits (000030), or written as `audioset` says, or
    SOURCE/**/<YTID>.*                          a whole video, from which the ten seconds are cut

Videos disappear: `max_skipped` must allow for those that are missing.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from sslkit.data.layouts.base import Item, clip_of, folder, is_image, media_files, problems, wrong
from sslkit.data.settings import PrepareSettings

OPTIONS: tuple[str, ...] = ()
_CLIP_S = 10.0


def items(source: str, settings: PrepareSettings) -> Iterator[Item]:
    """Every line of the list. Raises UserError without it, or when none of the clips is there."""
    root = folder(source, "vggsound", "a folder with vggsound.csv and clips")
    path = root / "vggsound.csv"
    if not path.is_file():
        raise wrong("vggsound", root, "vggsound.csv")
    found = {file.stem: file for file in media_files(root) if not is_image(file)}
    chosen, bad = [], []
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        for row in rows:
            try:
                video, start_s, label, split = row[0], float(row[1]), row[2], row[3].strip()
            except (IndexError, ValueError):
                bad.append(f"line {rows.line_num}: it is not `YTID,start,label,split`")
                continue
            if split not in ("train", "test"):
                bad.append(f"line {rows.line_num}: split {split!r} is not train or test")
                continue
            chosen.append(_item(root, video, start_s, label, split, found))
    if bad:
        raise problems("vggsound", path, bad)
    if all(item.problem for item in chosen):
        raise wrong("vggsound", root, "clips like <YTID>_000030.mp4 that the list names")
    return iter(chosen)


def _item(root: Path, video: str, start_s: float, label: str, split: str, found: Mapping[str, Path]) -> Item:
    cut = clip_of(found, video, start_s, start_s + _CLIP_S)
    path = cut or found.get(video)
    key = f"{video}_{start_s:06g}"
    return Item(
        source=key if path is None else str(path.relative_to(root)),
        split=split,
        group=video,
        key=key,
        path=path,
        label_name=label,
        start_s=None if cut else start_s,
        end_s=None if cut else start_s + _CLIP_S,
        problem=None if path is not None else "the file is missing",
    )
