"""What a run reads: recipes, its own folder, weights of itself and of others, and data while it trains."""

from __future__ import annotations

import functools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kinds import Kind, Substituted
from safetensors.torch import save_file
from torch import Tensor

from sslkit import jobs, recipe
from sslkit.data import samples, shards
from sslkit.data.dataset import Dataset
from sslkit.engine.feed import Feed
from sslkit.engine.fit import fit
from sslkit.engine.run import Run
from sslkit.errors import UserError
from sslkit.evals import foreign, inits
from sslkit.models import trunk as trunks
from sslkit.tasks import base as tasks

_RECIPE = """
# Every kind of value that a recipe knows.
task: rotation
about: "Quarter turns: small"
paper: {value: 89.0, where: elsewhere}
data: {short_side_px: 24}
settings:
  trunk: nin
  trunk_settings: {side_px: 16, width: 0.05}
  scale: [0.3, 1.0]
train:
  optimizer: adamw        # with a comment
  betas: [0.9, 0.99]
  lr: 1.0e-3
  schedule: multistep
  milestones: [0.5, 1]
  nesterov: false
  batch: 8
  steps: 2
  epoch_steps: 1
alarm:
  normal_until_step: 1
tiny:
  train: {batch: 4, steps: 1}
"""
_MISTAKE = re.compile(r"[^\n]+?(:\d+)?: \S[^\n]{3,400}")
_CPU = torch.device("cpu")


class Recipe(Kind):
    """A recipe: it loads, and then it is written and loads again as the same, or every mistake has its line."""

    name = "recipe"

    def make(self, folder: Path) -> None:
        (folder / "mine.yaml").write_text(_RECIPE)

    def consume(self, folder: Path, good: Path) -> str | None:
        path = folder / "mine.yaml"
        try:
            found = recipe.load(str(path))
        except UserError as error:
            lines = str(error).splitlines()
            if len(lines) > 1 and not all(_MISTAKE.fullmatch(line) for line in lines):
                raise ValueError(f"no list of mistakes: {error}") from error
            raise UserError(f"{'; '.join(lines).rstrip('.')}"[:1400] + ".") from error
        written = folder / "written.yaml"
        written.write_text(recipe.dump(found))
        if recipe.resolved(written) != found:
            raise Substituted("the recipe is another one after it was written down")
        return None


class RunFile(Kind):
    """The folder of a run that was trained for two steps; one file of those that match `pattern` is damaged."""

    def __init__(self, name: str, pattern: str) -> None:
        self.name, self._pattern = name, pattern

    def make(self, folder: Path) -> None:
        _make_data(folder / "data")
        (folder / "mine.yaml").write_text(_RECIPE)
        _trained(folder)

    def targets(self, folder: Path) -> list[Path]:
        return sorted((folder / "run").glob(self._pattern))

    def consume(self, folder: Path, good: Path) -> str | None:
        state = _resumed(folder)
        task, _ = jobs.load_task(folder / "run")
        trunk = inits.resolve([folder / "run"], ["random"], 1)[0].make()
        found = {"state": _tensors(state), "task": task.state_dict(), "trunk": trunk.state_dict()}
        for name, tensors in found.items():
            if not _alike(tensors, _expected(good)[name]):
                raise Substituted(f"the {name} has other weights than those that were written")
        return None


class Foreign(Kind):
    """Weights of another program in torchvision's layout."""

    def __init__(self, suffix: str) -> None:
        self.name, self._suffix = f"foreign {suffix}", suffix

    def make(self, folder: Path) -> None:
        torch.manual_seed(0)
        state = {f"module.{k}": v for k, v in trunks.build("nin", {"side_px": 16, "width": 0.05}).state_dict().items()}
        path = folder / f"net.{self._suffix}"
        save_file(state, str(path)) if self._suffix == "safetensors" else torch.save({"state_dict": state}, path)

    def consume(self, folder: Path, good: Path) -> str | None:
        path = folder / f"net.{self._suffix}"
        like = [trunks.build("nin", {"side_px": 16, "width": 0.05})]
        trunk, match = foreign.adopted(path, like)
        # Safetensors of others have no checksum; those of torch do.
        if self._suffix == "safetensors" or match.missing:
            return None
        if not _alike(trunk.state_dict(), foreign.adopted(good / path.name, like)[0].state_dict()):
            raise Substituted("other weights than those that were written")
        return None


class Training(Kind):
    """A prepared dataset while a network trains on all of it: the weights are those of the good one, or it stops."""

    name = "data in training"

    def make(self, folder: Path) -> None:
        _make_data(folder / "data")
        (folder / "mine.yaml").write_text(_RECIPE)

    def targets(self, folder: Path) -> list[Path]:
        return sorted((folder / "data").iterdir())

    def consume(self, folder: Path, good: Path) -> str | None:
        shutil.rmtree(folder / "run", ignore_errors=True)
        if not _alike(_trained(folder), _from_good_data(good)):
            raise Substituted("the network learnt something else")
        return None


def _make_data(folder: Path) -> None:
    """Eight stills to train on."""
    noise, runs = np.random.default_rng(0), []
    for number in range(8):
        picture = noise.integers(0, 255, (24, 30, 3), dtype=np.uint8)
        facts = {"key": str(number), "source": f"{number}.png", "group": f"{number}.png", "label": number % 2}
        facts["label_name"] = "ab"[number % 2]
        runs.append(("train", shards.pack(samples.still(facts, picture))))
    about = {"layout": "folder", "settings": {"short_side_px": 24}, "classes": ["a", "b"], "source_hash": "0"}
    shards.write(folder, runs, about)


def _trained(folder: Path, data: Path | None = None) -> dict[str, Tensor]:
    """Weights after two steps, in a run that is written down, resumed or finished."""
    asked = recipe.load(str(folder / "mine.yaml"))
    dataset = Dataset(data or folder / "data", "train")
    torch.manual_seed(0)
    task = tasks.build(asked.task, asked.settings).train()
    reads = task.reads()
    plan = recipe.plan(asked, len(dataset.usable(reads)), 1, "cpu")
    with Run(folder / "run").open(asked, plan, dataset.info.records) as run:
        fit(task, Feed(dataset, reads, plan, _CPU), asked, plan, run)
        if not (run.folder / "trunk.safetensors").exists():
            run.export(task, {})
            run.save({"step": 2, "task": task.state_dict(), "metrics": {"loss": 1.0}}, "best.pt")
            (run.folder / "result.json").write_text(json.dumps({"name": "x", "metrics": {"accuracy": 12.5}}))
    return task.state_dict()


def _resumed(folder: Path) -> dict[str, Any]:
    """The state from which the run would go on, when asked for once more."""
    _trained(folder)
    run = Run.read(folder / "run")
    run.rows()
    return run.load() or {}


@functools.cache
def _from_good_data(good: Path) -> dict[str, Tensor]:
    kept = good.parent / "trained on good data"
    kept.mkdir()
    shutil.copy(good / "mine.yaml", kept)
    return _trained(kept, good / "data")


@functools.cache
def _expected(good: Path) -> dict[str, dict[str, Tensor]]:
    task, run = jobs.load_task(good / "run")
    trunk, _ = trunks.load(good / "run" / "trunk.safetensors")
    return {"state": _tensors(run.load()), "task": task.state_dict(), "trunk": trunk.state_dict()}


def _tensors(tree: Any, at: str = "") -> dict[str, Tensor]:
    if isinstance(tree, Tensor):
        return {at: tree}
    below = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    return {name: value for key, part in below for name, value in _tensors(part, f"{at}/{key}").items()}


def _alike(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


KINDS: list[Kind] = [
    Recipe(),
    RunFile("checkpoint", "checkpoint.pt"),
    RunFile("best weights", "best.pt"),
    RunFile("trunk", "trunk.safetensors"),
    RunFile("run folder", "*.[jy][sa][om][nl]*"),
    Foreign("pth"),
    Foreign("safetensors"),
    Training(),
]
