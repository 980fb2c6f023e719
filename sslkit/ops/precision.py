"""What has to be computed in float32, though the step around it is in mixed precision."""

from __future__ import annotations

import torch
from torch import Tensor


def in_float32(on: Tensor) -> torch.autocast:
    """Within, products on the device of `on` are not rounded to the 8 bits of bfloat16, as autocast would do.

    What makes small differences of large numbers, front ends and similarities, cannot do without the others. Tensors
    that are in bfloat16 already are given as they are: call `.float()` before.
    """
    return torch.autocast(on.device.type, enabled=False)
