"""Labelled segments of videos: a CSV file with the columns file, split, start_s, end_s and label.

SOURCE is the CSV file; its file names are relative to it. Splits are train, val and test. Both times empty: the whole
file. Label empty: none. Further columns are ignored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from sslkit.data.layouts.base import Item, listed
from sslkit.data.settings import PrepareSettings

OPTIONS: tuple[str, ...] = ()
_COLUMNS = ("file", "split", "start_s", "end_s", "label")


def items(source: str, settings: PrepareSettings) -> Iterator[Item]:
    """Every segment, in the order of the file. Raises UserError with all bad lines at once."""
    path = Path(source)
    rows = listed(path, "segments", _COLUMNS, "segment", partial(_reasons, path.parent))
    return (_item(path.parent, line, row) for line, row in rows)


def _item(root: Path, line: int, row: dict[str, str]) -> Item:
    start, end = row["start_s"].strip(), row["end_s"].strip()
    return Item(
        source=row["file"],
        split=row["split"],
        group=row["file"],
        key=f"{Path(row['file']).stem}-{line}",
        path=root / row["file"],
        label_name=row["label"].strip() or None,
        start_s=float(start) if start else None,
        end_s=float(end) if end else None,
    )


def _reasons(root: Path, row: dict[str, str]) -> Iterator[str]:
    if not (root / row["file"]).is_file():
        yield f"there is no file {row['file']!r}"
    if row["split"] not in ("train", "val", "test"):
        yield f"split {row['split']!r} is not train, val or test"
    times = row["start_s"].strip(), row["end_s"].strip()
    if times == ("", ""):
        return
    try:
        start_s, end_s = (float(time) for time in times)
    except ValueError:
        yield f"start_s {times[0]!r} and end_s {times[1]!r} are not both numbers"
        return
    if not (math.isfinite(end_s) and 0 <= start_s < end_s):
        yield f"{start_s:g} s to {end_s:g} s is not a segment"
