"""Any tree of pictures, videos and sounds, or a list of files on standard input.

SOURCE/train/..., SOURCE/val/..., SOURCE/test/...     splits, if one of these folders is there
SOURCE/...                                            otherwise a share of the files (by hash of the name) goes to val
SOURCE/[split/]<class>/<file>                         class names, if every file lies exactly one folder deep
SOURCE/<class>/<file>, `folds` set                    the n-th file of each class is in fold n modulo `folds`, counted
                                                      from 1; fold `fold` is test, the others are train
-                                                     one path a line; blank lines and # comments are ignored
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from sslkit.data.layouts.base import Item, folder, held_out, is_media, media_files, wrong
from sslkit.data.settings import PrepareSettings
from sslkit.errors import UserError

OPTIONS: tuple[str, ...] = ("val_share", "fold", "folds")
_SPLITS = ("train", "val", "test")


def items(source: str, settings: PrepareSettings) -> Iterator[Item]:
    """Every picture and video of the tree or list. Raises UserError when there is none."""
    if source == "-":
        return _listed(sys.stdin, settings)
    return _tree(folder(source, "folder", "a folder of pictures, videos or sounds"), settings)


def _tree(root: Path, settings: PrepareSettings) -> Iterator[Item]:
    relative = [path.relative_to(root) for path in media_files(root)]
    if not relative:
        raise wrong("folder", root, "pictures, videos or sounds")
    split_folders = [split for split in _SPLITS if (root / split).is_dir()]
    stray = [path for path in relative if split_folders and path.parts[0] not in split_folders]
    if stray:
        raise UserError(
            f"{root} has the split {' and '.join(split_folders)}, but {stray[0]} lies outside of train/, val/ and "
            "test/; move it into one of them."
        )
    labelled = _labelled(relative, 3 if split_folders else 2)
    if settings.folds:
        return _folded(root, relative, labelled and not split_folders, settings)
    return _split(root, relative, split_folders, labelled, settings)


def _split(
    root: Path, relative: list[Path], split_folders: list[str], labelled: bool, settings: PrepareSettings
) -> Iterator[Item]:
    val = held_out([str(path) for path in relative], settings.val_share, settings.seed)
    for path in relative:
        split = path.parts[0] if split_folders else ("val" if str(path) in val else "train")
        label = path.parent.name if labelled else None
        yield Item(str(path), split, str(path), path.stem, root / path, label)


def _folded(root: Path, relative: list[Path], labelled: bool, settings: PrepareSettings) -> Iterator[Item]:
    if not labelled or settings.fold > settings.folds:
        raise UserError(
            f"Folds need a folder of classes without train/ and test/, and a fold up to {settings.folds}: {root} is to "
            f"be cut with fold {settings.fold}; change --set folds= or --fold."
        )
    seen: Counter[str] = Counter()
    for path in relative:
        label = path.parent.name
        fold = seen[label] % settings.folds + 1
        seen[label] += 1
        split = "test" if fold == settings.fold else "train"
        yield Item(str(path), split, str(path), path.stem, root / path, label, fold=fold)


def _labelled(paths: list[Path], depth: int) -> bool:
    """Whether the folders are classes: all files equally deep, in two or more differently named folders."""
    return {len(path.parts) for path in paths} == {depth} and len({path.parent.name for path in paths}) > 1


def _listed(lines: Iterable[str], settings: PrepareSettings) -> Iterator[Item]:
    names = [line.strip() for line in lines]
    paths = list(dict.fromkeys(Path(name) for name in names if name and not name.startswith("#")))
    if not paths:
        raise UserError("The layout folder expects one path a line on standard input, but found none.")
    other = [path for path in paths if not is_media(path)]
    if other:
        raise UserError(f"{other[0]} in the list on standard input is no picture, video or sound by its name.")
    val = held_out([str(path) for path in paths], settings.val_share, settings.seed)
    for path in paths:
        name = str(path)
        yield Item(name, "val" if name in val else "train", name, path.stem, path)
