from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sslkit.errors import UserError, WorkError
from sslkit.models import trunk as trunks

SMALL: list[tuple[str, dict[str, Any]]] = [
    ("alexnet_bn", {"side_px": 64, "width": 0.25, "fc": 32}),
    ("alexnet_bn", {"side_px": 96, "width": 0.25, "fc": 0}),
    ("nin", {"side_px": 32, "width": 0.25}),
    ("resnet", {"depth": 18, "side_px": 64, "width": 16}),
    ("resnet", {"depth": 18, "side_px": 32, "width": 16, "small_pictures": True}),
    ("tcam", {"fields": 6, "chunks": 2, "side_px": 64, "width": 0.125}),
]


def raw_for(trunk: trunks.Trunk, n: int = 2) -> torch.Tensor:
    side = trunk.crop_px
    shape = (n, trunk.takes.flow, 2, side, side) if trunk.takes.flow else (n, 3, side, side)
    return torch.randint(1, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("name", "settings"), SMALL)
def test_trunk_gives_its_layers_in_order_and_survives_the_disk(
    name: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    trunk = trunks.build(name, settings).eval()
    raw = raw_for(trunk)
    maps = trunk(raw)
    assert {k: v.shape[1] for k, v in maps.items()} == trunk.widths
    assert list(maps) == list(trunk.widths)
    assert trunk.vector(maps).shape == (2, trunk.vector_width)
    assert torch.equal(trunk(raw.float())[next(iter(maps))], maps[next(iter(maps))])
    trunks.save(trunk, tmp_path / "trunk.safetensors", {"task": "rotation"})
    again, about = trunks.load(tmp_path / "trunk.safetensors")
    assert about == {"task": "rotation"} and not again.training
    for layer, value in again(raw).items():
        assert torch.equal(value, maps[layer])


def test_published_sizes() -> None:
    alexnet = trunks.build("alexnet_bn")
    assert alexnet.widths == {
        "conv1": 64, "conv2": 192, "conv3": 384, "conv4": 256, "conv5": 256, "fc6": 4096, "fc7": 4096
    }  # fmt: skip
    assert alexnet.fcs["fc6"][0].in_features == 256 * 6 * 6
    tcam = trunks.build("tcam")
    assert tcam.widths == {
        "conv1": 128, "conv2": 256, "conv3": 512, "conv4": 1024, "conv5": 1024, "fuse1": 1024, "fuse2": 1024
    }  # fmt: skip
    maps = tcam.eval()(torch.full((1, 20, 2, 224, 224), 128, dtype=torch.uint8))
    assert maps["fuse2"].shape[2:] == (14, 14)
    resnet = trunks.build("resnet", {"depth": 50})
    assert resnet.widths == {"conv1": 64, "res2": 256, "res3": 512, "res4": 1024, "res5": 2048}


def test_tcam_sees_each_field_in_its_chunk_and_no_motion_as_zero() -> None:
    trunk = trunks.build("tcam", {"fields": 4, "chunks": 2, "side_px": 32, "width": 0.125}).eval()
    still = torch.full((1, 4, 2, 32, 32), 128, dtype=torch.uint8)
    moved = still.clone()
    moved[:, 3, 0] = 200  # second chunk only
    half = trunk.widths["conv1"] // 2
    before, after = trunk(still)["conv1"], trunk(moved)["conv1"]
    assert torch.equal(before[:, :half], after[:, :half]) and not torch.equal(before[:, half:], after[:, half:])
    assert torch.equal(before[:, :half], before[:, half:])  # the chunks share their weights


def test_wrong_requests_and_files_are_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'resnet'"):
        trunks.build("resnets")
    with pytest.raises(UserError, match="widht"):
        trunks.build("nin", {"widht": 2})
    with pytest.raises(UserError, match="depth of 18"):
        trunks.build("resnet", {"depth": 20})
    with pytest.raises(UserError, match="does not exist"):
        trunks.load(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"not a tensor file")
    with pytest.raises(UserError, match="is damaged, or no safetensors file"):
        trunks.load(tmp_path / "bad.safetensors")
    save_file({"a": torch.zeros(1)}, str(tmp_path / "foreign.safetensors"))
    with pytest.raises(UserError, match="not a trunk"):
        trunks.load(tmp_path / "foreign.safetensors")
    trunk = trunks.build("nin", {"width": 0.25})
    trunks.save(trunk, tmp_path / "t.safetensors", {})
    trunk.settings = {"width": 0.5}
    trunks.save(trunk, tmp_path / "wide.safetensors", {})
    with pytest.raises(WorkError, match="weights match"):
        trunks.load(tmp_path / "wide.safetensors")
