"""How well the pretext task itself is answered on media that were never trained on, in all and for each label.

Protocol: every sample of the split is asked the plain question (no augmentation), `CLIPS` windows spread over it, and
each window's answers count alike. For each label: how many samples and questions, the accuracy with a 95 % interval
(bootstrap over samples, since the windows of one sample are alike), and, where the answers are two and come in pairs as
for the arrow of time, how often the right one of the pair scores higher, in which a general leaning cancels.

Source: the pretext accuracies of the papers; the break-down by label follows Wei et al. 2018, who ask people too.
Departures: the interval is ours.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from sslkit.data.dataset import Dataset
from sslkit.engine.validate import Validation, validate
from sslkit.errors import UserError
from sslkit.evals.base import interval
from sslkit.tasks.base import Task
from sslkit.types import Result

CLIPS = 3


def evaluate(task: Task, dataset: Dataset, device: torch.device, workers: int = 0, batch: int = 16) -> Result:
    """Pretext accuracy of a trained task on a split: one row for "all", then one a label.

    Raises ValueError for a task that is not a classification, UserError for data about which it asks nothing.
    """
    began = time.perf_counter()
    reads = task.reads().but(clips=CLIPS, start="spread")
    found = validate(task, dataset, batch, device, workers, reads=reads)
    if found.scores is None or found.target is None or found.sample is None:
        raise ValueError("a task without classes has no pretext accuracy")
    label = torch.tensor([entry.label for entry in dataset.entries])[found.sample]
    names = dict(enumerate(dataset.info.classes))
    asked = found.target >= 0  # of silence, for instance, nothing is asked
    groups = [("all", asked), *((name, asked & (label == number)) for number, name in names.items())]
    rows = [_row(name, chosen, found) for name, chosen in groups if bool(chosen.any())]
    if not rows:
        raise UserError(f"Nothing is asked about the {dataset.split} split: it may be silent or black.")
    return Result(
        name=f"pretext task on the {dataset.split} split of {', '.join(str(f) for f in dataset.info.folders)}",
        fields={
            "protocol": "pretext",
            "data": [str(folder) for folder in dataset.info.folders],
            "prepared": dataset.info.records,
            "split": dataset.split,
            "windows": CLIPS,
        },
        metrics={"pretext_accuracy": rows[0]["value"]},
        chance=task.chance,
        rows=rows,
        panels=task.show(found.views, found.answer),
        seconds=time.perf_counter() - began,
    )


def _row(name: str, chosen: Tensor, found: Validation) -> dict[str, Any]:
    assert found.scores is not None and found.target is not None and found.sample is not None
    scores, target, sample = found.scores[chosen], found.target[chosen], found.sample[chosen]
    right = (scores.argmax(1) == target).double()
    low, high = interval(right, sample.tolist())
    row = {
        "label": name,
        "samples": len(set(sample.tolist())),
        "questions": len(target),
        "metric": "pretext_accuracy",
        "value": round(float(right.mean()) * 100, 2),
        "low": round(low * 100, 2),
        "high": round(high * 100, 2),
    }
    if scores.shape[1] == 2 and torch.equal(target, torch.tensor([1, 0]).repeat(len(target) // 2)):
        evidence = scores[:, 1] - scores[:, 0]
        row["pairs"] = round(float((evidence[0::2] > evidence[1::2]).double().mean()) * 100, 2)
    return row
