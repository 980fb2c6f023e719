"""Exported networks answer as the trunk does, carry what is needed to use them, and load where they claim to."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torchvision.models
from safetensors import safe_open
from torch import Tensor

from sslkit import jobs
from sslkit.engine import export
from sslkit.errors import UserError, WorkError
from sslkit.models import trunk as trunks
from sslkit.models.trunk import Trunk

SMALL: list[tuple[str, dict[str, Any]]] = [
    ("alexnet_bn", {"side_px": 64, "width": 0.125, "fc": 16}),
    ("nin", {"side_px": 16, "width": 0.1}),
    ("resnet", {"depth": 18, "side_px": 32, "width": 8, "small_pictures": True}),
    ("tcam", {"fields": 6, "side_px": 32, "width": 0.0625}),
]
ABOUT = {"task": "rotation", "trunk": "sight", "recipe": {"name": "tiny", "about": "größer"}, "step": 7}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def with_statistics(trunk: Trunk, seed: int = 0) -> Trunk:
    """As after training: batch norm that is far from the identity."""
    random = torch.Generator().manual_seed(seed)
    for module in trunk.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.running_mean.copy_(0.1 * torch.randn(len(module.weight), generator=random))
            module.running_var.copy_(0.5 + torch.rand(len(module.weight), generator=random))
    return trunk.eval()


def raw_for(trunk: Trunk, count: int) -> Tensor:
    side = trunk.crop_px
    shape = (trunk.takes.flow, 2, side, side) if trunk.takes.flow else (3, side, side)
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize(("name", "settings"), SMALL, ids=[name for name, _ in SMALL])
def test_onnx_takes_raw_media_in_any_number_and_answers_as_the_trunk(
    name: str, settings: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    trunk = with_statistics(trunks.build(name, settings))
    found = export.as_onnx(trunk, ABOUT, tmp_path / "net.onnx")
    assert 0 <= found.relative < 1e-4 and [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    assert capfd.readouterr() == ("", "")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    assert [(i.name, i.type, i.shape[0]) for i in session.get_inputs()] == [("raw", "tensor(uint8)", "batch")]
    for count in (2, 5):
        raw = raw_for(trunk, count)
        given = dict(zip([o.name for o in session.get_outputs()], session.run(None, {"raw": raw.numpy()}), strict=True))
        with torch.no_grad():
            maps = trunk(raw)
        for layer, wanted in {**maps, "vector": trunk.vector(maps)}.items():
            scale = wanted.abs().max().item()
            assert np.allclose(given.pop(layer), wanted.numpy(), atol=1e-4 * scale)
        assert not given
    model = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(model)
    assert model.opset_import[0].version == export.OPSET
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert told["task"] == "rotation" and json.loads(told["recipe"])["about"] == "größer"
    assert json.loads(told["input"])["shape"] == ["batch", *raw.shape[1:]]
    other = with_statistics(trunk, seed=1)
    assert export._difference(other, (tmp_path / "net.onnx").read_bytes()).relative > 0.01


def test_a_resnet_loads_into_torchvisions_and_gives_the_same_features(tmp_path: Path) -> None:
    trunk = with_statistics(trunks.build("resnet", {"depth": 18, "side_px": 64}))
    export.as_safetensors(trunk, ABOUT, tmp_path / "net.safetensors")
    with safe_open(tmp_path / "net.safetensors", framework="pt") as file:
        told, weights = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    assert told["torchvision"] == "resnet18" and told["format"] == "pt"
    net = torchvision.models.resnet18()
    matched = net.load_state_dict(weights, strict=False)
    assert matched.missing_keys == ["fc.weight", "fc.bias"] and not matched.unexpected_keys
    net.fc = torch.nn.Identity()
    raw, front = raw_for(trunk, 3), json.loads(told["input"])
    mean, std = (torch.tensor(front[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        theirs, ours = net.eval()((raw - mean) / std), trunk.vector(trunk(raw))
    assert torch.allclose(theirs, ours, atol=1e-5)


def test_other_networks_keep_their_own_names(tmp_path: Path) -> None:
    for name, settings in SMALL:
        trunk = trunks.build(name, settings)
        export.as_safetensors(trunk, ABOUT, tmp_path / name)
        with safe_open(tmp_path / name, framework="pt") as file:
            assert set(file.keys()) == set(trunk.state_dict())
            assert "torchvision" not in file.metadata()
            assert json.loads(file.metadata()["settings"]) == trunk.settings
            assert json.loads(file.metadata()["input"]).items() >= trunk.front_end.items()


def test_a_network_that_answers_otherwise_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_exported", lambda *_: b"")
    for relative in (2e-3, float("inf"), float("nan")):
        monkeypatch.setattr(export, "_difference", lambda *_, r=relative: export.Difference(1.0, r, "block2"))
        with pytest.raises(WorkError, match="was not written: in ONNX block2"):
            export.as_onnx(trunks.build(*SMALL[1]), ABOUT, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_named_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trunk = trunks.build(*SMALL[1])
    trunks.save(trunk, tmp_path / "trunk.safetensors", ABOUT)
    there = export.importlib.util.find_spec
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None if name == "onnx" else there(name))
    with pytest.raises(UserError, match=r"pip install onnx, or give --format safetensors"):
        jobs.export(tmp_path)
    assert not (tmp_path / "export").exists()
    assert [row["network"] for row in jobs.export(tmp_path, format="safetensors").rows] == ["nin"]


def test_all_trunks_of_a_run_are_exported_once(tmp_path: Path) -> None:
    for file, name in (("trunk", "sight"), ("trunk-sound", "sound")):
        trunks.save(trunks.build(*SMALL[1]), tmp_path / f"{file}.safetensors", {**ABOUT, "trunk": name})
    result = jobs.export(tmp_path, tmp_path / "out", "safetensors")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["sight-nin.safetensors", "sound-nin.safetensors"]
    assert result.fields["task"] == "rotation" and len(result.rows) == 2
    with pytest.raises(UserError, match="already there"):
        jobs.export(tmp_path, tmp_path / "out", "safetensors")
    with pytest.raises(UserError, match="does not exist"):
        jobs.export(tmp_path / "nowhere")
