"""Frozen networks, measured: what their layers know, how they answer, what they hear."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from sslkit import pages
from sslkit import recipe as recipes
from sslkit.data import shards
from sslkit.data.dataset import Dataset
from sslkit.engine.device import pick, place
from sslkit.engine.run import Run
from sslkit.errors import UserError
from sslkit.evals import esc, localisation, pretext, senses
from sslkit.evals import inits as networks
from sslkit.evals import probe as layers
from sslkit.evals.inits import RANDOM, Init
from sslkit.jobs.data import Progress, check_prepared, split_of
from sslkit.jobs.offsets import offsets_measured
from sslkit.jobs.runs import evaluation_folder, load_task, named
from sslkit.jobs.shipped import packaged
from sslkit.jobs.speakers import duets_measured, speakers_measured
from sslkit.recipe import ProbeRecipe
from sslkit.tasks import base as tasks
from sslkit.tasks.av_object import AvObject
from sslkit.tasks.av_sync import AvSync
from sslkit.types import Published, Result


def probe(
    runs: Sequence[Path],
    on: Sequence[Path],
    inits: Sequence[str] = (),
    recipe: str = "linear",
    seeds: int = 1,
    overrides: Sequence[str] = (),
    out: Path | None = None,
    device: str = "auto",
    workers: int = 1,
    progress: Progress | None = None,
) -> Result:
    """Measure what frozen networks know by the protocol of a recipe, beside controls.

    Most protocols put features of runs, random networks and supervised ones on a labelled dataset side by side. Raises
    UserError for controls, seeds and overrides that the protocol does not use.
    """
    chosen = recipes.load_probe(recipe, set=overrides)
    measured, used = _PROTOCOLS[chosen.protocol]
    _check_used(chosen.protocol, used, inits, seeds, overrides)
    name = "probe" if measured is _of_layers else chosen.protocol
    folder = evaluation_folder(out, runs, name, on)
    pages.free(folder)
    asked = _Asked(list(runs), list(on), list(inits), chosen, seeds, pick(device), folder, workers, progress)
    result = measured(asked)
    if result.paper is None and chosen.paper is not None:
        result.paper = Published(chosen.paper.value, chosen.paper.where, chosen.paper.metric)
    return pages.of_rows(result, folder, name)


@dataclass(frozen=True)
class _Asked:
    """What `probe` was asked; see there. folder: for what is kept."""

    runs: list[Path]
    on: list[Path]
    inits: list[str]
    recipe: ProbeRecipe
    seeds: int
    device: torch.device
    folder: Path
    workers: int
    progress: Progress | None


def _check_used(protocol: str, used: Sequence[str], inits: Sequence[str], seeds: int, overrides: Sequence[str]) -> None:
    """Raise UserError for what was asked for and would change nothing."""
    given = ["--init"] if inits else []
    given += ["--seeds"] if seeds != 1 else []
    settings = [assignment.partition("=")[0].strip().partition(".")[0] for assignment in overrides]
    given += [name for name in dict.fromkeys(settings) if name not in _DESCRIBING]
    if unused := [name for name in given if name not in used]:
        raise UserError(
            f"The {protocol} protocol does not use {', '.join(unused)}: leave that out; it uses {', '.join(used)}."
        )


def _of_layers(asked: _Asked) -> Result:
    return layers.probe(
        asked.runs,
        asked.inits,
        asked.on,
        asked.recipe,
        seeds=asked.seeds,
        device=asked.device,
        workers=asked.workers,
        progress=asked.progress,
    )


def _pretext(asked: _Asked) -> Result:
    learner, run = _one_run(asked)
    dataset = Dataset(asked.on, "test")
    check_prepared(run.recipe.data, dataset.info)
    result = pretext.evaluate(place(learner, asked.device), dataset, asked.device, asked.workers)
    result.fields |= {"run": str(asked.runs[0]), "task": run.recipe.task}
    return result


def _localised(asked: _Asked) -> Result:
    """The maps of one run, and of its network untrained; without a run of the weights that come with the package."""
    if asked.runs:
        learner, run = _one_run(asked)
        called, task, settings, seed = str(asked.runs[0]), run.recipe.task, run.recipe.settings, run.recipe.train.seed
    else:
        learner, about = packaged("localize_sound", str(asked.device))
        called, task, settings, seed = "shipped", about["task"], about["settings"], about["provenance"]["seed"]
    torch.manual_seed(seed)
    untrained = tasks.build(task, settings).eval()
    if not isinstance(learner, AvObject | AvSync) or not isinstance(untrained, AvObject | AvSync):
        raise UserError(f"{called} learnt {task}: localisation needs a run of av_object or av_sync.")
    place(learner, asked.device)
    place(untrained, asked.device)
    test = Dataset(asked.on, "test")
    result = localisation.evaluate(learner, untrained, test, asked.device, asked.recipe.clips, asked.progress)
    result.fields |= {"run": called, "task": task}
    return result


def _in_folds(asked: _Asked) -> Result:
    """By the networks of runs that hear, random ones and MFCC; without a run by MFCC alone, a second at a time."""
    controls = list(dict.fromkeys([RANDOM, *asked.inits]))
    if asked.seeds != 1 and not (asked.runs or asked.inits):
        raise UserError("MFCC alone have no seeds: name a run, or leave --seeds out.")
    listed = networks.resolve(asked.runs, controls, asked.seeds, hears=True) if asked.runs or asked.inits else []
    window_s = listed[0].make().takes.sound_s if listed else 1.0
    listed.append(Init("mfcc", "no network", (0,), lambda: esc.Cepstra(window_s)))
    found = [split_of(asked.on, split) for split in shards.SPLITS]
    datasets = [one for one in found if one is not None] or [Dataset(asked.on, "train")]
    return esc.evaluate(
        listed, datasets, asked.recipe, device=asked.device, workers=asked.workers, progress=asked.progress
    )


def _speakers(asked: _Asked) -> Result:
    return speakers_measured(asked.runs, asked.on, asked.seeds, str(asked.device), asked.progress)


def _duets(asked: _Asked) -> Result:
    return duets_measured(asked.runs, asked.on, asked.folder, asked.seeds, str(asked.device), asked.progress)


def _offsets(asked: _Asked) -> Result:
    dubbed, moved = asked.recipe.dubbed, asked.recipe.moved
    return offsets_measured(asked.runs, asked.on, str(asked.device), asked.progress, dubbed, moved, asked.seeds)


def _across(asked: _Asked) -> Result:
    """Retrieval across the senses by runs of two networks, and by networks of the same kind with random weights."""
    unknown = set(asked.inits) - {RANDOM}
    if unknown or not asked.runs:
        raise UserError(
            f"Retrieval across the senses takes runs and random weights, not {', '.join(unknown) or 'nothing'}: "
            "sslkit probe RUN --recipe senses --on DATASET."
        )
    beside = _beside_random(asked.runs, asked.seeds)
    named = [(name, seed, senses.Space(learner, asked.device)) for name, seed, learner, _ in beside]
    test = split_of(asked.on, "test") or split_of(asked.on, "val") or Dataset(asked.on, "test")
    result = senses.evaluate(
        named,
        split_of(asked.on, "train"),
        test,
        first=asked.recipe.first,
        workers=asked.workers,
        progress=asked.progress,
    )
    result.fields["run"] = ", ".join(map(str, asked.runs))
    return result


_DESCRIBING = ("name", "about", "protocol")
_OF_FEATURES = ("--init", "--seeds", "layers", "pool", "pool_dims", "clips", "batch", "paper")
_PROTOCOLS: dict[str, tuple[Callable[[_Asked], Result], tuple[str, ...]]] = {
    # All methods or one of them: what the others need may be set, too, so that only `protocol` changes between calls.
    **dict.fromkeys(
        ("probe", "linear", "svm", "knn", "retrieval"),
        (_of_layers, (*_OF_FEATURES, "weight_decays", "svm_costs", "knn_k", "knn_temperature", "val_share")),
    ),
    "esc": (_in_folds, (*_OF_FEATURES, "svm_costs", "silence_db")),
    "senses": (_across, ("--init", "--seeds", "first", "paper")),
    "speakers": (_speakers, ("--seeds", "paper")),
    "duets": (_duets, ("--seeds", "paper")),
    "sync": (_offsets, ("--seeds", "dubbed", "moved")),
    "localise": (_localised, ("clips",)),
    "pretext": (_pretext, ("paper",)),
}
"""How each protocol measures, and the options and settings of its recipe that it uses."""


def _one_run(asked: _Asked) -> tuple[tasks.Task, Run]:
    if len(asked.runs) != 1:
        name = asked.recipe.protocol
        raise UserError(f"The {name} protocol takes one run: sslkit probe RUN --recipe {name} --on DATASET.")
    return load_task(asked.runs[0])


def _beside_random(runs: Sequence[Path], seeds: int) -> list[tuple[str, int, tasks.Task, Run]]:
    """(name, seed, task, run) of each run, and of networks of each of their kinds with random weights.

    Folders of equal names go by their paths.
    """
    found = [(name, 0, *load_task(folder)) for name, folder in named(runs).items()]
    kinds = {json.dumps([run.recipe.task, run.recipe.settings], sort_keys=True): run for _, _, _, run in found}
    for run in kinds.values():
        for seed in range(seeds):
            torch.manual_seed(seed)
            blank = tasks.build(run.recipe.task, run.recipe.settings)
            found.append((RANDOM if len(kinds) == 1 else f"{RANDOM} {run.recipe.name}", seed, blank, run))
    return found
