"""LRS2: spoken sentences of BBC television, a face each, sound in time with the lips.

    SOURCE/{train,val,test,pretrain}.txt       lines `<programme>/<number>`; what follows on a line is passed over
    SOURCE/main/<programme>/<number>.mp4       the sentences of train, val and test, and
    SOURCE/pretrain/<programme>/<number>.mp4   longer pieces, for training; left out where the folder is
    .../<number>.txt                           begins with `Text:  THE SENTENCE`

The lists divide programmes by the date that they were sent. What is said becomes the `truth` of a sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sslkit.data.layouts.base import Item, folder, problems, said, wrong
from sslkit.data.settings import PrepareSettings

SYNCED = True
OPTIONS: tuple[str, ...] = ()
_LISTS = {"train": "main", "val": "main", "test": "main", "pretrain": "pretrain"}


def items(source: str, settings: PrepareSettings) -> Iterator[Item]:
    """The clips of every list whose folder is there. Raises UserError without lists, or when all clips are missing."""
    root = folder(source, "lrs2", "a folder with train.txt, val.txt, test.txt and main/")
    lists = [(root / f"{name}.txt", place) for name, place in _LISTS.items() if (root / place).is_dir()]
    lists = [(path, place) for path, place in lists if path.is_file()]
    if not lists:
        raise wrong("lrs2", root, "lists like train.txt, with the folder main/ or pretrain/")
    listed = [item for path, place in lists for item in _listed(root, path, place)]
    if all(item.problem for item in listed):
        raise wrong("lrs2", root, "clips like main/5535415699068794046/00001.mp4 that the lists name")
    return iter(listed)


def _listed(root: Path, path: Path, place: str) -> Iterator[Item]:
    split, bad = "train" if place == "pretrain" else path.stem, []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        programme, slash, name = line.split()[0].partition("/")
        if not (programme and slash and name):
            bad.append(f"line {number}: {line.strip()!r} is not `<programme>/<number>`")
            continue
        clip = root / place / programme / f"{name}.mp4"
        yield Item(
            source=str(clip.relative_to(root)),
            split=split,
            group=programme,
            key=f"{programme}-{name}",
            path=clip,
            problem=None if clip.is_file() else "the file is missing",
            truth=said(clip.with_suffix(".txt")),
        )
    if bad:
        raise problems("lrs2", path, bad)
