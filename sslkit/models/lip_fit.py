"""Fit the linear filters of `models.lip_motion` to people who talk, whose recordings may be late or early themselves.

Canonical correlation finds the filters at once. By how much the sound of each person is late is estimated by filters
that were fitted to all the others, and taken out; so in some rounds. Without that, people whose recordings are two
frames apart teach filters that blur over both.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.models.lip_motion import PARTS
from sslkit.ops.canonical import Canonical, Moments, correlated

MOST_LATE = 8
"""Half frames by which the sound of a person may be late or early."""
_FOLDS = 16


@dataclass(frozen=True)
class Clips:
    """Features of clips: sight (N, T, C) and sound (N, T, E), of the person `label` (N,) from 0.

    contexts: frames to either side that the filters see, of sight and of sound. balance: how much a person counts, by
    the power of its number of clips: 0 all alike, 1 all clips alike.
    """

    sight: Tensor
    sound: Tensor
    label: Tensor
    contexts: tuple[int, int]
    balance: float

    def of(self, person: int) -> Clips:
        """Those of one person."""
        mine = self.label == person
        return replace(self, sight=self.sight[mine], sound=self.sound[mine], label=self.label[mine])

    def rows(self, late: int, edge: int) -> Iterator[tuple[Tensor, Tensor]]:
        """What the filters see of each clip, (T - 2 edge, taps * C) and (T - 2 edge, taps * E).

        late: half frames after a frame with which its sound is heard.
        """
        sides = _around(self.sight, self.contexts[0]), _around(moved(self.sound, late), self.contexts[1])
        for one, other in zip(*sides, strict=True):
            yield one[edge : len(one) - edge], other[edge : len(other) - edge]

    @property
    def weight(self) -> float:
        """Of one person's clips together."""
        return float(len(self.label) ** self.balance)

    def moments(self, late: int, edge: int) -> Moments:
        """Of one person's clips."""
        each = self.weight / len(self.label)
        return Moments.of((one, other, each) for one, other in self.rows(late, edge))


def fitted(clips: Clips, dimensions: int, rounds: int = 0) -> tuple[Canonical, list[int]]:
    """The filters, and by how many half frames the sound of each person was found to be late.

    rounds: in which the latter is estimated, where there is more than one person; without any it is taken to be
    nothing. On average it is, people weighed as for the fit: what is in time stays what it is without any rounds.
    """
    people = [clips.of(person) for person in range(int(clips.label.max()) + 1)]
    folds, edge = min(len(people), _FOLDS), MOST_LATE // PARTS if rounds else 0
    late, weights = [0] * len(people), [one.weight for one in people]
    parts = _moments(people, late, folds, edge)
    for _ in range(rounds if folds > 1 else 0):
        filters = [correlated(_total(parts) - part, dimensions) for part in parts]
        found = [_lateness(one, filters[number % folds]) for number, one in enumerate(people)]
        mean = sum(map(operator.mul, found, weights)) / sum(weights)
        late = [each - round(mean) for each in found]
        parts = _moments(people, late, folds, edge)
    return correlated(_total(parts), dimensions), late


def _moments(people: Sequence[Clips], late: Sequence[int], folds: int, edge: int) -> list[Moments]:
    """Of each fold, which holds every so manieth person."""
    each = list(zip(people, late, strict=True))
    return [_total([one.moments(moved_by, edge) for one, moved_by in each[fold::folds]]) for fold in range(folds)]


def moved(sound: Tensor, late: int) -> Tensor:
    """Sound (N, T, E) of each frame, whose parts are in order, as it is heard so many half frames after it."""
    halves = sound.reshape(len(sound), sound.shape[1] * PARTS, -1)
    when = (torch.arange(halves.shape[1]) + late).clamp(0, halves.shape[1] - 1)
    return halves[:, when].reshape(sound.shape)


def gains(found: Canonical) -> tuple[Tensor, Tensor]:
    """Lengths of the parts of both vectors with which half their squared distance is minus a log likelihood."""
    spread = (1 - found.strength.square()).rsqrt()
    return spread, spread * found.strength


def _total(parts: Sequence[Moments]) -> Moments:
    return functools.reduce(operator.add, parts)


def _lateness(person: Clips, found: Canonical) -> int:
    """Where the vectors of a person's sight and sound, by filters of others, are nearest, in half frames."""
    sight, sound = gains(found)
    edge, turns = MOST_LATE // PARTS, (found.one.float(), found.other.float())

    seen = [_even(one @ turns[0]) * sight for one, _ in person.rows(0, edge)]

    def distance(late: int) -> float:
        heard = (_even(other @ turns[1]) * sound for _, other in person.rows(late, edge))
        return sum(float((one - other).square().sum()) for one, other in zip(seen, heard, strict=True))

    return min(range(-MOST_LATE, MOST_LATE + 1), key=distance)


def _even(vectors: Tensor) -> Tensor:
    """As `models.lip_motion` makes them even by clip, (T, k)."""
    return (vectors - vectors.mean(0)) / (vectors.std(0, correction=0) + 1e-4)


def _around(features: Tensor, context: int) -> Iterator[Tensor]:
    """For each clip (T, C) what filters see at each of its times, (T, taps * C)."""
    for clip in features:
        padded = F.pad(clip.T[None], (context, context), mode="replicate")[0]
        yield padded.unfold(1, 2 * context + 1, 1).permute(1, 2, 0).flatten(1)
