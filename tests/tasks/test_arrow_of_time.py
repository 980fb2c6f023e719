import torch

from sslkit.tasks import base
from sslkit.types import Batch, Draw

SMALL = {"trunk_settings": {"fields": 6, "chunks": 2, "side_px": 32, "width": 0.125, "dropout": 0.0}}


def falling(n: int, seed: int = 0, noise: float = 3.0) -> Batch:
    """Flow in which everything falls faster and faster; reversed, it rises more and more slowly.

    Field t of the forward clip is +4(t+1) down; the reversed clip plays -24, -20, ... -4.
    """
    generator = torch.Generator().manual_seed(seed)
    flow = torch.full((n, 2, 6, 2, 40, 50), 128.0)
    speed = 4.0 * torch.arange(1, 7)
    flow[:, 0, :, 1] += speed[:, None, None]
    flow[:, 1, :, 1] -= speed.flip(0)[:, None, None]
    flow += noise * torch.randn(flow.shape, generator=generator)
    return Batch(
        label=torch.full((n,), -1), index=torch.arange(n), start_s=torch.zeros(n, 2),
        size_px=torch.tensor([[40, 50]] * n), flow=flow.round().clamp(1, 255).to(torch.uint8),
    )  # fmt: skip


def test_the_answer_can_be_read_from_the_flow() -> None:
    task = base.build("aot", SMALL)
    for training in (True, False):
        views = task.train(training).views(falling(5), Draw(0, 0))
        assert views["x"].dtype == torch.uint8 and views["x"].shape == (10, 6, 2, 32, 32)
        down = views["x"][:, :, 1].float().mean((1, 2, 3)) > 128
        assert torch.equal(down.long(), views["target"])


def test_mirroring_negates_horizontal_flow_only() -> None:
    batch = falling(40, noise=0)
    batch.flow[:, :, :, 0, :, :25] = 150  # the left half goes right
    views = base.build("aot", SMALL).views(batch, Draw(0, 0))
    left, right = views["x"][:, 0, 0, :, :4].float().mean((1, 2)), views["x"][:, 0, 0, :, -4:].float().mean((1, 2))
    mirrored = right < 128
    assert 20 < mirrored.sum() < 60
    assert (left[~mirrored] == 150).all() and (right[mirrored] == 256 - 150).all()
    plain = base.build("aot", SMALL | {"flip": False}).views(batch, Draw(0, 0))
    assert (plain["x"][:, :, 0] >= 128).all()


def test_reads_both_directions_and_moving_windows_only_in_training() -> None:
    task = base.build("arrow_of_time", SMALL)
    assert task.reads().backward and task.reads().flow == 6 and task.reads().start == "moving"
    assert task.eval().reads().start == "spread"


def test_the_heat_map_is_the_evidence() -> None:
    task = base.build("aot", SMALL).eval()
    logit, heat = task.score(falling(3).flow[:, 0])
    assert torch.allclose(heat.mean((1, 2)), logit, atol=1e-5)
    assert task.score(falling(2).flow[:, 0, :, :, :36, :])[1].shape == (2, 2, 3)  # any size, not only the crop


def test_learns_that_things_fall_faster_and_faster() -> None:
    """Speeds rise or fall in both directions of gravity here, so only the change over time tells the arrow."""
    torch.manual_seed(0)

    def both_gravities(seed: int) -> Batch:
        batch = falling(8, seed)
        batch.flow[::2, :, :, 1] = 256 - batch.flow[::2, :, :, 1].clamp(min=1)
        return batch

    task = base.build("aot", SMALL)
    optimiser = torch.optim.Adam(task.parameters(), 2e-3)
    for step in range(25):
        answer = task(task.views(both_gravities(step), Draw(0, step)))
        optimiser.zero_grad()
        answer.loss.backward()
        optimiser.step()
    task.eval()
    views = task.views(both_gravities(99), Draw(0, 0))
    answer = task(views)
    assert answer.logs["accuracy"] > 85
    assert answer.sample.tolist() == [i for i in range(8) for _ in range(2)]
    panel = task.show(views, answer)[0]
    assert len(panel.pictures) == len(panel.captions) == 16 and panel.pictures[0].shape == (32, 64, 3)
