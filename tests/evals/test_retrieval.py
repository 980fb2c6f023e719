from pathlib import Path

import pytest
import torch

from sslkit.data.dataset import Dataset
from sslkit.evals import retrieval
from sslkit.models import trunk as trunks


def test_own_source_is_never_found(make_features) -> None:
    gallery = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [-1.0, 0.2]])
    train = make_features({"l": gallery}, torch.tensor([0, 1, 2, 0]), ["a", "b", "c", "d"])
    test = make_features({"l": gallery[:1]}, torch.tensor([0]), ["a"])
    barred = retrieval.same(test.source, train.source)
    place, counts = retrieval.find(train.layers["l"], test.layers["l"], barred, 4)
    assert place[0, 0] == 1 and place[0, 3] == 0 and counts.tolist() == [[True, True, True, False]]


def test_precision_and_recall_of_known_neighbours(make_features) -> None:
    train = make_features(
        {"l": torch.tensor([[2.0, 0.0], [2.0, 0.1], [-2.0, 0.0], [-2.0, -0.1]])}, torch.tensor([0, 1, 1, 1]), prefix="a"
    )
    test = make_features({"l": torch.tensor([[2.0, -0.1], [-2.0, 0.0]])}, torch.tensor([0, 0]), prefix="b")
    score = retrieval.evaluate(train, test, 2, ks=(1, 2, 4, 9))[0]
    assert score.metrics == {
        "precision@1": 50.0, "precision@2": 25.0, "precision@4": 25.0,
        "recall@1": 50.0, "recall@2": 50.0, "recall@4": 100.0,
    }  # fmt: skip
    assert score.predicted is not None and score.predicted.tolist() == [0, 1]


def test_held_out_part_does_not_meet_its_own_source(make_features) -> None:
    label = torch.arange(12) % 2
    rows = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    train = make_features({"l": rows}, label, ["one"] * 12)  # one source: nothing may be found
    assert retrieval.evaluate(train, make_features({"l": rows}, label, prefix="t"), 2)[0].held_out == 0.0


def test_grid_has_the_query_first_and_frames_say_right_or_wrong(
    make_features, train_set: Dataset, test_set: Dataset
) -> None:
    def colour(dataset: Dataset, n: int) -> torch.Tensor:
        return torch.eye(3)[torch.arange(n) % 3] + 0.01 * torch.randn(n, 3, generator=torch.Generator().manual_seed(0))

    label = torch.arange(24) % 3
    train = make_features({"l": colour(train_set, 24)}, label, prefix="a")
    test = make_features({"l": colour(test_set, 15)}, label[:15], prefix="b")
    grid = retrieval.panel(train, test, train_set, test_set, "l", rows=3)
    assert grid.columns == 8 and len(grid.pictures) == len(grid.captions) == len(grid.right) == 24
    assert grid.right[0] is None and grid.right[1:8] == [True] * 7 and grid.captions[0] == "red"
    assert grid.pictures[0].shape == (128, 128, 3) and grid.pictures[0].dtype.name == "uint8"
    for row in range(3):  # all of a row has the query's colour: the pictures are those of the features
        colours = {int(picture.mean((0, 1)).argmax()) for picture in grid.pictures[8 * row : 8 * row + 8]}
        assert len(colours) == 1
    assert grid.pictures[0].mean((0, 1)).argmax() == 0


def test_a_wrong_neighbour_is_marked(make_features, train_set: Dataset, test_set: Dataset) -> None:
    train = make_features({"l": torch.randn(24, 3)}, torch.ones(24, dtype=torch.int64), prefix="a")
    test = make_features({"l": torch.randn(15, 3)}, torch.zeros(15, dtype=torch.int64), prefix="b")
    grid = retrieval.panel(train, test, train_set, test_set, "l", rows=1)
    assert grid.right == [None, *[False] * 7] and grid.captions[1] == "green"


@pytest.mark.parametrize("names", [(["a"], ["a", "b"])])
def test_same_source(names: tuple[list[str], list[str]]) -> None:
    assert retrieval.same(*names).tolist() == [[True, False]]


def test_neighbours_among_held_out_samples_of_a_trunk(test_set: Dataset) -> None:
    trunk = trunks.build("alexnet_bn", {"side_px": 64, "width": 0.25, "fc": 16})
    grid = retrieval.held_out(trunk, test_set, most=10)
    assert grid.columns == 8 and len(grid.pictures) == 48 and "of 10 that are nearest to it in conv4" in grid.note
    assert grid.right[0] is None and {verdict for verdict in grid.right[1:8]} <= {True, False}
    # Without labels the sources are named, and nothing is right or wrong.
    for entry in test_set.entries:
        object.__setattr__(entry, "label", -1)
    grid = retrieval.held_out(trunk, test_set, most=10)
    assert set(grid.right) == {None} and grid.captions[0] == Path(test_set.entries[0].source).stem
