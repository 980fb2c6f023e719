"""Cues cut out of made-up flow and pictures, whose motion, bars and turns are known."""

import pytest
import torch

from sslkit.ops import cues
from sslkit.ops.flow import pack

SIZE = torch.tensor([[48, 64], [40, 56]])


def field(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return pack(torch.stack([u, v]), 20.0)


def centred(size: tuple[int, int], canvas: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """y and x of every place of a canvas, from -1 to 1 over the short side of the picture in its corner."""
    y, x = torch.meshgrid(*(torch.arange(side).float() for side in canvas), indexing="ij")
    half = min(size) / 2
    return (y - (size[0] - 1) / 2) / half, (x - (size[1] - 1) / 2) / half


def test_bars_give_their_own_motion_and_nothing_of_the_picture() -> None:
    flow = torch.randint(1, 256, (2, 3, 2, 48, 64), dtype=torch.uint8)
    flow[0, :, 0, :4] = 128 + 16
    flow[0, :, 1, :4] = 128 - 8
    flow[0, :, :, 44:] = 128
    found, there = cues.bar_motion(flow, SIZE, torch.tensor([[12, 12, 0, 0], [8, 0, 0, 0]]))
    assert there.tolist() == [True, False]  # the second bar is all too near to the picture
    torch.testing.assert_close(found[0, :, 0], torch.tensor([1.0, -0.5, 1.0, 0.5]).expand(3, 4))
    assert not found[0, :, 1:].any() and not found[1].any()


def test_bars_end_where_the_picture_ends_not_where_its_canvas_does() -> None:
    flow = torch.full((2, 1, 2, 48, 64), 128, dtype=torch.uint8)
    flow[1, :, 0, :40, 44:56] = 128 + 32
    found, there = cues.bar_motion(flow, SIZE, torch.tensor([[0, 0, 0, 0], [0, 0, 0, 18]]))
    assert there.tolist() == [False, True] and found[1, 0, 3].tolist() == [2.0, 0, 2.0, 0]


@pytest.mark.parametrize("number", range(8))
def test_camera_motion_is_found_though_something_else_moves(number: int) -> None:
    wanted = torch.zeros(8)
    wanted[number] = 0.8
    flows = []
    for height, width in SIZE.tolist():
        y, x = centred((height, width), (48, 64))
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        u = torch.stack([one, x, y, zero, zero, zero, x * x, x * y])
        v = torch.stack([zero, zero, zero, one, x, y, x * y, y * y])
        units = torch.stack([torch.einsum("k,khw->hw", wanted, basis) for basis in (u, v)]) * 16 + 128
        units = units.round().clamp(1, 255)
        units[:, 10:24, 8:30] += 40  # a thing on its way
        units[:, height:] = units[..., width:] = 128
        flows.append(units.clamp(1, 255).to(torch.uint8))
    found = cues.camera_motion(torch.stack(flows)[:, None], SIZE)
    assert (found[:, 0] - wanted).abs().max() < 0.03


def test_a_still_camera_has_no_motion_and_fields_can_be_drawn_again() -> None:
    still = torch.full((2, 2, 2, 48, 64), 128, dtype=torch.uint8)
    still[:, :, :, 5:20, 5:20] = 200
    assert cues.camera_motion(still, SIZE).abs().max() < 0.01
    motion = torch.tensor([[0.5, 0.2, 0, -0.3, 0, 0.2, 0, 0]])
    drawn = cues.camera_field(motion, 32)
    assert drawn.shape == (1, 2, 32, 32)
    again = cues.camera_motion(drawn[:, None], torch.tensor([[32, 32]]))
    torch.testing.assert_close(again[:, 0], motion, atol=0.05, rtol=0)


def test_a_turned_field_is_the_field_of_the_turned_picture() -> None:
    x = torch.arange(16.0)
    right = field(x.expand(16, 16) / 4, torch.zeros(16, 16))  # to the right, faster on the right
    up = field(torch.zeros(16, 16), -x.flip(0)[:, None].expand(16, 16) / 4)  # upwards, faster at the top
    found = cues.turned_field(right.expand(4, 2, 16, 16), torch.arange(4))
    assert torch.equal(found[0], right) and torch.equal(found[1], up)
    assert torch.equal(found[2], cues.turned_field(found[1:2], torch.tensor([1]))[0])
    assert torch.equal(cues.turned_field(found[3:], torch.tensor([1]))[0], right)


def test_corners_and_turns() -> None:
    picture = torch.arange(36.0).reshape(1, 1, 6, 6)
    assert cues.corners(picture, 1).flatten().tolist() == [0, 5, 30, 35]
    assert cues.corners(picture, 2).shape == (1, 1, 4, 4)
    turned = cues.turned_each(picture.expand(4, 1, 6, 6), torch.arange(4))
    assert all(torch.equal(turned[k], torch.rot90(picture[0], k, (-2, -1))) for k in range(4))


def test_pictures_turned_within_their_frame_get_bars_where_they_are_not_square() -> None:
    pictures = torch.zeros(2, 3, 48, 64, dtype=torch.uint8)
    pictures[0] = 200
    pictures[1, :, :40, :40] = torch.arange(40, dtype=torch.uint8)
    found = cues.turned_within(pictures, torch.tensor([[48, 64], [40, 40]]), 90.0)
    assert (found[0, 0] > 190).sum(1).tolist() == [48] * 48 and not found[0, :, :, :8].any()
    assert torch.equal(found[1, 0, :40, :40], torch.rot90(pictures[1, 0, :40, :40])) and not found[1, :, 40:].any()


def test_tiles_are_put_where_they_are_said_to_go_and_turned() -> None:
    picture = torch.rand(2, 3, 8, 8)
    same = cues.tiled(picture, 4, torch.arange(4), torch.zeros(2, 4, dtype=torch.int64))
    assert torch.equal(same, picture)
    moved = cues.tiled(picture, 4, torch.tensor([3, 0, 1, 2]), torch.tensor([[0, 1, 2, 3]] * 2))
    assert torch.equal(moved[:, :, :4, :4], picture[:, :, 4:, 4:])
    assert torch.equal(moved[:, :, :4, 4:], torch.rot90(picture[:, :, :4, :4], 1, (-2, -1)))
    assert torch.equal(moved[:, :, 4:, :4], torch.rot90(picture[:, :, :4, 4:], 2, (-2, -1)))
