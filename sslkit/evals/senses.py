"""Sights found by sounds, and sounds by sights: retrieval across the senses with the two networks of one run.

Protocol: the middle of each sample, a picture and the sound around it. Vectors of length 1 are ranked by distance, in
four directions (im2im, im2au, au2im, au2au). A query may find nothing of its own source. What it finds is relevant by
the share of tags that both have of all that either has, or by having the same class where there are no tags; nDCG over
the first 30, and queries to which nothing is relevant are left out and counted. Chance is what any order gets on
average: it is high where classes are few. For data without labels: how often a sample's own other sense, the only right
answer among it and all of other sources, is found (recall@k, median rank).
Networks that were not trained for one space (av_correspondence, av_object) are given one by canonical correlation on
the train split; rows of theirs are called "+ CCA".
Source: Arandjelovic and Zisserman, "Objects that Sound", ECCV 2018.
Departures: graded relevance there follows the ontology of AudioSet; the regularisation of the correlation is ours.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.data.dataset import Dataset
from sslkit.data.entries import Entry
from sslkit.engine import feed
from sslkit.errors import UserError
from sslkit.evals import base, features
from sslkit.evals.base import Row
from sslkit.evals.retrieval import same
from sslkit.models.correspondence import Distance
from sslkit.ops import measures, ranking
from sslkit.ops.canonical import Moments, correlated
from sslkit.tasks.base import Task
from sslkit.types import Batch, Reads, Result

Sense = Literal["sight", "sound"]
Progress = Callable[[int, int, str], None]
_SHORT: dict[Sense, str] = {"sight": "im", "sound": "au"}
_RECALLS = (1, 5, 10)
_MAIN = re.compile("ndcg|median_rank")
_DIMENSIONS = 64
_RIDGE = 0.01
_BATCH = 64


@dataclass(frozen=True)
class Canonical:
    """Linear maps of two senses into one space, where what belongs together is as near as it can be.

    mean: (D,) of each sense. turn: (D, k) of each.
    """

    mean: dict[Sense, Tensor]
    turn: dict[Sense, Tensor]

    @classmethod
    def fitted(cls, sight: Tensor, sound: Tensor, dimensions: int = _DIMENSIONS, ridge: float = _RIDGE) -> Canonical:
        """The canonical correlations of pairs (N, D) and (N, E); axes are weighted by how well they correlate."""
        found = correlated(Moments.of([(sight, sound, 1.0)]), dimensions, ridge=ridge)
        weight = found.strength.clamp(min=0).sqrt()
        mean: dict[Sense, Tensor] = {"sight": sight.double().mean(0), "sound": sound.double().mean(0)}
        return cls(mean, {"sight": found.one * weight, "sound": found.other * weight})

    def __call__(self, sense: Sense, vectors: Tensor) -> Tensor:
        """Vectors (N, D) of a sense as (N, k)."""
        turned: Tensor = (vectors.double() - self.mean[sense]) @ self.turn[sense]
        return turned.float()


@dataclass(frozen=True)
class Space:
    """What the two networks of a task make of pictures and of sounds. canonical: what makes one space of two."""

    task: Task
    device: torch.device
    canonical: Canonical | None = None

    def __post_init__(self) -> None:
        if set(self.task.trunks) != {"sight", "sound"}:
            raise UserError(
                "Retrieval across the senses needs a run of two networks, one that sees and one that hears."
            )

    @property
    def shared(self) -> bool:
        """Whether the task itself brings both senses into one space."""
        embeds = all("embedding" in trunk.widths for trunk in self.task.trunks.values())
        return embeds or isinstance(getattr(self.task, "head", None), Distance)

    def reads(self, *senses: Sense) -> Reads:
        """What a sample must hold for these senses."""
        sight, sound = self.task.trunks["sight"].takes, self.task.trunks["sound"].takes
        found = sight if "sight" in senses else Reads()
        if "sound" in senses:
            found = found.but(sound_s=sound.sound_s, rate_hz=sound.rate_hz)
        return found.but(start="spread")

    @torch.no_grad()
    def vectors(self, sense: Sense, batch: Batch) -> Tensor:
        """Vectors (B, D) of length 1, on the CPU, of a batch of one window a sample."""
        trunk, head = self.task.trunks[sense], getattr(self.task, "head", None)
        maps = trunk(features.inputs(batch, trunk))
        if isinstance(head, Distance):
            last = maps[list(trunk.widths)[-1]]
            found = head.look(last) if sense == "sight" else head.hear(last)
        else:
            found = trunk.vector(maps)
        found = found.float().cpu()
        return F.normalize(found if self.canonical is None else self.canonical(sense, found), dim=1)

    def fitted(self, dataset: Dataset, workers: int = 0) -> Space:
        """The space, made one of two on pairs of this split; itself where the task has one already."""
        if self.shared or self.canonical is not None:
            return self
        found, _ = describe(self, dataset, ("sight", "sound"), workers)
        return Space(self.task, self.device, Canonical.fitted(found["sight"], found["sound"]))


def describe(
    space: Space, dataset: Dataset, senses: Sequence[Sense], workers: int = 0, progress: Progress | None = None
) -> tuple[dict[Sense, Tensor], list[int]]:
    """Vectors (N, D) of the middle of every usable sample of a split, by sense, and the samples' numbers."""
    space.task.to(space.device).eval()
    parts: dict[Sense, list[Tensor]] = {sense: [] for sense in senses}
    places: list[int] = []
    reads = space.reads(*senses)
    for raw in feed.once(dataset, reads, _BATCH, space.device, workers):
        for sense in senses:
            parts[sense].append(space.vectors(sense, raw))
        places += raw.index.tolist()
        if progress is not None:
            progress(len(places), len(dataset), f"{' and '.join(senses)} of {dataset.split}")
    return {sense: torch.cat(found) for sense, found in parts.items()}, places


def evaluate(
    named: Sequence[tuple[str, int, Space]],
    train: Dataset | None,
    test: Dataset,
    *,
    first: int = 30,
    workers: int = 0,
    progress: Progress | None = None,
) -> Result:
    """Retrieval in four directions with each of the networks, (init, seed, space), and by chance.

    train: for networks without a space of their own. Rows: {"init", "metric", "value", "seed"} for each, then means
    over seeds as in other evaluations; metrics are im2au_ndcg@30, im2au_recall@1, im2au_median_rank and so on. There is
    no nDCG where no two samples have a class or a tag in common.
    """
    began, rows, counted = time.perf_counter(), list[Row](), dict[str, int]()
    for name, seed, space in named:
        made = space if space.shared else space.fitted(_required(train), workers)
        called = name if space.shared else f"{name} + CCA"
        found, places = describe(made, test, ("sight", "sound"), workers, progress)
        entries = [test.entries[place] for place in places]
        counted = {"queries": len(entries), "left_out": _lonely(entries)}
        values = measured(found, entries, first)
        rows += [{"init": called, "metric": metric, "value": value, "seed": seed} for metric, value in values.items()]
    guesses = _chance(entries, first)
    total = base.summary(rows, ("init", "metric"))
    guessed = base.guess_rows({"chance": guesses})
    return Result(
        name=f"Retrieval across the senses in {', '.join(folder.name for folder in test.info.folders)}",
        fields={
            "protocol": f"retrieval across the senses, first {first}",
            "data": ", ".join(map(str, test.info.folders)),
            "prepared": test.info.records,
            "classes": list(test.info.classes),
            "split": {"test_split": test.split, "test": len(test), **counted},
            "preprocessing": {"clips": 1, "crop": "centre: 0.875 of the short side, scaled to the input"},
        },
        metrics={f"{row['init']}_{row['metric']}": row["value"] for row in total if _MAIN.search(row["metric"])},
        chance=guesses.get(f"im2au_ndcg@{first}"),
        rows=[*rows, *total, *guessed],
        shown=_shown([*total, *guessed]),
        notes=_notes(counted),
        seconds=time.perf_counter() - began,
    )


def measured(vectors: dict[Sense, Tensor], entries: Sequence[Entry], first: int) -> dict[str, float]:
    """All measures of vectors (N, D) of both senses of the same samples."""
    relevance, gallery = relevant(entries), _gallery(entries)
    found = {}
    own = torch.arange(len(entries))
    barred = ~gallery
    barred[own, own] = False  # the only right answer
    for query, other in product(_SHORT, _SHORT):
        scores = -torch.cdist(vectors[query].double(), vectors[other].double())
        way = f"{_SHORT[query]}2{_SHORT[other]}"
        values = ranking.ndcg_at(scores, relevance, first, gallery)
        if bool(values.isfinite().any()):
            found[f"{way}_ndcg@{first}"] = float(values.nanmean())
        if query != other:
            scores = scores.masked_fill(barred, -torch.inf)
            tops = {f"{way}_recall@{k}": measures.top_k_accuracy(scores, own, k) for k in _RECALLS if k <= len(own)}
            found |= {**tops, f"{way}_median_rank": ranking.median_rank(scores, own)}
    return found


def relevant(entries: Sequence[Entry]) -> Tensor:
    """How relevant samples are to each other, (N, N) in 0 .. 1: shared of all tags, or the same class."""
    if any(entry.tags for entry in entries):
        names = {tag: place for place, tag in enumerate(sorted({tag for entry in entries for tag in entry.tags}))}
        held = torch.zeros(len(entries), len(names), dtype=torch.float64)
        for row, entry in enumerate(entries):
            held[row, [names[tag] for tag in entry.tags]] = 1
        shared = held @ held.T
        return shared / (held.sum(1)[:, None] + held.sum(1) - shared).clamp(min=1)
    label = torch.tensor([entry.label for entry in entries])
    return ((label[:, None] == label) & (label >= 0)).double()


def _gallery(entries: Sequence[Entry]) -> Tensor:
    sources = [entry.recording for entry in entries]
    return ~same(sources, sources)


def _lonely(entries: Sequence[Entry]) -> int:
    """Queries to which nothing is relevant."""
    return int((~((relevant(entries) > 0) & _gallery(entries)).any(1)).sum())


def _chance(entries: Sequence[Entry], first: int) -> dict[str, float]:
    """What answers that are all alike get: the mean over all orders."""
    alike = torch.ones(len(entries), 1)
    return measured({"sight": alike, "sound": alike}, entries, first)


def _required(train: Dataset | None) -> Dataset:
    if train is None:
        raise UserError(
            "The networks share no space, and there is no train split to find one: prepare data with train/."
        )
    return train


def _shown(rows: Sequence[Row]) -> list[Row]:
    """One line a network."""
    lines: dict[str, Row] = {}
    for row in rows:
        if _MAIN.search(row["metric"]):
            lines.setdefault(row["init"], {"init": row["init"]})[row["metric"]] = round(row["value"], 2)
    return list(lines.values())


def _notes(counted: dict[str, int]) -> list[str]:
    if not counted.get("left_out"):
        return []
    return [f"{counted['left_out']} of {counted['queries']} queries were left out: nothing is relevant to them."]
