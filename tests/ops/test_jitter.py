import math
from dataclasses import replace

import pytest
import torch
import torchvision.transforms.functional as reference

from sslkit.ops import jitter as ops
from sslkit.types import Draw, Part

NONE = ops.ClipRanges(
    (1, 1), (1, 1), (1, 1), (0, 0), 0.0, 0.0, (0, 0), (0, 0), (1, 1), (0, 0), (0, 0), 0.0, 0.0, (0, 0)
)
SHAPE = (6, 4, 3, 40, 56)


def clips(*shape: int) -> torch.Tensor:
    """Smooth pictures of middle brightness, so that nothing is clipped; the frames of a clip are alike."""
    coarse = 90 + 60 * torch.rand(shape[0], 3, 6, 8, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(coarse, shape[-2:], mode="bicubic", align_corners=False)
    return smooth[:, None].repeat(1, shape[1], 1, 1, 1)


def dots(x: float, y: float) -> torch.Tensor:
    """Clips of SHAPE with one bright spot at (x, y) pixels from the middle."""
    rows, columns = torch.arange(40) + 0.5 - 20 - y, torch.arange(56) + 0.5 - 28 - x
    spot = 255 * torch.exp(-(rows[:, None] ** 2 + columns[None] ** 2) / 4)
    return spot.expand(SHAPE).clone()


def place(pictures: torch.Tensor) -> torch.Tensor:
    """(..., 2): where the spot is, (x, y) pixels from the middle."""
    light = pictures[..., 0, :, :]
    rows, columns = torch.arange(40) + 0.5 - 20, torch.arange(56) + 0.5 - 28
    total = light.sum((-1, -2))
    return torch.stack([(light.sum(-2) * columns).sum(-1) / total, (light.sum(-1) * rows).sum(-1) / total], -1)


def jittered(pictures: torch.Tensor, ranges: ops.ClipRanges) -> tuple[torch.Tensor, ops.ClipJitter]:
    drawn = ops.draw_clip_jitter(tuple(pictures.shape), ranges, Draw(0, 0))
    return ops.jitter_clips(pictures, drawn), drawn


def test_nothing_drawn_is_nothing_done() -> None:
    pictures = torch.randint(0, 256, SHAPE, dtype=torch.uint8)
    found, _ = jittered(pictures, NONE)
    assert found.dtype == torch.float32 and torch.allclose(found, pictures.float(), atol=1e-2)


def test_all_frames_of_a_clip_are_distorted_alike_and_clips_differ() -> None:
    found, _ = jittered(clips(*SHAPE), ops.ClipRanges(erase_chance=0.5))
    assert torch.allclose(found, found[:, :1].expand_as(found), atol=1e-3)
    same = clips(*SHAPE)[:1].expand(SHAPE)
    assert (jittered(same, ops.ClipRanges())[0].flatten(1).std(0) > 0.5).all()
    assert found.min() >= 0 and found.max() <= 255


@pytest.mark.parametrize(
    ("name", "torchvision"),
    [
        ("brightness", reference.adjust_brightness),
        ("contrast", reference.adjust_contrast),
        ("saturation", reference.adjust_saturation),
    ],
)
def test_colour_is_torchvisions(name: str, torchvision: object) -> None:
    pictures = clips(4, 1, 3, 20, 30)
    found, drawn = jittered(pictures, replace(NONE, **{name: (0.7, 1.3)}))
    for clip, factor, answer in zip(pictures[:, 0], getattr(drawn, name), found[:, 0], strict=True):
        expected = torchvision(clip / 255, float(factor)) * 255  # type: ignore[operator]
        assert (answer - expected).abs().max() < 0.2


def test_hue_turns_colours_but_neither_grays_nor_brightness() -> None:
    luma = torch.tensor([0.299, 0.587, 0.114])
    pictures = clips(*SHAPE)
    found, drawn = jittered(pictures, replace(NONE, hue_turns=(-0.2, 0.2)))
    before, after = ((p.movedim(2, -1) * luma).sum(-1) for p in (pictures, found))
    assert torch.allclose(before, after, atol=0.1)
    assert (found - pictures).abs().mean() > 5
    back = ops.coloured(found, replace(drawn, hue_turns=-drawn.hue_turns))
    assert torch.allclose(back, pictures, atol=0.1)
    gray = pictures.mean(2, keepdim=True).expand(SHAPE)
    assert torch.allclose(ops.coloured(gray, drawn), gray, atol=0.1)
    third = replace(drawn, hue_turns=torch.full((6,), 1 / 3))
    reds = torch.tensor([150.0, 80, 80])[:, None, None].expand(SHAPE)
    assert ops.coloured(reds, third)[0, 0, :, 0, 0].argmax() != 0


def test_gray_has_no_colour() -> None:
    found, drawn = jittered(clips(*SHAPE), replace(NONE, gray_chance=0.5))
    coloured = (found.amax(2) - found.amin(2)).flatten(1).amax(1) > 1
    assert coloured.tolist() == (drawn.saturation > 0).tolist() and 0 < coloured.sum() < 6


def test_blur_is_a_gaussian() -> None:
    found, drawn = jittered(dots(3, -4), replace(NONE, blur_chance=1.0, blur_px=(1.0, 2.0)))
    for clip, deviation in zip(found, drawn.blur_px, strict=True):
        expected = reference.gaussian_blur(dots(3, -4)[0], [31, 31], float(deviation))
        assert (clip - expected).abs().max() < 0.5
    even = torch.full(SHAPE, 77.0)
    assert torch.allclose(ops.blurred(even, drawn.blur_px), even, atol=1e-2)
    mixed = ops.blurred(dots(0, 0), torch.tensor([0.0, 2, 0, 0, 0, 0]))
    assert torch.equal(mixed[0], dots(0, 0)[0]) and not torch.equal(mixed[1], dots(0, 0)[1])


@pytest.mark.parametrize(
    ("turn", "zoom", "shear", "shift"),
    [(20, 1.0, 0, (0, 0)), (0, 1.3, 0, (0, 0)), (0, 1.0, 12, (0, 0)), (0, 1.0, 0, (5, -3)), (-15, 0.8, 6, (-4, 2))],
)
def test_place_is_torchvisions(turn: float, zoom: float, shear: float, shift: tuple[int, int]) -> None:
    pictures = clips(*SHAPE)[:1]
    source = ops.source_of(
        torch.tensor([math.radians(turn)]),
        torch.tensor([zoom]),
        torch.tensor([math.radians(shear)]),
        torch.tensor(shift).float().expand(1, 4, 2),
    )
    found = ops.placed_at(pictures, source)
    expected, inside = (
        reference.affine(p, turn, list(shift), zoom, [shear, 0.0], interpolation=reference.InterpolationMode.BILINEAR)
        for p in (pictures[0], torch.ones_like(pictures[0]))
    )
    assert (inside == 1).float().mean() > 0.5
    assert (found[0] - expected)[inside == 1].abs().max() < 0.5


def test_a_spot_is_found_where_the_jitter_says() -> None:
    ranges = replace(NONE, turn_deg=(-20, 20), zoom=(0.8, 1.2), shift=(-0.1, 0.1), shear_deg=(-10, 10), shake_px=2.0)
    found, drawn = jittered(dots(6, -3), ranges)
    seen = place(found)  # (N, T, 2)
    origin = (drawn.source @ torch.cat([seen, torch.ones(6, 4, 1)], -1)[..., None])[..., 0]
    assert (origin - torch.tensor([6.0, -3])).abs().max() < 0.15


def test_only_shaking_moves_frames_against_each_other() -> None:
    still, _ = jittered(dots(0, 0), replace(NONE, shift=(-0.1, 0.1)))
    assert place(still).std(1).max() < 1e-2 and place(still).std(0).min() > 0.5
    shaken, _ = jittered(dots(0, 0), replace(NONE, shake_px=1.5))
    moved = place(shaken)
    assert moved.abs().max() < 1.6 and moved.std(1).min() > 0.1


def test_erased_is_a_rectangle_of_the_asked_share_in_all_frames() -> None:
    pictures = torch.randint(0, 256, (200, 2, 3, 40, 56)).float()
    found, drawn = jittered(pictures, replace(NONE, erase_chance=0.5, erase_share=(0.1, 0.2)))
    changed = ((found - pictures).abs() > 1e-2).any(2)
    share = changed.float().mean((2, 3))
    assert torch.equal(share[:, 0] > 0, share[:, 1] > 0)
    hit = share[:, 0] > 0
    assert 70 < hit.sum() < 130
    assert share[hit].min() > 0.08 and share[hit].max() < 0.22
    y0, x0, y1, x1 = drawn.erased[hit][0].tolist()
    patch = found[hit][0, :, :, y0:y1, x0:x1]
    expected = pictures[hit][0].mean((0, 2, 3))[None, :, None, None].expand_as(patch)
    assert torch.allclose(patch, expected, atol=0.1)


def test_draws_repeat_and_do_not_depend_on_how_a_batch_is_split() -> None:
    ranges = ops.ClipRanges(shake_px=2, erase_chance=0.5)
    whole = ops.draw_clip_jitter(SHAPE, ranges, Draw(3, 5))
    part = ops.draw_clip_jitter((2, *SHAPE[1:]), ranges, Draw(3, 5, part=Part(4, 2, 6)))
    for name in vars(whole):
        assert torch.equal(getattr(whole, name)[4:], getattr(part, name))


@pytest.mark.cuda
def test_jitter_is_the_same_on_cuda() -> None:
    drawn = ops.draw_clip_jitter(SHAPE, ops.ClipRanges(shake_px=2, erase_chance=0.5), Draw(0, 0))
    expected = ops.jitter_clips(clips(*SHAPE), drawn)
    assert torch.allclose(ops.jitter_clips(clips(*SHAPE).cuda(), drawn).cpu(), expected, atol=0.1)
