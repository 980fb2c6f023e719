"""The shortcuts that a task declares, measured: does the cue alone give the answer away, and does the control stop it?

Two worlds are compared, `original` without the control and `cleaned` with it. Protocol: in each world a small network,
the cheater, is shown the cue and nothing else; and the task itself is trained in each world and asked in both. All are
trained on the train split by the engine's own loop and asked on held-out media (all other splits), `CLIPS` windows of
each. Last weights are judged: nothing is chosen on held-out media. Intervals are 95 %, by bootstrap over sources.

Source: Wei et al., "Learning and Using the Arrow of Time", CVPR 2018: the tables of black borders and camera motion.
Departures: the cheaters are ours; where the worlds are two preparations of the same media, only clips that are in both
are used, so that a clip that could not be cleaned does not count on one side alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from sslkit import recipe as recipes
from sslkit.data import shards
from sslkit.data.dataset import Dataset, Sample
from sslkit.data.entries import Entry
from sslkit.engine import distributed
from sslkit.engine.feed import Feed, once
from sslkit.engine.fit import fit
from sslkit.engine.run import Run
from sslkit.engine.validate import validate
from sslkit.errors import UserError
from sslkit.evals.base import Row, interval
from sslkit.evals.cheater import Cheater, Posed
from sslkit.recipe import Recipe, Train
from sslkit.tasks import base as tasks
from sslkit.tasks.base import Cheat, Look, Shortcut, Task
from sslkit.types import Draw, Panel, Reads

World = Literal["original", "cleaned"]
Network = Literal["cheater", "task"]
Progress = Callable[[int, int, str], None]

CLIPS = 3
STEPS = 300
_BATCH = 16
_COLUMNS = ("on original", "on cleaned", "paper, original", "paper, cleaned")


@dataclass(frozen=True)
class Shared:
    """Those samples of a dataset that have one of the `keys`: what the engine reads."""

    dataset: Dataset
    keys: frozenset[str]

    @property
    def entries(self) -> Sequence[Entry]:
        """All entries of the dataset, so that positions stay what they are."""
        return self.dataset.entries

    def usable(self, reads: Reads) -> list[int]:
        """Positions of the samples that hold what is read."""
        return [i for i in self.dataset.usable(reads) if self.entries[i].key in self.keys]

    def windows(self, index: int, reads: Reads, draw: Draw | None) -> list[float]:
        """See `Dataset.windows`."""
        return self.dataset.windows(index, reads, draw)

    def read(self, index: int, starts: Sequence[float], reads: Reads) -> Sample:
        """See `Dataset.read`."""
        return self.dataset.read(index, starts, reads)


@dataclass(frozen=True)
class Material:
    """What one world offers: what is learnt from, and what is asked about."""

    train: Shared
    held_out: tuple[Shared, ...]

    @property
    def left_out(self) -> int:
        """How many samples there are only here."""
        return sum(entry.key not in one.keys for one in (self.train, *self.held_out) for entry in one.entries)


@dataclass(frozen=True)
class Finding:
    """What one network, trained in one world, answered in one world.

    value, low, high: accuracy in percent and its 95 % interval, None where no sample has the cue. questions, sources:
    how many were asked, about how many recordings. confusion: (C, C) int64, true class by answer. panel: some of them.
    """

    network: Network
    trained: World
    tested: World
    value: float | None
    low: float | None
    high: float | None
    questions: int
    sources: int
    confusion: Tensor = field(repr=False)
    panel: Panel = field(repr=False)


@dataclass(frozen=True)
class Audited:
    """What was found about one shortcut, to be told."""

    shortcut: Shortcut
    findings: list[Finding]

    def closed(self, chance: float | None) -> bool | None:
        """Whether the control works: the cheater is not above chance with it, or, where the shortcut makes answers
        contradict each other, is right more often with it. None if that was not measured."""
        found = {one.tested: one for one in self.findings if one.network == "cheater" and one.value is not None}
        cleaned, original = found.get("cleaned"), found.get("original")
        if cleaned is None or cleaned.low is None or chance is None:
            return None
        if isinstance(self.shortcut.cheat, Cheat) and self.shortcut.cheat.contradicts:
            return None if original is None or original.high is None else cleaned.low > original.high
        return cleaned.low <= chance

    def rows(self, chance: float | None) -> list[Row]:
        """One row a finding, for scripts."""
        return [
            {
                "shortcut": self.shortcut.name,
                "network": one.network,
                "trained_on": one.trained,
                "tested_on": one.tested,
                "metric": "accuracy",
                "value": _rounded(one.value),
                "low": _rounded(one.low),
                "high": _rounded(one.high),
                "chance": chance,
                "paper": self._paper(one.network, one.trained, one.tested),
                "questions": one.questions,
                "sources": one.sources,
            }
            for one in self.findings
        ]

    def table(self) -> list[Row]:
        """One row a network, its accuracy in each world with the interval, for people."""
        rows: dict[tuple[Network, World], Row] = {}
        for one in self.findings:
            start = {"shortcut": self.shortcut.name, "network": one.network, "trained on": one.trained}
            row = rows.setdefault((one.network, one.trained), start | dict.fromkeys(_COLUMNS))
            if one.value is not None:
                row[f"on {one.tested}"] = f"{one.value:.1f} ({one.low:.1f} to {one.high:.1f})"
            row[f"paper, {one.tested}"] = self._paper(one.network, one.trained, one.tested)
        return list(rows.values())

    def _paper(self, network: Network, trained: World, tested: World) -> float | None:
        return self.shortcut.published.get((trained, tested)) if network == "task" else None


def material(folders: Mapping[World, Sequence[Path]]) -> dict[World, Material]:
    """The samples of each world, from prepared folders; where these differ, only samples that are in both.

    Raises UserError when there is nothing to train on or nothing to ask about.
    """
    splits = {world: {name: Dataset(paths, name) for name in _splits(paths)} for world, paths in folders.items()}
    keys = [{entry.key for one in found.values() for entry in one.entries} for found in splits.values()]
    both = frozenset(set.intersection(*keys))
    found: dict[World, Material] = {}
    for world, datasets in splits.items():
        used = {name: Shared(one, both) for name, one in datasets.items() if any(e.key in both for e in one.entries)}
        if "train" not in used or len(used) < 2:
            where = " + ".join(str(folder) for folder in folders[world])
            raise UserError(f"{where} needs a train split and one to ask about: prepare it with --val-share 0.2.")
        found[world] = Material(used.pop("train"), tuple(used.values()))
    return found


def _splits(folders: Sequence[Path]) -> list[str]:
    return [name for name in shards.SPLITS if all((folder / f"{name}-index.jsonl").is_file() for folder in folders)]


@dataclass(frozen=True)
class Audit:
    """The trainings for one shortcut of a task.

    worlds: one or both. recipe: how the task is trained. cheater_steps: how long the cheaters are. out: where the runs
    are kept; the task as it is, on data as they are, is trained there once for all shortcuts.
    """

    shortcut: Shortcut
    cheat: Cheat
    worlds: Mapping[World, Material]
    recipe: Recipe
    out: Path
    device: torch.device
    workers: int = 0
    cheater_steps: int = STEPS
    progress: Progress | None = None

    def findings(self) -> list[Finding]:
        """The cheater of each world, asked there; then the task as trained in each world, asked in all."""
        found = [self._asked("cheater", self._cheater(world), world, world) for world in self.worlds]
        for world in self.worlds:
            learner = self._learner(world)
            for other in self.worlds:
                learner.look = self._look(learner.task, other)
                found.append(self._asked("task", learner, world, other))
        return found

    def _look(self, task: Task, world: World) -> Look:
        """How questions are made in a world."""
        other = self.cheat.off if world == "original" else self.cheat.on
        return task.views if other is None else lambda batch, draw: other(task, batch, draw)

    def _cheater(self, world: World) -> Cheater:
        train, seed = self.worlds[world].train, self.recipe.train.seed
        task = tasks.build(self.recipe.task, self.recipe.settings)
        reads, look = task.train().reads(), self._look(task, world)
        few = next(once(train, reads, 2, torch.device("cpu")))
        example = self.cheat.alone(few, Draw(seed, 0), look)["x"]
        torch.manual_seed(seed)
        cheater = Cheater(task, look, self.cheat, example)
        recipe = self.recipe.model_copy(update={"name": "cheater", "train": self._brief(len(train.usable(reads)))})
        self._train(cheater, recipe, world, self.out / slug(self.shortcut) / f"cheater-{world}")
        return cheater

    def _brief(self, samples: int) -> Train:
        how = {
            "optimizer": "adam",
            "lr": 2e-3,
            "schedule": "cosine",
            "weight_decay": 1e-4,
            "seed": self.recipe.train.seed,
        }
        # Nothing is validated on the way, so nothing need be saved before the end.
        how |= {"batch": min(_BATCH, samples), "steps": self.cheater_steps, "validate_epochs": self.cheater_steps}
        return Train.model_validate(how)

    def _learner(self, world: World) -> Posed:
        torch.manual_seed(self.recipe.train.seed)
        task = tasks.build(self.recipe.task, self.recipe.settings)
        posed = Posed(task, self._look(task, world))
        own = self.cheat.prepared or self.cheat.toybox or posed.look != task.views
        folder = self.out / slug(self.shortcut) / f"task-{world}" if own else self.out / "task"
        self._train(posed, self.recipe, world, folder)
        return posed

    def _train(self, learner: Task, recipe: Recipe, world: World, folder: Path) -> None:
        train, reads = self.worlds[world].train, learner.train().reads()
        plan = recipes.plan(recipe, len(train.usable(reads)), distributed.world(), str(self.device))
        run = Run(folder).open(recipe, plan, train.dataset.info.records)

        def show(done: int, total: int, figures: Mapping[str, float]) -> None:
            if self.progress:
                self.progress(done, total, f"{self.shortcut.name}, {folder.name}: loss {figures['loss']:.3g}")

        fit(learner, Feed(train, reads, plan, self.device, self.workers), recipe, plan, run, progress=show)

    def _asked(self, network: Network, learner: Task, trained: World, tested: World) -> Finding:
        """What a network answers about the held-out media of a world."""
        reads, seed = learner.eval().reads(), self.recipe.train.seed
        right, units, panel = [], [], None
        confusion = torch.zeros(len(learner.classes), len(learner.classes), dtype=torch.int64)
        for samples in self.worlds[tested].held_out:
            clips = 1 if all(entry.kind == "image" for entry in samples.entries) else CLIPS
            every = reads.but(clips=clips, start="spread")
            found = validate(learner, samples, _BATCH, self.device, self.workers, seed, reads=every)
            if found.scores is None or found.target is None or found.sample is None or found.confusion is None:
                raise ValueError("a task without classes has no accuracy to audit")
            known = found.target >= 0
            right.append(found.scores[known].argmax(1) == found.target[known])
            units += [samples.entries[index].recording for index in found.sample[known].tolist()]
            confusion += found.confusion
            panel = panel or learner.show(found.views, found.answer)[0]
        assert panel is not None
        return Finding(network, trained, tested, *_percent(torch.cat(right), units), confusion, panel)


def _percent(right: Tensor, units: Sequence[str]) -> tuple[float | None, float | None, float | None, int, int]:
    """Accuracy in percent and the ends of its interval, questions and sources."""
    if not len(right):
        return None, None, None, 0, 0
    low, high = interval(right, units)
    return 100 * float(right.double().mean()), 100 * low, 100 * high, len(right), len(set(units))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def slug(shortcut: Shortcut) -> str:
    """The name of a shortcut as folders and options have it."""
    return shortcut.name.replace(" ", "-")
