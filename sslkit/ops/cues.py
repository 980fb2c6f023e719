"""Cues that give a pretext task away, cut out of flow and pictures alone: what the cheaters of `sslkit audit` see.

Pure and batched, on any device. Flow is packed, (N, T, 2, H, W) uint8 (see `sslkit.ops.flow`); `size_px` (N, 2) int64
says which part of the common canvas is picture, `bars` (N, 4) int64 which part of that is black bar: top, bottom, left,
right.
"""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as vision

_FULL_SCALE = 16.0
# As far as flow and JPEG carry the picture's own motion over its edge.
_SPILL_PX = 8
_EVERY_PX = 4
_ROUNDS = 6
# A misfit of half a packed unit is rounding.
_LEAST = 0.5 / _FULL_SCALE


def bar_motion(flow: Tensor, size_px: Tensor, bars: Tensor) -> tuple[Tensor, Tensor]:
    """Motion in each black bar, (N, T, 4, 4) float32: means of u, v, |u| and |v|; and whether there is any bar, (N,).

    A bar counts only where it is more than 8 px away from the picture.
    """
    y, x = (torch.arange(side, device=flow.device) for side in flow.shape[-2:])
    height, width = size_px.to(flow.device).unbind(1)
    top, bottom, left, right = (bars.to(flow.device) - _SPILL_PX).unbind(1)
    rows, columns = y < height[:, None], x < width[:, None]
    above, below = y < top[:, None], (y >= (height - bottom)[:, None]) & rows & (bottom > 0)[:, None]
    before, behind = x < left[:, None], (x >= (width - right)[:, None]) & columns & (right > 0)[:, None]
    places = [(above, columns), (below, columns), (rows, before), (rows, behind)]
    inside = torch.stack([tall[:, :, None] & wide[:, None, :] for tall, wide in places], 1).float()
    motion = (flow.float() - 128) / _FULL_SCALE
    sums = torch.einsum("ntchw,nshw->ntsc", torch.cat([motion, motion.abs()], 2), inside)
    count = inside.sum((2, 3))
    return sums / count.clamp(min=1)[:, None, :, None], (count > 0).any(1)


def bar_field(motion: Tensor, side_px: int) -> Tensor:
    """The motion of four bars at one moment, (N, 4, 4), as packed flow (N, 2, side, side), for people to look at."""
    field = motion.new_zeros(len(motion), 2, side_px, side_px)
    wide, across = side_px // 6, motion[:, :, :2, None, None]
    field[..., :wide, :], field[..., -wide:, :] = across[:, 0], across[:, 1]
    # A corner shows the bars above and below, if there are any.
    upright = field[..., wide:-wide, :]
    upright[..., :wide], upright[..., -wide:] = across[:, 2], across[:, 3]
    return _packed(field)


def camera_motion(flow: Tensor, size_px: Tensor) -> Tensor:
    """The motion of a plane that most of each field agrees with, (N, T, 8) float32: what a camera does to a scene.

    u = a0 + a1 x + a2 y + a6 x^2 + a7 x y and v = a3 + a4 x + a5 y + a6 x y + a7 y^2, in 16 packed units, the eight
    parameters of a small homography; x and y run from -1 to 1 over the short side. What moves by itself is outvoted:
    least squares, weighted anew by how well each place fits (Geman-McClure).
    """
    values = ((flow[..., ::_EVERY_PX, ::_EVERY_PX].float() - 128) / _FULL_SCALE).flatten(3)
    basis, inside = _plane(flow.shape[-2:], size_px.to(flow.device), _EVERY_PX)
    products = torch.einsum("ncgk,ncgl->ngkl", basis, basis).flatten(2)
    ridge = 1e-4 * torch.eye(8, device=flow.device)
    weight = inside[:, None].expand(-1, values.shape[1], -1)
    motion = values.new_zeros(*values.shape[:2], 8)
    for _ in range(_ROUNDS):
        normal = (weight @ products).reshape(*motion.shape, 8) + ridge
        motion = torch.linalg.solve(normal, (weight[:, :, None] * values).flatten(2) @ basis.flatten(1, 2))
        misfit = (values - torch.einsum("ncgk,ntk->ntcg", basis, motion)).norm(dim=2)
        usual = misfit.masked_fill(inside[:, None] == 0, torch.nan).nanmedian(2, keepdim=True).values
        weight = inside[:, None] / (1 + (misfit / usual.clamp(min=_LEAST)) ** 2) ** 2
    return motion


def camera_field(motion: Tensor, side_px: int) -> Tensor:
    """The packed flow (N, 2, side, side) uint8 of a plane's motion (N, 8), for people to look at."""
    basis, _ = _plane((side_px, side_px), torch.full((len(motion), 2), side_px, device=motion.device))
    values = torch.einsum("ncgk,nk->ncg", basis, motion).reshape(-1, 2, side_px, side_px)
    return _packed(values)


def _packed(motion: Tensor) -> Tensor:
    return torch.round(motion * _FULL_SCALE + 128).clamp(1, 255).to(torch.uint8)


def _plane(shape: tuple[int, ...], size: Tensor, every_px: int = 1) -> tuple[Tensor, Tensor]:
    """What each parameter adds to u and v at every place, (N, 2, places, 8), and which of them are picture."""
    axes = (torch.arange(0, side, every_px, device=size.device).float() for side in shape)
    grid = torch.meshgrid(*axes, indexing="ij")
    height, width = size[:, :1].float(), size[:, 1:].float()
    y, x = (axis.flatten()[None] for axis in grid)
    inside = ((y < height) & (x < width)).float()
    half = torch.minimum(height, width) / 2
    y, x = (y - (height - 1) / 2) / half, (x - (width - 1) / 2) / half
    one, none = torch.ones_like(x), torch.zeros_like(x)
    u = torch.stack([one, x, y, none, none, none, x * x, x * y], 2)
    v = torch.stack([none, none, none, one, x, y, x * y, y * y], 2)
    return torch.stack([u, v], 1), inside


def negated(flow: Tensor) -> Tensor:
    """Packed flow with every vector turned round, which is not what is found between the reversed frames."""
    return -flow  # in 8 bits, minus v is 256 - v: just what the packed form needs


def turned_each(pictures: Tensor, quarters: Tensor) -> Tensor:
    """Square pictures (N, ..., S, S), each turned counter-clockwise by its own (N,) int64 number of quarter turns."""
    turned = pictures.clone()
    for quarter in (1, 2, 3):
        chosen = (quarters % 4 == quarter).to(pictures.device)
        turned[chosen] = torch.rot90(pictures[chosen], quarter, (-2, -1))
    return turned


def turned_within(pictures: Tensor, size_px: Tensor, degrees: float) -> Tensor:
    """Pictures (N, C, H, W), each turned counter-clockwise about its own middle and cut to its own frame.

    With interpolation, and black where nothing comes to lie: what an image library does by default.
    """
    turned = torch.zeros_like(pictures)
    for picture, onto, (height, width) in zip(pictures, turned, size_px.tolist(), strict=True):
        own = picture[:, :height, :width]
        onto[:, :height, :width] = vision.rotate(own, degrees, vision.InterpolationMode.BILINEAR)
    return turned


def turned_field(field: Tensor, quarters: Tensor) -> Tensor:
    """Packed fields (N, 2, S, S), each turned counter-clockwise, with its vectors, by its own (N,) quarter turns."""
    u, v = turned_each(field, quarters).unbind(1)
    which = (quarters % 4).to(field.device)[:, None, None]
    against_u, against_v = negated(u), negated(v)
    across = torch.where(which == 1, v, torch.where(which == 2, against_u, torch.where(which == 3, against_v, u)))
    down = torch.where(which == 1, against_u, torch.where(which == 2, against_v, torch.where(which == 3, u, v)))
    return torch.stack([across, down], 1)


def corners(pictures: Tensor, side_px: int) -> Tensor:
    """The four corners of pictures (N, C, S, S), `side_px` wide each, put together: (N, C, 2 side, 2 side)."""
    rows = torch.cat([pictures[..., :side_px, :], pictures[..., -side_px:, :]], -2)
    return torch.cat([rows[..., :side_px], rows[..., -side_px:]], -1)


def tiled(pictures: Tensor, tile_px: int, order: Tensor, quarters: Tensor) -> Tensor:
    """Pictures (N, C, S, S) cut into tiles that are put down in another order, each turned: textures of any way up.

    order: (K,) int64, for each of the K = (S / tile)^2 places the tile that goes there. quarters: (N, K) int64.
    """
    count = pictures.shape[-1] // tile_px
    tiles = F.unfold(pictures, tile_px, stride=tile_px).transpose(1, 2)[:, order.to(pictures.device)]
    tiles = tiles.reshape(*quarters.shape, pictures.shape[1], tile_px, tile_px)
    laid = turned_each(tiles.flatten(0, 1), quarters.flatten()).view_as(tiles).flatten(2).transpose(1, 2)
    return F.fold(laid, count * tile_px, tile_px, stride=tile_px)
