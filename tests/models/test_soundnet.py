import pytest
import torch
from torch.nn import functional as F

from sslkit.errors import UserError
from sslkit.models import trunk as trunks


def test_published_sizes() -> None:
    trunk = trunks.build("soundnet")
    assert trunk.widths == {f"conv{n}": 8 * 2**n for n in range(1, 8)}
    assert trunk.steps(20 * 22_050) == 15  # four steps of a head of 8 with stride 2
    assert trunk.steps(5 * 22_050) == 4
    names = [tuple(block[0].kernel_size + block[0].stride + block[0].padding) for block in trunk.blocks.values()]
    assert names == [(64, 2, 32), (32, 2, 16), (16, 2, 8), (8, 2, 4), (4, 2, 2), (4, 2, 2), (4, 2, 2)]


def test_layers_have_the_steps_that_are_foretold() -> None:
    trunk = trunks.build("soundnet", {"width": 0.25, "rate_hz": 16_000, "sound_s": 1.0}).eval()
    for samples in (12_000, 16_000, 40_001):
        maps = trunk(torch.zeros(2, samples, dtype=torch.int16))
        assert {name: value.shape[1] for name, value in maps.items()} == trunk.widths
        assert maps["conv7"].shape == (2, 256, 1, trunk.steps(samples))
        assert trunk.vector(maps).shape == (2, 256)
    with pytest.raises(UserError, match="too short for its strides"):
        trunks.build("soundnet", {"sound_s": 0.1})


def test_the_first_layer_hears_full_scale_as_256() -> None:
    trunk = trunks.build("soundnet", {"width": 0.5}).eval()
    conv = trunk.blocks["conv1"][0]
    sound = torch.randint(-32768, 32767, (1, 22_050), generator=torch.Generator().manual_seed(0)).to(torch.int16)
    by_hand = F.relu(F.conv1d(sound.float()[:, None] / 128, conv.weight, conv.bias, 2, 32) / (1 + 1e-5) ** 0.5)
    assert torch.allclose(trunk(sound)["conv1"][:, :, 0], by_hand, atol=1e-4)
