"""Learning rates against torch's schedulers, LARS against its paper, parameter groups."""

import warnings

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from sslkit.engine.optim import LARS, learning_rate, optimiser
from sslkit.errors import UserError

STEPS, LR = 24, 0.4


def by_torch(scheduler, steps=STEPS):
    """Rates that a torch scheduler gives; `scheduler` makes it from an optimiser."""
    mover = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=LR)
    schedule, rates = scheduler(mover), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(steps):
            rates.append(mover.param_groups[0]["lr"])
            mover.step()
            schedule.step()
    return rates


def ours(tiny, plan=None, **train):
    block = tiny.train(lr=LR, steps=STEPS, **train)
    planned = tiny.plan(block, **(plan or {}))
    return [learning_rate(step, block, planned) for step in range(STEPS)]


CASES = {
    "constant": ({}, {}, lambda m: lr_scheduler.ConstantLR(m, 1.0)),
    "step": ({"gamma": 0.3}, {"step_steps": 7}, lambda m: lr_scheduler.StepLR(m, 7, 0.3)),
    "multistep": ({}, {"milestone_steps": (5, 11, 23)}, lambda m: lr_scheduler.MultiStepLR(m, [5, 11, 23], 0.1)),
    "cosine": ({}, {}, lambda m: lr_scheduler.CosineAnnealingLR(m, STEPS)),
    "poly": ({"power": 0.9}, {}, lambda m: lr_scheduler.PolynomialLR(m, STEPS, 0.9)),
}


@pytest.mark.parametrize("name", CASES)
def test_schedules_are_those_of_torch(tiny, name):
    train, plan, reference = CASES[name]
    assert ours(tiny, plan, schedule=name, **train) == pytest.approx(by_torch(reference), abs=1e-12)


@pytest.mark.parametrize("name", ["constant", "step", "multistep"])
def test_warm_up_scales_schedules_that_count_from_the_start(tiny, name):
    train, plan, reference = CASES[name]
    warm = by_torch(lambda m: lr_scheduler.LinearLR(m, start_factor=1 / 6, total_iters=5))
    plain = by_torch(reference)
    expected = [w * p / LR for w, p in zip(warm, plain, strict=True)]
    assert ours(tiny, {**plan, "warmup_steps": 6}, schedule=name, **train) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["cosine", "poly"])
def test_warm_up_comes_before_schedules_that_fall_to_the_end(tiny, name):
    train, plan, _ = CASES[name]
    rates = ours(tiny, {**plan, "warmup_steps": 6}, schedule=name, **train)
    assert rates[:6] == pytest.approx([LR * n / 6 for n in range(1, 7)])
    left = STEPS - 6
    references = {
        "cosine": lambda m: lr_scheduler.CosineAnnealingLR(m, left),
        "poly": lambda m: lr_scheduler.PolynomialLR(m, left, 0.9),
    }
    assert rates[6:] == pytest.approx(by_torch(references[name], left), abs=1e-12)


def test_a_step_schedule_needs_its_length(tiny):
    with pytest.raises(UserError, match="step_epochs"):
        ours(tiny, schedule="step")


def test_lars_is_algorithm_1_of_its_paper():
    torch.manual_seed(0)
    weights, bias = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(4))
    momentum, decay, trust = 0.9, 0.05, 0.001
    mover = LARS([weights, bias], lr=1.0, momentum=momentum, weight_decay=decay)
    w, b = weights.detach().clone(), bias.detach().clone()
    v, u = torch.zeros_like(w), torch.zeros_like(b)
    for rate in (0.5, 0.2, 0.7):
        g, h = torch.randn(4, 3), torch.randn(4)
        weights.grad, bias.grad = g.clone(), h.clone()
        mover.param_groups[0]["lr"] = rate
        mover.step()
        local = trust * w.norm() / (g.norm() + decay * w.norm())
        v = momentum * v + rate * local * (g + decay * w)
        u = momentum * u + rate * (h + decay * b)
        w, b = w - v, b - u
        torch.testing.assert_close(weights.detach(), w)
        torch.testing.assert_close(bias.detach(), b)


def test_lars_moves_weights_that_are_zero():
    weights = nn.Parameter(torch.zeros(2, 2))
    mover = LARS([weights], lr=0.5)
    weights.grad = torch.ones(2, 2)
    mover.step()
    assert torch.equal(weights.detach(), torch.full((2, 2), -0.5))


@pytest.mark.parametrize(
    ("name", "kind", "key", "value"),
    [
        ("sgd", torch.optim.SGD, "nesterov", True),
        ("adam", torch.optim.Adam, "betas", (0.8, 0.99)),
        ("adamw", torch.optim.AdamW, "betas", (0.8, 0.99)),
        ("lars", LARS, "momentum", 0.7),
    ],
)
def test_optimisers_take_their_settings(tiny, name, kind, key, value):
    train = tiny.train(optimizer=name, nesterov=True, betas=(0.8, 0.99), momentum=0.7, weight_decay=0.02)
    mover = optimiser(nn.Linear(2, 2), train, tiny.plan(train, lr=0.125))
    assert type(mover) is kind
    (group,) = mover.param_groups
    assert group[key] == value and group["weight_decay"] == 0.02 and group["lr"] == 0.125


def test_norms_and_biases_can_go_without_decay(tiny):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    network[2].weight.requires_grad_(False)
    train = tiny.train(decay_norms_and_biases=False, weight_decay=0.1)
    decayed, plain = optimiser(network, train, tiny.plan(train)).param_groups
    assert [p.shape for p in decayed["params"]] == [network[0].weight.shape] and decayed["weight_decay"] == 0.1
    assert len(plain["params"]) == 4 and plain["weight_decay"] == 0


def test_mistakes_are_named(tiny):
    train = tiny.train(nesterov=True, momentum=0.0)
    with pytest.raises(UserError, match="momentum"):
        optimiser(nn.Linear(2, 2), train, tiny.plan(train))
    with pytest.raises(UserError, match="no parameter to train"):
        optimiser(nn.Linear(2, 2).requires_grad_(False), train, tiny.plan(train))
