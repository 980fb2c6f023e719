"""Optical flow against known motion and an independent implementation, and its 8-bit form."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage

from sslkit.errors import UserError
from sslkit.ops import flow

HEIGHT, WIDTH = 96, 128


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth noise of two sizes, float32, 0..255."""
    noise = np.random.default_rng(seed)
    fine, coarse = (
        cv2.GaussianBlur(noise.standard_normal((height, width)).astype(np.float32), (0, 0), sigma) for sigma in (2.5, 8)
    )
    return np.asarray(np.clip(128 + 40 * (fine / fine.std() + coarse / coarse.std()), 0, 255), np.float32)


def motion(kind: str) -> np.ndarray:
    """A known field (2, H, W) in pixels."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    x, y = x - (WIDTH - 1) / 2, y - (HEIGHT - 1) / 2
    angle = np.deg2rad(4)
    known = {
        "small shift": (np.full_like(x, 1.7), np.full_like(x, -0.6)),
        "large shift": (np.full_like(x, 9.3), np.full_like(x, 5.2)),
        "rotation": (
            (np.cos(angle) - 1) * x - np.sin(angle) * y,
            np.sin(angle) * x + (np.cos(angle) - 1) * y,
        ),
        "zoom": (0.05 * x, 0.05 * y),
    }
    return np.stack(known[kind]).astype(np.float32)


def moved(field: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two pictures between which everything moves by `field`: first(p) = second(p + field(p))."""
    big = texture(HEIGHT + 60, WIDTH + 60, seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    first = cv2.remap(big, x + field[0] + 30, y + field[1] + 30, cv2.INTER_CUBIC)
    return np.clip(first, 0, 255), big[30:-30, 30:-30].copy()


def batch(*pictures: np.ndarray) -> torch.Tensor:
    """Pictures as one (B, 1, H, W) tensor."""
    return torch.from_numpy(np.stack(pictures))[:, None]


def end_point_error(found: np.ndarray | torch.Tensor, field: np.ndarray) -> float:
    """Mean distance of two fields in pixels, over the points that stay 10 pixels inside the picture."""
    height, width = field.shape[1:]
    y, x = np.mgrid[:height, :width] + field[::-1]
    seen = (x >= 10) & (x < width - 10) & (y >= 10) & (y < height - 10)
    return float(np.hypot(*(np.asarray(found) - field))[seen].mean())


@pytest.mark.parametrize("kind", ["small shift", "large shift", "rotation", "zoom"])
def test_tvl1_finds_known_motion(kind: str) -> None:
    field = motion(kind)
    first, second = moved(field)
    found = flow.tvl1(batch(first), batch(second))
    assert found.shape == (1, 2, HEIGHT, WIDTH) and found.dtype == torch.float32
    assert end_point_error(found[0], field) < 0.1


@pytest.mark.parametrize("kind", ["small shift", "large shift", "rotation", "zoom"])
def test_dis_finds_known_motion(kind: str) -> None:
    field = motion(kind)
    first, second = (picture.astype(np.uint8) for picture in moved(field))
    found = flow.dis(first, second)
    assert found.shape == (2, HEIGHT, WIDTH) and found.dtype == np.float32
    assert end_point_error(found, field) < 0.3


def test_samples_of_a_batch_do_not_mix() -> None:
    pairs = [moved(motion(kind), seed) for seed, kind in enumerate(("small shift", "zoom", "rotation"))]
    first, second = batch(*(one for one, _ in pairs)), batch(*(two for _, two in pairs))
    together = flow.tvl1(first, second, iterations=5)
    for index in range(3):
        alone = flow.tvl1(first[index : index + 1], second[index : index + 1], iterations=5)
        assert torch.allclose(together[index], alone[0], atol=1e-3)


def test_no_motion_is_no_flow() -> None:
    picture = batch(texture(50, 71))
    assert flow.tvl1(picture, picture).abs().max() < 1e-3
    assert flow.tvl1(torch.full((1, 1, 20, 30), 7.0), torch.full((1, 1, 20, 30), 7.0)).abs().max() == 0


def test_edges_of_motion_stay_sharp_and_the_rest_still() -> None:
    background, patch = texture(96, 128), texture(40, 40, 1)
    first, second = background.copy(), background.copy()
    first[30:70, 40:80], second[30:70, 44:84] = patch, patch
    found = flow.tvl1(batch(first), batch(second))[0].numpy()
    assert np.abs(found[0, 36:64, 46:74] - 4).mean() < 0.15
    assert np.abs(found[:, :20]).max() < 0.2


def test_median_filter_is_a_median() -> None:
    field = torch.randn(2, 2, 9, 11)
    squares = torch.nn.functional.pad(field, (1, 1, 1, 1), mode="replicate").unfold(2, 3, 1).unfold(3, 3, 1)
    assert torch.equal(flow._median(field), squares.reshape(2, 2, 9, 11, 9).median(dim=-1).values)


def test_divergence_is_minus_the_adjoint_of_the_gradient() -> None:
    values, x, y = (torch.randn(1, 2, 7, 9, dtype=torch.float64) for _ in range(3))
    x[..., -1], y[..., -1, :] = 0, 0
    across, down = flow._forward_gradient(values)
    assert torch.isclose((across * x + down * y).sum(), -(values * flow._divergence(x, y)).sum())


@pytest.mark.realdata
def test_tvl1_agrees_with_scikit_image_on_real_frames(media_root) -> None:  # type: ignore[no-untyped-def]
    registration = pytest.importorskip("skimage.registration")
    path = media_root / "video" / "scenes" / "co-tracker_bear.mp4"
    capture = cv2.VideoCapture(str(path))
    first, second = (
        cv2.resize(cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2GRAY), (228, 128), interpolation=cv2.INTER_AREA)
        for _ in range(2)
    )
    theirs = registration.optical_flow_tvl1(first / 255.0, second / 255.0)[::-1]
    ours = flow.tvl1(batch(first), batch(second))[0].numpy()
    size = float(np.hypot(*theirs).mean())
    assert size > 0.3, "the pair must move for the comparison to mean something"
    assert end_point_error(ours, theirs) < 0.2
    assert end_point_error(flow.dis(first, second), theirs) < 0.2


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_packing_known_values_and_round_trip(make) -> None:  # type: ignore[no-untyped-def]
    values = make(np.array([-30.0, -20.0, -0.05, 0.0, 0.1, 10.0, 20.0, 99.0], np.float32))
    packed = flow.pack(values, 20.0)
    assert str(packed.dtype).endswith("uint8") and type(packed) is type(values)
    assert packed.tolist() == [1, 1, 128, 128, 129, 192, 255, 255]
    steps = make(np.arange(1, 256, dtype=np.uint8))
    assert flow.unpack(steps, 8.0)[127] == 0
    assert flow.pack(flow.unpack(steps, 8.0), 8.0).tolist() == steps.tolist()
    inside = make(np.linspace(-20, 20, 1001, dtype=np.float32))
    assert float(abs(flow.unpack(flow.pack(inside, 20.0), 20.0) - inside).max()) <= 20 / 254 + 1e-5


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_mirroring_negates_the_horizontal(make) -> None:  # type: ignore[no-untyped-def]
    packed = np.random.default_rng(0).integers(1, 256, (3, 2, 5, 7), dtype=np.uint8)
    before = packed.copy()
    flipped = np.asarray(flow.flip_horizontal(make(packed)))
    assert np.array_equal(flipped[:, 0], 256 - before[:, 0, :, ::-1].astype(int))
    assert np.array_equal(flipped[:, 1], before[:, 1, :, ::-1])
    assert flipped.min() >= 1 and np.array_equal(packed, before)
    assert np.array_equal(np.asarray(flow.flip_horizontal(flow.flip_horizontal(make(packed)))), before)
    pixels = flow.unpack(make(packed), 20.0)
    assert np.allclose(np.asarray(flow.flip_horizontal(pixels)), np.asarray(flow.unpack(make(flipped), 20.0)))


def test_mirroring_the_pictures_mirrors_the_flow() -> None:
    first, second = moved(motion("rotation"))
    straight = flow.tvl1(batch(first), batch(second))
    mirrored = flow.tvl1(batch(first[:, ::-1].copy()), batch(second[:, ::-1].copy()))
    assert (flow.flip_horizontal(straight) - mirrored).abs().mean() < 0.02


@pytest.mark.parametrize("method", ["tvl1", "dis"])
def test_fields_of_a_clip_both_ways(method: flow.Method) -> None:
    # The picture slides right by 1, 2 and 3 pixels.
    big = texture(64, 140)
    gray = [big[:, 40 - shift : 120 - shift] for shift in (0, 1, 3, 6)]
    clip = np.stack([np.repeat(picture[..., None], 3, axis=2) for picture in gray]).astype(np.uint8)
    forwards, backwards = flow.fields(clip, method, bound=10.0, backward=True)
    assert backwards is not None
    assert forwards.shape == backwards.shape == (3, 2, 64, 80) and forwards.dtype == backwards.dtype == np.uint8
    along = flow.unpack(forwards, 10.0)[:, 0, 8:-8, 12:-12].mean(axis=(1, 2))
    against = flow.unpack(backwards, 10.0)[:, 0, 8:-8, 12:-12].mean(axis=(1, 2))
    assert np.allclose(along, [1, 2, 3], atol=0.15) and np.allclose(against, [-1, -2, -3], atol=0.15)
    reversed_forwards, none = flow.fields(clip[::-1].copy(), method, bound=10.0)
    assert none is None and np.array_equal(backwards, reversed_forwards[::-1])


def test_too_short_and_unknown() -> None:
    clip = np.zeros((1, 20, 30, 3), np.uint8)
    assert flow.fields(clip, "tvl1")[0].shape == flow.fields(clip, "dis")[0].shape == (0, 2, 20, 30)
    with pytest.raises(UserError, match="tvl1 or dis"):
        flow.fields(np.zeros((2, 20, 30, 3), np.uint8), "farneback")  # type: ignore[arg-type]


@pytest.mark.cuda
def test_cuda_gives_the_flow_of_the_cpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("NO CUDA DEVICE: flow on a GPU was not checked")
    first, second = (batch(picture) for picture in moved(motion("rotation")))
    there = flow.tvl1(first.cuda(), second.cuda()).cpu()
    assert (there - flow.tvl1(first, second)).norm(dim=1).mean() < 0.02


def test_local_flow_of_a_slide() -> None:
    # The picture slides by half a pixel a frame: to the right, then down.
    big = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(60, 60)), 3.0) * 400 + 120
    steps = [(0.0, 0.0), (0.0, 0.5), (0.5, 0.5)]
    clip = np.stack([ndimage.shift(big, step, mode="nearest")[10:42, 10:42] for step in steps])
    found = flow.local_flow(torch.from_numpy(clip).float()[None])
    assert found.shape == (1, 2, 2, 16, 16)
    mean = found[..., 3:-3, 3:-3].mean((3, 4))[0]
    assert torch.allclose(mean, torch.tensor([[0.5, 0.0], [0.0, 0.5]]), atol=0.1)
    assert torch.equal(flow.local_flow(torch.full((1, 3, 32, 32), 7.0)), torch.zeros(1, 2, 2, 16, 16))


def test_local_flow_keeps_its_digits_within_mixed_precision() -> None:
    clip = torch.from_numpy(np.stack([texture(32, 32, seed) for seed in range(3)]))[None].float()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = flow.local_flow(clip)
    assert torch.equal(mixed, flow.local_flow(clip))
