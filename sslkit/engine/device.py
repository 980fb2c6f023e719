"""Where the arithmetic happens: which device, which number format, which kernels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TypeVar

import torch
from torch import nn

from sslkit.errors import UserError, WorkError, is_out_of_memory
from sslkit.recipe import Plan

Module = TypeVar("Module", bound=nn.Module)


def pick(name: str = "auto") -> torch.device:
    """The device of a name: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:1".

    Raises UserError for another name, or when CUDA is asked for and this machine has none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"No device is called {name!r}; known are auto, cpu and cuda.")
    if device.type == "cuda":
        _require_cuda(name, device.index)
    return device


def _require_cuda(name: str, index: int | None) -> None:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        raise UserError(f"--device {name}: torch sees no CUDA device on this machine; use --device cpu.")
    if index is not None and index >= count:
        raise UserError(f"--device {name}: this machine has {count} CUDA device(s), numbered from 0.")


def precision(device: torch.device, dtype: str) -> AbstractContextManager[object]:
    """Mixed precision for a forward pass when `dtype` is "bfloat16"; nothing for "float32".

    bfloat16 has the range of float32, so losses need no scaling.
    """
    if dtype == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


@contextlib.contextmanager
def within_memory(plan: Plan) -> Iterator[None]:
    """Within, memory that does not suffice for a step raises WorkError with the settings that need less."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        rows = plan.rank_batch // plan.accumulate
        less = f"raise train.accumulate above {plan.accumulate}, or lower train.batch"
        raise WorkError(
            f"A step on {rows} samples at once does not fit the memory of {plan.device}: "
            f"{less if rows > 1 else 'take a smaller network'}."
        ) from error


def place(module: Module, device: torch.device) -> Module:
    """The module on the device; on CUDA its convolutions get channels last, the layout of tensor cores."""
    module.to(device)
    if device.type == "cuda":
        channels_last(module)
    return module


def channels_last(module: nn.Module) -> None:
    """Lay out the weights of convolutions over pictures and over video with the channels last; values stay."""
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in module.parameters():
        if parameter.ndim in layouts:
            parameter.data = parameter.data.contiguous(memory_format=layouts[parameter.ndim])


@contextlib.contextmanager
def kernels(device: torch.device) -> Iterator[None]:
    """Let cuDNN time its kernels and keep the fastest: inputs of a run have one shape. The old choice comes back."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = device.type == "cuda" or before
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
