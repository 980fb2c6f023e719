"""What the frozen layers of a network know, beside random and supervised networks of the same architecture.

Measured: on features of every layer (see `features`), a linear classifier, a support vector machine, nearest
neighbours and retrieval (see the modules of these names), each with its own protocol and source. Whatever is chosen
(penalty, cost, best layer) is chosen on a held-out part of train; test labels are used for the final figures alone.
Source: layer-wise probes of frozen features, Zhang et al., ECCV 2016; Goyal et al., ICCV 2019.
Departures: those of the modules.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sslkit import recipe as recipes
from sslkit.data.dataset import Dataset
from sslkit.errors import UserError
from sslkit.evals import base, features, inits, knn, linear, retrieval, svm
from sslkit.evals.base import Row, Score
from sslkit.evals.features import Features
from sslkit.evals.finetune import supervised_trunk
from sslkit.evals.inits import Init
from sslkit.models.trunk import Trunk
from sslkit.recipe import FinetuneRecipe, ProbeRecipe
from sslkit.types import Panel, Published, Result

Progress = Callable[[int, int, str], None]
METHODS = ("linear", "svm", "knn", "retrieval")
_PREFIX = {"linear": "", "svm": "svm_", "knn": "knn_", "retrieval": ""}
_HEADLINE = {"linear": "top1", "svm": "svm_top1", "knn": "knn_top1", "retrieval": "precision@1"}


@dataclass(frozen=True)
class Measured:
    """All scores of one network by one method."""

    init: Init
    method: str
    scores: list[Score]


def probe(
    runs: Sequence[Path],
    controls: Sequence[str],
    on: Sequence[Path],
    recipe: ProbeRecipe,
    *,
    seeds: int = 1,
    device: torch.device,
    workers: int = 0,
    methods: Sequence[str] = (),
    supervised: FinetuneRecipe | None = None,
    progress: Progress | None = None,
) -> Result:
    """Probe runs (folders or trunk files) and controls ("random", "supervised", further files) on prepared folders.

    methods: of METHODS; without any, the one that the recipe's protocol names, else all. supervised: how the supervised
    control is trained; without it, by the packaged recipe `clips`. seeds: parts of train to hold out, and controls to
    make. progress(done, of, text). Raises UserError for data or runs that cannot be probed.
    """
    train, test = inits.splits(on)

    def supervise(like: Trunk, seed: int) -> Trunk:
        how = supervised or recipes.load_finetune("clips")
        return supervised_trunk(like, train, how, seed, device=device, workers=workers, progress=progress)

    hears = not any(entry.has("frames") for entry in train.entries)
    listed = inits.resolve(runs, controls, seeds, supervise, hears)
    return compare(listed, train, test, recipe, methods, device=device, workers=workers, progress=progress)


def compare(
    listed: Sequence[Init],
    train_set: Dataset,
    test_set: Dataset,
    recipe: ProbeRecipe,
    methods: Sequence[str] = (),
    *,
    device: torch.device | str = "cpu",
    workers: int = 0,
    progress: Progress | None = None,
) -> Result:
    """Probe networks on the labelled samples of two splits.

    Rows: {"init", "layer", "metric", "value", "seed", "held_out", "run", <what was chosen>} for each measurement, then
    {"init", "layer", "metric", "value" (mean), "seed": None, "spread", "runs", "best"} over those of one init; `best`
    marks the layer with the best mean on the held-out parts. `fields` say what was compared with what.
    """
    started, classes = time.perf_counter(), train_set.info.classes
    methods = _methods(recipe, methods)
    measured: list[Measured] = []
    panels: dict[str, Panel] = {}
    used: tuple[Features, Features] | None = None
    for init in listed:
        trunk = init.make()
        train = _features(trunk, train_set, init, recipe, device, workers, progress)
        test = _features(trunk, test_set, init, recipe, device, workers, progress)
        for method in methods:
            scores = _evaluate(method, train, test, len(classes), init.seeds, recipe, device)
            measured.append(Measured(init, method, scores))
        if measured[-1].method == "retrieval" and init.name not in panels and _pictures(train_set, test_set):
            panels[init.name] = retrieval.panel(
                train, test, train_set, test_set, _best(measured[-1:]), f"Nearest neighbours: {init.name}"
            )
        used = (train, test)
    if used is None:
        raise UserError("There is no network to probe: name a run.")
    rows = _rows(measured)
    best = {key: _best(same) for key, same in _grouped(measured).items()}
    total = base.summary(rows, ("init", "method", "layer", "metric"))
    total = [{**row, "best": best[row["init"], row["method"]] == row["layer"]} for row in total]
    guesses = base.guessing(used[0].label, used[1].label, len(classes))
    return Result(
        name=f"probe on {', '.join(folder.name for folder in train_set.info.folders)}",
        fields=_fields(listed, methods, recipe, train_set, test_set, used),
        metrics=_headlines(total),
        chance=guesses["chance"]["top1"],
        paper=Published(recipe.paper.value, recipe.paper.where, recipe.paper.metric) if recipe.paper else None,
        rows=[*rows, *total, *base.guess_rows(guesses)],
        shown=_shown([*total, *base.guess_rows(guesses)]),
        panels=list(panels.values()),
        notes=inits.notes(listed) + _notes(measured, best, train_set, test_set, used),
        seconds=time.perf_counter() - started,
    )


def _methods(recipe: ProbeRecipe, methods: Sequence[str]) -> tuple[str, ...]:
    wanted = tuple(methods) or ((str(recipe.protocol),) if str(recipe.protocol) in METHODS else METHODS)
    for method in wanted:
        if method not in METHODS:
            raise UserError(f"No probe is called {method!r}: known are {', '.join(METHODS)}.")
    # Retrieval comes last: the panel shows the layer that the last scores call the best.
    return tuple(method for method in METHODS if method in wanted)


def _features(
    trunk: Trunk,
    dataset: Dataset,
    init: Init,
    recipe: ProbeRecipe,
    device: torch.device | str,
    workers: int,
    progress: Progress | None,
) -> Features:
    """The labelled samples' features, with what was asked of the recipe."""
    text = f"features of {init.name}, {dataset.split}"
    told = None if progress is None else lambda done, of: progress(done, of, text)
    found = features.extract(
        trunk,
        dataset,
        recipe.layers or None,
        clips=features.windows(dataset, recipe.clips),
        pool_dims=recipe.pool_dims,
        pool=recipe.pool,
        batch=recipe.batch,
        device=device,
        workers=workers,
        progress=told,
    ).labelled()
    if not len(found):
        raise UserError(f"{dataset!r} has no labelled sample: prepare it from a layout with classes.")
    return found


def _evaluate(
    method: str,
    train: Features,
    test: Features,
    classes: int,
    seeds: Sequence[int],
    recipe: ProbeRecipe,
    device: torch.device | str,
) -> list[Score]:
    share = recipe.val_share
    if method == "linear":
        grid = recipe.weight_decays
        return linear.evaluate(train, test, classes, seeds, grid=grid, held_out=share, device=device)
    if method == "svm":
        return svm.evaluate(train, test, classes, seeds, costs=recipe.svm_costs, device=device)
    if method == "knn":
        k, temperature = recipe.knn_k, recipe.knn_temperature
        return knn.evaluate(train, test, classes, seeds, k=k, temperature=temperature, held_out=share, device=device)
    return retrieval.evaluate(train, test, classes, seeds, held_out=share, device=device)


def _pictures(*datasets: Dataset) -> bool:
    return all(entry.has("frames") for dataset in datasets for entry in dataset.entries)


def _rows(measured: Sequence[Measured]) -> list[Row]:
    return [
        {
            "init": one.init.name,
            "method": one.method,
            "layer": score.layer,
            "metric": _PREFIX[one.method] + metric,
            "value": value,
            "seed": score.seed,
            "run": one.init.run,
            "held_out": score.held_out,
            **score.chosen,
        }
        for one in measured
        for score in one.scores
        for metric, value in score.metrics.items()
    ]


def _shown(rows: Sequence[Row]) -> list[Row]:
    """The means of the headline metrics, without the columns that only single measurements fill."""
    columns = ("init", "method", "layer", "metric", "value", "spread", "runs", "best")
    kept = [row for row in rows if row["metric"] in _HEADLINE.values()]
    return [{name: row.get(name, "") for name in columns} for row in kept]


def _grouped(measured: Sequence[Measured]) -> dict[tuple[str, str], list[Measured]]:
    groups: dict[tuple[str, str], list[Measured]] = {}
    for one in measured:
        groups.setdefault((one.init.name, one.method), []).append(one)
    return groups


def _best(measured: Sequence[Measured]) -> str:
    """The layer with the best mean on the held-out parts of train; the earlier one of equals."""
    held: dict[str, list[float]] = {}
    for one in measured:
        for score in one.scores:
            held.setdefault(score.layer, []).append(score.held_out)
    return max(held, key=lambda layer: sum(held[layer]) / len(held[layer]))


def _headlines(total: Sequence[Row]) -> dict[str, float]:
    return {
        f"{row['init']}_{row['metric']}": row["value"]
        for row in total
        if row["best"] and row["metric"] == _HEADLINE[row["method"]]
    }


def _fields(
    listed: Sequence[Init],
    methods: Sequence[str],
    recipe: ProbeRecipe,
    train_set: Dataset,
    test_set: Dataset,
    used: tuple[Features, Features],
) -> dict[str, Any]:
    train, test = used
    return {
        "run": ", ".join(dict.fromkeys(init.run for init in listed if not init.run.startswith("seed "))),
        "protocol": f"frozen, {' + '.join(methods)} ({recipe.name or 'probe'})",
        "data": ", ".join(map(str, train_set.info.folders)),
        "prepared": train_set.info.records,
        "classes": list(train_set.info.classes),
        "split": {
            "train": len(train),
            "test": len(test),
            "test_split": test_set.split,
            "held_out_share": recipe.val_share,
            "held_out_by": "group" if len(set(train.group)) > 1 else "sample",
            "train_groups": len(set(train.group)),
        },
        "preprocessing": {
            "crop": "centre: 0.875 of the short side, scaled to the input; of flow the input's size, not scaled",
            "clips": features.windows(test_set, recipe.clips),
            "pool": recipe.pool,
            "pooled": {layer: list(shape) for layer, shape in train.shapes.items()},
        },
    }


def _notes(
    measured: Sequence[Measured],
    best: dict[tuple[str, str], str],
    train_set: Dataset,
    test_set: Dataset,
    used: tuple[Features, Features],
) -> list[str]:
    train, test = used
    notes = base.shared_groups(train.group, test.group)
    notes += base.left_out(len(train), len(train_set), train_set.split)
    notes += base.left_out(len(test), len(test_set), test_set.split)
    if len(set(train.group)) == 1:
        notes.append("All of train comes from one source: the held-out part was divided by sample.")
    edges = {
        one.init.name
        for one in measured
        for score in one.scores
        if score.chosen.get("l2_at_edge") and score.held_out < 100 and score.layer == best[one.init.name, one.method]
    }
    if edges:
        notes.append(f"The penalty chosen for {', '.join(sorted(edges))} lies at an end of weight_decays: widen them.")
    return notes
