"""Networks that come with the package: weights, and beside them a .json that says how they were made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sslkit.engine.device import pick, place
from sslkit.models import weights
from sslkit.tasks import base as tasks

FOLDER = Path(__file__).parents[1] / "weights"


def packaged(name: str, device: str = "auto") -> tuple[tasks.Task, dict[str, Any]]:
    """The network NAME in evaluation mode on a device, and its .json: `task`, `settings`, `data`, `provenance`.

    Tensors in half precision become what the network computes in. Raises WorkError where the package lacks them or
    they are of another version of the network.
    """
    path = FOLDER / f"{name}.safetensors"
    about: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    learner = tasks.build(about["task"], about["settings"])
    weights.fill(learner, weights.read(path)[1], str(path))
    place(learner.eval(), pick(device))
    return learner, about
