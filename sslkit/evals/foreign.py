"""Networks that other programs trained, as trunks: their weights are found by name and shape."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sslkit.errors import SslkitError, UserError
from sslkit.models import trunk as trunks
from sslkit.models import weights
from sslkit.models.trunk import Trunk
from sslkit.models.weights import Match

LEAST_SHARE = 0.5
"""Below this share of matching weights a file is taken for one of another network."""

_DEPTHS = (18, 34, 50, 101, 152)
_COUNTER = "num_batches_tracked"


def adopted(path: Path, likes: Sequence[Trunk] = ()) -> tuple[Trunk, Match]:
    """A trunk with the weights of a file, in evaluation mode, and how they match.

    The file is a state dict that torch.save wrote, alone or inside a checkpoint, or safetensors. Its network is the one
    of `likes`, of torchvision's residual networks and of what the file's own header names whose weights it has most of;
    names may all have the same prefix, such as `module.`. What the file lacks stays random, as in a network of seed 0.
    Raises UserError, naming what does not fit, when fewer than half of the weights match.
    """
    metadata, tensors = weights.tensors(path)
    if not tensors:
        raise UserError(f"{path} holds no weights: give a state dict or a trunk.")
    names = {(trunk.name, json.dumps(trunk.settings)): trunk for trunk in [*likes, *_candidates(metadata, tensors)]}
    if not names:
        raise UserError(f"{path} is of no network that is known here: give a run of the same architecture beside it.")
    found = [(trunk, *_matched(trunk, tensors)) for trunk in names.values()]
    like, prefix, match = max(found, key=lambda one: (len(one[2].matched), -len(one[2].missing)))
    if match.share < LEAST_SHARE:
        raise UserError(
            f"{path} does not fit {like.name}, the network that is nearest to it: {match.told()}{match.nearest()}; "
            "give weights of the same architecture."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trunk = trunks.build(like.name, like.settings)
    own = _own_prefix(trunk)
    trunk.load_state_dict({own + name: tensors[prefix + name] for name in match.matched}, strict=False)
    return trunk.eval(), match


def _candidates(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Iterator[Trunk]:
    """Networks that the file may be of; without memory, as only their names and shapes are looked at."""
    named: list[tuple[str, dict[str, Any]]] = []
    if any(name.endswith("layer1.0.conv1.weight") for name in tensors):
        named += [("resnet", {"depth": depth}) for depth in _DEPTHS]
    with contextlib.suppress(KeyError, ValueError, TypeError, RecursionError):
        named.append((metadata["network"], dict(json.loads(metadata["settings"]))))
    for name, settings in named:
        try:
            with torch.device("meta"):
                yield trunks.build(name, settings)
        except SslkitError:  # another version's network
            continue


def _matched(trunk: Trunk, tensors: Mapping[str, Tensor]) -> tuple[str, Match]:
    """The prefix of the names in the file with which most of them match, and that match."""
    own = _own_prefix(trunk)
    # How many batches a norm has seen changes nothing that a trunk computes, and older files do not say.
    wanted = {k.removeprefix(own): v for k, v in trunk.state_dict().items() if not k.endswith(_COUNTER)}
    found = {
        name: value for name, value in tensors.items() if not name.endswith(_COUNTER) and value.is_floating_point()
    }
    prefixes = {""} | {
        name.removesuffix(first) for first in list(wanted)[:3] for name in found if name.endswith(f".{first}")
    }
    matches = [
        (prefix, weights.match(wanted, {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}))
        for prefix in sorted(prefixes)
    ]
    return max(matches, key=lambda one: len(one[1].matched))


def _own_prefix(trunk: Trunk) -> str:
    """What stands before the names that torchvision gives."""
    return "net." if trunk.torchvision else ""
