"""VGGSound: ten seconds of a video each, with what is seen to make the sound.

    SOURCE/vggsound.csv                         lines YTID, start_s, label, train|test; no column names
    SOURCE/**/<YTID>_<start>.mp4                start with six digits (000030), or written as `audioset` says, or
    SOURCE/**/<YTID>.*                          a whole video, from which the ten seconds are cut

Of a video and a sound of one name the video is taken. Videos disappear: `max_skipped` must allow for those that are
missing.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator

from sslkit.data.layouts.base import Item, by_stem, folder, listed_clip, problems, wrong
from sslkit.data.settings import PrepareSettings

OPTIONS: tuple[str, ...] = ()
_CLIP_S = 10.0


def items(source: str, settings: PrepareSettings) -> Iterator[Item]:
    """Every line of the list. Raises UserError without it, or when none of the clips is there."""
    root = folder(source, "vggsound", "a folder with vggsound.csv and clips")
    path = root / "vggsound.csv"
    if not path.is_file():
        raise wrong("vggsound", root, "vggsound.csv")
    found = by_stem(root)
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
            times = (start_s, start_s + _CLIP_S)
            chosen.append(listed_clip(root, found, video, times, split, f"{video}_{start_s:06g}", label))
    if bad:
        raise problems("vggsound", path, bad)
    if all(item.problem for item in chosen):
        raise wrong("vggsound", root, "clips like <YTID>_000030.mp4 that the list names")
    return iter(chosen)
