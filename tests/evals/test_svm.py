import numpy as np
import pytest
import torch
from sklearn.svm import LinearSVC

from sslkit.errors import UserError
from sslkit.evals import svm


def blobs(n: int, dims: int, classes: int, apart: float, seed: int = 0):
    centres = torch.randn(classes, dims, generator=torch.Generator().manual_seed(99))
    label = torch.arange(n) % classes
    return torch.randn(n, dims, generator=torch.Generator().manual_seed(seed)) + apart * centres[label], label


@pytest.mark.parametrize("cost", [0.1, 10.0])
@pytest.mark.parametrize(("n", "dims"), [(150, 8), (50, 90)])
def test_optimum_is_that_of_linear_svc(n: int, dims: int, cost: float) -> None:
    rows, label = blobs(n, dims, 4, 0.5)
    rows = torch.nn.functional.normalize(rows.double(), dim=1)
    ours = svm.decide(svm.fit(rows, label, 4, cost, tolerance=1e-9), rows)
    weights = dict.fromkeys(range(4), 2.0)
    theirs = LinearSVC(C=cost, dual=False, tol=1e-9, max_iter=10_000, class_weight=weights)
    theirs.fit(rows.numpy(), label.numpy())
    assert np.abs(ours.numpy() - theirs.decision_function(rows.numpy())).max() < 1e-4


def test_rotated_features_get_the_same_values(make_features) -> None:
    rows, label = blobs(30, 100, 3, 0.5)
    lengths = rows / (rows.norm(dim=1, keepdim=True) + 1e-5)
    direct = svm.decide(svm.fit(lengths.double(), label, 3, 1.0, tolerance=1e-9), lengths.double())
    turned, _ = svm._rows(rows, rows)
    assert (svm.decide(svm.fit(turned, label, 3, 1.0, tolerance=1e-9), turned) - direct).abs().max() < 1e-4


def test_known_layer_is_read_and_test_labels_decide_nothing(make_features) -> None:
    rows, label = blobs(90, 30, 3, 3.0)
    asked, truth = blobs(30, 30, 3, 3.0, seed=1)
    train = make_features({"l": rows, "noise": torch.randn(90, 30)}, label)
    honest, wrong = (
        svm.evaluate(train, make_features({"l": asked, "noise": torch.randn(30, 30)}, t), 3, (0,), costs=(0.1, 1.0))
        for t in (truth, (truth + 1) % 3)
    )
    assert honest[0].metrics == {"top1": 100.0, "mean_class": 100.0} and wrong[0].metrics["top1"] == 0.0
    assert [(s.chosen, s.held_out) for s in honest] == [(s.chosen, s.held_out) for s in wrong]
    assert honest[1].held_out < 60


def test_two_classes_and_a_missing_one() -> None:
    rows, label = blobs(40, 5, 2, 3.0)
    found = svm.decide(svm.fit(rows, label * 2, 3, 1.0), rows)
    assert torch.equal(found.argmax(1), label * 2)
    with pytest.raises(UserError, match="same label"):
        svm.fit(rows, torch.zeros(40, dtype=torch.int64), 3, 1.0)


def test_low_shot_grows_with_shots_and_leaves_out_what_train_lacks(make_features) -> None:
    rows, label = blobs(60, 20, 3, 0.6)
    asked, truth = blobs(90, 20, 3, 0.6, seed=1)
    train, test = make_features({"l": rows}, label), make_features({"l": asked}, truth)
    found = svm.low_shot(train, test, 3, "l", 1.0, shots=(1, 16, 21), repeats=3)
    assert list(found) == [1, 16] and found[16][0] > found[1][0] and found[1][1] > 0
    assert found == svm.low_shot(train, test, 3, "l", 1.0, shots=(1, 16, 21), repeats=3)
