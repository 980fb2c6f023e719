"""How good an answer is: accuracies, confusion and retrieval measures. Accuracies are in percent, 0 to 100."""

from __future__ import annotations

import torch
from torch import Tensor

from sslkit.errors import WorkError


def top_k_accuracy(scores: Tensor, target: Tensor, k: int = 1) -> float:
    """Share of rows whose right class is among the k highest scores, percent.

    scores (N, C) float, target (N,) int64 in 0 .. C-1. k above C counts as C. Equal scores count half for, half
    against: the expected result of a random order, so a network that answers the same for everything gets chance.
    A score that is not a number counts as the lowest. Raises WorkError without rows.
    """
    _rows(target)
    scores = scores.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    right = scores.gather(1, target[:, None])
    above = (scores > right).sum(1)
    equal = (scores == right).sum(1)
    return 100.0 * float(((min(k, scores.shape[1]) - above) / equal).clamp(0, 1).double().mean())


def accuracy(predicted: Tensor, target: Tensor) -> float:
    """Share of rows where predicted (N,) equals target (N,), percent. Raises WorkError without rows."""
    _rows(target)
    return 100.0 * float((predicted == target).double().mean())


def confusion(predicted: Tensor, target: Tensor, classes: int) -> Tensor:
    """How often each class (row: the truth) was called each class (column: the answer); (classes, classes) int64."""
    return torch.bincount(target * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def per_class_accuracy(predicted: Tensor, target: Tensor, classes: int) -> Tensor:
    """Share of each class's rows that were answered right, percent, (classes,) float64; nan where there are none."""
    counts = confusion(predicted, target, classes).double()
    return 100.0 * counts.diagonal() / counts.sum(1)


def mean_class_accuracy(predicted: Tensor, target: Tensor, classes: int) -> float:
    """Mean over the classes that occur in `target` of the share answered right, percent (balanced accuracy).

    Guessing, or answering one class always, gives 100 over the number of classes that occur, however unbalanced the
    set. Raises WorkError without rows.
    """
    _rows(target)
    return float(per_class_accuracy(predicted, target, classes).nanmean())


def precision_at(right: Tensor, k: int) -> float:
    """Mean share of the first k answers of each query that are right, percent.

    right (Q, K) bool, best answer first. k above K counts as K. Raises WorkError without queries.
    """
    _rows(right)
    return 100.0 * float(right[:, :k].double().mean())


def recall_at(right: Tensor, k: int) -> float:
    """Share of queries with at least one right answer among the first k, percent.

    right (Q, K) bool, best answer first. This is what video papers call recall at k (Buechler et al., ECCV 2018; Xu
    et al., CVPR 2019), not the share of all right answers found. Raises WorkError without queries.
    """
    _rows(right)
    return 100.0 * float(right[:, :k].any(1).double().mean())


def _rows(target: Tensor) -> None:
    if not len(target):
        raise WorkError("There are no labelled samples to measure: check that the split has labels.")
