"""A tiny task on a tiny dataset in memory, with all that a run needs."""

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sslkit.data.dataset import Sample
from sslkit.engine import distributed
from sslkit.engine.feed import Feed
from sslkit.engine.run import Run
from sslkit.engine.validate import Validation, validate
from sslkit.models.trunk import Trunk
from sslkit.recipe import Plan, Recipe, Train
from sslkit.tasks.base import Task
from sslkit.types import Answer, Batch, Draw, Reads

torch.set_num_threads(1)  # tests fork, and a pool of threads does not survive that

CPU = torch.device("cpu")
READS = Reads(frames=1)


@dataclass
class Blobs:
    """Pictures (6, 6) of one grey each; class 1 is brighter. `broken`: index -> error that reading it raises."""

    samples: int = 20
    broken: dict[int, Exception] = field(default_factory=dict)

    @property
    def entries(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(key=f"blob-{i}") for i in range(self.samples)]

    def usable(self, reads: Reads) -> list[int]:
        return [i for i in range(self.samples) if i != 3]

    def windows(self, index: int, reads: Reads, draw: Draw | None) -> list[float]:
        return [0.0] * reads.clips if draw is None else draw.uniform(reads.clips).tolist()

    def read(self, index: int, starts: list[float], reads: Reads) -> Sample:
        if index in self.broken:
            raise self.broken[index]
        label = index % 2
        noise = np.random.default_rng(index).integers(0, 60, (1, 1, 6, 6, 3))
        return Sample(index, label, list(starts), frames=(noise + 120 * label).astype(np.uint8))


class Eye(Trunk):
    """A convolution, a norm with moving averages, and dropout: everything whose state a resumed run must restore."""

    name, settings, takes, crop_px, widths = "eye", {}, READS, 6, {"conv1": 4}

    def __init__(self, norm: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4) if norm else nn.Identity()

    def forward(self, raw):
        return {"conv1": self.norm(self.conv1(raw.float() / 255 - 0.5)).relu()}


class Brighter(Task):
    """Is it the bright class? Noise is drawn in training; a buffer counts the steps, as a memory bank would."""

    classes = ("dark", "bright")

    def __init__(self, norm: bool = True, dropout: float = 0.3, noise: float = 8.0) -> None:
        super().__init__()
        self.trunk, self.noise, self.dropout = Eye(norm), noise, nn.Dropout(dropout)
        self.head = nn.Linear(4, 2)
        self.trunks = {"sight": self.trunk}
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def reads(self) -> Reads:
        return READS

    @torch.no_grad()
    def views(self, batch: Batch, draw: Draw):
        x = batch.frames[:, 0, 0].float()
        noise = self.noise * self.training * draw.normal(*x.shape).to(x.device)
        return {"x": x + noise, "target": batch.label}

    def forward(self, views) -> Answer:
        scores = self.head(self.dropout(self.trunk(views["x"])["conv1"].mean((2, 3))))
        accuracy = (scores.argmax(1) == views["target"]).float().mean() * 100
        loss = F.cross_entropy(scores.float(), views["target"])
        return Answer(loss, {"accuracy": accuracy}, scores.detach(), views["target"])

    def after_step(self) -> None:
        self.steps += 1


def train_block(**changes) -> Train:
    return Train(**{"lr": 0.5, "batch": 6, "steps": 12, **changes})


def plan_of(train: Train, **changes) -> Plan:
    values = dict(
        samples=19,
        batch=train.batch,
        rank_batch=train.batch,
        world=1,
        accumulate=train.accumulate,
        epoch_steps=3,
        steps=train.steps,
        lr=train.lr,
        warmup_steps=0,
        milestone_steps=(),
        step_steps=None,
        validate_steps=4,
        device="cpu",
        dtype="float32",
        seed=train.seed,
    )
    return Plan(**{**values, **changes})


@dataclass
class Job:
    """One run, ready to be trained: `fit(job.task, job.feed, job.recipe, job.plan, job.run, job.validate)`."""

    task: Brighter
    feed: Feed
    recipe: Recipe
    plan: Plan
    run: Run

    def validate(self) -> Validation:
        return validate(self.task, self.feed.dataset, 6, CPU, seed=self.plan.seed)

    @property
    def parts(self) -> tuple:
        return self.task, self.feed, self.recipe, self.plan, self.run


def make_job(folder: Path, dataset: Blobs | None = None, workers: int = 0, task: Task | None = None, **train) -> Job:
    """A fresh start, or a fresh process' view of the same folder: the same seeds, nothing shared."""
    recipe = Recipe(name="brighter", task="brighter", train=train_block(**train))
    plan = plan_of(recipe.train)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        task = task or Brighter()
    feed = Feed(dataset or Blobs(), READS, plan, CPU, workers)
    return Job(task, feed, recipe, plan, Run(folder).open(recipe, plan))


def in_two_processes(work):
    """Run work(rank) in two forked processes that form a group; returns what they raised."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    errors = fork.SimpleQueue()

    def main(rank):
        os.environ.update(WORLD_SIZE="2", RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        try:
            torch.set_num_threads(1)  # OpenMP's threads did not come along with the fork
            distributed.setup()
            work(rank)
            distributed.teardown()
        except BaseException:
            errors.put(traceback.format_exc())
        os._exit(0)

    children = [fork.Process(target=main, args=(rank,)) for rank in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    hung = [child for child in children if child.is_alive()]
    for child in hung:
        child.kill()
    assert not hung
    return [] if errors.empty() else [errors.get()]


@pytest.fixture
def tiny() -> SimpleNamespace:
    """The names above, for test files, which cannot import from here."""
    kinds: dict[str, Callable] = dict(
        in_two_processes=in_two_processes,
        Blobs=Blobs,
        Brighter=Brighter,
        Eye=Eye,
        job=make_job,
        plan=plan_of,
        train=train_block,
    )
    return SimpleNamespace(CPU=CPU, READS=READS, **kinds)
