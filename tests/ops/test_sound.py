import math

import pytest
import torch

from sslkit.ops import sound as ops


def test_scales() -> None:
    samples = torch.tensor([-32768, 0, 16384], dtype=torch.int16)
    assert ops.scaled(samples).tolist() == [-32768, 0, 16384]
    assert ops.scaled(samples, 1.0).tolist() == [-1, 0, 0.5]
    assert ops.scaled(samples, 256.0).tolist() == [-256, 0, 128]
    assert torch.equal(ops.scaled(samples.double(), 1.0), ops.scaled(samples, 1.0))


def test_companding_is_mu_law() -> None:
    samples = torch.tensor([-32768, -16384, 0, 100], dtype=torch.int16)
    expected = [-1, -math.log(128.5) / math.log(256), 0, math.log(1 + 255 * 100 / 32768) / math.log(256)]
    assert ops.companded(samples).tolist() == pytest.approx(expected, abs=1e-6)


def test_level_and_levelled() -> None:
    square = torch.tensor([3277, -3277] * 50).to(torch.int16)
    assert float(ops.level_db(square)) == pytest.approx(-20, abs=0.01)
    batch = torch.stack([square, square // 10, square * 0])
    level = ops.level_db(ops.levelled(batch, -26))
    assert level.tolist() == pytest.approx([-26, -26, -120], abs=0.01)
    assert not ops.levelled(batch)[2].any()


def test_sampled_with_a_triangle_is_linear_interpolation() -> None:
    values = torch.tensor([[0.0, 10, 30], [1, 2, 3]])
    position = torch.tensor([0.0, 0.5, 1.25, 2.0, 3.5], dtype=torch.float64)
    found = ops.sampled(values, position, 1, ops.triangle())
    assert torch.allclose(found, torch.tensor([[0, 5, 15, 30, 0], [1, 1.5, 2.25, 3, 0]]))


def test_sampled_with_sinc_keeps_a_tone_between_samples() -> None:
    position = torch.linspace(40, 160, 77, dtype=torch.float64)
    tone = torch.sin(0.6 * torch.arange(200))
    found = ops.sampled(tone, position, 16, ops.sinc(1.0, 16))
    assert (found - torch.sin(0.6 * position)).abs().max() < 5e-3
    above = torch.sin(2.8 * torch.arange(200))
    assert ops.sampled(above, position, 16, ops.sinc(0.5, 16)).abs().max() < 5e-3


def test_each_row_may_have_its_own_positions() -> None:
    values = torch.arange(20.0).expand(2, 3, 20)
    position = torch.tensor([[[2.0, 3.0]], [[5.0, 6.0]]], dtype=torch.float64)
    found = ops.sampled(values, position, 1, ops.triangle())
    assert found.tolist() == [[[2, 3]] * 3, [[5, 6]] * 3]


def test_a_wide_triangle_keeps_the_centre_of_what_it_gathers() -> None:
    for place in range(40, 61):
        values = torch.zeros(100)
        values[place] = 1
        found = ops.sampled(values, torch.arange(10, dtype=torch.float64) * 10, 10, ops.triangle(10))
        assert float((found * torch.arange(10)).sum() / found.sum()) == pytest.approx(place / 10)
