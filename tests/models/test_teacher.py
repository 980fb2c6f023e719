from pathlib import Path

import pytest
import torch
import torchvision.models
import yaml
from safetensors.torch import save_file

from sslkit.errors import UserError
from sslkit.models import teacher as teachers
from sslkit.models import trunk as trunks
from sslkit.tasks import base

PICTURES = torch.randint(0, 256, (3, 3, 64, 64), generator=torch.Generator().manual_seed(0)).float()


def test_a_classifier_of_torchvision_from_either_kind_of_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=7).eval()
    mean, std = (torch.tensor(x).reshape(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = network((PICTURES / 255 - mean) / std)
    torch.save(network.state_dict(), tmp_path / "a.pth")
    torch.save({"state_dict": network.state_dict(), "epoch": 3}, tmp_path / "b.pth")
    save_file(network.state_dict(), tmp_path / "c.safetensors")
    for name in ("a.pth", "b.pth", "c.safetensors"):
        found = teachers.load(str(tmp_path / name), "resnet18", 64)
        assert found.outputs == 7 and found.side_px == 64 and found.classifies
        assert torch.allclose(found.train()(PICTURES), expected, atol=1e-4)  # stays in evaluation mode
        assert not found(PICTURES).requires_grad and not any(p.requires_grad for p in found.parameters())


def test_a_trunk_and_a_finetuned_run_of_ours(tmp_path: Path) -> None:
    settings = {
        "trunk": "alexnet_bn",
        "trunk_settings": {"side_px": 64, "width": 0.25, "fc": 32},
        "classes": ["a", "b"],
    }
    torch.manual_seed(0)
    task = base.build("labels", settings).eval()
    views = {"x": PICTURES, "target": torch.zeros(3, dtype=torch.int64), "sample": torch.arange(3)}
    torch.save({"format": "any", "task": task.state_dict()}, tmp_path / "checkpoint.pt")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"task": "labels", "settings": settings}))
    found = teachers.load(str(tmp_path))
    assert (found.outputs, found.side_px, found.classifies) == (2, 64, True)
    assert torch.allclose(found(PICTURES), task(views).scores, atol=1e-5)
    trunks.save(task.trunk, tmp_path / "trunk.safetensors", {})
    for path in (tmp_path, tmp_path / "trunk.safetensors"):
        found = teachers.load(str(path))
        assert (found.outputs, found.classifies) == (32, False)
        assert torch.allclose(found(PICTURES), task.trunk.vector(task.trunk(PICTURES)), atol=1e-5)


def test_without_a_file_it_is_always_the_same() -> None:
    before = torch.random.get_rng_state()
    one, other = teachers.load(""), teachers.load("")
    assert torch.equal(one(PICTURES), other(PICTURES)) and one.outputs == 128 and not one.classifies
    assert torch.equal(before, torch.random.get_rng_state())


def test_what_is_no_teacher_is_told_in_a_sentence(tmp_path: Path) -> None:
    state = torchvision.models.resnet18(num_classes=3).state_dict()
    torch.save(state, tmp_path / "a.pth")
    torch.save({**state, "fc.weight": torch.zeros(3, 5)}, tmp_path / "short.pth")
    (tmp_path / "text.pth").write_text("no weights")
    (tmp_path / "empty").mkdir()
    cases = [
        ("gone.pth", "resnet18", "does not exist"),
        ("a.pth", "resnet19", "did you mean 'resnet1"),
        ("a.pth", "resnet34", "does not fit resnet34: 122 of 218 weights match, 96 are missing"),
        ("short.pth", "resnet18", "1 are missing"),
        ("text.pth", "resnet18", "not written by torch.save"),
        ("empty", "", "is no run"),
        ("gone.safetensors", "", "does not exist"),
    ]
    for name, network, sentence in cases:
        with pytest.raises(UserError, match=sentence):
            teachers.load(str(tmp_path / name), network)
    trunks.save(trunks.build("speech", {"width": 8}), tmp_path / "deaf.safetensors", {})
    with pytest.raises(UserError, match="does not see single pictures"):
        teachers.load(str(tmp_path / "deaf.safetensors"))
    for text in ("settings: [", "task: labels", "settings: {trunk: 5}"):
        (tmp_path / "empty" / "recipe.yaml").write_text(text)
        (tmp_path / "empty" / "checkpoint.pt").write_bytes(b"")
        with pytest.raises(UserError):
            teachers.load(str(tmp_path / "empty"))
