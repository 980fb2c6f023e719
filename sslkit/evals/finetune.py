"""How well a network classifies pictures or videos after being trained on with labels, from each beginning.

Protocol: the whole network is trained by the `labels` task on train with the schedule of the recipe, the same for every
beginning; nothing is chosen on test, which is looked at once, after the last step. A test video is 10 evenly spaced
windows, each a central crop; their softmax is averaged before the best class is taken. Reported: mean class accuracy,
top-1, accuracy of single windows, each class, and what was taken for what, beside guessing and the largest class.
Source: UCF101 and HMDB51 protocols, Soomro et al. 2012 and Kuehne et al., ICCV 2011; 10 test windows with a central
crop as in xudejing/video-clip-order-prediction (Xu et al., CVPR 2019).
Departures: no flips, corners or dense windows at test. Mean class accuracy stands beside top-1, because small sets are
unbalanced. A figure is of one split: three official splits are three datasets.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sslkit import recipe as recipes
from sslkit.data.dataset import Dataset, DatasetInfo
from sslkit.engine import distributed, feed
from sslkit.engine.device import place, precision
from sslkit.engine.fit import fit
from sslkit.engine.run import Run
from sslkit.errors import UserError
from sslkit.evals import base, features, inits
from sslkit.evals.base import Row
from sslkit.evals.inits import Init
from sslkit.models.trunk import Trunk
from sslkit.ops import measures
from sslkit.recipe import FinetuneRecipe, Recipe
from sslkit.tasks import base as tasks
from sslkit.tasks.base import Task
from sslkit.types import Draw, Published, Result

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Judged:
    """What a classifier said about a test split.

    probability: (N, clips, classes) float32, the softmax of each window. target, index: (N,) int64.
    """

    probability: Tensor
    target: Tensor
    index: Tensor

    @property
    def predicted(self) -> Tensor:
        """(N,) int64, the class with the largest mean probability over the windows."""
        return self.probability.mean(1).argmax(1)

    def metrics(self) -> dict[str, float]:
        """`mean_class`, `top1`, `top5` (with more than five classes), and `clip_top1` of single windows, percent."""
        clips = self.probability.flatten(0, 1)
        single = measures.top_k_accuracy(clips, self.target.repeat_interleave(self.probability.shape[1]))
        return base.accuracies(self.probability.mean(1), self.target) | {"clip_top1": single}

    def confusion(self) -> Tensor:
        """(classes, classes) int64: rows are the truth, columns what was said."""
        return measures.confusion(self.predicted, self.target, self.probability.shape[2])

    def per_class(self) -> list[float | None]:
        """Accuracy of each class in percent, None for a class that test lacks."""
        found = measures.per_class_accuracy(self.predicted, self.target, self.probability.shape[2])
        return [None if value != value else value for value in found.tolist()]


def finetune(
    runs: Sequence[Path],
    controls: Sequence[str],
    on: Sequence[Path],
    recipe: FinetuneRecipe,
    *,
    out: Path,
    seeds: int = 1,
    device: torch.device,
    workers: int = 0,
    progress: Progress | None = None,
) -> Result:
    """Finetune runs (folders or trunk files) and controls ("random", "supervised", further files), and test them.

    out: holds a run folder for each, `<init>-<seed>`, so that what was interrupted goes on. seeds: of the head, the
    order and the augmentation; a random network is another one for each. progress(done, of, text).
    Raises UserError for data or runs that do not fit.
    """
    train, test = inits.splits(on)

    def supervise(like: Trunk, seed: int) -> Trunk:
        folder = out / f"labels-{seed}"
        return supervised_trunk(
            like, train, recipe, seed, device=device, workers=workers, folder=folder, progress=progress
        )

    listed = inits.resolve(runs, controls, seeds, supervise)
    return compare(listed, train, test, recipe, out, device=device, workers=workers, progress=progress)


def compare(
    listed: Sequence[Init],
    train_set: Dataset,
    test_set: Dataset,
    recipe: FinetuneRecipe,
    out: Path,
    *,
    device: torch.device,
    workers: int = 0,
    progress: Progress | None = None,
) -> Result:
    """Train and test networks on two splits.

    Rows: {"init", "layer": "all", "metric", "value", "seed", "run"} of each training, then mean, `spread` and number of
    `runs` over those of one init, then guessing. `fields["per_class"]` and `fields["confusion"]` (rows: the truth) are
    by init and seed.
    """
    started, classes = time.perf_counter(), train_set.info.classes
    rows: list[Row] = []
    per_class, tables = {}, {}
    clips = features.windows(test_set, recipe.clips)
    truth = torch.zeros(0, dtype=torch.int64)
    notes = inits.notes(listed)
    notes += base.shared_groups((e.group for e in train_set.entries), (e.group for e in test_set.entries))
    for init in listed:
        for seed in init.seeds:
            name = f"{init.name}-{seed}"
            folder = out / re.sub(r"[^\w.-]+", "_", name)
            task, run = train_from(init.make(), train_set, recipe, folder, seed, device, workers, _told(progress, name))
            judged = judge(task, test_set, clips, recipe.train.batch, device, workers, run.plan.dtype)
            truth = judged.target
            per_class[name] = dict(zip(classes, judged.per_class(), strict=True))
            tables[name] = judged.confusion().tolist()
            rows += [
                {"init": init.name, "layer": "all", "metric": m, "value": v, "seed": seed, "run": str(folder)}
                for m, v in judged.metrics().items()
            ]
    total = base.summary(rows)
    guesses = base.guessing(_labels(train_set), truth, len(classes))
    return Result(
        name=f"finetune on {', '.join(folder.name for folder in train_set.info.folders)}",
        fields={
            "run": ", ".join(dict.fromkeys(init.run for init in listed if not init.run.startswith("seed "))),
            "protocol": f"finetuned, all layers ({recipe.name or 'finetune'})",
            "data": ", ".join(map(str, train_set.info.folders)),
            "prepared": train_set.info.records,
            "classes": list(classes),
            "split": {"train": len(train_set), "test": len(truth), "test_split": test_set.split},
            "preprocessing": {"clips": clips, "crop": "centre", "averaged": "softmax over clips, before the argmax"},
            "per_class": per_class,
            "confusion": tables,
        },
        metrics={f"{row['init']}_{row['metric']}": row["value"] for row in total if row["metric"] != "top5"},
        chance=guesses["chance"]["top1"],
        paper=Published(recipe.paper.value, recipe.paper.where, recipe.paper.metric) if recipe.paper else None,
        rows=[*rows, *total, *base.guess_rows(guesses)],
        shown=[*total, *base.guess_rows(guesses)],
        notes=notes + base.left_out(len(truth), len(test_set), test_set.split),
        seconds=time.perf_counter() - started,
    )


def train_from(
    trunk: Trunk,
    train_set: Dataset,
    recipe: FinetuneRecipe,
    folder: Path,
    seed: int,
    device: torch.device,
    workers: int = 0,
    progress: Progress | None = None,
) -> tuple[Task, Run]:
    """Train a classifier that begins with the weights of `trunk`, in a run folder; it resumes what is there unfinished.

    Returns the task with its last weights and the run. The trunk itself is not changed. Raises UserError for unlabelled
    training samples, or when the folder holds the training of other weights, data or settings.
    """
    task = _classifier(trunk, train_set.info.classes, recipe, seed)
    labels = _labels(train_set)
    if len(labels) < len(train_set):
        raise UserError(
            f"{train_set!r} has {len(train_set) - len(labels)} samples without a label: prepare it without them."
        )
    asked = Recipe(
        name=recipe.name,
        task="labels",
        about=recipe.about,
        settings=task.settings.model_dump(mode="json"),  # type: ignore[union-attr, operator]
        train=recipe.train.model_copy(update={"seed": seed}),
    )
    reads = task.train().reads()
    plan = recipes.plan(asked, len(train_set.usable(reads)), distributed.world(), str(device))
    told = None if progress is None else _steps(progress)
    with Run(folder).open(asked, plan, _made_of(trunk, train_set.info)) as run:
        fit(task, feed.Feed(train_set, reads, plan, device, workers), asked, plan, run, progress=told)
    return task.eval(), run


def supervised_trunk(
    like: Trunk,
    train_set: Dataset,
    recipe: FinetuneRecipe,
    seed: int,
    *,
    device: torch.device,
    workers: int = 0,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Trunk:
    """A trunk of the same architecture, trained from random weights with the labels of `train_set` alone: on the CPU.

    folder: keeps the run; without it nothing is kept. The control that probes call "supervised".
    """
    if folder is None:
        with tempfile.TemporaryDirectory() as kept:
            return supervised_trunk(
                like,
                train_set,
                recipe,
                seed,
                device=device,
                workers=workers,
                folder=Path(kept) / "run",
                progress=progress,
            )
    begun = inits.randomly(like, seed)
    told = _told(progress, f"supervised-{seed}")
    task, _ = train_from(begun, train_set, recipe, folder, seed, device, workers, told)
    return task.trunks["sight"].cpu().eval()


@torch.no_grad()
def judge(
    task: Task,
    dataset: Dataset,
    clips: int = 10,
    batch: int = 32,
    device: torch.device | str = "cpu",
    workers: int = 0,
    dtype: str = "float32",
) -> Judged:
    """What a `labels` task says of `clips` evenly spaced windows of every labelled sample, in evaluation mode.

    batch: samples that are read together. Raises UserError when nothing is labelled.
    """
    device = torch.device(device)
    place(task, device).eval()
    reads = task.reads().but(clips=clips, start="spread")
    chosen = [i for i in dataset.usable(reads) if dataset.entries[i].label >= 0]
    if not chosen:
        raise UserError(f"{dataset!r} has no labelled sample to test on: prepare it from a layout with classes.")
    parts = []
    for number, raw in enumerate(feed.once(dataset, reads, max(1, batch // clips), device, workers, indices=chosen)):
        views = task.views(raw, Draw(0, number, stream="test"))
        with precision(device, dtype):
            answer = task(views)
        if answer.scores is None:
            raise ValueError(f"{type(task).__name__} gives no scores")
        probability = answer.scores.float().softmax(1).reshape(len(raw), clips, -1)
        parts.append((probability.cpu(), raw.label.cpu(), raw.index.cpu()))
    return Judged(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def _classifier(trunk: Trunk, classes: Sequence[str], recipe: FinetuneRecipe, seed: int) -> Task:
    settings = {
        **recipe.settings,
        "trunk": trunk.name,
        "trunk_settings": trunk.settings,
        "classes": list(classes),
        "dropout": recipe.dropout,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        task = tasks.build("labels", settings)
    task.trunks["sight"].load_state_dict(trunk.state_dict())
    return task


def _labels(dataset: Dataset) -> Tensor:
    """Labels of the labelled samples, (N,) int64."""
    return torch.tensor([entry.label for entry in dataset.entries if entry.label >= 0], dtype=torch.int64)


def _made_of(trunk: Trunk, info: DatasetInfo) -> list[dict[str, Any]]:
    """Data of a run. The weights it began with are among them: another beginning is another run."""
    return [*info.records, {"folder": f"weights of {trunk.name}", "source_hash": features.state_hash(trunk)}]


def _told(progress: Progress | None, name: str) -> Progress | None:
    return None if progress is None else lambda done, of, text: progress(done, of, f"{name} {text}")


def _steps(progress: Progress) -> Callable[[int, int, Mapping[str, float]], None]:
    return lambda done, of, figures: progress(done, of, f"loss {figures.get('loss', float('nan')):.3f}")
