"""Cut the pictures of a video into clips: by length, and where the view changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from sslkit.media import shots

Pictures = NDArray[np.uint8]
_UNCERTAIN_FRAMES = 2


def counted(chunks: Iterable[Pictures]) -> Iterator[tuple[int, Pictures]]:
    """Every chunk with the number of its first frame."""
    first = 0
    for chunk in chunks:
        yield first, chunk
        first += len(chunk)


def shot_pieces(chunks: Iterable[Pictures], longest: int, cuts: shots.Cuts) -> Iterator[tuple[int, Pictures]]:
    """Shots, cut into pieces of at most `longest` frames, each with the number of its first frame.

    Of the shot that goes on only what makes no full piece yet is held, so that memory stays bounded.
    """
    first, held = 0, None
    for chunk in chunks:
        held = chunk if held is None else np.concatenate([held, chunk])
        for cut in cuts.add(chunk):
            yield from _pieces(first, held[: cut - first], longest)
            first, held = cut, held[cut - first :]
        # Whether a shot begins in the last two frames is not known yet.
        whole = max(0, len(held) - _UNCERTAIN_FRAMES) // longest * longest
        yield from _pieces(first, held[:whole], longest)
        first, held = first + whole, held[whole:].copy()
    if held is not None:
        yield from _pieces(first, held, longest)


def _pieces(first: int, frames: Pictures, longest: int) -> Iterator[tuple[int, Pictures]]:
    for at in range(0, len(frames), longest):
        yield first + at, frames[at : at + longest]
