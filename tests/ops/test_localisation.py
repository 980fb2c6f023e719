import cv2
import numpy as np
import pytest
import torch
from sklearn.metrics import auc

from sslkit.errors import WorkError
from sslkit.ops import localisation as ops


def slow_ciou(heat: np.ndarray, boxes: list[list[int]]) -> float:
    """The released evaluation in loops: half of the picture is predicted, two boxes are full credit."""
    height, width = heat.shape
    threshold = sorted(heat.flatten())[height * width // 2]
    found = credit = wrong = 0.0
    for y in range(height):
        for x in range(width):
            votes = sum(y0 <= y < y1 and x0 <= x < x1 for y0, x0, y1, x1 in boxes)
            truth = min(1.0, votes / 2)
            credit += truth
            if heat[y, x] > threshold:
                found += truth
                wrong += truth == 0
    return found / (credit + wrong)


def test_ciou_is_the_released_one() -> None:
    random = np.random.default_rng(0)
    heats, truths, expected = [], [], []
    for _ in range(6):
        y, x, tall, wide = random.integers(2, 9, 4)
        boxes = [[y, x, y + tall, x + wide], [y + 1, x + 1, y + tall + 2, x + wide], [y, x + 2, y + tall, x + wide + 3]]
        heat = random.normal(size=(24, 20)).astype(np.float32)
        heat[y : y + tall, x : x + wide] += 1.5
        expected.append(slow_ciou(heat, boxes))
        heats.append(torch.from_numpy(heat))
        truths.append(ops.consensus_map(torch.tensor(boxes), 24, 20))
    found = ops.ciou(ops.upper_half(torch.stack(heats)), torch.stack(truths))
    assert found.tolist() == pytest.approx(expected)
    assert (found > 0).all() and (found < 1).all()


def test_consensus_by_hand() -> None:
    boxes = torch.tensor([[0, 0, 2, 2], [0, 1, 2, 3], [0, 1, 1, 4]])
    assert ops.consensus_map(boxes, 2, 4).tolist() == [[0.5, 1, 1, 0.5], [0.5, 1, 0.5, 0]]
    assert ops.consensus_map(boxes, 2, 4, votes=1).tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]


def test_success_and_its_area() -> None:
    values = torch.tensor([0.0, 0.2, 0.5, 0.77, 1.0])
    assert ops.localised(values) == 60
    assert ops.localised(values, 0.6) == 40
    success = [float((values.double() >= 0.05 * i).double().mean()) for i in range(21)]
    assert ops.success_auc(values) == pytest.approx(100 * auc([0.05 * i for i in range(21)], success))
    for measure in (ops.localised, ops.success_auc):
        with pytest.raises(WorkError, match="no annotated items"):
            measure(values[:0])


def test_upper_half_is_half_whatever_the_scale_and_flat_is_nothing() -> None:
    heat = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0))
    for scaled in (heat, 1e3 * heat - 5):
        assert ops.upper_half(scaled).float().mean().item() == pytest.approx(0.5, abs=0.01)
    assert not ops.upper_half(torch.ones(1, 8, 8)).any()


def test_pointing_and_its_chance() -> None:
    truth = torch.zeros(3, 4, 4)
    truth[:, 1:3, 1:3] = 0.5
    heat = torch.zeros(3, 4, 4)
    heat[0, 2, 2] = heat[1, 0, 0] = 1
    assert ops.pointing(heat, truth).tolist() == [1, 0, 0.25]


def test_enlarging_is_opencvs() -> None:
    heat = np.random.default_rng(0).normal(size=(14, 14)).astype(np.float32)
    expected = cv2.resize(heat, (224, 224), interpolation=cv2.INTER_LINEAR)
    assert np.abs(ops.enlarged(torch.from_numpy(heat)[None], 224, 224)[0].numpy() - expected).max() < 1e-4


def test_baselines_look_at_the_middle_only() -> None:
    found = ops.baselines(40, 60)
    shares = {name: float(mask.float().mean()) for name, mask in found.items()}
    assert shares["whole picture"] == 1
    assert shares["centre half"] == pytest.approx(0.5, abs=0.02)
    assert all(mask[20, 30] and torch.equal(mask, mask.flip(0, 1)) for mask in found.values())
    middle = ops.consensus_map(torch.tensor([[16, 26, 24, 34]]), 40, 60)[None]
    assert ops.pointing(ops.centre_heat(40, 60)[None], middle).item() == 1
