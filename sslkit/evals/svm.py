"""How much linear support vector machines can read from each layer of a frozen trunk.

Protocol: features divided by their length; one machine a class against the rest, squared hinge, L2, samples of its own
class counted twice; the cost C is chosen by 3-fold cross-validated top-1 on train (whole groups) and the machines are
fitted to all of train. `low_shot` repeats this with few samples a class, at the cost chosen on all of train.
Source: facebookresearch/fair_self_supervision_benchmark (tools/svm), Goyal et al., ICCV 2019, VOC07 classification.
Departures: there every class has a cost of its own, chosen by average precision, because pictures have several labels;
here each has one, there is one cost, and accuracy is measured. Costs are ten steps of root ten instead of 26 values.
LIBLINEAR's problem (intercept penalised like a weight) is solved for all classes at once on the device, in the rows'
own space (see `linear`): the same optimum in a fraction of the time, and no solver that gives up early.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sslkit.errors import UserError
from sslkit.evals import base
from sslkit.evals.base import Score
from sslkit.evals.features import Features
from sslkit.evals.linear import ROUGH, minimise, rotate
from sslkit.ops import measures

COSTS = tuple(10.0 ** (half / 2) for half in range(-4, 6))
_FOLDS = 3


def fit(
    rows: Tensor, label: Tensor, classes: int, cost: float, start: Tensor | None = None, tolerance: float = 1e-5
) -> Tensor:
    """Machines (D + 1, classes), intercepts last: the minimum of |w|^2 / 2 + cost * sum of squared hinges.

    rows (N, D) float, label (N,) int64 below `classes`; a row counts twice for its own class. start: where to begin.
    A class without rows gets an intercept of -inf. Raises UserError when rows are of one class only.
    """
    present: Tensor = label.unique()  # type: ignore[no-untyped-call]
    if len(present) < 2:
        raise UserError("All training samples have the same label: there is nothing to tell apart, add another class.")
    side = (label[:, None] == present) * 2.0 - 1.0
    weight = torch.where(side > 0, 2.0, 1.0).to(rows.dtype)
    wide, l2 = _extended(rows), 1 / (cost * len(rows))
    first = rows.new_zeros(wide.shape[1], len(present)) if start is None else start[:, present]

    def loss(machines: Tensor, _: Tensor) -> Tensor:
        hinge = (1 - side * (wide @ machines)).clamp(min=0)
        return (weight * hinge.square()).sum() / len(rows) + 0.5 * l2 * machines.square().sum()

    found = rows.new_zeros(wide.shape[1], classes)
    found[-1] = -torch.inf
    found[:, present] = minimise(loss, wide, 2 * wide.square().mean(0) + l2, first, rows.new_zeros(0), tolerance)[0]
    return found


def decide(machines: Tensor, rows: Tensor) -> Tensor:
    """Decision values (N, classes) of rows (N, D)."""
    return rows @ machines[:-1] + machines[-1]


def choose(
    rows: Tensor, label: Tensor, parts: Sequence[Tensor], classes: int, costs: Sequence[float]
) -> tuple[float, float]:
    """The cost with the best cross-validated top-1 (the smallest among equals), and that accuracy in percent."""
    right = dict.fromkeys(sorted(costs), 0.0)
    for part in parts:
        kept = torch.ones(len(label), dtype=torch.bool, device=label.device)
        kept[part] = False
        machines = None
        for cost in right:
            machines = fit(rows[kept], label[kept], classes, cost, machines, ROUGH)
            right[cost] += measures.top_k_accuracy(decide(machines, rows[part]), label[part]) * len(part)
    best = max(right, key=lambda cost: (right[cost], -cost))
    return best, right[best] / sum(map(len, parts))


def evaluate(
    train: Features,
    test: Features,
    classes: int,
    seeds: Sequence[int] = (0,),
    *,
    costs: Sequence[float] = COSTS,
    device: torch.device | str = "cpu",
) -> list[Score]:
    """A score for each layer and seed; a seed decides how train is cut into folds, and nothing else."""
    label = train.label.to(device)
    parts = {seed: [p.to(device) for p in base.folds(train.label, train.group, _FOLDS, seed)] for seed in seeds}
    scores = []
    for name in train.layers:
        rows, asked = _rows(train.layers[name].to(device), test.layers[name].to(device))
        fitted: dict[float, Tensor] = {}
        for seed in seeds:
            cost, accuracy = choose(rows, label, parts[seed], classes, costs)
            if cost not in fitted:
                fitted[cost] = decide(fit(rows, label, classes, cost), asked).cpu()
            found = base.accuracies(fitted[cost], test.label)
            scores.append(Score(name, seed, accuracy, found, {"cost": cost}, fitted[cost].argmax(1)))
    return scores


def low_shot(
    train: Features,
    test: Features,
    classes: int,
    layer: str,
    cost: float,
    shots: Sequence[int] = (1, 2, 4, 8, 16),
    repeats: int = 5,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> dict[int, tuple[float, float]]:
    """Samples a class -> mean and standard deviation over `repeats` random choices of top-1 on test, percent.

    Shots that some class of train has too few samples for are left out.
    """
    rows, asked = _rows(train.layers[layer].to(device), test.layers[layer].to(device))
    label, target = train.label.to(device), test.label.to(device)
    members = [(train.label == c).nonzero()[:, 0] for c in train.label.bincount().nonzero()[:, 0].tolist()]
    random = torch.Generator().manual_seed(seed)
    found = {}
    for shot in [s for s in shots if s <= min(map(len, members))]:
        values = []
        for _ in range(repeats):
            chosen = torch.cat([m[torch.randperm(len(m), generator=random)[:shot]] for m in members]).to(device)
            machines = fit(rows[chosen], label[chosen], classes, cost)
            values.append(measures.top_k_accuracy(decide(machines, asked), target))
        found[shot] = base.mean_and_spread(values)
    return found


def _rows(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    return rotate(*(x.float() / (x.float().norm(dim=1, keepdim=True) + 1e-5) for x in (train, test)))


def _extended(rows: Tensor) -> Tensor:
    return torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
