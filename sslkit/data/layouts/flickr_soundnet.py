"""Flickr-SoundNet: a picture and the sound around it each, some with boxes around what sounds.

    SOURCE/[Data/]frames/<id>.jpg, SOURCE/[Data/]audio/<id>.wav       or both in SOURCE/Data/<folder>/
    SOURCE/Annotations/<id>.xml                                       boxes of up to three annotators, of the labelled
    SOURCE/[metadata/]*test*.csv or .txt                              ids of the test set, one a line, first column

With a list those are test and the others train; without one, what has boxes is test. A picture becomes a clip that
stands still as long as the sound goes on. Boxes are the `truth` of a sample, {"boxes": [[left, top, right, bottom]]} in
shares of the picture, one an annotator: the annotations are for pictures of 256 x 256, whatever their size now. Of a
<bbox> the last four numbers are read; what comes before them in the published files is no coordinate.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from sslkit.data.layouts.base import SOUNDS, Item, files, folder, is_image, problems, wrong
from sslkit.data.settings import PrepareSettings

OPTIONS: tuple[str, ...] = ()
_SIDE_PX = 256
_BOX = re.compile(r"<bbox>(.*?)</bbox>", re.DOTALL)
_NUMBER = re.compile(r">\s*(-?\d+(?:\.\d+)?)\s*<")


def items(source: str, settings: PrepareSettings) -> Iterator[Item]:
    """Every picture that has a sound. Raises UserError when there is none, and for boxes that cannot be read."""
    root = folder(source, "flickr_soundnet", "a folder with pictures, sounds and Annotations/")
    paths = list(files(root))
    sounds = {path.stem: path for path in paths if path.suffix.lower() in SOUNDS}
    pictures = [path for path in paths if is_image(path) and path.stem in sounds]
    if not pictures:
        raise wrong("flickr_soundnet", root, "pictures and sounds of the same names, like Data/frames/<id>.jpg")
    boxes = _boxes(root / "Annotations")
    tested = _tested([root, root / "metadata"]) or set(boxes)
    return (_item(root, path, sounds[path.stem], path.stem in tested, boxes.get(path.stem)) for path in pictures)


def _tested(places: list[Path]) -> set[str]:
    lists = [path for place in places for path in sorted(place.glob("*test*.*")) if path.suffix in (".csv", ".txt")]
    lines = [line for path in lists for line in path.read_text(encoding="utf-8-sig").splitlines()]
    return {Path(line.split(",")[0].strip()).stem for line in lines if line.strip()}


def _boxes(annotations: Path) -> Mapping[str, list[list[float]]]:
    """Boxes by id. The files are not parsed as XML, which could be made to fill all memory."""
    found, bad = {}, []
    for path in sorted(annotations.glob("*.xml")):
        inside = [_NUMBER.findall(box) for box in _BOX.findall(path.read_text(encoding="utf-8"))]
        if any(len(numbers) < 4 for numbers in inside):
            bad.append(f"{path.name}: a box has fewer than four numbers")
        found[path.stem] = [[round(float(value) / _SIDE_PX, 4) for value in numbers[-4:]] for numbers in inside]
    if bad:
        raise problems("flickr_soundnet", annotations, bad)
    return found


def _item(root: Path, path: Path, sound: Path, tested: bool, boxes: list[list[float]] | None) -> Item:
    return Item(
        source=str(path.relative_to(root)),
        split="test" if tested else "train",
        group=path.stem,
        key=path.stem,
        path=path,
        heard=sound,
        truth=None if boxes is None else {"boxes": boxes},
    )
