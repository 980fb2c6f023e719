"""SyncNet's released networks against the table of their layers, and their front end against the published one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sslkit.errors import UserError
from sslkit.models import syncnet
from sslkit.models.lips import HOP, WINDOW
from sslkit.models.syncnet import SyncNetSight, SyncNetSound

GOLDEN = Path(__file__).parents[1] / "golden" / "mfcc.npz"
# (index in the sequence, outputs, inputs, kernel): the layers with weights, each followed by its normalisation.
SOUND = [(0, 64, 1, (3, 3)), (4, 192, 64, (3, 3)), (8, 384, 192, (3, 3)), (11, 256, 384, (3, 3)),
         (14, 256, 256, (3, 3)), (18, 512, 256, (5, 4))]  # fmt: skip
SIGHT = [(0, 96, 3, (5, 7, 7)), (4, 256, 96, (1, 5, 5)), (8, 256, 256, (1, 3, 3)), (11, 256, 256, (1, 3, 3)),
         (14, 256, 256, (1, 3, 3)), (18, 512, 256, (1, 6, 6))]  # fmt: skip


def released(seed: int = 0, counters: bool = True) -> dict[str, torch.Tensor]:
    """A random state dict in the released layout, whose normalisation has statistics of its own."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return scale * torch.randn(*shape, generator=generator)

    state: dict[str, torch.Tensor] = {}

    def weights(name: str, outputs: int, *rest: int) -> None:
        state[f"{name}.weight"] = drawn(outputs, *rest, scale=(2 / np.prod(rest)) ** 0.5)
        state[f"{name}.bias"] = drawn(outputs, scale=0.1)

    def norm(name: str, outputs: int) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = 1 + drawn(outputs, scale=0.1), drawn(outputs, scale=0.1)
        state[f"{name}.running_mean"] = drawn(outputs, scale=0.1)
        state[f"{name}.running_var"] = 1 + 0.5 * torch.rand(outputs, generator=generator)
        if counters:
            state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    for side, table in (("aud", SOUND), ("lip", SIGHT)):
        for index, outputs, inputs, kernel in table:
            weights(f"netcnn{side}.{index}", outputs, inputs, *kernel)
            norm(f"netcnn{side}.{index + 1}", outputs)
        weights(f"netfc{side}.0", 512, 512)
        norm(f"netfc{side}.1", 512)
        weights(f"netfc{side}.3", 1024, 512)
    # As of pictures up to 255 and of loudness in MFCC.
    state["netcnnlip.1.running_var"] *= 1e4
    state["netcnnaud.1.running_var"] *= 100
    return state


Forward = Callable[[torch.Tensor], torch.Tensor]


def literal(state: dict[str, torch.Tensor], side: str) -> Forward:
    """One window through the layers, written down one by one; (1, 3, 5, 224, 224) or (1, 1, 13, 20) to (1, 1024)."""

    def block(x: torch.Tensor, index: int, **options: object) -> torch.Tensor:
        name = f"netcnn{side}"
        convolve = F.conv2d if side == "aud" else F.conv3d
        x = convolve(x, state[f"{name}.{index}.weight"], state[f"{name}.{index}.bias"], **options)
        return normal(x, f"{name}.{index + 1}").clamp(min=0)

    def normal(x: torch.Tensor, name: str) -> torch.Tensor:
        shape = (1, -1, *[1] * (x.dim() - 2))
        mean, variance, gain, shift = (
            state[f"{name}.{one}"].reshape(shape) for one in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + 1e-5).sqrt() * gain + shift

    def ends(x: torch.Tensor) -> torch.Tensor:
        name = f"netfc{side}"
        x = x.flatten(1) @ state[f"{name}.0.weight"].T + state[f"{name}.0.bias"]
        x = normal(x, f"{name}.1").clamp(min=0)
        return x @ state[f"{name}.3.weight"].T + state[f"{name}.3.bias"]

    def sound(x: torch.Tensor) -> torch.Tensor:
        x = block(x, 0, padding=1)
        x = F.max_pool2d(block(x, 4, padding=1), (3, 3), (1, 2))
        assert x.shape[1:] == (192, 11, 9)
        for index in (8, 11, 14):
            x = block(x, index, padding=1)
        x = block(F.max_pool2d(x, 3, 2), 18)
        assert x.shape[1:] == (512, 1, 1)
        return ends(x)

    def sight(x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool3d(block(x, 0, stride=(1, 2, 2)), (1, 3, 3), (1, 2, 2))
        assert x.shape[1:] == (96, 1, 54, 54)
        x = block(x, 4, stride=(1, 2, 2), padding=(0, 1, 1))
        x = F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
        for index in (8, 11, 14):
            x = block(x, index, padding=(0, 1, 1))
        assert x.shape[1:] == (256, 1, 13, 13)
        x = block(F.max_pool3d(x, (1, 3, 3), (1, 2, 2)), 18)
        assert x.shape[1:] == (512, 1, 1, 1)
        return ends(x)

    return sound if side == "aud" else sight


def networks(state: dict[str, torch.Tensor], late_samples: int = 0) -> tuple[SyncNetSight, SyncNetSound]:
    sight, sound = SyncNetSight(), SyncNetSound(late_samples=late_samples)
    syncnet.fill(sight, sound, state, Path("x.model"))
    return sight.eval(), sound.eval()


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return released()


@torch.no_grad()
def test_every_window_of_a_clip_gives_what_the_layers_give_for_it_alone(state: dict[str, torch.Tensor]) -> None:
    sight, sound = networks(state)
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (1, 7, 3, 224, 224), dtype=torch.uint8, generator=generator)
    seen, see = sight.dense(frames), literal(state, "lip")
    assert seen.shape == (1, 3, 1024)
    for window in range(3):
        alone = frames[:, window : window + 5].float()[:, :, [2, 1, 0]].permute(0, 2, 1, 3, 4)  # blue first
        torch.testing.assert_close(seen[:, window], see(alone), rtol=1e-3, atol=1e-3)
    samples = torch.randint(-9000, 9000, (2, 3 * HOP + WINDOW), dtype=torch.int16, generator=generator)
    heard, hear, columns = sound.dense(samples), literal(state, "aud"), sound.heard(samples)
    assert heard.shape == (2, 4, 1024) and columns.shape == (2, 4, 13, 20)
    for window in range(4):
        torch.testing.assert_close(heard[1:, window], hear(columns[1:, window][:, None]), rtol=1e-3, atol=1e-3)
    assert float(seen.std(1).mean()) > 0.01 and float(heard.std(1).mean()) > 0.01


@torch.no_grad()
def test_pieces_of_a_long_clip_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    sight, sound = SyncNetSight(16, 8).eval(), SyncNetSound(16, 8).eval()
    frames, samples = torch.rand(2, 11, 3, 224, 224) * 255, 1000 * torch.randn(2, 6 * HOP + WINDOW)
    whole = sight(frames), sound(samples), sight.dense(frames), sound.dense(samples)
    monkeypatch.setattr(syncnet, "_SEEN_AT_ONCE", 3)
    monkeypatch.setattr(syncnet, "_HEARD_AT_ONCE", 2)
    pieces = sight(frames), sound(samples), sight.dense(frames), sound.dense(samples)
    torch.testing.assert_close(pieces, whole)
    for trunk, maps in ((sight, whole[0]), (sound, whole[1])):
        assert {name: value.shape[1] for name, value in maps.items()} == trunk.widths
        assert trunk.vector(maps).shape == (2, 8)
    assert whole[0]["conv5"].shape == (2, 16, 7 * 13, 13)


@pytest.mark.cuda
@torch.no_grad()
def test_a_gpu_gives_the_same(state: dict[str, torch.Tensor]) -> None:
    frames, samples = torch.rand(1, 6, 3, 224, 224) * 255, 1000 * torch.randn(1, HOP + WINDOW)
    for network, raw in zip(networks(state), (frames, samples), strict=True):
        here = network.dense(raw)
        torch.testing.assert_close(network.cuda().dense(raw.cuda()).cpu(), here, rtol=1e-2, atol=1e-2)


def test_each_window_hears_the_mfcc_of_its_time() -> None:
    """The golden columns are those of python_speech_features for the whole sound; four of them to a picture."""
    samples = torch.from_numpy(np.load(GOLDEN)["samples"])
    columns = torch.from_numpy(np.load(GOLDEN)["default"])
    for late in (0, syncnet.LATE_SAMPLES):
        sound = torch.cat([torch.zeros(late, dtype=torch.int16), samples])[None]
        heard = SyncNetSound(16, 8, late_samples=late).heard(sound)
        assert heard.shape[1] == (len(samples) + late - WINDOW) // HOP + 1
        for window in range(heard.shape[1] - (1 if late else 0)):  # the last one ends in zeros
            expected = columns[4 * window : 4 * window + 20].T
            assert (heard[0, window] - expected).abs().max() < 1e-3


def test_files_of_before_the_counters_load_and_wrong_ones_say_which_weight(state: dict[str, torch.Tensor]) -> None:
    networks(released(counters=False))
    sight, sound = SyncNetSight(), SyncNetSound()
    partial = {name: value for name, value in state.items() if name != "netcnnlip.8.bias"}
    with pytest.raises(UserError, match=r"x\.model does not .* SyncNet: netcnnlip\.8\.bias is missing; give a whole"):
        syncnet.fill(sight, sound, partial, Path("x.model"))
    misshapen = state | {"netfcaud.3.weight": torch.zeros(256, 512)}
    with pytest.raises(UserError, match=r"netfcaud\.3\.weight is 256 x 512 and not 1024 x 512"):
        syncnet.fill(sight, sound, misshapen, Path("x.model"))
