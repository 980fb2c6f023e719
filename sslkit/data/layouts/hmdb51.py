"""HMDB51: 51 actions, with one of its three published splits (`fold`).

    SOURCE/<class>/<clip>.avi
    SOURCE/[testTrainMulti_7030_splits/]<class>_test_split<N>.txt      lines `<clip>.avi 0|1|2`: unused, train, test

The lists are taken as published: which recording a clip was cut from cannot be told from its name with certainty.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sslkit.data.layouts.base import Item, files, folder, problems, wrong
from sslkit.data.settings import PrepareSettings

OPTIONS: tuple[str, ...] = ("fold",)
_SPLITS = {"1": "train", "2": "test"}


def items(source: str, settings: PrepareSettings) -> Iterator[Item]:
    """Train and test clips, class by class. Raises UserError when lists or all clips are missing."""
    root = folder(source, "hmdb51", "a folder of classes and the lists <class>_test_split<N>.txt")
    ending = f"_test_split{settings.fold}.txt"
    lists = sorted((path for path in files(root) if path.name.endswith(ending)), key=lambda path: path.name)
    if not lists:
        raise wrong("hmdb51", root, f"lists <class>{ending}")
    listed = [item for path in lists for item in _listed(root, path, path.name.removesuffix(ending))]
    if all(item.problem for item in listed):
        raise wrong("hmdb51", root, f"clips like {lists[0].name.removesuffix(ending)}/<clip>.avi")
    return iter(listed)


def _listed(root: Path, path: Path, label: str) -> Iterator[Item]:
    bad = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        name, _, mark = line.strip().rpartition(" ")
        if not line.strip() or (name and mark == "0"):
            continue
        if not name or mark not in _SPLITS:
            bad.append(f"line {number}: {line.strip()!r} is not `<clip>.avi 0|1|2`")
            continue
        video = root / label / name.strip()
        source = f"{label}/{video.name}"
        problem = None if video.is_file() else "the file is missing"
        yield Item(source, _SPLITS[mark], source, video.stem, video, label, problem=problem)
    if bad:
        raise problems("hmdb51", path, bad)
