from pathlib import Path

import pytest
import torch

from sslkit.errors import UserError
from sslkit.models import trunk as trunks
from sslkit.models.l3 import FRONTS, L3Sound


def noise(samples: int, n: int = 2) -> torch.Tensor:
    return torch.randint(-3000, 3000, (n, samples), dtype=torch.int16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("stride", "front", "sight", "sound"), [(1, "l3", (28, 28), (32, 24)), (2, "ave", (14, 14), (16, 12))]
)
def test_published_sizes(stride: int, front: str, sight: tuple[int, int], sound: tuple[int, int]) -> None:
    looks = trunks.build("l3_sight", {"stride": stride}).eval()
    hears = trunks.build("l3_sound", {"stride": stride, "front": front}).eval()
    assert list(looks.widths.values()) == list(hears.widths.values()) == [64, 128, 256, 512]
    assert looks(torch.zeros(1, 3, 224, 224, dtype=torch.uint8))["conv4"].shape == (1, 512, *sight)
    assert hears(noise(48_000, 1))["conv4"].shape == (1, 512, *sound)
    assert hears.takes.sound_s == 1.0 and hears.takes.rate_hz == 48_000


@pytest.mark.parametrize("front", FRONTS)
def test_sound_trunk_obeys_the_contract_on_raw_waveforms_and_survives_the_disk(front: str, tmp_path: Path) -> None:
    trunk = trunks.build("l3_sound", {"front": front, "width": 0.125, "stride": 2}).eval()
    raw = noise(trunk.takes.rate_hz)
    maps = trunk(raw)
    assert {name: value.shape[1] for name, value in maps.items()} == trunk.widths
    assert torch.equal(trunk.vector(maps), maps["conv4"].flatten(2).amax(2))
    assert torch.equal(trunk(raw.float())["conv1"], maps["conv1"])
    trunks.save(trunk, tmp_path / "trunk.safetensors", {})
    again, _ = trunks.load(tmp_path / "trunk.safetensors")
    assert all(torch.equal(value, maps[name]) for name, value in again(raw).items())


def test_loudness_tells_the_sound_trunk_nothing() -> None:
    trunk = trunks.build("l3_sound", {"front": "mel", "width": 0.125}).eval()
    raw = noise(16_000).float()
    torch.testing.assert_close(trunk(raw)["conv4"], trunk(raw * 0.03)["conv4"], atol=1e-4, rtol=1e-4)
    silent = trunk(torch.zeros(2, 16_000, dtype=torch.int16))
    assert all(bool(value.isfinite().all()) for value in silent.values())


def test_sound_may_be_of_any_length_and_front_ends_have_names() -> None:
    trunk = trunks.build("l3_sound", {"front": "mel", "width": 0.125}).eval()
    assert isinstance(trunk, L3Sound)
    once, twice = (trunk(noise(samples))["conv4"].shape for samples in (16_000, 32_000))
    assert once[:3] == twice[:3] and twice[3] > once[3]
    with pytest.raises(UserError, match="use one of l3, ave, mel"):
        trunks.build("l3_sound", {"front": "mfcc"})


@pytest.mark.parametrize(("stride", "side_px"), [(1, 68), (2, 135)])
def test_how_much_of_a_picture_a_place_sees(stride: int, side_px: int) -> None:
    trunk = trunks.build("l3_sight", {"width": 0.125, "stride": stride}).eval()
    raw = (255 * torch.rand(1, 3, 320, 320)).requires_grad_()
    maps = trunk(raw)["conv4"]
    middle = maps.shape[2] // 2
    (slope,) = torch.autograd.grad(maps[0, :, middle, middle].sum(), raw)
    seen = slope[0].abs().sum(0) > 0
    assert side_px - 24 < int(seen.any(0).sum()) <= side_px and int(seen.any(1).sum()) <= side_px
