"""What sees mouths and hears sound for a method or for weights that were named, and how sure its answers must be."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from sslkit.demos.watchers import Opening, Trained, Watcher, released
from sslkit.engine.device import pick, place
from sslkit.errors import UserError
from sslkit.jobs.runs import loaded
from sslkit.jobs.shipped import packaged
from sslkit.media import faces
from sslkit.tasks import base as tasks
from sslkit.tasks.lip_sync import LipSync

Method = Literal["lip-sync", "cca"]

# For cca from training clips of 15 people: 8 of 10 answers that it gives are right, and 2 of 10 voices of somebody else
# get one.
_SURE = {"lip-sync": 0.05, "cca": 0.3}
# The released SyncNet's author says 3 to 4 (joonson/syncnet_python, thread 17); users see less than 2 to 3 where nobody
# is heard who is seen, and 6 to 10 else (threads 12 and 65).
_SURE_RELEASED = 3.0
# Of distances that are likelihoods, from people left out of the fit: 8 of 10 clips of speech get an answer (of single
# syllables 4), all of these are right (of syllables 8 of 10), and no voice of somebody else gets one; but 7 of 10 do
# where another sentence of the same grammar is heard (GRID).
_SURE_SQUARED = 28.0


def watcher(weights: Path | None, method: Method, device: str) -> Watcher:
    """What a method sees and hears with; weights: see `trained`. Raises UserError for weights without a use."""
    if method == "cca":
        if weights is not None:
            raise UserError("The method cca learns nothing: leave --weights out, or --method.")
        return Opening()
    return trained(weights, device)


def trained(weights: Path | None, device: str = "auto") -> Trained:
    """The networks of a run of lip_sync or of the file of the released SyncNet; without either, those that ship."""
    if weights is None:
        return shipped(device)
    if weights.is_file():
        return released(weights, pick(device))
    learner, run, _ = loaded(weights)
    if not isinstance(learner, LipSync):
        raise UserError(f"{weights} learnt {run.recipe.task}; a run of lip_sync is needed.")
    chosen, prepared = pick(device), run.data[0]["settings"]
    part: faces.Part = "face" if prepared.get("faces") == "face" else "mouth"
    place(learner, chosen)
    return Trained(learner, chosen, int(prepared["short_side_px"]), part)


def blanks(networks: Iterable[Trained], name: str, seeds: int = 1) -> list[tuple[str, int, Trained]]:
    """(name, seed, networks) of each kind of them with random weights, which are those of the seed alone."""
    kinds = list({json.dumps(one.task.settings.model_dump(), sort_keys=True): one for one in networks}.values())
    names = [name if len(kinds) == 1 else f"{name} {number}" for number in range(1, len(kinds) + 1)]
    return [
        (called, seed, _blank(one, seed)) for called, one in zip(names, kinds, strict=True) for seed in range(seeds)
    ]


def _blank(one: Trained, seed: int) -> Trained:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        task = tasks.build("lip_sync", one.task.settings.model_dump())
    assert isinstance(task, LipSync)
    place(task.eval(), one.device)
    return replace(one, task=task)


def is_released(watcher: Watcher) -> bool:
    """Whether it is the released SyncNet."""
    return watcher.part == "syncnet"


def sure_from(watcher: Watcher, method: Method) -> float:
    """Confidence from which an answer is given."""
    if is_released(watcher):
        return _SURE_RELEASED
    return _SURE_SQUARED if watcher.squared else _SURE[method]


def name(watcher: Watcher, method: Method) -> str:
    """Of the method, in results."""
    return "syncnet_v2" if is_released(watcher) else method


def used(watcher: Watcher, method: Method, weights: Path | None) -> dict[str, Any]:
    """What an answer was found with, for its record."""
    told: dict[str, Any] = {"method": name(watcher, method)}
    if isinstance(watcher, Trained):
        told |= {"weights": str(weights or "shipped"), "front_end": watcher.front_end}
    return told


def shipped(device: str = "auto") -> Trained:
    """The networks that come with the package."""
    learner, about = packaged("lip_sync", device)
    assert isinstance(learner, LipSync)
    return Trained(learner, pick(device), about["data"]["short_side_px"], about["data"]["faces"])
