"""What is seen and what is heard: a video, or a picture and a sound, read in pieces however long it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslkit.data.layouts.base import is_image
from sslkit.media import read

_PIECE_S = 10.0
_LONGEST_STILL_S = 30.0


@dataclass(frozen=True)
class Scene:
    """What is seen and what is heard: a video or a picture, and the file of the sound, which may be the same."""

    sight: Path
    sound: Path

    @property
    def still(self) -> bool:
        """Whether it is a single picture."""
        return is_image(self.sight)

    @property
    def seconds(self) -> float:
        """For how long it is seen; a picture is shown while its sound lasts, half a minute at most."""
        if self.still:
            return min(read.probe(self.sound).duration_s, _LONGEST_STILL_S)
        return read.probe(self.sight).duration_s


class Sound:
    """Parts of a sound, each later than the one before, zeros beyond its ends; little more than a part is held.

    pieces: (N,) int16 each, one after the other, the first from `begin_s` on.
    """

    def __init__(self, pieces: Iterator[NDArray[np.int16]], rate_hz: int, begin_s: float = 0.0) -> None:
        self._pieces, self._rate_hz = pieces, rate_hz
        self._held, self._held_from = np.zeros(0, np.int16), round(begin_s * rate_hz)

    def part(self, start_s: float, seconds: float) -> NDArray[np.int16]:
        """(N,) int16 from a time on the clock of the pictures."""
        first, length = round(start_s * self._rate_hz), round(seconds * self._rate_hz)
        kept = [self._held[max(0, first - self._held_from) :]]
        held_from = self._held_from + len(self._held) - len(kept[0])
        end = held_from + len(kept[0])
        while end < first + length and (piece := next(self._pieces, None)) is not None:
            kept.append(piece)
            end += len(piece)
        self._held, self._held_from = np.concatenate(kept), held_from
        before = max(0, held_from - first)
        heard = self._held[max(0, first - held_from) :][: length - before]
        return np.pad(heard, (before, length - before - len(heard)))


def pieces(scene: Scene, rate_hz: int) -> Iterator[NDArray[np.int16]]:
    """The sound of a scene, some seconds at a time; that of another file again and again."""
    for turn in range(1) if scene.sight == scene.sound else count():
        ended = True
        for piece in read.sound_chunks(scene.sound, rate_hz, _PIECE_S):
            yield piece
            ended = False
        if ended and turn == 0:
            return


def up_to(heard: Iterator[NDArray[np.int16]], samples: int) -> Iterator[NDArray[np.int16]]:
    """Pieces until there are so many samples."""
    for piece in heard:
        yield piece[:samples]
        samples -= len(piece)
        if samples <= 0:
            return
