"""Fields and maps as colours."""

import torch

from sslkit.ops.colour import flow_to_rgb, heat_to_rgb, moving_field


def field(u: float, v: float, side: int = 10) -> torch.Tensor:
    return torch.tensor([128 + u, 128 + v])[:, None, None].expand(2, side, side).to(torch.uint8)


def test_hue_is_direction_and_strength_is_distance() -> None:
    right, still = flow_to_rgb(field(40, 0), 40)[0, 0].tolist(), flow_to_rgb(field(0, 0), 40)[0, 0].tolist()
    assert right == [255, 0, 0] and still == [255, 255, 255]
    assert flow_to_rgb(field(20, 0), 40)[0, 0].tolist() == [255, 128, 128]
    left = flow_to_rgb(field(-40, 0), 40)[0, 0].tolist()
    assert left == [0, 255, 255] and flow_to_rgb(field(120, 0), 40)[0, 0].tolist() == right


def test_each_field_has_its_own_scale_but_noise_stays_pale() -> None:
    both = flow_to_rgb(torch.stack([field(100, 0), field(16, 0), field(1, 0)]))
    assert both.shape == (3, 10, 10, 3) and both[0, 0, 0].tolist() == both[1, 0, 0].tolist() == [255, 0, 0]
    assert min(both[2, 0, 0].tolist()) > 200


def test_the_most_lively_field_of_each_window() -> None:
    windows = torch.stack([torch.stack([field(0, 0), field(9, 0)]), torch.stack([field(0, -30), field(9, 0)])])
    assert torch.equal(moving_field(windows), torch.stack([field(9, 0), field(0, -30)]))


def test_heat_is_red_for_and_blue_against() -> None:
    red, grey, blue = heat_to_rgb(torch.tensor([[2.0, 0.0, -1.0]]))[0].tolist()
    assert red[0] > 200 > red[2] and blue[2] > 200 > blue[0] and len(set(grey)) == 1
