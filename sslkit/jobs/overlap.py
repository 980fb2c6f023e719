"""What is in several datasets or splits at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sslkit import pages
from sslkit.data import duplicates as duplicating
from sslkit.data.duplicates import Hashed, Pair
from sslkit.data.shards import SPLITS
from sslkit.errors import UserError
from sslkit.jobs.data import Progress, split_of
from sslkit.types import Panel, Result

Row = dict[str, Any]
_MOST_SHOWN = 60


def duplicates(
    data: Sequence[Path], out: Path | None = None, bits: int = duplicating.BITS, progress: Progress | None = None
) -> Result:
    """Near-duplicates between splits: what a figure is measured on may not be among what was learnt from.

    Train of each folder is compared with its own val and test and with those of the folders named after it, and val
    with test. bits: by how many of 64 two hashes may differ. A page with the pairs side by side goes to `out`. Rows:
    {"learnt", "held_out", "samples", "duplicates", "share" (percent)}; `fields["pairs"]` names every pair. Raises
    UserError when nothing can be compared.
    """
    began = time.perf_counter()
    folders = list(dict.fromkeys(map(Path, data)))
    splits = {f"{folder}/{split}": split_of([folder], split) for folder in folders for split in SPLITS}
    there = {name: dataset for name, dataset in splits.items() if dataset is not None}
    compared = [(learnt, held) for learnt, held in _compared(folders) if learnt in there and held in there]
    if not compared:
        raise UserError(f"{', '.join(map(str, folders))}: there is no train split with a val or test split beside it.")
    wanted = dict.fromkeys(name for names in compared for name in names)
    hashed = {name: duplicating.hashed(there[name], _hashing(progress, name)) for name in wanted}
    rows, pairs, panels = [], [], []
    for learnt, held in compared:
        found = duplicating.pairs(hashed[learnt], hashed[held], bits)
        share = round(100 * len(found) / max(1, len(hashed[held])), 3)
        counts = {"samples": len(hashed[held]), "duplicates": len(found), "share": share}
        rows.append({"learnt": learnt, "held_out": held, **counts})
        pairs += [_pair(hashed[learnt], hashed[held], pair, learnt, held) for pair in found]
        panels += [_side_by_side(hashed[learnt], hashed[held], found, f"{held} and {learnt}")] if found else []
    result = Result(
        name="Near-duplicates across splits",
        fields={"data": [str(folder) for folder in folders], "bits": bits, "duplicates": len(pairs), "pairs": pairs},
        rows=rows,
        panels=panels,
        notes=_notes(rows),
        seconds=time.perf_counter() - began,
    )
    folder = out or Path("runs") / "-".join(["duplicates", *(folder.name for folder in folders)])
    return pages.of_rows(result, folder, "duplicates")


def _compared(folders: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Names of the splits that are learnt from, each with one that is held out."""
    for number, folder in enumerate(folders):
        for other in folders[number:]:
            yield from ((f"{folder}/train", f"{other}/{split}") for split in ("val", "test"))
        yield f"{folder}/val", f"{folder}/test"


def _notes(rows: Sequence[Row]) -> list[str]:
    return [
        f"{row['held_out']}: {row['duplicates']} of {row['samples']} samples show what samples of {row['learnt']} show."
        for row in rows
        if row["duplicates"]
    ]


def _hashing(progress: Progress | None, name: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, of: progress(done, of, f"looking at {name}")


def _pair(learnt: Hashed, held_out: Hashed, pair: Pair, learnt_name: str, held_name: str) -> Row:
    """A pair as `--json` tells it."""
    sides = {}
    for side, name, one, index in (
        ("held_out", held_name, held_out, pair.held_out),
        ("learnt", learnt_name, learnt, pair.learnt),
    ):
        entry = one.dataset.entries[index]
        about = {"split": name, "key": entry.key, "source": entry.source, "start_s": entry.start_s}
        sides[side] = {**about, "label": entry.label_name}
    return {**sides, "bits": pair.bits, "likeness": round(pair.likeness, 4)}


def _side_by_side(learnt: Hashed, held_out: Hashed, found: Sequence[Pair], title: str) -> Panel:
    panel = Panel(title, [], note="Left of each two what is held out, right what is learnt from.", columns=4)
    for pair in found[:_MOST_SHOWN]:
        for one, index in ((held_out, pair.held_out), (learnt, pair.learnt)):
            panel.pictures.append(duplicating.frames(one.dataset, index, 3)[1])
            panel.captions.append(one.dataset.entries[index].source)
    return panel
