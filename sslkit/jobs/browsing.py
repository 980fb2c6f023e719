"""What a network will be asked, before it is trained."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sslkit import pages
from sslkit import recipe as recipes
from sslkit.data.dataset import Dataset, collate
from sslkit.engine import feed
from sslkit.errors import UserError
from sslkit.jobs.data import Progress, check_prepared, split_of, toybox
from sslkit.jobs.learn import requested
from sslkit.recipe import Plan
from sslkit.tasks import base as tasks
from sslkit.tasks.base import Task
from sslkit.types import Draw, Panel, Part, Reads, Result

SPLITS = ("train", "val", "test")


def browse(
    task: str | None = None,
    recipe: str | None = None,
    data: Sequence[Path] = (),
    out: Path | None = None,
    tiny: bool = False,
    overrides: Sequence[str] = (),
    samples: int = 24,
    workers: int = 1,
    progress: Progress | None = None,
) -> Result:
    """A page with the first questions of a training and of its validation, with the right answers, the plan, the data.

    Arguments are those of `pretrain`, and the samples, windows and views are those that it would begin with. Raises
    UserError when the data lack what the task reads or were prepared otherwise than the recipe asks.
    """
    began = time.perf_counter()
    asked = requested(task, recipe, data, tiny, overrides)
    out = out or Path("runs") / f"browse-{asked.name}"
    if (out / "recipe.yaml").exists():
        raise UserError(f"{out} is the folder of a run; choose another --out.")
    pages.free(out)
    folders = list(data) or [toybox(asked, out.parent, workers, progress)]
    train, held_out = Dataset(folders, "train"), split_of(folders, "val")
    check_prepared(asked.data, train.info)
    learner = tasks.build(asked.task, asked.settings)
    reads = learner.train().reads()
    plan = recipes.plan(asked, len(train.usable(reads)), 1, "cpu")
    learner.before_training(feed.Feed(train, reads, plan, torch.device("cpu"), workers).sweep)
    panels = _training(learner, train, plan, samples)
    if held_out is not None:
        panels += _validation(learner, held_out, plan, samples)
    splits = [found for found in (split_of(folders, split) for split in SPLITS) if found is not None]
    result = Result(
        name=f"What {asked.task} asks ({asked.name})",
        fields={
            "task": asked.task,
            "recipe": asked.name,
            "data": [str(folder) for folder in folders],
            "layout": train.info.layout,
            "classes": len(train.info.classes),
            "samples": samples,
            "plan": plan.model_dump(mode="json"),
        },
        chance=learner.chance,
        rows=[_split(found, reads) for found in splits],
        panels=panels,
        notes=[] if held_out is not None else ["The data have no val split: nothing will be held out."],
        seconds=time.perf_counter() - began,
    )
    return pages.of_browsing(result, asked, plan, learner, _labels(splits), out)


def _training(task: Task, dataset: Dataset, plan: Plan, samples: int) -> list[Panel]:
    """The first samples that a training sees, and what it is asked about them."""
    task.train()
    order = feed.Order(dataset, task.reads(), plan)
    panels: list[Panel] = []
    for step in range(-(-samples // plan.batch)):
        requests = order(step)[: samples - step * plan.batch]
        draw = Draw(plan.seed, step, part=Part(0, len(requests), plan.batch))
        panels += _asked(task, dataset, requests, draw, "In training")
    return _joined(panels)


def _validation(task: Task, dataset: Dataset, plan: Plan, samples: int) -> list[Panel]:
    """Samples spread evenly over a split, and the plain question about them."""
    task.eval()
    reads = task.reads().but(start="spread")
    usable = dataset.usable(reads)
    count = min(samples, len(usable))
    chosen = [usable[number * len(usable) // count] for number in range(count)]
    requests = [feed.Request(i, tuple(dataset.windows(i, reads, None))) for i in chosen]
    return _asked(task, dataset, requests, Draw(plan.seed, 0, stream="validate"), "In validation")


def _asked(task: Task, dataset: Dataset, requests: Sequence[feed.Request], draw: Draw, when: str) -> list[Panel]:
    batch = collate([dataset.read(r.index, r.starts, task.reads()) for r in requests])
    shown = task.show(task.views(batch, draw), samples=len(requests))
    for panel in shown:
        panel.title = f"{when}: {panel.title[0].lower()}{panel.title[1:]}"
    return [_sources(task.reads(), dataset, requests, when), *shown]


def _sources(reads: Reads, dataset: Dataset, requests: Sequence[feed.Request], when: str) -> Panel:
    """The picture in the middle of each window, whole, with the name of its source."""
    panel = Panel(f"{when}: the samples", [], note="The middle of each window, before anything is cut or distorted.")
    for request in requests:
        entry = dataset.entries[request.index]
        if entry.has("frames"):
            middle_s = request.starts[0] + max(reads.frames, reads.flow) / 2 / (reads.fps or entry.fps or 1)
            frames = dataset.read(request.index, [middle_s], Reads(frames=1)).frames
            assert frames is not None
            panel.pictures.append(frames[0, 0])
            time_s = f", {entry.start_s + middle_s:.1f} s" if entry.fps else ""
            name = entry.label_name or Path(entry.source).stem or entry.key
            panel.captions.append(f"{name if len(name) < 20 else name[:18] + '…'}{time_s}")
    return panel


def _joined(panels: Sequence[Panel]) -> list[Panel]:
    """Panels of one title as one."""
    found: dict[str, Panel] = {}
    for panel in panels:
        kept = found.setdefault(panel.title, panel)
        if kept is not panel:
            kept.pictures += panel.pictures
            kept.captions += panel.captions
            kept.right += panel.right
    return list(found.values())


def _split(dataset: Dataset, reads: Reads) -> dict[str, Any]:
    """What a split holds, and how much of it the task can use."""
    entries = dataset.entries
    sides = np.array([[entry.width, entry.height] for entry in entries])
    low, high = sides.min(0), sides.max(0)
    rates = sorted({round(entry.fps, 3) for entry in entries if entry.fps})
    return {
        "split": dataset.split,
        "samples": len(entries),
        "usable": len(dataset.usable(reads)),
        "sources": len({entry.source for entry in entries}),
        "minutes": round(sum(entry.seconds for entry in entries) / 60, 2),
        "width_px": f"{low[0]}" if low[0] == high[0] else f"{low[0]} to {high[0]}",
        "height_px": f"{low[1]}" if low[1] == high[1] else f"{low[1]} to {high[1]}",
        "fps": ", ".join(f"{rate:g}" for rate in rates[:4]) + (" ..." if len(rates) > 4 else "") or "-",
        "with_sound": sum(entry.has("sound") for entry in entries),
        "with_flow": sum(entry.has("flow") for entry in entries),
        "labelled": sum(entry.label >= 0 for entry in entries),
    }


def _labels(splits: Sequence[Dataset]) -> list[dict[str, Any]]:
    """How often each label occurs in each split."""
    counts = {found.split: Counter(entry.label for entry in found.entries) for found in splits}
    names = enumerate(splits[0].info.classes) if splits else ()
    return [{"label": name, **{split: count[label] for split, count in counts.items()}} for label, name in names]
