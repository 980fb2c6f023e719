"""What the neighbours of a test sample in a layer's space say it is: nothing is trained.

Protocol: cosine similarity; each of the k = 20 nearest training samples votes for its class with weight
exp(similarity / 0.07). `top1`, `top5` and `mean_class` are of the weighted vote, `nearest` is the accuracy of the
single nearest neighbour. The best layer is chosen by the same vote on a held-out part of train.
Source: Wu et al., CVPR 2018 (zhirongw/lemniscate.pytorch), weighted k-NN with temperature 0.07.
Departures: k is 20 instead of 200, for small sets, and at most the number of training samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.evals import base
from sslkit.evals.base import Score
from sslkit.evals.features import Features
from sslkit.ops import measures

_QUERIES = 1024


def neighbours(gallery: Tensor, queries: Tensor, k: int, barred: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The k rows of gallery (N, D) nearest to each of queries (Q, D): cosine (Q, k) float32, and places (Q, k) int64.

    k is clamped to N, and the nearest comes first. barred (Q, N) bool: pairs that may not meet, which come last with
    similarity -inf.
    """
    gallery, queries = F.normalize(gallery.float(), dim=1), F.normalize(queries.float(), dim=1)
    k = min(k, len(gallery))
    found = []
    for first in range(0, len(queries), _QUERIES):
        similarity = queries[first : first + _QUERIES] @ gallery.T
        if barred is not None:
            similarity = similarity.masked_fill(barred[first : first + _QUERIES].to(similarity.device), -torch.inf)
        found.append(similarity.topk(k, dim=1))
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])


def vote(similarity: Tensor, label: Tensor, classes: int, temperature: float = 0.07) -> Tensor:
    """Scores (Q, classes) float64: weights exp((s - s_nearest) / temperature) of neighbours (Q, k), summed by class.

    label (Q, k) int64. Subtracting the nearest similarity changes no ranking and keeps the weights finite.
    """
    weights = ((similarity - similarity[:, :1]).double() / temperature).exp()
    return torch.zeros(len(label), classes, dtype=torch.float64, device=label.device).scatter_add_(1, label, weights)


def evaluate(
    train: Features,
    test: Features,
    classes: int,
    seeds: Sequence[int] = (0,),
    *,
    k: int = 20,
    temperature: float = 0.07,
    held_out: float = 0.2,
    device: torch.device | str = "cpu",
) -> list[Score]:
    """A score for each layer and seed. Metrics do not depend on the seed, the held-out accuracy does."""
    masks = {seed: base.held_out(train.label, train.group, held_out, seed).to(device) for seed in seeds}
    label = train.label.to(device)
    scores = []
    for name in train.layers:
        gallery, queries = train.layers[name].to(device), test.layers[name].to(device)
        similarity, place = neighbours(gallery, queries, k)
        votes = vote(similarity, label[place], classes, temperature).cpu()
        found = base.accuracies(votes, test.label)
        found["nearest"] = measures.accuracy(label[place[:, 0]].cpu(), test.label)
        for seed, held in masks.items():
            near, where = neighbours(gallery[~held], gallery[held], k)
            kept = vote(near, label[~held][where], classes, temperature)
            accuracy = measures.top_k_accuracy(kept, label[held])
            chosen = {"k": float(place.shape[1]), "temperature": temperature}
            scores.append(Score(name, seed, accuracy, found, chosen, votes.argmax(1)))
    return scores
