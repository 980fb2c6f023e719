import pytest
import torch

from sslkit.errors import UserError
from sslkit.evals import base


def test_held_out_keeps_groups_together_and_classes_in_proportion() -> None:
    label = torch.tensor([0] * 60 + [1] * 40)
    group = [f"g{i // 4}" for i in range(100)]
    held = base.held_out(label, group, 0.2, seed=0)
    apart = [{group[i] for i in (held == side).nonzero()[:, 0].tolist()} for side in (True, False)]
    assert not apart[0] & apart[1]
    assert held.sum() == 20 and label[held].bincount().tolist() == [12, 8]


def test_seed_changes_what_is_held_out() -> None:
    label, group = torch.arange(60) % 3, [str(i) for i in range(60)]
    masks = [base.held_out(label, group, 0.2, seed) for seed in (0, 0, 1)]
    assert torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])


def test_folds_cover_every_sample_once() -> None:
    label, group = torch.arange(31) % 4, [f"g{i % 11}" for i in range(31)]
    parts = base.folds(label, group, 3, seed=5)
    assert sorted(torch.cat(parts).tolist()) == list(range(31)) and len(parts) == 3


def test_a_single_group_is_divided_by_sample() -> None:
    held = base.held_out(torch.arange(20) % 2, ["one"] * 20, 0.25, seed=0)
    assert held.sum() == 5


def test_two_groups_make_two_parts() -> None:
    parts = base.folds(torch.arange(20) % 2, ["a"] * 12 + ["b"] * 8, 5, seed=0)
    assert sorted(map(len, parts)) == [8, 12]


def test_nothing_can_be_held_out_of_single_samples() -> None:
    with pytest.raises(UserError, match="No class has two training samples"):
        base.held_out(torch.arange(4), list("abcd"), 0.2, seed=0)


def test_guessing_knows_the_largest_class_of_train() -> None:
    found = base.guessing(torch.tensor([0, 1, 1, 2]), torch.tensor([1, 1, 1, 0]), 3)
    assert found["chance"]["top1"] == pytest.approx(100 / 3) and "top5" not in found["chance"]
    assert found["majority"] == {"top1": 75.0, "mean_class": 50.0}


def test_summary_is_mean_and_sample_deviation() -> None:
    rows = [{"init": "a", "layer": "l", "metric": "m", "value": v} for v in (1.0, 3.0)]
    rows.append({"init": "b", "layer": "l", "metric": "m", "value": 5.0})
    first, second = base.summary(rows)
    assert (first["value"], first["spread"], first["runs"], first["seed"]) == (2.0, pytest.approx(2**0.5), 2, None)
    assert (second["init"], second["value"], second["spread"], second["runs"]) == ("b", 5.0, 0.0, 1)
