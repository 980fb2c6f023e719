"""ImageNet (ILSVRC 2012 classification), or any subset of its classes.

    SOURCE/train/<wnid>/*.JPEG
    SOURCE/val/<wnid>/*.JPEG                                       or
    SOURCE/val/ILSVRC2012_val_*.JPEG + LOC_val_solution.csv        or
    SOURCE/val/ILSVRC2012_val_*.JPEG + ILSVRC2012_validation_ground_truth.txt + meta.mat (development kit)

The annotation files may also lie in a folder `ILSVRC2012_devkit_t12/data`, or up to three folders above SOURCE, as in
the archive whose pictures are in ILSVRC/Data/CLS-LOC. Classes are WordNet ids in alphabetic order; the numbers of the
development kit follow another order and are translated.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from scipy.io import loadmat

from sslkit.data.layouts.base import Item, folder, is_image, media_files, wrong
from sslkit.data.settings import PrepareSettings
from sslkit.errors import UserError

OPTIONS: tuple[str, ...] = ()
_WNID = re.compile(r"n\d{8}")
_SOLUTION = "LOC_val_solution.csv"
_TRUTH = "ILSVRC2012_validation_ground_truth.txt"


def items(source: str, settings: PrepareSettings) -> Iterator[Item]:
    """All train pictures, then all val pictures. Raises UserError for folders that are not WordNet ids."""
    root = folder(source, "imagenet", "a folder with train/ and val/")
    if not (root / "train").is_dir():
        raise wrong("imagenet", root, "train/<wnid>/*.JPEG")
    train = list(_foldered(root, "train"))
    if not train:
        raise wrong("imagenet", root / "train", "folders n01440764, ... with pictures")
    known = {item.label_name for item in train}
    yield from train
    for item in _val(root):
        if item.label_name not in known:
            raise UserError(f"{root}: {item.source} is of class {item.label_name}, which train/ does not have.")
        yield item


def _foldered(root: Path, split: str) -> Iterator[Item]:
    for path in media_files(root / split):
        relative = path.relative_to(root)
        if len(relative.parts) != 3 or not _WNID.fullmatch(relative.parts[1]):
            raise UserError(
                f"The layout imagenet expects {split}/<wnid>/<picture> with names like n01440764, but found {relative} "
                f"in {root}; other classes are read by the layout folder."
            )
        yield _item(root, path, split, relative.parts[1])


def _val(root: Path) -> Iterator[Item]:
    folder_ = root / "val"
    if not folder_.is_dir():
        return
    flat = sorted(path for path in folder_.iterdir() if path.is_file() and is_image(path))
    if not flat:
        yield from _foldered(root, "val")
        return
    labels = _labels(root)
    for path in flat:
        if path.stem not in labels:
            raise UserError(f"{path} is not listed in the validation labels of {root}.")
        yield _item(root, path, "val", labels[path.stem])


def _item(root: Path, path: Path, split: str, wnid: str) -> Item:
    name = str(path.relative_to(root))
    return Item(name, split, name, path.stem, path, wnid)


def _labels(root: Path) -> dict[str, str]:
    """WordNet id of each validation picture, by the stem of its name."""
    solution, truth, meta = (_annotation(root, name) for name in (_SOLUTION, _TRUTH, "meta.mat"))
    if solution is not None:
        with solution.open(newline="", encoding="utf-8") as file:
            return {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(file)}
    if truth is None or meta is None:
        raise UserError(
            f"The layout imagenet expects {_SOLUTION}, or {_TRUTH} and meta.mat, to label the pictures that lie in "
            f"{root / 'val'} itself, but found neither in {root} or above."
        )
    synsets = loadmat(meta, squeeze_me=True)["synsets"]
    wnids = {int(number): str(wnid) for number, wnid in zip(synsets["ILSVRC2012_ID"], synsets["WNID"], strict=True)}
    numbers = truth.read_text(encoding="utf-8").split()
    return {f"ILSVRC2012_val_{i:08d}": wnids[int(number)] for i, number in enumerate(numbers, start=1)}


def _annotation(root: Path, name: str) -> Path | None:
    for place in [root, *list(root.resolve().parents)[:3]]:
        for path in (place / name, place / "ILSVRC2012_devkit_t12" / "data" / name):
            if path.is_file():
                return path
    return None
