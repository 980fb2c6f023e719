"""VoxCeleb 1 and 2: people who talk in interviews, many utterances each; sound, or videos of the face.

    SOURCE/**/[dev|test]/**/<id>/<video>/<number>.wav|m4a|mp4     <id> is id10001, ...; VoxCeleb 2 has aac/ and mp4/
    SOURCE/iden_split.txt                                         lines `1|2|3 <id>/<video>/<number>.wav`, VoxCeleb 1

With iden_split.txt its numbers are train, val and test: the same people, other videos. Without, people below a folder
`test` are test, and of the others a share (`val_share`, by hash) is val: other people. The person is the label. Of an
utterance that is there as sound and as video the video is taken: those of VoxCeleb 2 hold their sound (it is from them
that facebookresearch/av_hubert, preparation/vox_prepare.py, extracts it).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from sslkit.data.layouts.base import Item, folder, held_out, is_image, media_files, one_of_each, problems, wrong
from sslkit.data.settings import PrepareSettings

OPTIONS: tuple[str, ...] = ("val_share",)
_PERSON = re.compile(r"id\d{5}")
_SPLITS = {"1": "train", "2": "val", "3": "test"}


def items(source: str, settings: PrepareSettings) -> Iterator[Item]:
    """Every utterance. Raises UserError when there is none."""
    root = folder(source, "voxceleb", "a folder with id10001/<video>/00001.wav or .mp4")
    found = [path.relative_to(root) for path in media_files(root) if not is_image(path)]
    found = [path for path in found if len(path.parts) > 2 and _PERSON.fullmatch(path.parts[-3])]
    found = sorted(one_of_each(found, _utterance).values())
    if not found:
        raise wrong("voxceleb", root, "utterances like id10001/<video>/00001.wav")
    splits = root / "iden_split.txt"
    return iter(_by_list(root, found, _split_of(splits)) if splits.is_file() else _by_person(root, found, settings))


def _split_of(path: Path) -> dict[str, str]:
    chosen, bad = {}, []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        mark, _, name = line.strip().partition(" ")
        if mark in _SPLITS and name:
            chosen[name.strip().rpartition(".")[0]] = _SPLITS[mark]
        elif line.strip():
            bad.append(f"line {number}: {line.strip()!r} is not `1|2|3 <id>/<video>/<number>.wav`")
    if bad:
        raise problems("voxceleb", path, bad)
    return chosen


def _by_list(root: Path, found: list[Path], split_of: Mapping[str, str]) -> list[Item]:
    listed = [path for path in found if _utterance(path) in split_of]
    if not listed:
        raise wrong("voxceleb", root, "utterances that iden_split.txt names")
    return [_item(root, path, split_of[_utterance(path)], "/".join(path.parts[-3:-1])) for path in listed]


def _by_person(root: Path, found: list[Path], settings: PrepareSettings) -> list[Item]:
    tested = {path.parts[-3] for path in found if "test" in path.parts[:-3]}
    val = held_out([p.parts[-3] for p in found if p.parts[-3] not in tested], settings.val_share, settings.seed)
    splits = dict.fromkeys(val, "val") | dict.fromkeys(tested, "test")
    return [_item(root, path, splits.get(path.parts[-3], "train"), path.parts[-3]) for path in found]


def _utterance(path: Path) -> str:
    return "/".join((*path.parts[-3:-1], path.stem))


def _item(root: Path, path: Path, split: str, group: str) -> Item:
    return Item(str(path), split, group, _utterance(path).replace("/", "-"), root / path, path.parts[-3])
