"""Which samples of a batch are compared with which: negatives that come from other recordings."""

from __future__ import annotations

import torch
from torch import Tensor


def partners(source: Tensor, usable: Tensor, place: Tensor) -> Tensor:
    """For each sample some others of another source, (N, k) int64 rows of the batch, -1 where there are none.

    source (N,) int64: equal for samples of the same recording. usable (N,) bool: the others have no partner and are
    nobody's. place (N, k) in [0, 1): which of those that may be had, counted round the batch from the sample on.
    """
    rows = torch.arange(len(source), device=source.device)
    order = (rows[:, None] + 1 + rows) % max(1, len(source))
    allowed = ((source[:, None] != source) & usable).gather(1, order) & usable[:, None]
    wanted = (place * allowed.sum(1, keepdim=True)).long()
    counted = torch.where(allowed, allowed.cumsum(1) - 1, -1)
    chosen = [order.gather(1, (counted == one[:, None]).int().argmax(1, keepdim=True)) for one in wanted.unbind(1)]
    return torch.where(allowed.any(1, keepdim=True), torch.cat(chosen, 1), -1)
