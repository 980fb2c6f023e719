"""The share of training for which the device waits for data."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from sslkit import recipe as recipes
from sslkit.bench.base import Bench, Row
from sslkit.bench.decode import of_one_kind
from sslkit.data.dataset import Dataset
from sslkit.engine.feed import Feed
from sslkit.engine.fit import fit
from sslkit.engine.run import Run
from sslkit.recipe import Recipe
from sslkit.tasks import base as tasks

_RECIPES = ("rotation", "arrow-of-time")


def rows(bench: Bench) -> Iterator[Row]:
    """A row for each task in its tiny form, from its first step to its last; the start of the workers counts."""
    for name in _RECIPES if bench.task is None else [bench.task]:
        steps = [f"train.steps={bench.steps}", f"train.epoch_steps={bench.steps}"]
        yield _row(bench, recipes.load(name, tiny=True, set=[*steps, "train.batch=8", "train.accumulate=1"]))


def _row(bench: Bench, recipe: Recipe) -> Row:
    device = torch.device(bench.device)
    task = tasks.build(recipe.task, recipe.settings)
    reads = task.train().reads()
    samples = of_one_kind(Dataset(bench.data, "train"), reads)
    plan = recipes.plan(recipe, len(samples.usable(reads)), 1, bench.device)
    feed = Feed(samples, reads, plan, device, bench.workers)
    with Run(bench.scratch / f"waiting-{recipe.name}").open(recipe, plan) as run:
        fitted = fit(task, feed, recipe, plan, run)
    speed = f"{fitted.samples_per_s:.3g} samples/s"
    note = f"{bench.workers} workers, {plan.steps} steps of {plan.batch}, {speed}, {device.type}"
    return Row("waiting", f"fit, {recipe.name}", 100 * fitted.waited_share, "% of the time", clock="wall", note=note)
