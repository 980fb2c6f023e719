import math

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from sslkit.evals import knn


def some(seed: int, n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(n, 6, generator=random), torch.randint(0, 4, (n,), generator=random)


def test_vote_equals_a_literal_loop_and_sklearn() -> None:
    (gallery, label), (queries, _) = some(0), some(1, 15)
    similarity, place = knn.neighbours(gallery, queries, 7)
    votes = knn.vote(similarity, label[place], 4, 0.07)
    for q, query in enumerate(queries):
        ranked = sorted(((torch.cosine_similarity(query, g, 0).item(), i) for i, g in enumerate(gallery)), reverse=True)
        expected = [0.0] * 4
        for s, i in ranked[:7]:
            expected[int(label[i])] += math.exp((s - ranked[0][0]) / 0.07)
        assert votes[q].tolist() == pytest.approx(expected, rel=1e-3)
    model = KNeighborsClassifier(
        7, metric="cosine", algorithm="brute", weights=lambda d: torch.exp(-torch.tensor(d) / 0.07).numpy()
    )
    assert model.fit(gallery.numpy(), label.numpy()).predict(queries.numpy()).tolist() == votes.argmax(1).tolist()


def test_chunks_of_queries_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    (gallery, _), (queries, _) = some(0), some(1, 15)
    whole = knn.neighbours(gallery, queries, 5)
    monkeypatch.setattr(knn, "_QUERIES", 4)
    parts = knn.neighbours(gallery, queries, 5)
    assert torch.allclose(whole[0], parts[0], atol=1e-6) and torch.equal(whole[1], parts[1])


def test_barred_pairs_come_last() -> None:
    gallery = torch.eye(3)
    barred = torch.tensor([[True, False, False]])
    similarity, place = knn.neighbours(gallery, gallery[:1] + 0.1 * gallery[1:2], 3, barred)
    assert place.tolist() == [[1, 2, 0]] and similarity[0, 2] == -torch.inf


def test_known_features_are_right_and_k_is_clamped(make_features) -> None:
    label = torch.arange(12) % 3
    rows = torch.eye(3)[label] + 0.01 * torch.randn(12, 3)
    train, test = make_features({"l": rows}, label), make_features({"l": rows}, label)
    one, two = knn.evaluate(train, test, 3, (0, 1), k=50)
    assert one.metrics == {"top1": 100.0, "mean_class": 100.0, "nearest": 100.0} and one.held_out == 100.0
    assert one.chosen["k"] == 12.0 and one.metrics == two.metrics
