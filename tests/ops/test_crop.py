import pytest
import torch
import torchvision.transforms.functional as reference

from sslkit.ops import crop as ops
from sslkit.types import Draw


def sizes(*pairs: tuple[int, int]) -> torch.Tensor:
    return torch.tensor(pairs)


def ramp(height: int, width: int) -> torch.Tensor:
    """(1, 2, H, W): channel 0 holds the row, channel 1 the column."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([y, x])[None].to(torch.uint8)


def test_drawn_boxes_stay_inside_and_cover_what_was_asked() -> None:
    size = sizes(*[(40, 80)] * 500, *[(90, 30)] * 500)
    boxes = ops.resized_boxes(size, Draw(0, 0), scale=(0.2, 0.6), ratio=(0.75, 4 / 3))
    height, width = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= size + 1e-3).all()
    share = height * width / size.prod(1)
    fallback = (height == width) & (height == size.min(1).values)
    assert (share[~fallback] > 0.199).all() and (share[~fallback] < 0.601).all()
    assert ((width / height)[~fallback] > 0.749).all() and ((width / height)[~fallback] < 1.334).all()
    assert share.std() > 0.05


def test_impossible_scale_falls_back_to_the_central_square() -> None:
    boxes = ops.resized_boxes(sizes((20, 200)), Draw(0, 0), scale=(1.0, 1.0), ratio=(1.0, 1.0))
    assert boxes.tolist() == [[0, 90, 20, 110]]


def test_corner_boxes_are_the_five_places() -> None:
    boxes = ops.corner_boxes(sizes(*[(128, 160)] * 200), 112, Draw(1, 0))
    assert {tuple(b[:2]) for b in boxes.int().tolist()} == {(0, 0), (0, 48), (16, 0), (16, 48), (8, 24)}
    assert ops.corner_boxes(sizes((128, 160)), 112, None).tolist() == [[8, 24, 120, 136]]


def test_whole_pixel_crop_is_exact_and_respects_flip() -> None:
    picture = ramp(50, 60)
    box = torch.tensor([[7.0, 11.0, 39.0, 43.0]])
    expected = picture[:, :, 7:39, 11:43].float()
    assert torch.equal(ops.crop(picture, box, 32), expected)
    assert torch.equal(ops.crop(picture, box, 32, torch.tensor([True])), expected.flip(-1))
    assert torch.equal(ops.cut(picture, box, 32), picture[:, :, 7:39, 11:43])


def test_each_sample_gets_its_own_box_and_inner_axes_are_cut_alike() -> None:
    clip = torch.stack([ramp(20, 30)[0], ramp(20, 30)[0] + 100])[:, None].repeat(1, 3, 1, 1, 1)  # (2, 3, 2, 20, 30)
    boxes = torch.tensor([[0.0, 0, 8, 8], [4, 9, 12, 17]])
    for function in (ops.crop, ops.cut):
        out = function(clip, boxes, 8).float()
        assert out.shape == (2, 3, 2, 8, 8)
        assert out[0, :, 0, 0, 0].tolist() == [0] * 3 and out[1, :, 1, 0, 0].tolist() == [109] * 3


def test_shrinking_does_not_alias() -> None:
    fine = torch.zeros(1, 1, 64, 64)
    fine[..., ::2] = 255
    small = ops.crop(fine, torch.tensor([[0.0, 0, 64, 64]]), 16)
    assert (small[..., 1:-1, 1:-1] - 127.5).abs().max() < 1
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 6, 6) * 255, (96, 96), mode="bicubic")
    ours = ops.crop(smooth, torch.tensor([[0.0, 0, 96, 96]]), 24)
    theirs = reference.resize(smooth, [24, 24], antialias=True)
    assert (ours - theirs).abs()[..., 2:-2, 2:-2].mean() < 2


@pytest.mark.cuda
def test_crop_is_the_same_on_cuda() -> None:
    picture = torch.randint(0, 256, (4, 3, 40, 50), dtype=torch.uint8)
    boxes = ops.resized_boxes(sizes(*[(40, 50)] * 4), Draw(0, 0))
    assert torch.allclose(ops.crop(picture, boxes, 24), ops.crop(picture.cuda(), boxes, 24).cpu(), atol=1e-2)
