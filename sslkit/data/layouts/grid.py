"""The GRID corpus: sentences of six words, read out by one speaker a folder; each word is a labelled clip.

    SOURCE/s1/*.mpg (or .mkv, ...)
    SOURCE/align/s1/*.align          lines `<start> <end> <word>`, times in 1/25000 s; sil and sp are silence

`which` picks the word of the sentence: command, colour, preposition, letter, digit, adverb, or all. Of each speaker the
last 50 files by name are test, or the last fifth when there are fewer than 100. Words are short (0.1 to 0.5 s):
`widen_s` gives each clip its surroundings.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sslkit.data.layouts.base import VIDEOS, Item, folder, wrong
from sslkit.data.settings import PrepareSettings

SYNCED = True
OPTIONS: tuple[str, ...] = ("which",)
_TICKS_PER_S = 25_000
_SILENCE = {"sil", "sp"}
_WORDS = ("command", "colour", "preposition", "letter", "digit", "adverb")


def items(source: str, settings: PrepareSettings) -> Iterator[Item]:
    """The chosen words, speaker by speaker. Raises UserError when speakers or word times are missing."""
    root = folder(source, "grid", "a folder with s1/*.mpg and align/s1/*.align")
    speakers = sorted(path for path in root.glob("s*") if path.is_dir() and (root / "align" / path.name).is_dir())
    if not speakers:
        raise wrong("grid", root, "s1/ and align/s1/")
    listed = [item for speaker in speakers for item in _speaker(root, speaker, settings.which)]
    if not listed:
        raise wrong("grid", speakers[0], "videos")
    return iter(listed)


def _speaker(root: Path, speaker: Path, which: str) -> Iterator[Item]:
    videos = sorted(path for path in speaker.iterdir() if path.suffix.lower() in VIDEOS)
    tests = 50 if len(videos) >= 100 else len(videos) // 5
    for number, video in enumerate(videos):
        split = "test" if number >= len(videos) - tests else "train"
        yield from _sentence(root, video, split, which)


def _sentence(root: Path, video: Path, split: str, which: str) -> Iterator[Item]:
    name = str(video.relative_to(root))
    key = f"{video.parent.name}-{video.stem}"
    path = root / "align" / video.parent.name / f"{video.stem}.align"
    try:
        words = _words(path)
    except (OSError, ValueError) as error:
        yield Item(name, split, name, key, video, problem=f"{path.name}: {error}")
        return
    for place, (start_s, end_s, word) in zip(_WORDS, words, strict=True):
        if which in ("all", place):
            yield Item(name, split, name, f"{key}-{place}", video, word, start_s, end_s)


def _words(path: Path) -> list[tuple[float, float, str]]:
    """Start, end and text of the six words of a sentence. Raises OSError or ValueError for anything else."""
    if not path.is_file():
        raise ValueError("the file with its word times is missing")
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    words = [(int(start) / _TICKS_PER_S, int(end) / _TICKS_PER_S, word) for start, end, word in lines]
    spoken = [word for word in words if word[2] not in _SILENCE]
    if len(spoken) != len(_WORDS) or any(start >= end for start, end, _ in spoken):
        raise ValueError("it does not hold the times of six words")
    return spoken
