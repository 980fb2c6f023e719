"""LRS3: spoken sentences of TED and TEDx talks, a face each, sound in time with the lips.

    SOURCE/{pretrain,trainval,test}/<YTID>/<number>.mp4      any of the three folders
    .../<number>.txt                                         begins with `Text:  THE SENTENCE`

The folders are the official lists: pretrain and trainval are train, and talks of the test set are in neither. Of the
talks a share (`val_share`, by hash of their name) goes to val. What is said becomes the `truth` of a sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sslkit.data.layouts.base import Item, folder, held_out, said, wrong
from sslkit.data.settings import PrepareSettings

SYNCED = True
OPTIONS: tuple[str, ...] = ("val_share",)
_FOLDERS = ("pretrain", "trainval", "test")


def items(source: str, settings: PrepareSettings) -> Iterator[Item]:
    """Every clip. Raises UserError when none of the folders holds any."""
    root = folder(source, "lrs3", "a folder with pretrain/, trainval/ or test/")
    clips = {name: sorted((root / name).glob("*/*.mp4")) for name in _FOLDERS if (root / name).is_dir()}
    if not any(clips.values()):
        raise wrong("lrs3", root, "clips like trainval/<YTID>/50001.mp4")
    talks = [clip.parent.name for name, listed in clips.items() if name != "test" for clip in listed]
    val = held_out(talks, settings.val_share, settings.seed)
    return (_item(root, clip, name, val) for name, listed in clips.items() for clip in listed)


def _item(root: Path, clip: Path, place: str, val: set[str]) -> Item:
    talk = clip.parent.name
    split = "test" if place == "test" else "val" if talk in val else "train"
    name = str(clip.relative_to(root))
    return Item(name, split, talk, f"{place}-{talk}-{clip.stem}", clip, truth=said(clip.with_suffix(".txt")))
