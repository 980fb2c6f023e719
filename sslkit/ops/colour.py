"""Fields and maps as colours, for people to look at."""

import torch
from torch import Tensor


def flow_to_rgb(flow: Tensor, full_scale: float = 40.0) -> Tensor:
    """Packed flow (..., 2, H, W) uint8 as pictures (..., H, W, 3) uint8: hue is direction, strength is distance.

    No motion is white, right is red; `full_scale` packed units from 128 are the full colour.
    """
    u, v = (flow.float() - 128).unbind(-3)
    strength = (torch.sqrt(u * u + v * v) / full_scale).clamp(max=1)
    hue = torch.remainder(torch.atan2(v, u) / (2 * torch.pi), 1.0)
    # Each primary falls off linearly with the distance of the hue from it: red at 0, green at 1/3, blue at 2/3.
    primaries = torch.tensor([0.0, 1 / 3, 2 / 3], device=flow.device)
    distance = (hue[..., None] - primaries).abs()
    distance = torch.minimum(distance, 1 - distance)
    pure = (2 - 6 * distance).clamp(0, 1)
    return ((1 - strength[..., None] * (1 - pure)) * 255).round().to(torch.uint8)


def heat_to_rgb(heat: Tensor) -> Tensor:
    """Heat (..., H, W) in [-1, 1] as pictures (..., H, W, 3) uint8: blue against, grey neither, red for."""
    heat = heat.float().clamp(-1, 1)[..., None]
    blue, grey, red = (
        torch.tensor(c, device=heat.device) for c in ([40.0, 90, 220], [225.0, 225, 225], [215.0, 40, 30])
    )
    colours = grey + heat.clamp(min=0) * (red - grey) - heat.clamp(max=0) * (blue - grey)
    return colours.round().to(torch.uint8)
