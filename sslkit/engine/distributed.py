"""The same run on several processes or machines, through torch.distributed and torchrun.

Everything here also works, and does nothing, in a single process without a process group.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from sslkit.engine.meeting import meet
from sslkit.errors import FIRST, Elsewhere, UserError, WorkError

_MEETING = datetime.timedelta(minutes=5)
"""How long processes wait for each other at the beginning."""
_STEP = datetime.timedelta(minutes=30)
"""How long one may keep the others waiting within a step."""
_PATIENCE = datetime.timedelta(days=7)
"""How long the others wait while the main process prepares data, validates or writes the page."""
_LOST = ("gloo", "Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out", "NCCL")
_POLL_S = 0.02

_solo: list[bool] = []
_group: dict[str, Any] = {}


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


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Within, this process belongs to the group that torchrun describes in the environment, if it does.

    All processes leave together. When one fails, all end: the error of the first goes on, the others raise Elsewhere,
    so that it is told once. Raises WorkError when the processes do not find or lose each other.
    """
    setup()
    if not _grouped():
        yield
        return
    try:
        yield
        barrier()
        teardown()
    except KeyboardInterrupt:
        _first_to_end()
        raise
    except Exception as error:
        if not _first_to_end():
            raise Elsewhere("Another process of this run failed first, and says why.") from error
        told = _lost(error) if _is_loss(error) else error
        told.add_note(FIRST)
        raise told from (error if told is not error else error.__cause__)


def setup() -> None:
    """Join the process group that torchrun describes in the environment; nothing when WORLD_SIZE is absent or 1.

    Tensors on the CPU travel by gloo and tensors on CUDA by nccl. Raises UserError when the description is incomplete,
    WorkError when the others do not come.
    """
    if int(os.environ.get("WORLD_SIZE") or 1) == 1 or dist.is_initialized():
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise UserError(f"WORLD_SIZE is set but {' and '.join(missing)} not: start several processes with torchrun.")
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        store, number, count = meet(_MEETING)
        dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=_STEP)
        _group["store"], _group["patient"] = store, dist.new_group(backend="gloo", timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise WorkError(
            f"The {os.environ['WORLD_SIZE']} processes of this run did not find each other at {where} "
            f"({_short(error)}); check that every host reaches that address, and GLOO_SOCKET_IFNAME."
        ) from error


def teardown() -> None:
    """Leave the process group."""
    _group.clear()
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def take_device(device: torch.device) -> None:
    """On CUDA, compute on the device of LOCAL_RANK, the number of this process on its host.

    Raises UserError when the host has fewer devices than processes.
    """
    if device.type != "cuda" or not _grouped():
        return
    local, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= count:
        raise UserError(
            f"{socket.gethostname()} has {count} CUDA devices but more processes: lower torchrun's --nproc-per-node."
        )
    torch.cuda.set_device(local)


def barrier() -> None:
    """Wait until every process is here, however long that takes; signals are seen meanwhile."""
    if not _grouped():
        return
    work = dist.all_reduce(torch.zeros(1), group=_group.get("patient"), async_op=True)
    # Waiting inside torch, Python could not handle a signal.
    while not work.is_completed():
        time.sleep(_POLL_S)
    work.wait()


@contextlib.contextmanager
def main_first() -> Iterator[None]:
    """The main process goes through this block before the others, which find what it made."""
    if not is_main():
        barrier()
    yield
    if is_main():
        barrier()


def require_same(what: str, value: Any) -> None:
    """Raise UserError when a plain value is not the same in every process; all of them must ask.

    what: names it in the sentence, such as "the recipe or the data".
    """
    if not _grouped():
        return
    digest = blake2b(json.dumps(value, sort_keys=True, default=str).encode(), digest_size=7).digest()
    mine = torch.tensor([int.from_bytes(digest)])
    everyone = [torch.empty_like(mine) for _ in range(world())]
    dist.all_gather(everyone, mine)
    others = [number for number, one in enumerate(everyone) if one != everyone[0]]
    if others:
        raise UserError(
            f"Process {others[0]} of the run was given something else than process 0 ({what}): give every host the "
            "same command, versions and shared folders."
        )


def anywhere(flag: bool) -> bool:
    """Whether the flag is set in any process; all of them must ask."""
    if not _grouped():
        return flag
    # A tensor on the CPU: the hosts agree without waiting for their devices.
    shared = torch.tensor(int(flag))
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return bool(shared.item())


def mean(values: Mapping[str, float]) -> dict[str, float]:
    """Average of each value over those processes that hold it, as one that asked nothing may not; all must ask."""
    if not _grouped():
        return dict(values)
    held: list[Mapping[str, float] | None] = [None] * world()
    dist.all_gather_object(held, dict(values))
    everyone = [one for one in held if one is not None]
    names = dict.fromkeys(name for one in (values, *everyone) for name in one)
    found = {name: [one[name] for one in everyone if name in one] for name in names}
    return {name: sum(some) / len(some) for name, some in found.items()}


def share(tensors: Iterable[Tensor]) -> None:
    """Give every process the values that process 0 has in these, in place; all must ask, with tensors of one shape."""
    if _grouped():
        for tensor in tensors:
            dist.broadcast(tensor, 0)


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


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total


def total(tensor: Tensor) -> Tensor:
    """Sum of the tensors of all processes, with gradients, which are those of the sum of all processes' losses."""
    if not _grouped():
        return tensor
    summed: Tensor = _Sum.apply(tensor.contiguous())
    return summed


def _first_to_end() -> bool:
    """Whether no other process of the group has failed before this one."""
    try:
        return bool(_group["store"].add("sslkit/ended", 1) == 1)
    except (RuntimeError, KeyError):  # the process that kept the store is gone: rather told twice than not at all
        return True


def _is_loss(error: Exception) -> bool:
    """Whether an error says that another process cannot be reached."""
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in _LOST)
    )


def _lost(error: Exception) -> WorkError:
    return WorkError(
        f"Another process of this run died or is out of reach ({_short(error)}); start the same command again to go on "
        "from the last checkpoint (torchrun does so by itself with --max-restarts)."
    )


def _short(error: Exception) -> str:
    """The first line of an error of torch, without where in its sources it arose."""
    line = (str(error) or type(error).__name__).splitlines()[0]
    return re.sub(r"^(\[\S+\] *)+", "", line).partition(". ")[0].rstrip(". ") or type(error).__name__
