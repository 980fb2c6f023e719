"""How much a linear classifier can read from each layer of a frozen trunk.

Protocol: features are standardised with the statistics of train (what a batch norm without scale and shift does), and
multinomial logistic regression with an L2 penalty is solved to its optimum, layer by layer, on the device. The weight
of the penalty is chosen on a held-out part of train (whole groups, classes spread evenly) and the classifier is then
fitted to all of train; test is looked at once. Top-1, top-5 and mean class accuracy; the best layer is the one that
was best on the held-out part.
Source: Zhang et al., ECCV 2016, layer-wise linear classification (batch norm without affine, then a linear layer).
Departures: a convex problem solved exactly (L-BFGS) instead of 140 000 SGD steps with crops and mirroring, so that
there is no learning rate to tune; therefore figures lie apart from published ones and may only be compared with each
other. The statistics used while choosing the penalty are those of all of train, held-out part included (no labels).

The optimum is found in few numbers. With a penalty on |W|^2 every optimal W lies in the span of the training rows, so
rows can be written in any orthonormal basis of that span without changing the problem: N samples of D = 9000 numbers
become N x N. With X X' = U S^2 U' the coordinates are U S, and those of test rows T are T X' U / S. In these principal
axes the Hessian at W = 0 is diagonal, s_j^2 / (N C) + l2, and dividing each axis by the root of that makes it the
identity: L-BFGS then needs tens of steps, whatever the spectrum of the features.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.errors import WorkError
from sslkit.evals import base
from sslkit.evals.base import Score
from sslkit.evals.features import Features
from sslkit.ops import measures

L2_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
_ROTATE_BELOW = 4096
_CHUNK = 1024
_WORTH_THREADS = 30_000_000
"""Products a step from which several threads are worth it."""
ROUGH = 3e-4
"""Tolerance while settings are compared, which takes a third of the time and moves no more than a sample or two."""


@dataclass(frozen=True)
class Logistic:
    """A fitted classifier. weight (D, classes), bias (classes,); a class that train lacks has bias -inf."""

    weight: Tensor
    bias: Tensor

    def scores(self, rows: Tensor) -> Tensor:
        """(N, classes) logits of rows (N, D)."""
        return rows @ self.weight + self.bias


def standardise(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Both (N, D), float32, shifted and scaled so that every column of train has mean 0 and variance 1.

    A column that is constant in train becomes 0 in both: it says nothing.
    """
    train, test = train.float(), test.float()
    spread, mean = torch.std_mean(train, 0, correction=0)
    constant = spread <= 1e-6 * mean.abs() + 1e-12
    scale = torch.where(constant, 0.0, 1 / spread.clamp(min=1e-30))
    return (train - mean) * scale, (test - mean) * scale


def rotate(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the principal axes of train's rows, float64, (N, r) with r <= min(N, D); see the module's docstring.

    Inner products with train's rows are kept exactly, so every linear classifier with an L2 penalty is unchanged. What
    of test lies outside the span of train is dropped: no such classifier can see it. Above 4096 rows and columns
    nothing is done but the change of type.
    """
    count, dims = train.shape
    if min(count, dims) > _ROTATE_BELOW:
        return train.double(), test.double()
    wide = dims >= count
    gram = _product(train, train.T) if wide else _product(train.T, train)
    with _threads(10 * gram.numel()):
        values, vectors = torch.linalg.eigh(gram)
    keep = values > 1e-12 * values[-1].clamp(min=1e-300)
    values, vectors = values[keep], vectors[:, keep]
    if wide:
        return vectors * values.sqrt(), _product(test, train.T) @ (vectors / values.sqrt())
    return _product(train, vectors), _product(test, vectors)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b in float64, without a float64 copy of the whole of both."""
    total = torch.zeros(a.shape[0], b.shape[1], dtype=torch.float64, device=a.device)
    for first in range(0, a.shape[1], _CHUNK):
        total += a[:, first : first + _CHUNK].double() @ b[first : first + _CHUNK].double()
    return total


def fit(
    rows: Tensor, label: Tensor, classes: int, l2: float, start: Logistic | None = None, tolerance: float = 1e-5
) -> Logistic:
    """The minimum of mean cross entropy + l2 / 2 |weight|^2; the bias is not penalised.

    rows (N, D) float, label (N,) int64 below `classes`. start: where to begin, which saves steps and changes nothing
    else. tolerance: on the gradient's largest entry, in the rescaled coordinates. With 1e-5 the logits of the weakest
    penalties are good to some percent, and about one answer in several hundred may differ from the exact optimum's.
    sklearn's C is 1 / (l2 N).
    Raises WorkError for features that are not finite.
    """
    present, target = label.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    weight, bias = rows.new_zeros(rows.shape[1], len(present)), torch.bincount(target).to(rows.dtype).log()
    if start is not None:
        weight, bias = start.weight[:, present], start.bias[present]
    weight, bias = minimise(
        lambda w, b: F.cross_entropy(rows @ w + b, target) + 0.5 * l2 * w.square().sum(),
        rows,
        rows.square().mean(0) / len(present) + l2,
        weight,
        bias,
        tolerance,
    )
    found = Logistic(rows.new_zeros(rows.shape[1], classes), rows.new_full((classes,), -torch.inf))
    found.weight[:, present] = weight
    found.bias[present] = bias - bias.mean()
    return found


def minimise(
    loss: Callable[[Tensor, Tensor], Tensor],
    rows: Tensor,
    curvature: Tensor,
    weight: Tensor,
    bias: Tensor,
    tolerance: float,
) -> tuple[Tensor, Tensor]:
    """The weight (D, classes) and bias (classes,) that minimise a convex loss(weight, bias), from those given on.

    rows (N, D): what the loss multiplies by the weight. curvature (D,): about the second derivative by a weight of each
    of its rows; the better, the fewer steps.
    Raises WorkError for features that are not finite.
    """
    if not bool(curvature.isfinite().all()):
        raise WorkError("Features are not finite, so the network has diverged: choose an earlier run.")
    scale = curvature.rsqrt()[:, None]
    scaled, bias = (weight / scale).requires_grad_(), bias.clone().requires_grad_()
    solver = torch.optim.LBFGS(
        [scaled, bias], max_iter=1000, tolerance_grad=tolerance, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def step() -> Tensor:
        solver.zero_grad()
        value = loss(scaled * scale, bias)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad(), _threads(rows.numel() * weight.shape[1]):
        solver.step(step)  # type: ignore[no-untyped-call]
    return scaled.detach() * scale, bias.detach()


@contextlib.contextmanager
def _threads(products: int) -> Iterator[None]:
    """One thread for steps of few products: on a busy machine threads wait for each other many times as long as they
    work. The old number comes back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if products < _WORTH_THREADS else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose(rows: Tensor, label: Tensor, held: Tensor, classes: int, grid: Sequence[float]) -> tuple[float, float]:
    """The penalty with the best top-1 on the held-out rows (`held`, bool), and that accuracy in percent.

    The grid is walked from strong to weak, each start warm; equal accuracies are told apart by the cross entropy.
    """
    tried, start = [], None
    for l2 in sorted(grid, reverse=True):
        start = fit(rows[~held], label[~held], classes, l2, start, ROUGH)
        scores = start.scores(rows[held])
        loss = F.cross_entropy(scores, label[held], reduction="none")
        tried.append((measures.top_k_accuracy(scores, label[held]), -float(loss[loss.isfinite()].mean()), l2))
    best = max(tried)
    return best[2], best[0]


def evaluate(
    train: Features,
    test: Features,
    classes: int,
    seeds: Sequence[int] = (0,),
    *,
    grid: Sequence[float] = L2_GRID,
    held_out: float = 0.2,
    device: torch.device | str = "cpu",
) -> list[Score]:
    """A score for each layer and seed; a seed decides which part of train is held out, and nothing else."""
    masks = {seed: base.held_out(train.label, train.group, held_out, seed).to(device) for seed in seeds}
    label = train.label.to(device)
    scores = []
    for name in train.layers:
        rows, asked = rotate(*standardise(train.layers[name].to(device), test.layers[name].to(device)))
        fitted: dict[float, Tensor] = {}
        for seed, held in masks.items():
            l2, accuracy = choose(rows, label, held, classes, grid)
            if l2 not in fitted:
                fitted[l2] = fit(rows, label, classes, l2).scores(asked).cpu()
            found = base.accuracies(fitted[l2], test.label)
            chosen = {"l2": l2, "l2_at_edge": float(l2 in (min(grid), max(grid)))}
            scores.append(Score(name, seed, accuracy, found, chosen, fitted[l2].argmax(1)))
    return scores
