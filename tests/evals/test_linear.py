import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from sslkit.errors import WorkError
from sslkit.evals import linear


def blobs(n: int, dims: int, classes: int, apart: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rows around one centre a class; the centres do not depend on the seed."""
    centres = torch.randn(classes, dims, generator=torch.Generator().manual_seed(99))
    random = torch.Generator().manual_seed(seed)
    label = torch.arange(n) % classes
    return torch.randn(n, dims, generator=random) * torch.linspace(0.1, 3, dims) + apart * centres[label] + 5, label


@pytest.mark.parametrize(("n", "dims"), [(150, 12), (60, 300)])
def test_optimum_is_sklearns(n: int, dims: int) -> None:
    rows, label = blobs(n, dims, 4, 0.5)
    rows = linear.standardise(rows, rows)[0].double()
    for l2 in (0.01, 1.0):
        ours = linear.fit(rows, label, 4, l2, tolerance=1e-9)
        theirs = LogisticRegression(C=1 / (l2 * n), tol=1e-10, max_iter=10_000).fit(rows.numpy(), label.numpy())
        assert np.abs(ours.weight.T.numpy() - theirs.coef_).max() < 1e-4
        chances = ours.scores(rows).softmax(1).numpy()
        assert np.abs(chances - theirs.predict_proba(rows.numpy())).max() < 1e-4


@pytest.mark.parametrize(("n", "dims"), [(40, 200), (200, 30)])
def test_rotated_rows_have_the_same_optimum(n: int, dims: int) -> None:
    rows, label = blobs(n, dims, 3, 0.3)
    asked, _ = blobs(25, dims, 3, 0.3, seed=1)
    rows, asked = linear.standardise(rows, asked)
    turned, turned_asked = linear.rotate(rows, asked)
    assert turned.shape == (n, min(n - 1, dims))  # centred rows: one less than n
    for l2 in (0.003, 0.3):
        direct = linear.fit(rows.double(), label, 3, l2, tolerance=1e-9).scores(asked.double())
        cheap = linear.fit(turned, label, 3, l2, tolerance=1e-9).scores(turned_asked)
        assert (direct - cheap).abs().max() < 1e-4


def test_rotation_keeps_inner_products_with_train() -> None:
    rows, asked = torch.randn(20, 50), torch.randn(7, 50)
    turned, turned_asked = linear.rotate(rows, asked)
    assert torch.allclose(turned_asked @ turned.T, (asked @ rows.T).double(), atol=1e-4)


def test_too_many_rows_and_columns_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, label = blobs(40, 30, 3, 0.3)
    expected = linear.fit(linear.rotate(rows, rows)[0], label, 3, 0.1, tolerance=1e-9)
    monkeypatch.setattr(linear, "_ROTATE_BELOW", 20)
    plain = linear.rotate(rows, rows)[0]
    assert torch.equal(plain, rows.double())
    found = linear.fit(plain, label, 3, 0.1, tolerance=1e-9)
    monkeypatch.undo()
    assert (found.scores(plain) - expected.scores(linear.rotate(rows, rows)[0])).abs().max() < 1e-4


def test_standardise_uses_train_alone_and_silences_constant_columns() -> None:
    train = torch.tensor([[1.0, 7.0], [3.0, 7.0]])
    rows, asked = linear.standardise(train, torch.tensor([[5.0, 9.0]]))
    assert rows.tolist() == [[-1.0, 0.0], [1.0, 0.0]] and asked.tolist() == [[3.0, 0.0]]


def test_half_precision_features_are_accepted(make_features) -> None:
    rows, label = blobs(60, 20, 3, 3.0)
    half = make_features({"l": rows.half()}, label)
    assert linear.evaluate(half, half, 3)[0].metrics["top1"] == 100.0


def test_a_warm_start_changes_nothing() -> None:
    rows, label = blobs(80, 10, 3, 0.5)
    cold = linear.fit(rows, label, 3, 0.1, tolerance=1e-7)
    warm = linear.fit(rows, label, 3, 0.1, start=linear.fit(rows, label, 3, 10.0), tolerance=1e-7)
    # A loss in float32 is known to 1e-7 of itself, and where it is least to about the root of that.
    assert (cold.scores(rows) - warm.scores(rows)).abs().max() < 5e-3


def test_a_class_that_train_lacks_is_never_answered() -> None:
    rows, label = blobs(40, 6, 2, 2.0)
    found = linear.fit(rows, label * 2, 4, 0.1)
    assert found.scores(rows).argmax(1).unique().tolist() == [0, 2]
    assert found.bias[[1, 3]].tolist() == [-torch.inf] * 2


def test_features_that_are_not_numbers_are_an_error() -> None:
    with pytest.raises(WorkError, match="not finite"):
        linear.fit(torch.full((6, 2), float("nan")), torch.arange(6) % 2, 2, 0.1)


def test_separable_layer_is_read_and_shuffled_labels_are_not(make_features) -> None:
    rows, label = blobs(240, 40, 6, 4.0)
    asked, truth = blobs(120, 40, 6, 4.0, seed=1)
    noise, asked_noise = torch.randn(240, 40), torch.randn(120, 40)
    train = make_features({"noise": noise, "known": rows}, label)
    test = make_features({"noise": asked_noise, "known": asked}, truth)
    scores = {score.layer: score for score in linear.evaluate(train, test, 6)}
    assert scores["known"].metrics == {"top1": 100.0, "top5": 100.0, "mean_class": 100.0}
    assert scores["known"].held_out == 100.0
    assert scores["noise"].metrics["top1"] < 35 and scores["noise"].held_out < 40
    shuffled = label[torch.randperm(240, generator=torch.Generator().manual_seed(1))]
    control = linear.evaluate(make_features({"known": rows}, shuffled), test, 6)[0]
    assert control.metrics["top1"] < 40


def test_test_labels_decide_nothing(make_features) -> None:
    rows, label = blobs(90, 30, 3, 0.2)
    asked, truth = blobs(30, 30, 3, 0.2, seed=1)
    train = make_features({"l": rows}, label)
    honest, wrong = (
        linear.evaluate(train, make_features({"l": asked}, t), 3, (0, 1, 2)) for t in (truth, (truth + 1) % 3)
    )
    assert [(s.chosen, s.held_out) for s in honest] == [(s.chosen, s.held_out) for s in wrong]
    assert all(torch.equal(a.predicted, b.predicted) for a, b in zip(honest, wrong, strict=True))
    assert honest[0].metrics["top1"] > wrong[0].metrics["top1"]


def test_a_seed_changes_the_held_out_part_alone(make_features) -> None:
    rows, label = blobs(90, 30, 3, 0.2)
    train = make_features({"l": rows}, label)
    one, two = linear.evaluate(train, train, 3, (0, 1), grid=(0.1,))
    assert one.metrics == two.metrics and one.held_out != two.held_out


def test_strong_penalties_are_chosen_for_noisy_features(make_features) -> None:
    rows, label = blobs(60, 400, 3, 0.1)
    asked, truth = blobs(300, 400, 3, 0.1, seed=1)
    score = linear.evaluate(make_features({"l": rows}, label), make_features({"l": asked}, truth), 3, grid=(1e-6, 3.0))[
        0
    ]
    assert set(score.chosen) == {"l2", "l2_at_edge"} and score.chosen["l2_at_edge"] == 1.0


def test_number_of_threads_comes_back_and_large_problems_keep_it() -> None:
    torch.set_num_threads(2)
    try:
        with linear._threads(1000):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with linear._threads(10**9):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
