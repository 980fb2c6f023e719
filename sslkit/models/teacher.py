"""Networks that teach others: frozen, from a file that the user names, never from the network.

A teacher is a classifier of torchvision, a classifier that `sslkit finetune` trained, or a trunk of ours, which has
layers but no classes. Files are read as weights and plain values alone; nothing in them is run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torchvision.models
import yaml
from torch import Tensor, nn

from sslkit.catalog import nearest
from sslkit.errors import UserError
from sslkit.models import trunk as trunks
from sslkit.models import weights
from sslkit.models.pixels import Normalise

_UNTRAINED = {"depth": 18, "side_px": 64, "width": 16}


class Teacher(nn.Module):
    """Says something of pictures. It is in evaluation mode, has no gradients, and stays so.

    side_px: of the square pictures that it was made for. outputs: how many numbers it says. classifies: they are logits
    of classes that it has learnt; otherwise they are the channels of a layer, of any scale.
    """

    def __init__(self, network: nn.Module, side_px: int, outputs: int, classifies: bool) -> None:
        super().__init__()
        self.network, self.side_px, self.outputs, self.classifies = network, side_px, outputs, classifies
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Teacher:
        """Stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        """(N, outputs) float32 of pictures (N, 3, side_px, side_px) with values 0 to 255."""
        said: Tensor = self.network(pictures)
        return said.float()


def load(path: str, network: str = "", side_px: int = 224) -> Teacher:
    """The teacher in a file or folder.

    path: with `network`, the name of a classifier of torchvision, such as "resnet50": its state dict, written by
    torch.save or as safetensors. Without: the folder of a run of `sslkit finetune`, the folder of a pretraining run, or
    its trunk.safetensors. Without any path the network is one of random weights, always the same, which sees colour and
    texture. side_px: of the pictures for a network of torchvision.
    Raises UserError for what is none of these, and where weights do not fit.
    """
    if not path:
        return untrained()
    where = Path(path)
    if network:
        return _of_torchvision(where, network, side_px)
    if where.is_dir() and not (where / "trunk.safetensors").is_file():
        return _finetuned(where)
    return _of_trunk(trunks.load(where / "trunk.safetensors" if where.is_dir() else where)[0])


def untrained() -> Teacher:
    """A small network with random weights, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _of_trunk(trunks.build("resnet", _UNTRAINED))


class _Vector(nn.Module):
    """What a trunk's head stands on."""

    def __init__(self, trunk: trunks.Trunk) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, raw: Tensor) -> Tensor:
        return self.trunk.vector(self.trunk(raw))


def _of_trunk(trunk: trunks.Trunk) -> Teacher:
    if trunk.takes.frames != 1:
        raise UserError(f"The trunk {trunk.name} does not see single pictures: give one of a task that does.")
    return Teacher(_Vector(trunk), trunk.crop_px, trunk.vector_width, classifies=False)


def _of_torchvision(path: Path, network: str, side_px: int) -> Teacher:
    if not path.is_file():
        raise UserError(f"{path} does not exist: give the state dict of a classifier of torchvision.")
    known = torchvision.models.list_models(torchvision.models)
    if network not in known:
        hint = nearest(network, known)
        raise UserError(f"No classifier of torchvision is called {network!r}; {hint}.".replace("?.", "?"))
    (_, state), settings = weights.tensors(path), _plain(network)
    with torch.device("meta"):
        last = list(torchvision.models.get_model(network, weights=None, **settings).state_dict())[-1]
    outputs = len(state[last]) if last in state and state[last].dim() else 0
    made = torchvision.models.get_model(network, weights=None, num_classes=max(1, outputs), **settings)
    match = weights.match(made.state_dict(), state)
    if match.missing:  # a layer that stays random would teach nonsense in silence
        raise UserError(f"{path} does not fit {network}: {match.told()}; give the name of its own network.")
    made.load_state_dict({name: state[name] for name in match.matched})
    return Teacher(nn.Sequential(Normalise(), made), side_px, outputs, classifies=True)


def _plain(network: str) -> dict[str, Any]:
    """Settings without which a network of torchvision has further outputs, or draws its weights for a minute."""
    if network == "googlenet":
        return {"aux_logits": False, "init_weights": False}
    return {"init_weights": False} if network == "inception_v3" else {}


def _finetuned(folder: Path) -> Teacher:
    """A classifier that was trained here: its recipe says which network, its checkpoint has the weights."""
    recipe, file = folder / "recipe.yaml", folder / "checkpoint.pt"
    if not (recipe.is_file() and file.is_file()):
        raise UserError(f"{folder} is no run: give the folder of one, or a state dict and the name of its network.")
    try:
        settings = yaml.safe_load(recipe.read_text(encoding="utf-8"))["settings"]
        trunk = trunks.build(settings["trunk"], settings.get("trunk_settings"))
        outputs = len(settings["classes"])
    except (yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{folder} is not the run of a classifier: give one that sslkit finetune trained.") from error
    network = nn.Sequential(_Vector(trunk), nn.Linear(trunk.vector_width, outputs))
    state = weights.saved(file)
    task = state.get("task") if isinstance(state, dict) else None
    named = {"trunk.": "0.trunk.", "head.": "1."}
    found = {
        new + name.removeprefix(old): value
        for name, value in (task.items() if isinstance(task, dict) else ())
        for old, new in named.items()
        if name.startswith(old)
    }
    weights.fill(network, found, str(folder))
    return Teacher(network, trunk.crop_px, outputs, classifies=True)
