"""Fields and maps as colours, for people to look at."""

import torch
from torch import Tensor

_STILL = 8.0
"""Packed units from 128 that are noise, and must not be stretched to full colour."""


def moving_field(flow: Tensor) -> Tensor:
    """The field with the most motion of each window: packed (N, T, 2, H, W) uint8 to (N, 2, H, W)."""
    motion = (flow.float() - 128).abs().mean((2, 3, 4))
    return flow[torch.arange(len(flow), device=flow.device), motion.argmax(1)]


def flow_to_rgb(flow: Tensor, full_scale: float | None = None) -> Tensor:
    """Packed flow (..., 2, H, W) uint8 as pictures (..., H, W, 3) uint8: hue is direction, strength is distance.

    No motion is white, right is red; `full_scale` packed units from 128 are the full colour, by default those that one
    in a hundred pixels of a field exceeds, for each field its own.
    """
    u, v = (flow.float() - 128).unbind(-3)
    distance = torch.sqrt(u * u + v * v)
    scale = full_scale or distance.flatten(-2).quantile(0.99, -1).clamp(min=_STILL)[..., None, None]
    strength = (distance / scale).clamp(max=1)
    hue = torch.remainder(torch.atan2(v, u) / (2 * torch.pi), 1.0)
    # Each primary falls off linearly with the distance of the hue from it: red at 0, green at 1/3, blue at 2/3.
    primaries = torch.tensor([0.0, 1 / 3, 2 / 3], device=flow.device)
    apart = (hue[..., None] - primaries).abs()
    pure = (2 - 6 * torch.minimum(apart, 1 - apart)).clamp(0, 1)
    return ((1 - strength[..., None] * (1 - pure)) * 255).round().to(torch.uint8)


def heat_to_rgb(heat: Tensor) -> Tensor:
    """Heat (..., H, W) in [-1, 1] as pictures (..., H, W, 3) uint8: blue against, grey neither, red for."""
    heat = heat.float().clamp(-1, 1)[..., None]
    blue, grey, red = (
        torch.tensor(c, device=heat.device) for c in ([40.0, 90, 220], [225.0, 225, 225], [215.0, 40, 30])
    )
    colours = grey + heat.clamp(min=0) * (red - grey) - heat.clamp(max=0) * (blue - grey)
    return colours.round().to(torch.uint8)
