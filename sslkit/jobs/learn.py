"""Networks: trained, and trained on with labels."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

from sslkit import pages
from sslkit import recipe as recipes
from sslkit.data.dataset import Dataset
from sslkit.engine import checkpoint, distributed
from sslkit.engine.device import pick
from sslkit.engine.feed import Feed
from sslkit.engine.fit import Fit, fit
from sslkit.engine.run import Run
from sslkit.engine.validate import Validation, validate
from sslkit.errors import UserError
from sslkit.evals import compare as comparing
from sslkit.evals import finetune as finetuning
from sslkit.evals import retrieval
from sslkit.jobs.data import Progress, check_prepared, split_of, toybox
from sslkit.jobs.runs import evaluation_folder
from sslkit.models import weights
from sslkit.recipe import Plan, Recipe
from sslkit.tasks import base as tasks
from sslkit.types import Panel, Published, Result


@distributed.together()
def pretrain(
    task: str | None = None,
    recipe: str | None = None,
    data: Sequence[Path] = (),
    out: Path | None = None,
    tiny: bool = False,
    overrides: Sequence[str] = (),
    device: str = "auto",
    workers: int = 1,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Learn a pretext task, or go on learning it if `out` holds the same run unfinished.

    Without data the toybox is made and used; without data and recipe, with the small settings (`tiny:`) of the task's
    recipe. Raises UserError when the data lack what the task reads or were prepared otherwise than the recipe asks.
    """
    began = time.perf_counter()
    embedded = not data
    plain = embedded and recipe is None
    asked = requested(task, recipe, data, tiny, overrides)
    chosen, out = pick(device), out or Path("runs") / asked.name
    notes = []
    distributed.take_device(chosen)
    if embedded:
        with distributed.main_first():
            data = [toybox(asked, out.parent, workers, progress)]
        notes.append(f"No --data was given: learnt from the toybox, made from seed 0 in {data[0]}.")
    if plain and not tiny:
        notes.append(f"No --data and no --recipe was given: the small settings of {asked.name} (tiny) were used.")
    train = Dataset(data, "train")
    check_prepared(asked.data, train.info)
    torch.manual_seed(asked.train.seed)
    learner = tasks.build(asked.task, asked.settings)
    reads = learner.train().reads()
    plan = recipes.plan(asked, len(train.usable(reads)), distributed.world(), str(chosen))
    left_out = len(train) - plan.samples
    if left_out:
        notes.append(f"{left_out} of {len(train)} training samples are too short for what the task reads.")
    if dry_run:
        fields = {"task": asked.task, "recipe": asked.name, "plan": plan.model_dump(mode="json"), "out": str(out)}
        return Result(name=f"Plan of {asked.name}", fields=fields, notes=notes)
    held_out = split_of(data, "val")

    def judge() -> Validation:
        assert held_out is not None
        return validate(learner, held_out, asked.train.batch, chosen, workers, plan.seed, plan.dtype)

    feed = Feed(train, reads, plan, chosen, workers)
    show = _steps(progress, f"{asked.task}: training") if progress else None
    with Run(out).open(asked, plan, train.info.records) as run:
        if run.finished and (earlier := _earlier(out)):
            return earlier
        fitted = fit(learner, feed, asked, plan, run, judge if held_out is not None else None, show)
        if not distributed.is_main():
            return Result(name=f"rank {distributed.rank()}")
        return _finish(run, learner, plan, fitted, data, notes, workers, chosen, time.perf_counter() - began)


def requested(
    task: str | None, recipe: str | None, data: Sequence[Path], tiny: bool, overrides: Sequence[str]
) -> Recipe:
    """The recipe that is meant by what was given: with neither data nor a recipe the task's own in its tiny form."""
    if not (task or recipe):
        raise UserError("Nothing to learn was named: give --task (sslkit tasks lists them) or --recipe.")
    plain = not data and recipe is None
    asked = recipes.load(recipe or str(task), set=overrides, tiny=tiny or plain)
    if task and tasks.load(task) is not tasks.load(asked.task):
        raise UserError(f"Recipe {recipe} is for --task {asked.task}, not {task}; leave --task out.")
    return asked


def _finish(
    run: Run,
    learner: tasks.Task,
    plan: Plan,
    fitted: Fit,
    data: Sequence[Path],
    notes: list[str],
    workers: int,
    device: torch.device,
    seconds: float,
) -> Result:
    """What stands at the end of a training: the best weights, judged and written, and the page."""
    recipe = run.recipe
    notes += fitted.alarms
    best = run.load("best.pt")
    if best is not None:
        weights.fill(learner, best["task"], str(run.folder))
        notes.append(f"The weights are those of step {best['step']}, the best on the val split.")
    judged: dict[str, Validation] = {}
    for split in ("val", "test"):
        dataset = split_of(data, split)
        if dataset is not None:
            judged[split] = validate(learner, dataset, recipe.train.batch, device, workers, plan.seed, plan.dtype)
    metrics = {"train_" + name: value for name, value in fitted.metrics.items() if name != "lr"}
    for split, found in judged.items():
        metrics |= {(f"{split}_{name}" if name != "accuracy" else f"{split}_pretext_accuracy"): value
                    for name, value in found.metrics.items()}  # fmt: skip
    headline = next((s for s in ("val", "test") if s in judged), None)
    if headline:
        metrics = {"pretext_accuracy": metrics.get(f"{headline}_pretext_accuracy", float("nan")), **metrics}
    else:
        notes.append("The data have no val split: the pretext accuracy on held-out media was not measured.")
    near = _neighbours(learner, split_of(data, headline) if headline else None, device, workers)
    if isinstance(near, str):
        notes.append(near)
    settings = dict(Dataset(data, "train").info.settings)
    files = run.export(learner, {"metrics": metrics, "data": settings})
    result = Result(
        name=f"{recipe.task}, {recipe.name}",
        fields={
            "run": str(run.folder),
            "task": recipe.task,
            "recipe": recipe.name,
            "steps": fitted.steps,
            "device": plan.device,
            "waited_share": round(fitted.waited_share, 4),
            "samples_per_s": round(fitted.samples_per_s, 2),
            **({"alarms": fitted.alarms} if fitted.alarms else {}),
        },
        metrics={name: round(value, 4) for name, value in metrics.items()},
        chance=learner.chance,
        paper=Published(recipe.paper.value, recipe.paper.where, recipe.paper.metric) if recipe.paper else None,
        panels=[near] if isinstance(near, Panel) else [],
        files={**{name: str(path) for name, path in files.items()}, "report": str(run.folder / "report.html")},
        notes=notes,
        seconds=seconds,
    )
    pages.of_training(run, plan, learner, judged.get(headline) if headline else None, result)
    with checkpoint.replacing(run.folder / "result.json") as file:
        file.write(json.dumps({**result.record(), "name": result.name, "notes": notes}, indent=1).encode())
    return result


def _neighbours(learner: tasks.Task, dataset: Dataset | None, device: torch.device, workers: int) -> Panel | str:
    """Nearest neighbours among held-out samples by the trunk that sees, or why they are not shown."""
    trunk = next((one for one in learner.trunks.values() if one.takes.frames or one.takes.flow), None)
    if dataset is None or trunk is None:
        return f"Nearest neighbours are not shown: {'there are no held-out samples' if trunk else 'no trunk sees'}."
    if not all(entry.has("frames") for entry in dataset.entries):
        return f"Nearest neighbours are not shown: samples of the {dataset.split} split have no pictures."
    return retrieval.held_out(trunk, dataset, device=device, workers=workers)


@distributed.together()
def finetune(
    runs: Sequence[Path],
    on: Sequence[Path],
    inits: Sequence[str] = (),
    recipe: str = "clips",
    seeds: int = 1,
    overrides: Sequence[str] = (),
    out: Path | None = None,
    device: str = "auto",
    workers: int = 1,
    progress: Progress | None = None,
) -> Result:
    """Train networks on with the labels of a dataset, from runs and from random weights, and test them side by side."""
    asked = recipes.load_finetune(recipe, set=overrides)
    folder = evaluation_folder(out, runs, "finetune", on)
    chosen = pick(device)
    distributed.take_device(chosen)
    result = finetuning.finetune(
        list(runs), list(inits), list(on), asked, out=folder, seeds=seeds, device=chosen, workers=workers,
        progress=progress,
    )  # fmt: skip
    return pages.of_rows(result, folder, "finetune") if distributed.is_main() else result


def compare(paths: Sequence[Path], out: Path | None = None, loose: bool = False) -> Result:
    """One table over results of runs, probes or finetunings; see `sslkit.evals.compare`. out: folder for a page."""
    result = comparing.compare(paths, loose)
    return pages.of_comparison(result, out) if out else result


class _Written(BaseModel):
    """result.json, as far as it is not the command's own fields."""

    model_config = ConfigDict(extra="allow")

    name: str
    notes: list[str]
    seconds: float
    metrics: dict[str, float] = {}
    chance: float | None = None
    paper: dict[str, Any] | None = None
    rows: list[dict[str, Any]] = []
    files: dict[str, str] = {}


def _earlier(out: Path) -> Result | None:
    """The result of a run that had finished before; None where there is none, or a damaged one."""
    try:
        written = _Written.model_validate_json((out / "result.json").read_bytes())
        paper = Published(written.paper["value"], written.paper["where"]) if written.paper else None
    except (OSError, ValueError, KeyError):
        return None
    return Result(
        name=written.name,
        fields=dict(written.model_extra or {}),
        metrics=written.metrics,
        chance=written.chance,
        paper=paper,
        files=written.files,
        notes=[*written.notes, f"{out} was finished before; nothing was trained now."],
        seconds=written.seconds,
    )


def _steps(progress: Progress, text: str) -> Callable[[int, int, Any], None]:
    def show(done: int, total: int, figures: Any) -> None:
        progress(done, total, f"{text}, " + ", ".join(f"{k} {v:.4g}" for k, v in figures.items()))

    return show
