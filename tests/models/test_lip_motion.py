"""Filters on the movement of mouths and on bands of sound: what they leave out, and when their vectors are."""

import pytest
import torch
import torch.nn.functional as F

from sslkit.models import trunk as trunks
from sslkit.models.lips import HOP, WINDOW


def textured(frames: int, shift_px: float, seed: int = 0) -> torch.Tensor:
    """(1, T, 3, 32, 32): a smooth texture of which the lower half slides down, by so much in every other frame."""
    drawn = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(seed))
    big = F.interpolate(drawn, (48, 48), mode="bicubic")
    clip = []
    for number in range(frames):
        theta = torch.eye(2, 3)[None].clone()
        theta[0, 1, 2] = -shift_px * (number % 2) / 24
        moved = F.grid_sample(big, F.affine_grid(theta, big.shape, align_corners=False), align_corners=False)
        both = torch.cat([big[..., :24, :], moved[..., 24:, :]], 2)[..., 8:40, 8:40]
        clip.append(both[0].expand(3, -1, -1) * 200)
    return torch.stack(clip)[None]


def test_features_tell_movement_and_neither_light_nor_side() -> None:
    trunk = trunks.build("lip_motion", {"dimensions": 4, "context": 2}).eval()
    raw = textured(20, 1.0)
    found = trunk.features(raw)  # type: ignore[operator]
    assert found.shape == (1, 20, 64)
    down = found[0, 2:].unflatten(1, (2, 8, 4))[:, 1]
    lower = down[:, 5:7].mean((1, 2)) - down[:, 1:3].mean((1, 2))
    assert (lower[0::2] < 0).all() and (lower[1::2] > 0).all()  # up again, then down
    for same in (raw * 0.5 + 30, raw.flip(-1)):
        torch.testing.assert_close(trunk.features(same), found, rtol=0.05, atol=0.05)  # type: ignore[operator]


@pytest.mark.parametrize(("name", "raw"), [("lip_motion", textured(24, 1.0)), ("speech_bands", None)])
def test_vectors_are_even_by_clip_and_survive_the_disk(name: str, raw: torch.Tensor | None, tmp_path) -> None:
    trunk = trunks.build(name, {"dimensions": 4, "context": 2}).eval()
    raw = torch.randn(1, 19 * HOP + WINDOW) * 1000 if raw is None else raw
    vectors = trunk.dense(raw)  # type: ignore[operator]
    assert vectors.shape == (1, 20, 4)
    maps = trunk(raw)
    assert {layer: value.shape[1] for layer, value in maps.items()} == trunk.widths
    trunks.save(trunk, tmp_path / "t.safetensors", {})
    again, _ = trunks.load(tmp_path / "t.safetensors")
    torch.testing.assert_close(again.dense(raw), vectors)  # type: ignore[operator]


def test_bands_lie_in_the_time_of_their_frame() -> None:
    trunk = trunks.build("speech_bands")
    sound = 300 * torch.randn(1, 29 * HOP + WINDOW)
    click = 20
    sound[:, 120 + click * HOP : 120 + (click + 1) * HOP] *= 20
    level = trunk.features(sound)[0].mean(1)  # type: ignore[operator]
    assert level.shape == (34,) and int(level.argmax()) == click
    torch.testing.assert_close(trunk.features(sound * 7), trunk.features(sound), atol=0.05, rtol=0)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "raw"), [("lip_motion", textured(12, 0.3)), ("speech_bands", torch.randn(1, 7 * HOP + WINDOW) * 1000)]
)
def test_features_are_the_same_within_mixed_precision(name: str, raw: torch.Tensor) -> None:
    trunk = trunks.build(name, {"dimensions": 4, "context": 2}).eval()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = trunk.features(raw)  # type: ignore[operator]
    assert torch.equal(mixed, trunk.features(raw))  # type: ignore[operator]
