"""What a training step costs on a GPU against the least that its arithmetic and its memory allow.

Every operation that a step calls is counted as it runs: its floating-point operations by torch's own formulas, its
bytes as those of all tensors that it reads and writes. It cannot be faster than the larger of both over what the device
can do, which a large matrix product and a large copy tell in the same run. The least time of a step is their sum; only
fusing operations, which saves bytes, would go below it.

Source of the model: Williams, Waterman, Patterson, "Roofline: an insightful visual performance model", CACM 2009.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from sslkit import recipe as recipes
from sslkit.bench.base import Bench, Row
from sslkit.bench.step import loop, resident
from sslkit.engine.device import place
from sslkit.recipe import Recipe
from sslkit.tasks import base as tasks

_RECIPES = ("rotation-resnet50", "arrow-of-time")
_SAMPLES = 10_000
_WARM_STEPS = 5
_UNTOUCHED = {torch.ops.aten.empty, torch.ops.aten.empty_like, torch.ops.aten.empty_strided, torch.ops.aten.new_empty}


@dataclass(frozen=True)
class Peak:
    """What a device can do: floating-point operations and bytes in a second."""

    flops: float
    bytes: float


@dataclass
class Counter(TorchDispatchMode):
    """Within, every operation is counted. found: (floating-point operations, bytes) of each."""

    found: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count it. Views move nothing, and memory that is only reserved is not touched."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        packet = func._overloadpacket
        if packet not in _UNTOUCHED and not _is_view(func):
            flops = flop_registry[packet](*args, **kwargs, out_val=out) if packet in flop_registry else 0
            self.found.append((float(flops), _bytes((args, kwargs, out))))
        return out

    def least_s(self, peak: Peak) -> float:
        """The least time of all operations, one after the other."""
        return sum(max(flops / peak.flops, moved / peak.bytes) for flops, moved in self.found)

    def totals(self) -> tuple[float, float]:
        """Floating-point operations and bytes, in all."""
        return sum(flops for flops, _ in self.found), sum(moved for _, moved in self.found)


def _is_view(func: Any) -> bool:
    """Whether an operation returns what it was given under another shape, and writes nothing."""
    results = [result.alias_info for result in func._schema.returns]
    return bool(results) and all(alias is not None and not alias.is_write for alias in results)


def _bytes(values: Any) -> float:
    """Bytes of all tensors among nested values."""
    tensors = [value for value in tree_leaves(values) if isinstance(value, Tensor)]
    return float(sum(tensor.nbytes for tensor in tensors))


def rows(bench: Bench) -> Iterator[Row]:
    """A row for rotation with ResNet-50 and one for the arrow of time, in the papers' settings, or one for the task."""
    for name in _RECIPES if bench.task is None else [bench.task]:
        if torch.device(bench.device).type == "cuda":
            yield measured(bench, recipes.load(name, set=["train.accumulate=1"]))
        else:
            yield Row("roofline", f"a step, {name}", note="not measured: there is no CUDA device")


def measured(bench: Bench, recipe: Recipe) -> Row:
    """The step of a recipe, on noise that stays on the device."""
    device = torch.device(bench.device)
    plan = recipes.plan(recipe, _SAMPLES, 1, bench.device)
    task = place(tasks.build(recipe.task, recipe.settings), device).train()
    batch = resident(task.reads(), plan.batch, recipe.data.short_side_px or 256, device)
    step = loop(task, batch, recipe, plan)
    for _ in range(_WARM_STEPS):
        step()
    with Counter() as counter:
        step()
    peak = peak_of(device, plan.dtype)
    spent_s = _each_s(step, device, bench.steps)
    least_s, (flops, moved) = counter.least_s(peak), counter.totals()
    note = (
        f"batch {plan.batch}, {plan.dtype}: {flops / 1e12:.3g} TFLOP and {moved / 1e9:.3g} GB a step; the device gives "
        f"{peak.flops / 1e12:.3g} TFLOP/s and {peak.bytes / 1e9:.3g} GB/s; {flops / spent_s / peak.flops:.0%} of its "
        "arithmetic used"
    )
    return Row(
        "roofline",
        f"a step, {recipe.name}",
        1000 * spent_s,
        "ms",
        "least by operations and bytes",
        1000 * least_s,
        spent_s / least_s,
        clock="wall",
        note=note,
    )


def peak_of(device: torch.device, dtype: str) -> Peak:
    """What the device does at best: a large matrix product in the number format, and a large copy."""
    side, copied = (8192, 2**30) if device.type == "cuda" else (512, 2**24)
    factors = torch.randn(2, side, side, device=device, dtype=getattr(torch, dtype))
    product_s = _each_s(lambda: factors[0] @ factors[1], device, 5)
    source = torch.zeros(copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return Peak(2 * side**3 / product_s, 2 * copied / _each_s(lambda: target.copy_(source), device, 5))


def _each_s(work: Callable[[], object], device: torch.device, times: int) -> float:
    """Median seconds of some work, of five stretches of `times` each, after one that does not count."""
    found = []
    for _ in range(6):
        _wait(device)
        start = time.perf_counter()
        for _ in range(times):
            work()
        _wait(device)
        found.append((time.perf_counter() - start) / times)
    return median(found[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
