"""What all evaluations of frozen features share: the score of one layer, the held-out part of train, guessing."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor

from sslkit.errors import UserError
from sslkit.ops import measures

Row = dict[str, Any]

_RESAMPLED = 2000


@dataclass(frozen=True)
class Score:
    """What one evaluation found for one layer.

    seed: which part of train was held out. held_out: accuracy in percent on that part, before the final fit: what
    settings and the best layer are chosen by. chosen: the settings that were chosen there. metrics: name -> percent on
    test. predicted: (N_test,) int64, the class given to each test sample, where the evaluation names one.
    """

    layer: str
    seed: int
    held_out: float
    metrics: dict[str, float]
    chosen: dict[str, float] = field(default_factory=dict)
    predicted: Tensor | None = None


def folds(label: Tensor, group: Sequence[str], count: int, seed: int) -> list[Tensor]:
    """`count` parts of a training set, each (n,) int64 indices, classes evenly spread, no group in two parts.

    There are never more parts than groups, nor than samples of the largest class. A single group (everything was cut
    from one source) is divided by sample, the only way left. Raises UserError when no class has two samples.
    """
    largest = int(torch.bincount(label).max()) if len(label) else 0
    if largest < 2:
        raise UserError("No class has two training samples, so none can be held out: prepare more labelled data.")
    random = np.random.default_rng(seed)
    names = np.unique(np.asarray(group), return_inverse=True)[1]
    known = int(names.max()) + 1
    if known == 1:
        names, known = np.arange(len(label)), len(label)
    order = random.permutation(len(label))
    truth, names = label.cpu().numpy()[order], random.permutation(known)[names][order]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer samples than parts: some parts lack it
        splits = list(StratifiedGroupKFold(min(count, known, largest)).split(truth, truth, names))
    return [torch.from_numpy(np.sort(order[held])) for _, held in splits]


def held_out(label: Tensor, group: Sequence[str], share: float, seed: int) -> Tensor:
    """Which training samples are held out to choose settings: (N,) bool, about `share` of each class, whole groups.

    The only thing in a probe of frozen features that depends on its seed.
    """
    mask = torch.zeros(len(label), dtype=torch.bool)
    mask[folds(label, group, max(2, round(1 / share)), seed)[0]] = True
    return mask


def accuracies(scores: Tensor, target: Tensor) -> dict[str, float]:
    """`top1`, `top5` (with more than five classes) and `mean_class` of scores (N, C), percent."""
    found = {"top1": measures.top_k_accuracy(scores, target)}
    if scores.shape[1] > 5:
        found["top5"] = measures.top_k_accuracy(scores, target, 5)
    return found | {"mean_class": measures.mean_class_accuracy(scores.argmax(1), target, scores.shape[1])}


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (0 for a single value)."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def summary(rows: Iterable[Row], keys: Sequence[str] = ("init", "layer", "metric")) -> list[Row]:
    """Mean (`value`), sample standard deviation (`spread`) and number (`runs`) of rows with equal keys, `seed` None."""
    together: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        together.setdefault(tuple(row[key] for key in keys), []).append(row["value"])
    found = []
    for names, values in together.items():
        mean, spread = mean_and_spread(values)
        row = dict(zip(keys, names, strict=True))
        found.append({**row, "value": mean, "seed": None, "spread": spread, "runs": len(values)})
    return found


def guess_rows(guesses: Mapping[str, Mapping[str, float]]) -> list[Row]:
    """What `guessing` says as rows, marked like those of `summary`."""
    return [
        {"init": name, "layer": "", "metric": metric, "value": value, "seed": None, "spread": 0.0, "runs": 0}
        for name, values in guesses.items()
        for metric, value in values.items()
    ]


def interval(right: Tensor, unit: Sequence[Any]) -> tuple[float, float]:
    """95 % bootstrap interval of the mean of `right` (N,), 0 or 1, drawing whole units (N names) with replacement.

    unit: what questions have in common, such as the sample or the source that they are about.
    """
    order = torch.from_numpy(np.unique(np.asarray(unit), return_inverse=True)[1])
    count = torch.bincount(order).double()
    hits = torch.zeros_like(count).index_add_(0, order, right.double())
    drawn = torch.randint(len(count), (_RESAMPLED, len(count)), generator=torch.Generator().manual_seed(0))
    means = hits[drawn].sum(1) / count[drawn].sum(1)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def shared_groups(train: Iterable[str], test: Iterable[str]) -> list[str]:
    """A sentence of warning when a group is on both sides of the split, else nothing."""
    shared = set(train) & set(test)
    if not shared:
        return []
    return [f"{len(shared)} groups, such as {min(shared)!r}, are in train and in test: figures are too good."]


def left_out(kept: int, of: int, split: str) -> list[str]:
    """A sentence about samples that could not be used, else nothing."""
    return [f"{of - kept} of {of} {split} samples were too short or unlabelled."] if kept < of else []


def guessing(train_label: Tensor, test_label: Tensor, classes: int) -> dict[str, dict[str, float]]:
    """What knows nothing gets on test: "chance" (all classes alike) and "majority" (always train's largest class)."""
    largest = torch.bincount(train_label, minlength=classes).argmax()
    always = largest.expand(len(test_label))
    chance = {"top1": 100.0 / classes} | ({"top5": 500.0 / classes} if classes > 5 else {})
    majority = {
        "top1": measures.accuracy(always, test_label),
        "mean_class": measures.mean_class_accuracy(always, test_label, classes),
    }
    return {"chance": chance | {"mean_class": 100.0 / classes}, "majority": majority}
