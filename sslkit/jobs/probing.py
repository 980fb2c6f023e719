"""Frozen networks, measured: what their layers know, how they answer, what they hear."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
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
from sslkit.evals import probe as probing
from sslkit.evals.inits import RANDOM, Init
from sslkit.jobs.data import Progress, check_prepared, split_of
from sslkit.jobs.offsets import offsets_measured
from sslkit.jobs.runs import evaluation_folder, load_task
from sslkit.jobs.speakers import duets_measured, speakers_measured
from sslkit.recipe import ProbeRecipe
from sslkit.tasks import base as tasks
from sslkit.tasks.av_object import AvObject
from sslkit.tasks.av_sync import AvSync
from sslkit.types import Published, Result

_OF_LAYERS = ("probe", "linear", "svm", "knn", "retrieval")


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

    Most protocols put features of runs, random networks and supervised ones on a labelled dataset side by side.
    """
    asked = recipes.load_probe(recipe, set=overrides)
    name = "probe" if asked.protocol in _OF_LAYERS else asked.protocol
    folder, chosen = evaluation_folder(out, runs, name, on), pick(device)
    if asked.protocol == "pretext":
        result = _pretext(runs, on, chosen, workers)
    elif asked.protocol == "esc":
        result = _in_folds(runs, on, inits, asked, seeds, chosen, workers, progress)
    elif asked.protocol == "localise":
        result = _localised(runs, on, asked, chosen, progress)
    elif asked.protocol == "speakers":
        result = speakers_measured(runs, on, seeds, device, progress)
    elif asked.protocol == "duets":
        result = duets_measured(runs, on, folder, seeds, device, progress)
    elif asked.protocol == "sync":
        result = offsets_measured(runs, on, device, progress, asked.dubbed)
    elif asked.protocol == "senses":
        result = _across(runs, on, inits, asked, seeds, chosen, workers, progress)
    else:
        result = probing.probe(
            list(runs), list(inits), list(on), asked, seeds=seeds, device=chosen, workers=workers, progress=progress
        )
    return pages.of_rows(result, folder, name)


def _pretext(runs: Sequence[Path], on: Sequence[Path], device: torch.device, workers: int) -> Result:
    if len(runs) != 1:
        raise UserError("The pretext protocol takes one run: sslkit probe RUN --recipe pretext --on DATASET.")
    learner, run = load_task(runs[0])
    dataset = Dataset(on, "test")
    check_prepared(run.recipe.data, dataset.info)
    result = pretext.evaluate(place(learner, device), dataset, device, workers)
    result.fields |= {"run": str(runs[0]), "task": run.recipe.task}
    return result


def _localised(
    runs: Sequence[Path], on: Sequence[Path], recipe: ProbeRecipe, device: torch.device, progress: Progress | None
) -> Result:
    """The maps of one run, and of its network untrained."""
    if len(runs) != 1:
        raise UserError("The localise protocol takes one run: sslkit probe RUN --recipe localise --on DATASET.")
    learner, run = load_task(runs[0])
    torch.manual_seed(run.recipe.train.seed)
    untrained = tasks.build(run.recipe.task, run.recipe.settings).eval()
    if not isinstance(learner, AvObject | AvSync) or not isinstance(untrained, AvObject | AvSync):
        raise UserError(f"{runs[0]} learnt {run.recipe.task}: localisation needs a run of av_object or av_sync.")
    place(learner, device)
    place(untrained, device)
    result = localisation.evaluate(learner, untrained, Dataset(on, "test"), device, recipe.clips, progress)
    result.fields |= {"run": str(runs[0]), "task": run.recipe.task}
    return result


def _in_folds(
    runs: Sequence[Path],
    on: Sequence[Path],
    controls: Sequence[str],
    recipe: ProbeRecipe,
    seeds: int,
    device: torch.device,
    workers: int,
    progress: Progress | None,
) -> Result:
    """By the networks of runs that hear, random ones and MFCC; without a run by MFCC alone, a second at a time."""
    listed = networks.resolve(runs, list(dict.fromkeys([RANDOM, *controls])), seeds, hears=True) if runs else []
    window_s = listed[0].make().takes.sound_s if listed else 1.0
    listed.append(Init("mfcc", "no network", (0,), lambda: esc.Cepstra(window_s)))
    found = [split_of(on, split) for split in shards.SPLITS]
    datasets = [one for one in found if one is not None] or [Dataset(list(on), "train")]
    return esc.evaluate(listed, datasets, recipe, device=device, workers=workers, progress=progress)


def _across(
    runs: Sequence[Path],
    on: Sequence[Path],
    controls: Sequence[str],
    recipe: ProbeRecipe,
    seeds: int,
    device: torch.device,
    workers: int,
    progress: Progress | None,
) -> Result:
    """Retrieval across the senses by runs of two networks, and by networks of the same kind with random weights."""
    unknown = set(controls) - {RANDOM}
    if unknown or not runs:
        raise UserError(
            f"Retrieval across the senses takes runs and random weights, not {', '.join(unknown) or 'nothing'}: "
            "sslkit probe RUN --recipe senses --on DATASET."
        )
    named = [(name, seed, senses.Space(learner, device)) for name, seed, learner, _ in _beside_random(runs, seeds)]
    test = split_of(on, "test") or split_of(on, "val") or Dataset(list(on), "test")
    paper = Published(recipe.paper.value, recipe.paper.where, recipe.paper.metric) if recipe.paper else None
    result = senses.evaluate(
        named, split_of(on, "train"), test, first=recipe.first, paper=paper, workers=workers, progress=progress
    )
    result.fields["run"] = ", ".join(map(str, runs))
    return result


def _beside_random(runs: Sequence[Path], seeds: int) -> list[tuple[str, int, tasks.Task, Run]]:
    """(name, seed, task, run) of each run, and of networks of each of their kinds with random weights.

    Folders of equal names go by their paths.
    """
    loaded = [(Path(folder), *load_task(folder)) for folder in runs]
    counts = Counter(folder.resolve().name for folder, _, _ in loaded)
    found = []
    for folder, learner, run in loaded:
        name = folder.resolve().name
        found.append((name if counts[name] == 1 else str(folder), 0, learner, run))
    kinds = {json.dumps([run.recipe.task, run.recipe.settings], sort_keys=True): run for _, _, run in loaded}
    for run in kinds.values():
        for seed in range(seeds):
            torch.manual_seed(seed)
            blank = tasks.build(run.recipe.task, run.recipe.settings)
            found.append((RANDOM if len(kinds) == 1 else f"{RANDOM} {run.recipe.name}", seed, blank, run))
    return found
