"""Which training samples lie next to a test sample in a layer's space, and whether they show the same thing.

Protocol: for each test sample the gallery is all of train but what was cut from the query's own source; cosine
similarity of features that were centred with train's mean. `precision@k`: mean share of the k nearest that have the
query's class; `recall@k`: share of queries with at least one of its class among the k nearest. The best layer is the
one with the best precision@1 between a held-out part of train and its rest.
Source: nearest-neighbour retrieval as in Buechler et al., ECCV 2018, and Xu et al., CVPR 2019 (xudejing/
video-clip-order-prediction): clips of the test split query the training split, right at k if any of k matches.
Departures: the features are those of `features` (pooled to about 9000 numbers), of every layer, not pool5 alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sslkit.data.dataset import Dataset, collate
from sslkit.evals import base, features
from sslkit.evals.base import Score
from sslkit.evals.features import Features
from sslkit.evals.knn import neighbours
from sslkit.models.trunk import Trunk
from sslkit.ops import crop, measures
from sslkit.types import Panel, Reads

KS = (1, 5, 10, 20)
_PICTURE_PX = 128


def same(ours: Sequence[str], theirs: Sequence[str]) -> Tensor:
    """Which pairs share a source: (len(ours), len(theirs)) bool."""
    places = {name: place for place, name in enumerate(dict.fromkeys([*ours, *theirs]))}
    a, b = (torch.tensor([places[name] for name in names], dtype=torch.int64) for names in (ours, theirs))
    return a[:, None] == b[None]


def find(gallery: Tensor, queries: Tensor, barred: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Places (Q, k) int64 of the nearest gallery rows, nearest first, and which of them count (Q, k) bool.

    barred (Q, N) bool: pairs that may not meet; a query with fewer than k others has places that do not count.
    """
    mean = gallery.float().mean(0)
    similarity, place = neighbours(gallery.float() - mean, queries.float() - mean, k, barred)
    return place, similarity.isfinite()


def evaluate(
    train: Features,
    test: Features,
    classes: int,
    seeds: Sequence[int] = (0,),
    *,
    ks: Sequence[int] = KS,
    held_out: float = 0.2,
    device: torch.device | str = "cpu",
) -> list[Score]:
    """A score for each layer and seed. Metrics do not depend on the seed, the held-out precision@1 does.

    A k above the number of training samples is left out.
    """
    masks = {seed: base.held_out(train.label, train.group, held_out, seed) for seed in seeds}
    barred, own = same(test.source, train.source), same(train.source, train.source)
    ks = [k for k in ks if k <= len(train)]
    scores = []
    for name in train.layers:
        gallery, queries = train.layers[name].to(device), test.layers[name].to(device)
        place, counts = (found.cpu() for found in find(gallery, queries, barred, max(ks)))
        right = (train.label[place] == test.label[:, None]) & counts
        found = {f"precision@{k}": measures.precision_at(right, k) for k in ks}
        found |= {f"recall@{k}": measures.recall_at(right, k) for k in ks}
        for seed, held in masks.items():
            pairs = own[held][:, ~held]
            near, counted = (f.cpu() for f in find(gallery[~held], gallery[held], pairs, 1))
            hits = (train.label[~held][near] == train.label[held][:, None]) & counted
            predicted = train.label[place[:, 0]]
            scores.append(Score(name, seed, measures.precision_at(hits, 1), found, {}, predicted))
    return scores


def panel(
    train: Features,
    test: Features,
    train_set: Dataset,
    test_set: Dataset,
    layer: str,
    title: str = "Nearest neighbours",
    *,
    rows: int = 6,
    shown: int = 7,
) -> Panel:
    """A picture grid: in each row a test sample (first, its class below) and its nearest training samples.

    The frame of a neighbour says whether it has the class of the query; without labels, captions name the sources.
    Queries are spaced evenly over the test split. Both sets must hold pictures.
    """
    asked = torch.linspace(0, len(test) - 1, min(rows, len(test))).round().long()
    barred = same([test.source[i] for i in asked.tolist()], train.source)
    place, counts = find(train.layers[layer], test.layers[layer][asked], barred, shown)
    grid = Panel(
        title,
        [],
        [],
        [],
        f"Layer {layer}: first in each row a test sample, then its nearest in train.",
        1 + place.shape[1],
        leads=True,
    )
    for query, near, count in zip(asked.tolist(), place.tolist(), counts.tolist(), strict=True):
        truth = int(test.label[query])
        grid.pictures.append(picture(test_set, int(test.index[query])))
        grid.captions.append(called(test_set, truth, int(test.index[query])))
        grid.right.append(None)
        for neighbour, counted in zip(near, count, strict=True):
            label = int(train.label[neighbour])
            grid.pictures.append(picture(train_set, int(train.index[neighbour])))
            name = called(train_set, label, int(train.index[neighbour]))
            grid.captions.append(name if counted else "(same source)")
            grid.right.append(label == truth if counted and truth >= 0 else None)
    return grid


def held_out(
    trunk: Trunk, dataset: Dataset, *, most: int = 500, device: torch.device | str = "cpu", workers: int = 0
) -> Panel:
    """The nearest neighbours of some samples among others of the same held-out split, in the layer half-way.

    Half-way, because the last layers know best what the pretext task asks, not what a picture shows. At most `most`
    samples are looked at. Raises UserError when the samples hold no pictures, or not what the trunk takes.
    """
    dataset.require(Reads(frames=1))
    layer = list(trunk.widths)[len(trunk.widths) // 2]
    found = features.extract(trunk, dataset, (layer,), batch=32, device=device, workers=workers, most=most)
    grid = panel(found, found, dataset, dataset, layer)
    grid.note = f"First in each row a held-out sample, then those of {len(found)} that are nearest to it in {layer}."
    return grid


def called(dataset: Dataset, label: int, index: int) -> str:
    """A class, or the name of the sample's source where there is none."""
    name = dataset.info.classes[label] if label >= 0 else Path(dataset.entries[index].source).stem
    return name if len(name) < 20 else f"{name[:18]}…"


def picture(dataset: Dataset, index: int) -> np.ndarray:
    """The central square of a sample's middle frame, (128, 128, 3) uint8."""
    reads = Reads(frames=1, start="spread")
    batch = collate([dataset.read(index, dataset.windows(index, reads, None), reads)])
    if batch.frames is None:
        raise ValueError(f"sample {index} holds no pictures")
    square = crop.crop(batch.frames[:, 0, 0], crop.centre_boxes(batch.size_px, 1.0), _PICTURE_PX)[0]
    found: np.ndarray = square.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return found
