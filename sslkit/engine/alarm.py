"""Runs that do not learn, noticed while there is time: an accuracy of guessing, embeddings that are all alike."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor

from sslkit import recipe as recipes
from sslkit.engine.validate import Validation
from sslkit.errors import Alarm, WorkError
from sslkit.recipe import Plan

_ONE_SIDED_95 = 1.645
_LEAST_STD = 0.05
_FEWEST_STEPS = 100


class Alarms:
    """What is noticed while a run trains; each thing is told once, as a warning of kind `errors.Alarm`.

    found: the sentences so far. Up to `recipes.Alarm.normal_until_step` nothing is said; without it for a third of the
    run, and a hundred steps in any case.
    """

    def __init__(self, settings: recipes.Alarm, plan: Plan) -> None:
        normal = settings.normal_until_step
        self.normal_until_step = max(_FEWEST_STEPS, plan.steps // 3) if normal is None else normal
        self.found: list[str] = []
        self._settings, self._steps = settings, plan.steps
        self._told: set[str] = set()

    def validated(self, step: int, validation: Validation) -> None:
        """Look at an accuracy. Raises WorkError, where the recipe wants a run to stop, when it is that of guessing."""
        if validation.chance is None or not guesses(validation):
            return
        facts = (
            f"After step {step} the accuracy on the val split, {accuracy(validation):.1f} %, cannot be told from "
            f"guessing, {validation.chance:.1f} %"
        )
        if step > self.normal_until_step:
            self._tell("chance", f"{facts}; up to step {self.normal_until_step} that was normal")
        elif step == self._steps:
            self.found.append(f"{facts}; that is normal up to step {self.normal_until_step}: train for longer.")

    def logged(self, step: int, means: Mapping[str, float]) -> None:
        """Look at the means of a row of training. Raises WorkError as `validated` does."""
        std = means.get("embedding_std", math.inf)
        if step > self.normal_until_step and std < _LEAST_STD:
            facts = f"Up to step {step} the embeddings are nearly all alike: their spread is {std:.2g} where 1 is full"
            self._tell("collapse", facts)

    def _tell(self, what: str, facts: str) -> None:
        if self._settings.stop:
            raise WorkError(f"{facts}; the run was stopped: look at its data, or change train.lr.")
        if what not in self._told:
            self._told.add(what)
            self.found.append(f"{facts}: look at its data, or change train.lr.")
            warnings.warn(self.found[-1], Alarm, stacklevel=3)


def accuracy(validation: Validation) -> float:
    """Percent of the questions that were answered right; nan where none were asked."""
    return float(_right(validation)[0].mean()) * 100


def guesses(validation: Validation) -> bool:
    """Whether answers are not better than guessing beyond what one of twenty guessers reaches by luck.

    The questions of one sample hang together, so that it is the samples that count: their mean accuracy is compared
    with its standard error.
    """
    right, sample = _right(validation)
    if not len(right) or validation.chance is None:
        return False
    _, row = torch.unique(sample, return_inverse=True)
    counts = torch.bincount(row)
    each = torch.zeros(len(counts), dtype=torch.float64).index_add_(0, row, right) / counts
    spread = float(each.std(correction=1)) if len(each) > 1 else 0.0
    luck = _ONE_SIDED_95 * spread / math.sqrt(len(each)) + 1e-9
    return float(each.mean()) <= validation.chance / 100 + luck


def _right(validation: Validation) -> tuple[Tensor, Tensor]:
    """Of each question that has an answer, whether it was found (N,) float64, and the sample that it is of (N,)."""
    if validation.scores is None or validation.target is None or validation.sample is None:
        return torch.zeros(0, dtype=torch.float64), torch.zeros(0, dtype=torch.int64)
    known = validation.target >= 0
    right = (validation.scores.argmax(1) == validation.target).double()
    return right[known], validation.sample[known]
