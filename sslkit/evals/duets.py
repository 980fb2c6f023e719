"""Films of two people of whom one is heard at a time, made from videos of one person each, with the truth.

Both are cut out around their faces, scaled alike, and stand side by side. Every 1.5 to 3 s the voice changes from one
to the other while both go on talking, so that a mouth which moves is no answer; silence at both ends of a clip is left
out, and voices are equally loud. The films and their marks are in the layout of AVA-ActiveSpeaker, which
`evals.speakers` reads: who is heard is SPEAKING_AUDIBLE, the other SPEAKING_NOT_AUDIBLE.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sslkit.errors import WorkError
from sslkit.media import faces, read, write
from sslkit.media.detectors import Frames
from sslkit.media.faces import Track
from sslkit.models.lips import FPS, HOP, RATE_HZ
from sslkit.ops.sound import level_db, levelled

Progress = Callable[[int, int, str], None]
_SIDE_PX = 256
_LARGEST_PX = 720
_AROUND = 2.2
"""Sides of what is cut out, in sides of the face."""
_LEAST_S, _MOST_S = 1.5, 3.0
_LONGEST_FRAMES = 500
_QUIET_DB = -30.0  # under the loudest frame
_FADE_SAMPLES = 160
_CHUNK_FRAMES = 50
_PARTNERS = 4


@dataclass(frozen=True)
class Person:
    """A video of one person who talks, and the face. first: the frame of the video (25 a second) with the first sound.

    sound: (N,) float32 at 16 kHz from there to the last sound, all at one level.
    """

    video: Path
    track: Track
    first: int
    sound: NDArray[np.float32]

    @property
    def frames(self) -> int:
        """How many are used."""
        return min(len(self.sound) // HOP, _LONGEST_FRAMES)


def person(video: Path, track: Track) -> Person | None:
    """What is used of a video whose face was followed; None where there is no sound."""
    start_s = track.start / FPS
    sound = read.sound(video, RATE_HZ, start_s, start_s + len(track.boxes) / FPS)
    level = level_db(torch.from_numpy(sound[: len(sound) // HOP * HOP].reshape(-1, HOP))).numpy()
    loud = np.flatnonzero(level > max(level.max(initial=-120) + _QUIET_DB, -100))
    if not len(loud):
        return None
    first, last = int(loud[0]), int(loud[-1]) + 1
    return Person(
        video, track, track.start + first, levelled(torch.from_numpy(sound[first * HOP : last * HOP])).numpy()
    )


def pairs(groups: Sequence[Sequence[Person]]) -> list[tuple[Person, Person]]:
    """Who stands beside whom: each of one group with the next four of it; of two, each with four of the other."""
    if len(groups) > 1:
        one, other = groups[0], [member for group in groups[1:] for member in group]
        return [(a, other[(n + k) % len(other)]) for n, a in enumerate(one) for k in range(min(_PARTNERS, len(other)))]
    (alone,) = groups
    met = {tuple(sorted((n, (n + k) % len(alone)))) for n in range(len(alone)) for k in range(1, _PARTNERS + 1)}
    return [(alone[a], alone[b]) for a, b in sorted(met) if a != b]


def compose(couples: Sequence[tuple[Person, Person]], folder: Path, progress: Progress | None = None) -> None:
    """Write a film and its marks for each couple. Raises WorkError where there is no couple or no room to write."""
    if not couples:
        raise WorkError("It takes two videos with a face and a voice to compose a film of two people.")
    (folder / "val").mkdir(parents=True, exist_ok=True)
    for number, (left, right) in enumerate(couples):
        name = f"{number:03d}-{left.video.stem}-{right.video.stem}"
        frames = min(left.frames, right.frames)
        turns = _turns(frames, number)
        halves = zip(_half(left, frames), _half(right, frames), strict=True)
        pictures = (np.concatenate(both, axis=1) for both in halves)
        write.video(folder / f"{name}.mp4", pictures, FPS, _mixed(left, right, turns), RATE_HZ, crf=12)
        marks = [*_marks(name, left, 0, turns), *_marks(name, right, 1, ~turns)]
        text = io.StringIO()
        csv.writer(text).writerows(marks)
        (folder / "val" / f"{name}-activespeaker.csv").write_text(text.getvalue(), encoding="utf-8")
        if progress is not None:
            progress(number + 1, len(couples), "films composed")


def _turns(frames: int, seed: int) -> NDArray[np.bool_]:
    """(frames,) whether the left one is heard."""
    rng = np.random.default_rng(seed)
    heard, left = np.zeros(frames, bool), bool(rng.integers(2))
    begin, least = 0, min(round(_LEAST_S * FPS), frames // 2)
    while begin < frames:
        rest, length = frames - begin, round(rng.uniform(_LEAST_S, _MOST_S) * FPS)
        # None is shorter than the least, and the last one takes what is left.
        length = rest if rest < 2 * least else min(length, rest - least)
        heard[begin : begin + length] = left
        begin, left = begin + length, not left
    return heard


def _mixed(left: Person, right: Person, turns: NDArray[np.bool_]) -> NDArray[np.int16]:
    """The voice of whose turn it is, (N,), faded over 10 ms."""
    share = np.repeat(turns.astype(np.float32), HOP)
    share = np.convolve(
        np.pad(share, _FADE_SAMPLES // 2, mode="edge"), np.full(_FADE_SAMPLES + 1, 1 / (_FADE_SAMPLES + 1)), "valid"
    )
    both = share * left.sound[: len(share)] + (1 - share) * right.sound[: len(share)]
    return both.clip(-32768, 32767).astype(np.int16)


def _square(one: Person) -> NDArray[np.float64]:
    """Left, top and side of what is cut out: it stands still, so that the head moves in it as it did."""
    boxes = np.median(one.track.boxes, 0)
    side = float(_AROUND * (boxes[2] - boxes[0]))
    middle = (boxes[:2] + boxes[2:]) / 2
    return np.array([middle[0] - side / 2, middle[1] - side / 2, side])


def _half(one: Person, frames: int) -> Iterator[Frames]:
    """Pictures (S, S, 3) of a person."""
    about, (left, top, side) = read.probe(one.video), _square(one)
    short_px = min(about.height, about.width)
    side_px = min(short_px, _LARGEST_PX) // 2 * 2
    # A face is cut as 1.4 times its box.
    box = np.array([left + side / 2 - side / 2.8, top, left + side / 2 + side / 2.8, top + side / 1.4], np.float32)
    start_s, seen = one.first / FPS, 0
    for chunk in read.video_chunks(one.video, FPS, side_px, _CHUNK_FRAMES, start_s):
        boxes = np.tile(box * np.float32(side_px / short_px), (len(chunk), 1))
        for picture in faces.crops(chunk, boxes, _SIDE_PX, "face")[: frames - seen]:
            seen += 1
            yield picture
        if seen == frames:
            return


def _marks(name: str, one: Person, place: int, heard: NDArray[np.bool_]) -> Iterator[list[str]]:
    """Lines of the list: the film, second, box in shares of width and height, label, face."""
    left, top, side = _square(one)
    begin = one.first - one.track.start
    boxes = (one.track.boxes[begin : begin + len(heard)] - np.array([left, top, left, top])) / side
    for number, box in enumerate(boxes):
        x1, x2 = (box[[0, 2]] + place) / 2
        label = "SPEAKING_AUDIBLE" if heard[number] else "SPEAKING_NOT_AUDIBLE"
        shares = [f"{value:.5f}" for value in (x1, box[1], x2, box[3])]
        yield [name, f"{number / FPS:.2f}", *shares, label, f"{name}:{place}"]
