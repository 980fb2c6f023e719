import math

import pytest
import torch

from sslkit.ops import tempo as ops
from sslkit.types import Draw

RATE_HZ = 16_000


def test_an_impulse_moves_by_the_known_factor() -> None:
    click = torch.zeros(3, 2, RATE_HZ)
    click[..., 8000] = 10_000
    tempo = ops.Tempo(torch.tensor([0.8, 1.0, 1.25]).double(), torch.tensor([0.1, 0.0, 0.2]).double())
    found = ops.played(click, tempo, RATE_HZ, 12_000)
    expected = tempo.heard_s(torch.tensor([0.5])) * RATE_HZ
    assert found.shape == (3, 2, 12_000)
    assert (found.abs().argmax(-1) - expected).abs().max() <= 0.5
    assert expected.flatten().tolist() == pytest.approx([8000, 8000, 3840])
    assert torch.allclose(found[1, 0], click[1, 0, :12_000], atol=1e-2)


def test_time_goes_there_and_back() -> None:
    tempo = ops.draw_tempo(5, 1.5, 1.0, (0.8, 1.2), Draw(0, 0))
    heard = torch.linspace(0, 1, 7).double()
    assert torch.allclose(torch.stack([tempo.heard_s(row)[i] for i, row in enumerate(tempo.source_s(heard))]), heard)


def test_drawn_tempos_stay_inside_what_is_given() -> None:
    tempo = ops.draw_tempo(500, 1.1, 1.0, (0.8, 1.2), Draw(0, 0))
    ends = tempo.source_s(torch.tensor([0.0, 1.0]).double())
    assert ends.min() >= 0 and ends.max() <= 1.1 + 1e-9
    assert tempo.factor.min() < 0.82 and tempo.factor.max() == pytest.approx(1.1)
    assert tempo.start_s.max() > 0.2
    with pytest.raises(ValueError, match="too few"):
        ops.draw_tempo(1, 0.5, 1.0, (0.8, 1.2), Draw(0, 0))


@pytest.mark.parametrize(("factor", "least", "most"), [(0.8, 0.95, 1.05), (1.4, 0.0, 0.1), (1.7, 0.0, 0.01)])
def test_pitch_follows_and_nothing_folds_back(factor: float, least: float, most: float) -> None:
    time = torch.arange(RATE_HZ) / RATE_HZ
    low, high = (10_000 * torch.sin(2 * math.pi * hz * time) for hz in (440, 6500))
    tempo = ops.Tempo(torch.tensor([factor]).double(), torch.tensor([0.0]).double())
    found = ops.played(low[None], tempo, RATE_HZ, 8000)[0, 100:-100]
    assert (found - 10_000 * torch.sin(2 * math.pi * 440 * factor * time[100:7900])).abs().max() < 100
    level = ops.played(high[None], tempo, RATE_HZ, 8000)[0, 100:-100].square().mean().sqrt() / (10_000 / math.sqrt(2))
    assert least <= level <= most


def test_an_hour_keeps_its_place() -> None:
    sound = torch.zeros(1, 3600 * 1000, dtype=torch.int16)
    sound[0, 3_599_000] = 30_000
    tempo = ops.Tempo(torch.tensor([1.0]).double(), torch.tensor([3598.5]).double())
    assert ops.played(sound, tempo, 1000, 1000)[0].argmax() == 500
