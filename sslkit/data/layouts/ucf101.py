"""UCF101: 101 actions, with one of its three published splits (`fold`).

    SOURCE/UCF-101/<Class>/v_<Class>_gXX_cYY.avi
    SOURCE/ucfTrainTestlist/trainlist0N.txt, testlist0N.txt [, classInd.txt]

Clips of one group (gXX of a class) are cut from one recording: the group stays on one side.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from sslkit.data.layouts.base import Item, folder, problems, wrong
from sslkit.data.settings import PrepareSettings
from sslkit.errors import UserError

OPTIONS: tuple[str, ...] = ("fold",)
_CLIP = re.compile(r"(?P<group>v_.+_g\d+)_c\d+\.\w+")


def items(source: str, settings: PrepareSettings) -> Iterator[Item]:
    """The train list, then the test list. Raises UserError when folders, lists or all clips are missing."""
    root = folder(source, "ucf101", "a folder with UCF-101/ and ucfTrainTestlist/")
    lists = root / "ucfTrainTestlist"
    if not (root / "UCF-101").is_dir() or not lists.is_dir():
        raise wrong("ucf101", root, "UCF-101/ and ucfTrainTestlist/")
    classes = _classes(lists / "classInd.txt")
    listed = [item for split in ("train", "test") for item in _listed(root, lists, split, settings.fold, classes)]
    if all(item.problem for item in listed):
        raise wrong("ucf101", root / "UCF-101", f"clips like {listed[0].source}")
    return iter(listed)


def _listed(root: Path, lists: Path, split: str, fold: int, classes: set[str]) -> list[Item]:
    path = lists / f"{split}list{fold:02d}.txt"
    if not path.is_file():
        raise wrong("ucf101", lists, path.name)
    chosen, bad = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        name = line.split()[0]
        label, _, file = name.partition("/")
        clip = _CLIP.fullmatch(file)
        if clip is None or (classes and label not in classes):
            bad.append(f"line {number}: {name!r} is not <Class>/v_<Class>_gXX_cYY.avi of a known class")
            continue
        video = root / "UCF-101" / label / file
        problem = None if video.is_file() else "the file is missing"
        chosen.append(Item(name, split, f"{label}/{clip['group']}", video.stem, video, label, problem=problem))
    if bad:
        raise problems("ucf101", path, bad)
    if not chosen:
        raise UserError(f"The layout ucf101 expects one clip a line in {path}, but it is empty.")
    return chosen


def _classes(path: Path) -> set[str]:
    if not path.is_file():
        return set()
    return {line.split()[1] for line in path.read_text(encoding="utf-8").splitlines() if len(line.split()) == 2}
