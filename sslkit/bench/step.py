"""What a step of `fit` costs against a loop written by hand, on the same network and one batch that stays where it is.

The loop by hand cuts the same views, goes forward and back, and moves the weights. It follows no schedule, looks at no
loss, writes no row, and could be neither interrupted nor resumed.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from sslkit import recipe as recipes
from sslkit.bench.base import Bench, Clock, Row, Turns, compared, now, since, timed
from sslkit.engine.device import kernels, place, precision
from sslkit.engine.feed import Feed
from sslkit.engine.fit import fit
from sslkit.engine.optim import optimiser
from sslkit.engine.run import Run
from sslkit.recipe import Plan, Recipe
from sslkit.tasks import base as tasks
from sslkit.tasks.base import Task
from sslkit.types import Batch, Draw, Reads

_CASES = (("rotation-small", False), ("arrow-of-time", True))
"""Recipes, and whether in their tiny form."""
_WARM_STEPS = 3
_CUDA_STEPS = 10
_SAMPLES = 10_000


class _Enough(Exception):
    """All turns have been timed."""


class Duel(Feed):
    """A feed that gives one batch again and again, and lets the loop by hand take a turn after every turn of `fit`.

    Taken step by step, turns find the machine in the same state, whatever else it does. On a GPU a turn is `steps`
    steps, so that the host may run ahead of the device.
    """

    def __init__(self, batch: Batch, by_hand: Callable[[], None], turns: int, steps: int = 1) -> None:
        self.batch, self.by_hand, self.turns, self.steps = batch, by_hand, turns, steps
        self.step, self.waited_s, self.device = 0, 0.0, batch.label.device
        self.kept = Turns([], [])
        self._calls, self._began = 0, now()

    def seek(self, step: int) -> None:
        """There is one batch only."""

    def __next__(self) -> Batch:
        """The batch. Raises _Enough when both have had all their turns."""
        warm = self._calls - _WARM_STEPS
        if warm >= 0 and warm % self.steps == 0:
            self._change(first=warm == 0)
        self._calls += 1
        return self.batch

    def _change(self, first: bool) -> None:
        """The turn of `fit` is over: that of the loop by hand, then it begins anew."""
        self._wait()
        ours = since(self._began)
        start = now()
        for _ in range(self.steps):
            self.by_hand()
        self._wait()
        if not first:
            self.kept.ours.append(ours.per(self.steps))
            self.kept.other.append(since(start).per(self.steps))
        if len(self.kept.ours) == self.turns:
            raise _Enough
        self._began = now()

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def close(self) -> None:
        """There is nothing to end."""

    def keys(self, index: Tensor) -> list[str]:
        """Names of samples."""
        return [str(number) for number in index.tolist()]


def rows(bench: Bench) -> Iterator[Row]:
    """A row for rotation with AlexNet and one for the arrow of time, or one for the tiny form of the task."""
    for name, tiny in _CASES if bench.task is None else [(bench.task, True)]:
        yield _row(bench, recipes.load(name, tiny=tiny, set=["train.accumulate=1"]))


def _row(bench: Bench, recipe: Recipe) -> Row:
    device = torch.device(bench.device)
    plan = recipes.plan(recipe, _SAMPLES, 1, bench.device)
    task, other = (tasks.build(recipe.task, recipe.settings) for _ in range(2))
    batch = resident(task.reads(), plan.batch, recipe.data.short_side_px or 128, device)
    by_hand = loop(place(other, device).train(), batch, recipe, plan)
    by_hand()
    each_s = timed(by_hand).wall
    steps = _CUDA_STEPS if device.type == "cuda" else 1
    turns = max(4 * bench.turns, math.ceil(bench.turns * bench.seconds / (2 * steps * each_s)))
    turns = min(turns, (plan.steps - _WARM_STEPS) // steps - 1)
    clock: Clock = "wall" if device.type == "cuda" else "cpu"
    return compared(
        "step",
        f"fit, {recipe.name}",
        duel(task, batch, recipe, plan, bench.scratch, by_hand, turns, steps),
        "loop by hand",
        clock=clock,
        at_most=1.05,
        note=f"{turns} turns, batch {plan.batch}, {plan.dtype}",
    )


def duel(
    task: Task,
    batch: Batch,
    recipe: Recipe,
    plan: Plan,
    scratch: Path,
    by_hand: Callable[[], None],
    turns: int,
    steps: int = 1,
) -> Turns:
    """Train a task by `fit` while the loop by hand takes every other turn."""
    feed = Duel(batch, by_hand, turns, steps)
    with Run(scratch / recipe.name).open(recipe, plan) as run, contextlib.suppress(_Enough):
        fit(task, feed, recipe, plan, run)
    return feed.kept


def loop(task: Task, batch: Batch, recipe: Recipe, plan: Plan) -> Callable[[], None]:
    """A step of a plain loop."""
    mover, device, count = optimiser(task, recipe.train, plan), batch.label.device, itertools.count()

    def step() -> None:
        views = task.views(batch, Draw(plan.seed, next(count)))
        mover.zero_grad(set_to_none=True)
        with kernels(device), precision(device, plan.dtype):
            answer = task(views)
        answer.loss.backward()
        mover.step()

    return step


def resident(reads: Reads, batch: int, side_px: int, device: torch.device) -> Batch:
    """A raw batch of noise, as `Feed` would give it: what `reads` asks for, `side_px` high and 4/3 as wide."""
    noise = torch.Generator().manual_seed(0)
    size = (side_px, round(side_px * 4 / 3))
    clips = reads.clips * (2 if reads.backward else 1)

    def bytes_of(*shape: int) -> Tensor:
        return torch.randint(0, 256, (batch, *shape), generator=noise, dtype=torch.uint8)

    samples = round(reads.sound_s * reads.rate_hz)
    sound = torch.randint(-9999, 9999, (batch, reads.clips, samples), generator=noise, dtype=torch.int16)
    return Batch(
        label=torch.zeros(batch, dtype=torch.int64),
        index=torch.arange(batch),
        start_s=torch.zeros(batch, reads.clips),
        size_px=torch.tensor([size] * batch),
        frames=bytes_of(reads.clips, reads.frames, 3, *size) if reads.frames else None,
        flow=bytes_of(clips, reads.flow, 2, *size) if reads.flow else None,
        sound=sound if samples else None,
        extra={"bars": torch.zeros(batch, 4, dtype=torch.int64)},
    ).to(device)
