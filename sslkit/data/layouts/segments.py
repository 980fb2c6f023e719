"""Labelled segments of videos: a CSV file with the columns file, split, start_s, end_s and label.

SOURCE is the CSV file; its file names are relative to it. Splits are train, val and test. Both times empty: the whole
file. Label empty: none. Further columns are ignored.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path

from sslkit.data.layouts.base import Item, problems
from sslkit.data.settings import PrepareSettings
from sslkit.errors import UserError

OPTIONS: tuple[str, ...] = ()
_COLUMNS = ("file", "split", "start_s", "end_s", "label")


def items(source: str, settings: PrepareSettings) -> Iterator[Item]:
    """Every segment, in the order of the file. Raises UserError with all bad lines at once."""
    path = Path(source)
    if not path.is_file():
        raise UserError(
            f"The layout segments expects a CSV file, but {source} is {'a folder' if path.exists() else 'missing'}."
        )
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        missing = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise UserError(
                f"The layout segments expects the columns {', '.join(_COLUMNS)} in {path}, but its first line is "
                f"{','.join(rows.fieldnames or ['empty'])!r}."
            )
        read = [(rows.line_num, row) for row in rows]
    if not read:
        raise UserError(f"The layout segments expects one segment a line in {path}, but found only the column names.")
    bad = [f"line {line}: {reason}" for line, row in read for reason in _reasons(path.parent, row)]
    if bad:
        raise problems("segments", path, bad)
    return (_item(path.parent, line, row) for line, row in read)


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
    if any(row[name] is None for name in _COLUMNS):
        yield "it has too few columns"
        return
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
