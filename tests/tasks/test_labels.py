import torch

from sslkit.tasks import base
from sslkit.types import Batch, Draw

PICTURES = {"trunk": "nin", "trunk_settings": {"side_px": 16, "width": 0.25}, "classes": ("red", "green", "blue")}
FLOW = {"trunk": "tcam", "trunk_settings": {"fields": 4, "side_px": 32, "width": 0.125}, "classes": ("a", "b")}


def coloured(n: int, seed: int = 0) -> Batch:
    label = torch.arange(n) % 3
    frames = torch.randint(0, 120, (n, 1, 1, 3, 24, 30), generator=torch.Generator().manual_seed(seed))
    frames[torch.arange(n), 0, 0, label] += 130
    return Batch(label, torch.arange(n), torch.zeros(n, 1), torch.tensor([[24, 30]] * n), frames.to(torch.uint8))


def test_learns_colours_and_names_them() -> None:
    torch.manual_seed(0)
    task = base.build("labels", PICTURES)
    optimiser = torch.optim.Adam(task.parameters(), 3e-3)
    for step in range(20):
        answer = task(task.views(coloured(12, step), Draw(0, step)))
        optimiser.zero_grad()
        answer.loss.backward()
        optimiser.step()
    task.eval()
    views = task.views(coloured(12, 99), Draw(0, 0))
    answer = task(views)
    assert answer.logs["accuracy"] > 90 and answer.scores.shape == (12, 3)
    assert task.show(views, answer)[0].captions[0] == "red, said red"


def test_several_windows_of_a_sample_keep_its_label() -> None:
    batch = Batch(
        torch.tensor([1, 0]), torch.arange(2), torch.zeros(2, 3), torch.tensor([[40, 40]] * 2),
        flow=torch.full((2, 3, 4, 2, 40, 40), 128, dtype=torch.uint8),
    )  # fmt: skip
    task = base.build("labels", FLOW)
    views = task.views(batch, Draw(0, 0))
    assert views["target"].tolist() == [1, 1, 1, 0, 0, 0] and views["x"].shape == (6, 4, 2, 32, 32)
    assert task(views).sample.tolist() == [0, 0, 0, 1, 1, 1]
    assert task.reads().flow == 4 and not task.reads().backward
    panel = task.show(views, task(views), samples=1)[0]
    assert len(panel.pictures) == 3 and panel.pictures[0].shape == (32, 32, 3) and panel.right != [None] * 3


def test_dropout_is_the_same_in_the_head_and_in_the_trunk() -> None:
    task = base.build("labels", {**FLOW, "dropout": 0.25})
    assert {layer.p for layer in task.modules() if isinstance(layer, torch.nn.Dropout)} == {0.25}
