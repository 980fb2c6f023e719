import torch

from sslkit.tasks import base
from sslkit.types import Batch, Draw

SMALL = {"trunk_settings": {"side_px": 64, "width": 0.25, "fc": 32}, "scale": (0.5, 1.0)}
CORNER = {(0, 0): "top left", (0, 1): "top right", (1, 1): "bottom right", (1, 0): "bottom left"}


def pictures(n: int, seed: int = 0) -> Batch:
    """Pictures 80 x 100 whose top is bright and whose bottom is dark, with noise."""
    noise = torch.randn(n, 1, 1, 3, 80, 100, generator=torch.Generator().manual_seed(seed)) * 20
    slope = torch.linspace(220, 30, 80)[:, None]
    return Batch(
        label=torch.full((n,), -1), index=torch.arange(n), start_s=torch.zeros(n, 1),
        size_px=torch.tensor([[80, 100]] * n), frames=(noise + slope).clamp(0, 255).to(torch.uint8),
    )  # fmt: skip


def test_the_answer_can_be_read_from_the_pixels() -> None:
    """A bright top goes left after a quarter turn counter-clockwise, down after two, right after three."""
    task = base.build("rotation", SMALL)
    for training in (True, False):
        views = task.train(training).views(pictures(6), Draw(0, 0))
        x = views["x"].mean(1)
        top, left, bottom, right = x[:, :8], x[:, :, :8], x[:, -8:], x[:, :, -8:]
        sides = torch.stack([side.mean((1, 2)) for side in (top, left, bottom, right)])
        assert torch.equal(sides.argmax(0), views["target"])
        assert views["target"].tolist() == [0, 1, 2, 3] * 6


def test_pictures_are_mirrored_before_they_are_turned() -> None:
    """Left-right cue: mirroring must move it in the upright copy and, equally, along the turned axis in the others."""
    batch = pictures(64)
    batch.frames = torch.where(torch.arange(100) < 50, 220, 30).to(torch.uint8).expand(64, 1, 1, 3, 80, 100)
    task = base.build("rotation", SMALL)
    x = task.views(batch, Draw(3, 0))["x"].reshape(64, 4, 3, 64, 64).mean(2)
    mirrored = x[:, 0, :, :4].mean((1, 2)) < x[:, 0, :, -4:].mean((1, 2))
    assert 10 < mirrored.sum() < 54
    for k in range(4):
        assert torch.equal(x[:, k], torch.rot90(x[:, 0], k, (-2, -1)))  # exact: no resampling per turn


def test_padding_is_never_shown() -> None:
    batch = pictures(8)
    padded = torch.zeros(8, 1, 1, 3, 120, 150, dtype=torch.uint8)
    padded[..., :80, :100] = batch.frames
    batch.frames = padded
    x = base.build("rotation", SMALL).views(batch, Draw(0, 0))["x"]
    assert x.min() > 0.5 or (x < 0.5).float().mean() < 0.01  # the noise reaches 0 now and then; padding would be large


def test_learns_the_turns_of_upright_pictures() -> None:
    torch.manual_seed(0)
    task = base.build("rotation", SMALL)
    optimiser = torch.optim.Adam(task.parameters(), 2e-3)
    for step in range(15):
        answer = task(task.views(pictures(8, step), Draw(0, step)))
        optimiser.zero_grad()
        answer.loss.backward()
        optimiser.step()
    answer = task.eval()(task.views(pictures(16, 99), Draw(0, 0)))
    assert answer.logs["accuracy"] > 80
    panel = task.show(task.views(pictures(4), Draw(0, 0)), task(task.views(pictures(4), Draw(0, 0))))[0]
    assert len(panel.pictures) == len(panel.captions) == len(panel.right) == 16
