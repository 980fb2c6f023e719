"""AudioSet: ten seconds of a video on the net each, tagged with what is heard in it.

    SOURCE/{balanced_train,unbalanced_train,eval}_segments.csv     # comments, then YTID, start_s, end_s, "tag,tag"
    SOURCE/class_labels_indices.csv                                index, mid, display_name; without it tags stay ids
    SOURCE/**/<YTID>.*                                             a whole video, from which the segment is cut, or
    SOURCE/**/<YTID>_<start>[_<end>].*                             the segment

Train lists are train, the eval list is test. A sample keeps all of its tags; it has a label only where it has one tag.
How a file of a segment is named depends on the program that fetched it: times in seconds (`_30`, `_30.000`, `_000030`)
and in milliseconds (`_30000`) are understood. Of a video and a sound of one name the video is taken. Videos disappear:
`max_skipped` must allow for those that are missing.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from sslkit.data.layouts.base import Item, by_stem, folder, listed_clip, problems, wrong
from sslkit.data.settings import PrepareSettings

OPTIONS: tuple[str, ...] = ()
_ENDING = "_segments.csv"


def items(source: str, settings: PrepareSettings) -> Iterator[Item]:
    """Every segment of every list. Raises UserError without lists, or when none of the segments is there."""
    root = folder(source, "audioset", f"a folder with lists like eval{_ENDING} and media")
    lists = sorted(root.glob(f"*{_ENDING}"))
    if not lists:
        raise wrong("audioset", root, f"lists like balanced_train{_ENDING}")
    found = by_stem(root)
    names = _names(root / "class_labels_indices.csv")
    listed = [item for path in lists for item in _listed(root, path, found, names)]
    if all(item.problem for item in listed):
        raise wrong("audioset", root, "media like <YTID>.mp4 or <YTID>_30.mp4 that the lists name")
    return iter(listed)


def _names(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        return {row["mid"]: row["display_name"] for row in csv.DictReader(file)}


def _listed(root: Path, path: Path, found: Mapping[str, Path], names: Mapping[str, str]) -> list[Item]:
    split = "test" if path.name.startswith("eval") else "train"
    chosen, bad = [], []
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file, skipinitialspace=True)
        for row in rows:
            if not row or row[0].startswith("#"):
                continue
            try:
                video, times, mids = row[0], (float(row[1]), float(row[2])), row[3].split(",")
            except (IndexError, ValueError):
                bad.append(f"line {rows.line_num}: it is not `YTID, start, end, tags`")
                continue
            tags = tuple(names.get(mid, mid) for mid in mids)
            label = tags[0] if len(tags) == 1 else None
            chosen.append(listed_clip(root, found, video, times, split, f"{video}_{times[0]:g}", label, tags))
    if bad:
        raise problems("audioset", path, bad)
    return chosen
