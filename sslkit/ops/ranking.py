"""How good an order is: ranks, nDCG, average precision, ROC. Higher scores come first; shares are in percent, 0 to 100.

Equal scores count as the mean over all their orders, so an answer that is the same for everything gets chance; a score
that is not a number comes last. With one right item a query, recall at k is `measures.top_k_accuracy`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from sslkit.errors import WorkError

Points = Literal["all", "interpolated", "eleven"]


def ranks(scores: Tensor, right: Tensor) -> Tensor:
    """Rank of the one right item of each query, from 1, (Q,) float64: scores (Q, N), right (Q,) int64 in 0 .. N-1."""
    scores = _ordered(scores)
    own = scores.gather(1, right[:, None])
    above, equal = (scores > own).sum(1), (scores == own).sum(1)
    return above + (equal.double() + 1) / 2


def median_rank(scores: Tensor, right: Tensor) -> float:
    """Median of `ranks`; (N + 1) / 2 by chance. Raises WorkError without queries."""
    if not len(right):
        raise WorkError("There are no queries to measure: check that the split has pairs.")
    return float(ranks(scores, right).quantile(0.5))


def ndcg_at(scores: Tensor, relevance: Tensor, k: int, gallery: Tensor | None = None) -> Tensor:
    """Normalised discounted cumulative gain of the first k of each query, percent, (Q,) float64.

    scores (Q, N); relevance (Q, N), graded, not negative: an item adds (2^relevance - 1) / log2(rank + 1), and the sum
    is divided by that of the best order of the same gallery. gallery (Q, N) bool: which items a query may find (not
    itself, not its own video). nan where nothing in the gallery is relevant: leave such queries out, and say how many.
    """
    gains = 2 ** relevance.double() - 1
    scores = _ordered(scores)
    if gallery is not None:
        gains, scores = gains * gallery, scores.masked_fill(~gallery, -torch.inf)
    discount = 1 / torch.arange(2, scores.shape[1] + 2, dtype=torch.float64, device=scores.device).log2()
    discount[k:] = 0
    ordered, order = scores.sort(1, descending=True)
    gain = _mean_of_equals(ordered, gains.gather(1, order))
    ideal = gains.sort(1, descending=True).values @ discount
    return 100.0 * (gain @ discount) / ideal.masked_fill(ideal == 0, torch.nan)


def _mean_of_equals(ordered: Tensor, gains: Tensor) -> Tensor:
    """Each row's gains, averaged over neighbours of equal score."""
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    group = first.long().cumsum(1) - 1
    zeros = torch.zeros_like(gains)
    total, count = zeros.scatter_add(1, group, gains), zeros.scatter_add(1, group, torch.ones_like(gains))
    return (total / count.clamp(min=1)).gather(1, group)


def average_precision(scores: Tensor, positive: Tensor, points: Points = "all") -> float:
    """Area under the curve of precision over recall, percent: scores (N,), positive (N,) bool.

    points: "all", precision at each step of recall as it is (scikit-learn, VISSL); "interpolated", the best precision
    at this recall or beyond (VOC from 2010); "eleven", the mean of that at recalls 0, 0.1 .. 1 (VOC 2007). Raises
    WorkError without a positive.
    """
    true, false = _curve(scores, positive)
    if not len(true) or not true[-1]:
        raise WorkError("There is no positive sample to measure: check the labels.")
    precision, recall = true / (true + false), true / true[-1]
    best = precision.flip(0).cummax(0).values.flip(0)
    if points == "eleven":
        at = torch.linspace(0, 1, 11, dtype=torch.float64, device=recall.device)
        # A recall of 0.3 may be computed a little too low.
        reached = torch.searchsorted(recall, at - 1e-9)
        return 100.0 * float(best[reached].mean())
    step = torch.diff(recall, prepend=recall.new_zeros(1))
    return 100.0 * float(((precision if points == "all" else best) * step).sum())


def roc_auc(scores: Tensor, positive: Tensor) -> float:
    """Share of pairs of a positive and a negative whose scores are in the right order, equal ones half; percent.

    scores (N,), positive (N,) bool. Chance is 50. Raises WorkError where one of the two kinds is missing.
    """
    true, false = _curve(scores, positive)
    if not len(true) or not true[-1] or not false[-1]:
        raise WorkError("ROC needs positive and negative samples: check the labels.")
    zero = true.new_zeros(1)
    area = torch.trapezoid(torch.cat([zero, true]), torch.cat([zero, false]))
    return 100.0 * float(area / (true[-1] * false[-1]))


def _curve(scores: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """Positives and negatives at or above each different score, highest first; float64."""
    ordered, order = _ordered(scores).sort(descending=True)
    hit = positive[order].double()
    last = torch.ones_like(ordered, dtype=torch.bool)
    last[:-1] = ordered[1:] != ordered[:-1]
    return hit.cumsum(0)[last], (1 - hit).cumsum(0)[last]


def f1(predicted: Tensor, positive: Tensor) -> float:
    """Harmonic mean of precision and recall, percent, both (N,) bool; 0 where nothing is predicted or positive."""
    right = int((predicted & positive).sum())
    return 200.0 * right / max(1, int(predicted.sum()) + int(positive.sum()))


def _ordered(scores: Tensor) -> Tensor:
    return scores.double().nan_to_num(nan=-torch.finfo(torch.float64).max, posinf=torch.inf, neginf=-torch.inf)
