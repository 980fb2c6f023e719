"""How weights move: optimisers by name, and the learning rate as a pure function of the step."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sslkit.errors import UserError
from sslkit.recipe import Plan, Train


def learning_rate(step: int, train: Train, plan: Plan) -> float:
    """Learning rate of a step, counted from 0.

    Warm-up is linear, from lr / warmup_steps in step 0 to lr in step warmup_steps - 1 (Goyal et al. 2017, section 2.2).
    "step" and "multistep" count from step 0, warm-up or not; "cosine" (Loshchilov and Hutter 2017, equation 5, one
    period, no restart) and "poly" fall to 0 over the steps that follow the warm-up.
    """
    warm = min(1.0, (step + 1) / plan.warmup_steps) if plan.warmup_steps else 1.0
    return plan.lr * warm * _decay(step, train, plan)


def _decay(step: int, train: Train, plan: Plan) -> float:
    if train.schedule == "step":
        if not plan.step_steps:
            raise UserError("train.schedule: step needs train.step_epochs.")
        return float(train.gamma ** (step // plan.step_steps))
    if train.schedule == "multistep":
        return float(train.gamma ** bisect.bisect_right(sorted(plan.milestone_steps), step))
    done = max(0, step - plan.warmup_steps) / max(1, plan.steps - plan.warmup_steps)
    if train.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    if train.schedule == "poly":
        return float(max(0.0, 1 - done) ** train.power)
    return 1.0


def optimiser(module: nn.Module, train: Train, plan: Plan) -> Optimizer:
    """The recipe's optimiser over every parameter of `module` that asks for gradients.

    Weight decay is an L2 term in the gradient ("sgd", "adam", "lars") or decoupled ("adamw"). Raises UserError when
    the module has nothing to train, or for nesterov without momentum.
    """
    groups = _groups(module, train)
    if train.optimizer == "sgd":
        if train.nesterov and train.momentum == 0:
            raise UserError("train.nesterov needs a train.momentum above 0.")
        return torch.optim.SGD(groups, lr=plan.lr, momentum=train.momentum, nesterov=train.nesterov)
    if train.optimizer == "adam":
        return torch.optim.Adam(groups, lr=plan.lr, betas=train.betas)
    if train.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=plan.lr, betas=train.betas)
    return LARS(groups, lr=plan.lr, momentum=train.momentum)


def require_fitting(mover: Optimizer, state: Mapping[str, Any]) -> None:
    """Raise ValueError when a saved state is not of the same parameters: torch would only notice within a step."""
    shapes = [parameter.shape for group in mover.param_groups for parameter in group["params"]]
    for number, values in state["state"].items():
        for value in values.values():
            if not isinstance(value, Tensor | int | float | None):
                raise ValueError(f"a {type(value).__name__} in the state of a parameter")
            if isinstance(value, Tensor) and value.dim() and value.shape != shapes[number]:
                raise ValueError(f"the state of a parameter has shape {tuple(value.shape)}, not {shapes[number]}")


def _groups(module: nn.Module, train: Train) -> list[dict[str, Any]]:
    """Parameter groups; scales and shifts of norms, and biases, are the parameters of at most one dimension."""
    trained = [p for p in module.parameters() if p.requires_grad]
    if not trained:
        raise UserError(
            f"{type(module).__name__} has no parameter to train: unfreeze a layer in the recipe's settings."
        )
    flat = [p for p in trained if p.ndim <= 1 and not train.decay_norms_and_biases]
    rest = [p for p in trained if p.ndim > 1 or train.decay_norms_and_biases]
    groups = [{"params": rest, "weight_decay": train.weight_decay}, {"params": flat, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


class LARS(Optimizer):
    """Stochastic gradient descent whose step in each layer is proportional to the norm of the layer's weights.

    Parameters of at most one dimension (biases, norms) take the plain step, without the layer's own rate.

    Source: You, Gitman, Ginsburg: Large Batch Training of Convolutional Networks, 2017, algorithm 1.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 0.001,
    ) -> None:
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay, trust=trust))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        update = gradient.add(parameter, alpha=group["weight_decay"])
        if parameter.ndim > 1:
            update = update * _local_rate(parameter, gradient, group)
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        # The rate goes into the momentum, as in the paper, so that a change of rate does not act on past gradients.
        state["momentum"].mul_(group["momentum"]).add_(update, alpha=group["lr"])
        parameter.sub_(state["momentum"])


def _local_rate(weights: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
    """trust * |w| / (|g| + decay * |w|), or 1 where a norm is 0; a scalar on the device, so nothing waits for it."""
    weight_norm, gradient_norm = weights.norm(), gradient.norm()
    rate = group["trust"] * weight_norm / (gradient_norm + group["weight_decay"] * weight_norm)
    return torch.where((weight_norm > 0) & (gradient_norm > 0), rate, torch.ones_like(rate))
