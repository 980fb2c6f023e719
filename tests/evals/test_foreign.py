"""Weights of other programs land where they belong, are counted, and are refused when they are of another network."""

import os
from pathlib import Path

import pytest
import torch
import torchvision.models
from safetensors.torch import save_file

from sslkit.engine import export
from sslkit.errors import UserError
from sslkit.evals import inits
from sslkit.evals.foreign import adopted
from sslkit.models import trunk as trunks


@pytest.fixture(scope="module")
def theirs() -> torchvision.models.ResNet:
    torch.manual_seed(0)
    net = torchvision.models.resnet18()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()  # or the front end and the statistics would not show
    return net.eval()


def feature(net: torchvision.models.ResNet, raw: torch.Tensor) -> torch.Tensor:
    """What torchvision's own network gives before its last layer, for raw pictures."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (raw / 255 - mean.reshape(3, 1, 1)) / std.reshape(3, 1, 1)
    x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
    return net.layer4(net.layer3(net.layer2(net.layer1(x)))).mean((2, 3))


@pytest.mark.parametrize("form", ["plain", "checkpoint", "parallel", "half", "safetensors"])
def test_a_state_dict_in_torchvisions_layout_gives_the_same_features(
    theirs: torchvision.models.ResNet, tmp_path: Path, form: str
) -> None:
    state, path = theirs.state_dict(), tmp_path / f"net.{'safetensors' if form == 'safetensors' else 'pth'}"
    if form == "safetensors":
        save_file(state, str(path))
    elif form == "checkpoint":
        torch.save({"epoch": 3, "state_dict": {f"module.encoder.{k}": v for k, v in state.items()}, "lr": 0.1}, path)
    elif form == "parallel":
        torch.save({f"module.{k}": v for k, v in state.items()}, path)
    else:
        torch.save({k: v.half() if form == "half" else v for k, v in state.items()}, path)
    trunk, match = adopted(path)
    assert (trunk.name, trunk.settings["depth"], trunk.training) == ("resnet", 18, False)
    assert match.counts() == {"matched": 100, "missing": 0, "unexpected": 2} and "fc.bias" in match.told()
    raw = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0)).float()
    with torch.no_grad():
        ours, right = trunk.vector(trunk(raw)), feature(theirs, raw)
    torch.testing.assert_close(
        ours, right, rtol=2e-2 if form == "half" else 1e-4, atol=2e-2 if form == "half" else 1e-4
    )


def test_the_depth_is_read_from_the_weights(tmp_path: Path) -> None:
    for depth in (34, 50):
        net = getattr(torchvision.models, f"resnet{depth}")()
        torch.save(net.state_dict(), tmp_path / "net.pth")
        trunk, match = adopted(tmp_path / "net.pth")
        assert trunk.settings["depth"] == depth and not match.missing


def test_what_is_missing_is_counted_and_too_little_is_refused(
    theirs: torchvision.models.ResNet, tmp_path: Path
) -> None:
    path, state = tmp_path / "net.pth", theirs.state_dict()
    torch.save({k: v for k, v in state.items() if not k.startswith("layer4")}, path)
    trunk, match = adopted(path)
    assert match.counts() == {"matched": 75, "missing": 25, "unexpected": 2}
    assert torch.equal(trunk.net.layer1[0].conv1.weight, state["layer1.0.conv1.weight"])
    again, _ = adopted(path)
    assert torch.equal(trunk.net.layer4[0].conv1.weight, again.net.layer4[0].conv1.weight), "random, but of one seed"
    torch.save({k: v for k, v in state.items() if k.startswith("layer1")}, path)
    with pytest.raises(
        UserError, match=r"net\.pth does not fit resnet.*: 20 of 100 weights match, 80 are missing \(conv1"
    ):
        adopted(path)


def test_weights_of_another_network_are_refused_with_the_nearest_name(tmp_path: Path) -> None:
    path = tmp_path / "alex.pth"
    torch.save(torchvision.models.alexnet().features.state_dict(), path)
    with pytest.raises(UserError, match="of no network that is known here"):
        adopted(path)
    like = trunks.build("alexnet_bn", {"side_px": 64, "width": 0.125, "fc": 8})
    with pytest.raises(UserError, match=r"does not fit alexnet_bn.*: 0 of 35 weights match, .*convs\.conv1\.0\.weight"):
        adopted(path, [like])
    torch.save({"convs.conv1.0.weights": torch.zeros(8, 3, 11, 11)}, path)
    with pytest.raises(
        UserError, match=r"nearest to convs\.conv1\.0\.weight is convs\.conv1\.0\.weights; give weights"
    ):
        adopted(path, [like])


def test_our_own_weights_are_found_in_other_files_too(tmp_path: Path) -> None:
    like = trunks.build("nin", {"side_px": 16, "width": 0.05})
    torch.save({"state_dict": {f"trunk.{k}": v for k, v in like.state_dict().items()}}, tmp_path / "x.pt")
    trunk, match = adopted(tmp_path / "x.pt", [trunks.build("nin", {"side_px": 16, "width": 0.05})])
    assert match.share == 1 and torch.equal(trunk.blocks["block1"][0].weight, like.blocks["block1"][0].weight)
    export.as_safetensors(like, {}, tmp_path / "x.safetensors")
    trunk, match = adopted(tmp_path / "x.safetensors")
    assert match.share == 1 and trunk.settings == like.settings


def test_code_in_foreign_weights_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"state_dict": {"layer1.0.conv1.weight": torch.zeros(1)}, "model": Evil()}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="could run code"):
        adopted(tmp_path / "x.pth")
    assert not (tmp_path / "owned").exists()
    itself: dict[str, object] = {}
    itself["state_dict"] = itself
    torch.save(itself, tmp_path / "x.pth")
    with pytest.raises(UserError, match="holds no weights"):
        adopted(tmp_path / "x.pth")
    torch.save([1, 2], tmp_path / "x.pth")
    with pytest.raises(UserError, match="holds no weights"):
        adopted(tmp_path / "x.pth")
    torch.save({"epoch": 3}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="holds no weights"):
        adopted(tmp_path / "x.pth")


def test_evaluations_take_them_and_say_how_many_matched(theirs: torchvision.models.ResNet, tmp_path: Path) -> None:
    torch.save(theirs.state_dict(), tmp_path / "net.pth")
    run = tmp_path / "run"
    run.mkdir()
    trunks.save(trunks.build("resnet", {"depth": 18, "side_px": 64}), run / "trunk.safetensors", {})
    found = inits.resolve([run], [str(tmp_path / "net.pth"), "random"], 1)
    assert [init.name for init in found] == ["run", "net", "random"]
    made = found[1].make()
    assert made.settings["side_px"] == 64, "the network is that of the run beside it"
    assert torch.equal(made.net.conv1.weight, theirs.conv1.weight)
    assert inits.notes(found) == [
        f"{run / 'trunk.safetensors'}: 120 of 120 weights match.",
        f"{tmp_path / 'net.pth'}: 100 of 100 weights match, 2 in the file are unexpected (fc.weight, fc.bias).",
    ]
