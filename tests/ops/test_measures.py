import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, top_k_accuracy_score

from sslkit.errors import WorkError
from sslkit.ops import measures

SCORES = torch.tensor([[0.1, 0.7, 0.2], [0.6, 0.3, 0.1], [0.2, 0.3, 0.5], [0.3, 0.4, 0.3]])


def test_top_k_counts_rows_whose_class_is_among_the_best() -> None:
    target = torch.tensor([1, 1, 2, 1])
    assert measures.top_k_accuracy(SCORES, target) == 75.0
    assert measures.top_k_accuracy(SCORES, target, 2) == 100.0
    assert measures.top_k_accuracy(SCORES, target, 9) == 100.0


def test_measures_agree_with_sklearn() -> None:
    random = torch.Generator().manual_seed(0)
    scores = torch.randn(200, 7, generator=random)
    target = torch.randint(0, 7, (200,), generator=random)
    said = scores.argmax(1)
    for k in (1, 3, 5):
        expected = 100 * top_k_accuracy_score(target.numpy(), scores.numpy(), k=k, labels=range(7))
        assert measures.top_k_accuracy(scores, target, k) == pytest.approx(expected)
    expected = 100 * balanced_accuracy_score(target.numpy(), said.numpy())
    assert measures.mean_class_accuracy(said, target, 7) == pytest.approx(expected)
    assert measures.confusion(said, target, 7).numpy().tolist() == confusion_matrix(target, said).tolist()


def test_equal_scores_get_chance_and_not_numbers_get_nothing() -> None:
    target = torch.tensor([0, 3, 2])
    assert measures.top_k_accuracy(torch.zeros(3, 4), target) == 25.0
    assert measures.top_k_accuracy(torch.zeros(3, 4), target, 2) == 50.0
    diverged = torch.tensor([[float("nan"), 1.0], [0.0, float("nan")]])
    assert measures.top_k_accuracy(diverged, torch.tensor([0, 1])) == 0.0


def test_confusion_has_the_truth_in_rows() -> None:
    table = measures.confusion(torch.tensor([1, 1, 0]), torch.tensor([0, 0, 2]), 3)
    assert table.tolist() == [[0, 2, 0], [0, 0, 0], [1, 0, 0]]


def test_mean_class_accuracy_ignores_how_frequent_a_class_is() -> None:
    target = torch.tensor([0] * 90 + [1] * 10)
    always = torch.zeros(100, dtype=torch.int64)
    assert measures.accuracy(always, target) == 90.0
    assert measures.mean_class_accuracy(always, target, 3) == 50.0  # class 2 does not occur
    assert measures.per_class_accuracy(always, target, 3)[:2].tolist() == [100.0, 0.0]
    assert measures.per_class_accuracy(always, target, 3)[2].isnan()


def test_precision_and_recall_of_retrieval() -> None:
    right = torch.tensor([[True, False, True], [False, False, True], [False, False, False]])
    assert measures.precision_at(right, 1) == pytest.approx(100 / 3)
    assert measures.precision_at(right, 3) == pytest.approx(100 / 3)
    assert measures.recall_at(right, 1) == pytest.approx(100 / 3)
    assert measures.recall_at(right, 3) == pytest.approx(200 / 3)


def test_nothing_to_measure_is_an_error() -> None:
    with pytest.raises(WorkError, match="no labelled samples"):
        measures.accuracy(torch.zeros(0), torch.zeros(0))
