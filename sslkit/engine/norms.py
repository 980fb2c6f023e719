"""Batch norm over the samples of all processes, so that several train as one with the whole batch does."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sslkit.engine import distributed

_LOCAL = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def share(module: nn.Module, device: torch.device) -> None:
    """Replace every batch norm in a module by one that counts the samples of all processes; nothing for one process.

    Parameters and buffers stay the same objects under the same names.
    """
    if distributed.world() == 1:
        return
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        return
    for norm in module.modules():
        if isinstance(norm, _LOCAL):
            norm.__class__ = SharedNorm  # type: ignore[assignment]


def statistics(module: nn.Module) -> dict[str, Tensor]:
    """Copies of what the batch norms of a module have seen so far, by their names in its state dict.

    This is all of a state that a forward pass changes.
    """
    return {
        f"{name}.{key}".lstrip("."): buffer.clone()
        for name, norm in module.named_modules()
        if isinstance(norm, _BatchNorm)
        for key, buffer in norm.named_buffers(recurse=False)
    }


class SharedNorm(_BatchNorm):
    """Batch norm on the CPU, where torch's SyncBatchNorm does not work; inputs (B, C, ...) of any rank."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalised `x`, by the statistics of all processes in training, of one process by its own."""
        if not self.training or distributed.world() == 1:
            return super().forward(x)
        axes = [axis for axis in range(x.dim()) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(x.dim())]
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        count = distributed.total(torch.tensor(float(x.numel() // x.shape[1])))
        mean = distributed.total(wide.sum(axes)) / count
        centred = wide - mean.view(shape)
        variance = distributed.total(centred.square().sum(axes)) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scaled = centred * (variance + self.eps).rsqrt().view(shape)
        if self.weight is not None:
            scaled = scaled * self.weight.view(shape) + self.bias.view(shape)
        return scaled.to(x.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics as torch's batch norm does."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)

    def _check_input_dim(self, input: Tensor) -> None:
        pass
