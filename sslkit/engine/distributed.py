"""The same run on several processes or machines, through torch.distributed and torchrun.

Everything here also works, and does nothing, in a single process without a process group.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

# Long enough for the main process to validate while the others wait.
_TIMEOUT = datetime.timedelta(hours=4)

_solo: list[bool] = []


def _grouped() -> bool:
    return not _solo and dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if _grouped() else 0


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _grouped() else 1


def is_main() -> bool:
    """Whether this process writes files and talks to the user."""
    return rank() == 0


def setup() -> None:
    """Join the process group that torchrun describes in the environment; nothing when WORLD_SIZE is absent or 1.

    Tensors on the CPU travel by gloo and tensors on CUDA by nccl; each process takes the CUDA device of its LOCAL_RANK.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=_TIMEOUT)


def teardown() -> None:
    """Leave the process group."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def barrier() -> None:
    """Wait until every process is here."""
    anywhere(False)


def anywhere(flag: bool) -> bool:
    """Whether the flag is set in any process; all of them must ask."""
    if not _grouped():
        return flag
    # A tensor on the CPU: the hosts agree without waiting for their devices.
    shared = torch.tensor(int(flag))
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return bool(shared.item())


def mean(values: Mapping[str, float]) -> dict[str, float]:
    """Average of each value over the processes, which must all hold the same names."""
    if not _grouped() or not values:
        return dict(values)
    shared = torch.tensor([values[name] for name in sorted(values)], dtype=torch.float64)
    dist.all_reduce(shared)
    averages = dict(zip(sorted(values), (shared / world()).tolist(), strict=True))
    return {name: averages[name] for name in values}


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Within, this process is a world of one: for work that only the main process does, such as validation."""
    _solo.append(True)
    try:
        yield
    finally:
        _solo.pop()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, tensor: Tensor) -> Tensor:
        parts = [torch.empty_like(tensor) for _ in range(world())]
        dist.all_gather(parts, tensor)
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        # Each process' loss depends on every process' tensor: the gradients that came back from all of them add up.
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total.chunk(world())[rank()]


def gather(tensor: Tensor) -> Tensor:
    """Tensors (n, ...) of all processes as one of (world * n, ...), in order of rank, with gradients.

    All processes must hold the same shape. The gradient is that of the sum of all processes' losses.
    """
    if not _grouped():
        return tensor
    gathered: Tensor = _Gather.apply(tensor.contiguous())
    return gathered
