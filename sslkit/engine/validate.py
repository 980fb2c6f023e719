"""Asking a task the plain question over a whole split: no augmentation, no learning."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sslkit.data import dataset as data
from sslkit.engine.device import precision
from sslkit.engine.feed import Collate, Samples, evenly, once
from sslkit.engine.watch import Averages
from sslkit.errors import UserError
from sslkit.tasks.base import Task, Views
from sslkit.types import Answer, Batch, Draw, Reads


@dataclass
class Validation:
    """What a task answered to the plain question, over a whole split.

    metrics: means over the questions, over the samples where the task is not a classification; a loss of nan where
    nothing was asked. chance: accuracy in percent of guessing. samples: how many were looked at.
    scores (N, C) float32, target (N,), sample (N,) int64: every question on the CPU, `sample` being its position in the
    dataset, in its order. confusion: (C, C) int64, true class by answered class. All four are None where the task is
    not a classification. views, answer: of the first batch, for `Task.show`.
    """

    metrics: dict[str, float]
    chance: float | None
    samples: int
    views: Views
    answer: Answer
    scores: Tensor | None = None
    target: Tensor | None = None
    sample: Tensor | None = None
    confusion: Tensor | None = None


@torch.no_grad()
def validate(
    task: Task,
    dataset: Samples,
    batch: int,
    device: torch.device,
    workers: int = 0,
    seed: int = 0,
    dtype: str = "float32",
    reads: Reads | None = None,
    max_samples: int | None = None,
    collate: Collate = data.collate,
) -> Validation:
    """Ask a task about every sample once, in evaluation mode; the mode comes back afterwards.

    reads: what is read, if not what the task reads in evaluation. max_samples: ask about so many only, spread evenly
    over the split. The result does not depend on `workers`; on `batch` only as far as views are drawn at random or
    samples of a batch are compared.
    """
    modes = [(module, module.training) for module in task.modules()]
    task.eval()
    try:
        reads = (reads or task.reads()).but(start="spread")
        usable = dataset.usable(reads)
        chosen = _mixed(evenly(usable, max_samples or len(usable)), batch)
        batches = once(dataset, reads, batch, device, workers, indices=chosen, collate=collate)
        return _validation(task, _answers(task, batches, seed, device, dtype))
    finally:
        for module, training in modes:
            module.training = training


def _mixed(chosen: list[int], batch: int) -> list[int]:
    """Samples in an order whose batches hold some from all over the split.

    Clips of one recording are prepared one after the other, and a task that compares recordings could ask nothing.
    """
    batches = -(-len(chosen) // batch)
    return [index for first in range(batches) for index in chosen[first::batches]]


def _answers(
    task: Task, batches: Iterator[Batch], seed: int, device: torch.device, dtype: str
) -> Iterator[tuple[Batch, Views, Answer]]:
    for number, batch in enumerate(batches):
        views = task.views(batch, Draw(seed, number, stream="validate"))
        with precision(device, dtype):
            answer = task(views)
        yield batch, views, answer


def _validation(task: Task, answers: Iterator[tuple[Batch, Views, Answer]]) -> Validation:
    means, samples, questions = Averages(), 0, []
    first: tuple[Views, Answer] | None = None
    for batch, views, answer in answers:
        first = first or (views, answer)
        samples += len(batch)
        asked = len(batch)
        if answer.scores is not None and answer.target is not None:
            row = torch.arange(len(batch), device=batch.index.device) if answer.sample is None else answer.sample
            questions.append((answer.scores.float().cpu(), answer.target.cpu(), batch.index[row].cpu()))
            asked = int((answer.target >= 0).sum())
        if asked:
            means.add({"loss": answer.loss, **answer.logs}, weight=asked)
    if first is None:
        raise UserError("The validation split holds no sample to validate on.")
    result = Validation(means.means() or {"loss": math.nan}, task.chance, samples, *first)
    if questions:
        scores, target, sample = (torch.cat(parts) for parts in zip(*questions, strict=True))
        order = sample.argsort(stable=True)
        result.scores, result.target, result.sample = scores[order], target[order], sample[order]
        result.confusion = _confusion(result.scores, result.target)
    return result


def _confusion(scores: Tensor, target: Tensor) -> Tensor:
    """(C, C) counts, true class by answered class; questions without an answer (target -1) do not count."""
    classes, known = scores.shape[1], target >= 0
    cells = target[known] * classes + scores[known].argmax(1)
    return torch.bincount(cells, minlength=classes**2).reshape(classes, classes)
