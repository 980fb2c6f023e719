"""Networks that come with the package: weights, and beside them a .json that says how they were made.

`python -m sslkit.jobs.shipped RUN NAME` puts those of a run there, in place of what has that name. Of what it was made
from, only people know whose it is and under which licence: `provenance` stays what the .json says, and is to be read.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import safetensors.torch

from sslkit import files
from sslkit.engine.device import pick, place
from sslkit.errors import UserError
from sslkit.jobs.runs import loaded
from sslkit.models import weights
from sslkit.tasks import base as tasks

FOLDER = Path(__file__).parents[1] / "weights"
_MOST_BYTES = 6_000_000
_PREPARED = ("short_side_px", "fps", "faces")


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


def ship(run: Path, name: str) -> Path:
    """Put the best weights of a run into the package, and say how they were made. Returns their file.

    Raises UserError for what is no run, for more than 6 MB, and where NAME.json does not tell of data and commands.
    """
    learner, found, _ = loaded(run)
    path = FOLDER / f"{name}.safetensors"
    told = path.with_suffix(".json")
    provenance = json.loads(told.read_text())["provenance"] if told.is_file() else {}
    if missing := [key for key in ("commands", "commit", "data") if not provenance.get(key)]:
        raise UserError(f"{told} does not say {', '.join(missing)} in its provenance: write that down first.")
    content = safetensors.torch.save({name: one.contiguous() for name, one in learner.state_dict().items()})
    if len(content) > _MOST_BYTES:
        raise UserError(f"{run} has {len(content) / 1e6:.1f} MB of weights, more than {_MOST_BYTES / 1e6:g} MB.")
    prepared = found.data[0]["settings"]
    about = {
        "task": found.recipe.task,
        "settings": found.recipe.settings,
        "data": {key: prepared[key] for key in _PREPARED if prepared.get(key) not in (None, "none")},
        "provenance": {**provenance, "recipe": found.recipe.name, "seed": found.recipe.train.seed},
    }
    with files.replacing(path) as file:
        file.write(content)
    with files.replacing(told) as file:
        file.write((json.dumps(about, indent=1) + "\n").encode())
    return path


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m sslkit.jobs.shipped RUN NAME")
    print(ship(Path(sys.argv[1]), sys.argv[2]))
