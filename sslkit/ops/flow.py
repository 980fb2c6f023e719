"""Optical flow between pictures, and its 8-bit form in prepared datasets.

Source of TV-L1: Zach, Pock, Bischof, "A duality based approach for realtime TV-L1 optical flow", DAGM 2007, in the
form of Sanchez, Meinhardt-Llopis, Facciolo, "TV-L1 optical flow estimation", IPOL 2013; the median filter is an
idea of OpenCV's DualTVL1OpticalFlow. Departures: a fixed number of iterations, so that a batch takes one path; pixels
that leave the picture have no data term; brightness is not stretched; the median is over 3x3, not 5x5.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.errors import UserError
from sslkit.ops.precision import in_float32

Array = TypeVar("Array", np.ndarray, Tensor)
Method = Literal["tvl1", "dis"]

_COARSEST_PX = 16
_BATCH_PX = 2**21


def tvl1(
    first: Tensor,
    second: Tensor,
    *,
    tau: float = 0.25,
    weight: float = 0.15,
    theta: float = 0.3,
    scales: int = 5,
    scale_step: float = 0.5,
    warps: int = 5,
    iterations: int = 30,
    median: bool = True,
) -> Tensor:
    """Flow from `first` to `second`: (B, 2, H, W) float32, (horizontal, vertical) in pixels.

    first, second: (B, 1, H, W), gray, 0..255; any device. What is at (x, y) in `first` is at (x, y) + flow in `second`.
    tau: time step. weight: lambda of the papers, of the data term; smaller is smoother. theta: tightness. scales: of
    the pyramid, fewer where pictures would become smaller than 16 px. warps: on each scale. iterations: in each warp.
    median: filter the field after each warp, against outliers.
    """
    ones, twos = _pyramid(first, scales, scale_step), _pyramid(second, scales, scale_step)
    flow = first.new_zeros((len(first), 2, *ones[-1].shape[-2:]), dtype=torch.float32)
    for one, two in zip(reversed(ones), reversed(twos), strict=True):
        flow = _resized(flow, one.shape[-2], one.shape[-1])
        source = torch.cat([two, _central_gradient(two)], dim=1)
        for _ in range(warps):
            flow = _solve(flow, one, source, tau, weight, theta, iterations)
            flow = _median(flow) if median else flow
    return flow


def _pyramid(picture: Tensor, scales: int, step: float) -> list[Tensor]:
    """The picture, slightly smoothed, and smaller ones (IPOL 2013, section 3.3)."""
    levels = [_blurred(picture.float(), 0.8)]
    sigma = 0.6 * (step**-2 - 1) ** 0.5
    while len(levels) < scales and min(levels[-1].shape[-2:]) * step >= _COARSEST_PX:
        height, width = (round(side * step) for side in levels[-1].shape[-2:])
        smooth = _blurred(levels[-1], sigma)
        levels.append(F.interpolate(smooth, (height, width), mode="bilinear", align_corners=False))
    return levels


def _blurred(picture: Tensor, sigma: float) -> Tensor:
    radius = int(3 * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, device=picture.device, dtype=torch.float32)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    padded = F.pad(picture, (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel[None, None, None]), kernel[None, None, :, None])


def _resized(flow: Tensor, height: int, width: int) -> Tensor:
    """A flow field at another size, its vectors scaled with the picture."""
    ratio = flow.new_tensor([width / flow.shape[-1], height / flow.shape[-2]])
    return F.interpolate(flow, (height, width), mode="bilinear", align_corners=False) * ratio[:, None, None]


def _central_gradient(picture: Tensor) -> Tensor:
    """(B, 1, H, W) to (B, 2, H, W): differences over two pixels, halved; nothing is assumed beyond the edge."""
    padded = F.pad(picture, (1, 1, 1, 1), mode="replicate")
    across = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return torch.cat([across, down], dim=1) / 2


def _solve(
    flow: Tensor, one: Tensor, source: Tensor, tau: float, weight: float, theta: float, iterations: int
) -> Tensor:
    """Linearise the second picture around `flow` and minimise: Zach et al., equations 10 to 15."""
    warped, inside = _warped(source, flow)
    gradient = warped[:, 1:] * inside
    steepness = (gradient**2).sum(dim=1, keepdim=True)
    inverse = torch.where(steepness > 1e-6, 1 / steepness.clamp_min(1e-6), 0.0)
    constant = warped[:, :1] - one - (gradient * flow).sum(dim=1, keepdim=True)
    limit, dual_step = weight * theta, tau / theta
    dual_x, dual_y = torch.zeros_like(flow), torch.zeros_like(flow)
    for _ in range(iterations):
        residual = (gradient * flow).sum(dim=1, keepdim=True).add_(constant)
        data = flow + gradient * residual.mul_(inverse).neg_().clamp_(-limit, limit)
        flow = data.add_(_divergence(dual_x, dual_y), alpha=theta)
        across, down = _forward_gradient(flow)
        shrink = torch.hypot(across, down).mul_(dual_step).add_(1)
        dual_x.add_(across, alpha=dual_step).div_(shrink)
        dual_y.add_(down, alpha=dual_step).div_(shrink)
    return flow


def _warped(source: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """The second picture (and its gradient) where the flow points, and a (B, 1, H, W) mask of what lies inside it."""
    height, width = source.shape[-2:]
    x = torch.arange(width, device=flow.device) + flow[:, 0]
    y = torch.arange(height, device=flow.device)[:, None] + flow[:, 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    warped = F.grid_sample(source, grid, mode="bicubic", padding_mode="border", align_corners=False)
    return warped, inside[:, None].float()


def _forward_gradient(values: Tensor) -> tuple[Tensor, Tensor]:
    across, down = torch.zeros_like(values), torch.zeros_like(values)
    torch.sub(values[..., 1:], values[..., :-1], out=across[..., :-1])
    torch.sub(values[..., 1:, :], values[..., :-1, :], out=down[..., :-1, :])
    return across, down


def _divergence(x: Tensor, y: Tensor) -> Tensor:
    """Minus the adjoint of `_forward_gradient`, whose last column and row are zero."""
    total = x + y
    total[..., 1:] -= x[..., :-1]
    total[..., 1:, :] -= y[..., :-1, :]
    return total


def _median(flow: Tensor) -> Tensor:
    """Median of the 3x3 square around each vector, component by component.

    Columns are sorted first; the median of nine is then that of the greatest low, the middle middle and the least high.
    Minima and maxima of whole planes are many times faster than sorting 9 values at every pixel.
    """
    height, width = flow.shape[-2:]
    padded = F.pad(flow, (1, 1, 1, 1), mode="replicate")
    low, middle, high = _sorted(*(padded[..., row : row + height, :] for row in range(3)))
    lows, middles, highs = ([plane[..., at : at + width] for at in range(3)] for plane in (low, middle, high))
    greatest_low = torch.maximum(torch.maximum(lows[0], lows[1]), lows[2])
    least_high = torch.minimum(torch.minimum(highs[0], highs[1]), highs[2])
    return _sorted(greatest_low, _sorted(*middles)[1], least_high)[1]


def _sorted(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    a, b = torch.minimum(a, b), torch.maximum(a, b)
    b, c = torch.minimum(b, c), torch.maximum(b, c)
    return torch.minimum(a, b), torch.maximum(a, b), c


def dis(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Flow from `first` to `second`, both (H, W) uint8 gray: (2, H, W) float32, (horizontal, vertical) in pixels.

    Fast, for a CPU, and smoother than TV-L1. Source: Kroeger et al., "Fast optical flow using dense inverse search",
    ECCV 2016, as in OpenCV (preset medium).
    """
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    start = np.zeros((*first.shape, 2), np.float32)
    found = method.calc(np.ascontiguousarray(first), np.ascontiguousarray(second), start)
    return np.ascontiguousarray(found.transpose(2, 0, 1))


def local_flow(gray: Tensor) -> Tensor:
    """How each place of a small picture moves from frame to frame: (B, T, H, W) to (B, T - 1, 2, H / 2, W / 2), pixels.

    One step of least squares over a place, for movements up to a pixel or two on any device; larger ones come out too
    small, as do those of places without texture. H, W even. Source: Lucas and Kanade, IJCAI 1981.
    """
    clips, frames, height, width = gray.shape
    smooth = _binomial(_binomial(gray.reshape(-1, 1, height, width))).reshape(clips, frames, 1, height, width)
    middle, change = (smooth[:, 1:] + smooth[:, :-1]) / 2, smooth[:, 1:] - smooth[:, :-1]
    slope = _central_gradient(middle.flatten(0, 1))
    across, down, change = slope[:, :1], slope[:, 1:], change.flatten(0, 1)
    products = torch.cat([across * across, across * down, down * down, across * change, down * change], 1)
    around = _binomial(_binomial(F.avg_pool2d(products, 2))).reshape(clips, frames - 1, 5, height // 2, width // 2)
    xx, xy, yy, xt, yt = around.unbind(2)
    least = 0.05 * (xx + yy).mean((1, 2, 3), keepdim=True) + 1e-6
    xx, yy = xx + least, yy + least
    return torch.stack([xy * yt - yy * xt, xy * xt - xx * yt], 2).div_((xx * yy - xy * xy)[:, :, None])


def _binomial(planes: Tensor) -> Tensor:
    """Each plane of (N, C, H, W) smoothed by (1, 2, 1) / 4 both ways."""
    row = torch.tensor([0.25, 0.5, 0.25], device=planes.device)
    kernel = (row[:, None] * row).expand(planes.shape[1], 1, 3, 3)
    with in_float32(planes):
        return F.conv2d(F.pad(planes, (1, 1, 1, 1), mode="replicate"), kernel, groups=planes.shape[1])


def pack(flow: Array, bound: float) -> Array:
    """Flow in pixels as uint8: 128 is none, 1 is -bound, 255 is +bound and what lies beyond is clipped."""
    if isinstance(flow, Tensor):
        return (flow * (127 / bound) + 128).round().clamp(1, 255).to(torch.uint8)
    return np.clip(np.rint(flow * (127 / bound) + 128), 1, 255).astype(np.uint8)


def unpack(packed: Array, bound: float) -> Array:
    """Packed flow as float32 pixels, to half a step, bound / 254, of what was packed."""
    if isinstance(packed, Tensor):
        return (packed.float() - 128) * (bound / 127)
    return (packed.astype(np.float32) - 128) * np.float32(bound / 127)


def flip_horizontal(flow: Array) -> Array:
    """Mirror (..., 2, H, W) flow left to right, packed or in pixels: the field is mirrored and its horizontal negated.

    Packed values stay in 1..255 and 128 stays 128. The input is not changed.
    """
    flipped = flow.flip(-1) if isinstance(flow, Tensor) else flow[..., ::-1].copy()
    # In 8 bits, minus v is 256 - v: just what the packed form needs.
    flipped[..., 0, :, :] = -flipped[..., 0, :, :]
    return flipped


def fields(
    frames: np.ndarray,
    method: Method = "tvl1",
    bound: float = 20.0,
    backward: bool = False,
    device: torch.device | str = "cpu",
) -> tuple[np.ndarray, np.ndarray | None]:
    """Packed flow between all neighbours of a clip: forwards, and backwards if asked for; (T-1, 2, H, W) uint8 each.

    frames: (T, H, W, 3) uint8 RGB. Field i of `forwards` leads from frame i to i + 1; field i of `backwards` from frame
    i + 1 to i, computed on the reversed frames, because estimated flow is not the negative of its reverse. The device
    matters to "tvl1" only. Raises UserError for an unknown method.
    """
    gray = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])
    forwards = _between(gray[:-1], gray[1:], method, bound, device)
    return forwards, _between(gray[1:], gray[:-1], method, bound, device) if backward else None


def _between(
    first: np.ndarray, second: np.ndarray, method: str, bound: float, device: torch.device | str
) -> np.ndarray:
    if method == "dis":
        found = [pack(dis(one, two), bound) for one, two in zip(first, second, strict=True)]
        return np.stack(found) if found else np.zeros((0, 2, *first.shape[1:]), np.uint8)
    if method != "tvl1":
        raise UserError(f"No flow method is called {method!r}; choose tvl1 or dis.")
    batch = max(1, _BATCH_PX // max(1, first[0].size if len(first) else 1))
    packed = np.zeros((len(first), 2, *first.shape[1:]), np.uint8)
    for at in range(0, len(first), batch):
        one, two = (torch.from_numpy(side[at : at + batch])[:, None].to(device) for side in (first, second))
        with torch.no_grad():
            packed[at : at + batch] = pack(tvl1(one, two), bound).cpu().numpy()
    return packed
