import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, ndcg_score, roc_auc_score

from sslkit.errors import WorkError
from sslkit.ops import measures, ranking


def random_case(seed: int, items: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores with many ties, and which are positive."""
    random = torch.Generator().manual_seed(seed)
    positive = torch.rand(items, generator=random) < 0.3
    scores = (3 * torch.randn(items, generator=random) + 2 * positive).round()
    return scores, positive


@pytest.mark.parametrize("seed", range(5))
def test_one_dimensional_measures_agree_with_sklearn(seed: int) -> None:
    scores, positive = random_case(seed)
    truth, given = positive.numpy(), scores.numpy()
    assert ranking.average_precision(scores, positive) == pytest.approx(100 * average_precision_score(truth, given))
    assert ranking.roc_auc(scores, positive) == pytest.approx(100 * roc_auc_score(truth, given))
    assert ranking.f1(scores > 1, positive) == pytest.approx(100 * f1_score(truth, given > 1))


def slow_voc(scores: torch.Tensor, positive: torch.Tensor, recalls: list[float] | None) -> float:
    """VOC in loops, for scores without ties; without recalls, the area."""
    order = sorted(range(len(scores)), key=lambda i: -float(scores[i]))
    points = []
    for n in range(1, len(order) + 1):
        hits = sum(bool(positive[i]) for i in order[:n])
        points.append((hits / int(positive.sum()), hits / n))

    def best(recall: float) -> float:
        return max((p for r, p in points if r >= recall - 1e-9), default=0.0)

    if recalls is not None:
        return float(np.mean([best(recall) for recall in recalls]))
    area, before = 0.0, 0.0
    for recall, _ in points:
        area, before = area + (recall - before) * best(recall), recall
    return area


@pytest.mark.parametrize("seed", range(3))
def test_both_voc_average_precisions(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    positive = torch.rand(40, generator=random) < 0.4
    scores = torch.randn(40, generator=random) + positive
    eleven = [i / 10 for i in range(11)]
    assert ranking.average_precision(scores, positive, "eleven") == pytest.approx(
        100 * slow_voc(scores, positive, eleven)
    )
    assert ranking.average_precision(scores, positive, "interpolated") == pytest.approx(
        100 * slow_voc(scores, positive, None)
    )


def test_answers_that_are_all_the_same_get_chance() -> None:
    positive = torch.tensor([True, False, False, True, False])
    flat = torch.zeros(5)
    assert ranking.roc_auc(flat, positive) == 50
    assert ranking.average_precision(flat, positive) == 40
    assert ranking.median_rank(torch.zeros(3, 9), torch.tensor([0, 4, 8])) == 5
    worst = torch.tensor([torch.nan, 0.3, 0.2, 0.5, 0.1])
    assert ranking.roc_auc(worst, positive) == pytest.approx(50)  # the one that is not a number comes last


def test_ndcg_agrees_with_sklearn_ties_included() -> None:
    random = torch.Generator().manual_seed(3)
    relevance = torch.rand(12, 40, generator=random).round(decimals=1)
    scores = (4 * torch.randn(12, 40, generator=random)).round()
    for k in (1, 5, 30, 100):
        expected = [ndcg_score([(2**r - 1).numpy()], [s.numpy()], k=k) for r, s in zip(relevance, scores, strict=True)]
        assert ranking.ndcg_at(scores, relevance, k).tolist() == pytest.approx([100 * e for e in expected])


def test_ndcg_by_hand() -> None:
    found = ranking.ndcg_at(torch.tensor([[3.0, 2, 1]]), torch.tensor([[0, 1, 2]]), 2)
    ideal = 3 / math.log2(2) + 1 / math.log2(3)
    assert found.item() == pytest.approx(100 * (1 / math.log2(3)) / ideal)


def test_ndcg_leaves_out_what_a_query_may_not_find() -> None:
    scores = torch.tensor([[9.0, 3, 2, 1], [1, 9, 3, 2]])
    relevance = torch.tensor([[2, 1, 0, 2], [0, 2, 0, 0]])
    gallery = ~torch.eye(4, dtype=torch.bool)[:2]
    found = ranking.ndcg_at(scores, relevance, 3, gallery)
    assert found[0] == pytest.approx(float(ranking.ndcg_at(scores[:1, 1:], relevance[:1, 1:], 3)))
    assert found[1].isnan()


def test_ranks_and_recall_of_pairs() -> None:
    scores = torch.tensor([[0.9, 0.1, 0.5], [0.9, 0.1, 0.5], [0.2, 0.2, 0.2]])
    right = torch.tensor([0, 1, 2])
    assert ranking.ranks(scores, right).tolist() == [1, 3, 2]
    assert ranking.median_rank(scores, right) == 2
    assert measures.top_k_accuracy(scores, right, 1) == pytest.approx(100 * (1 + 0 + 1 / 3) / 3)


def test_nothing_to_measure_is_an_error() -> None:
    none = torch.zeros(4, dtype=torch.bool)
    for measure in (ranking.average_precision, ranking.roc_auc):
        with pytest.raises(WorkError):
            measure(torch.zeros(4), none)
        with pytest.raises(WorkError):
            measure(torch.zeros(0), none[:0])
    with pytest.raises(WorkError):
        ranking.median_rank(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    assert ranking.f1(none, none) == 0
