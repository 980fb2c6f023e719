"""The networks of an audit: one that is shown a cue and nothing else, and the task with its questions posed anew."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslkit.tasks.base import Cheat, Look, Task, Views
from sslkit.types import Answer, Batch, Draw, Panel, Reads

_WIDTH = 64
_SHOWN = 16


class Posed(Task):
    """A task whose questions are made by another look."""

    def __init__(self, task: Task, look: Look) -> None:
        super().__init__()
        self.task, self.look = task, look
        self.trunks, self.classes = task.trunks, task.classes

    def reads(self) -> Reads:
        """What the task reads."""
        return self.task.reads()

    def views(self, batch: Batch, draw: Draw) -> Views:
        """The questions of the look."""
        return self.look(batch, draw)

    def forward(self, views: Views) -> Answer:
        """The answer of the task."""
        self.task.gather = self.gather
        answer: Answer = self.task(views)
        return answer

    def after_step(self) -> None:
        """As the task does."""
        self.task.after_step()

    def show(self, views: Views, answer: Answer | None = None, samples: int = 8) -> list[Panel]:
        """As the task shows it."""
        return self.task.show(views, answer, samples)


class Cheater(Task):
    """A small network that is shown the cue of a shortcut, and nothing else of what the task would be shown."""

    def __init__(self, task: Task, look: Look, cheat: Cheat, example: Tensor) -> None:
        super().__init__()
        self.task, self.look, self.cheat = task.requires_grad_(False), look, cheat
        self.trunks, self.classes = {}, task.classes
        self.network = _network(example, len(task.classes))

    def reads(self) -> Reads:
        """What the task reads."""
        return self.task.reads()

    @torch.no_grad()
    def views(self, batch: Batch, draw: Draw) -> Views:
        """x: the cue alone; target -1 where there is none."""
        return self.cheat.alone(batch, draw, self.look)

    def forward(self, views: Views) -> Answer:
        """Classes from the cue."""
        scores: Tensor = self.network(views["x"].float())
        target = views["target"]
        asked = (target >= 0).sum().clamp(min=1)
        loss = F.cross_entropy(scores, target, ignore_index=-1, reduction="sum") / asked
        accuracy = (scores.argmax(1) == target).sum() / asked * 100
        return Answer(loss, {"accuracy": accuracy.detach()}, scores.detach(), target, views["sample"])

    def show(self, views: Views, answer: Answer | None = None, samples: int = _SHOWN) -> list[Panel]:
        """The cues, drawn, with what was said about them."""
        assert answer is not None and answer.scores is not None and answer.target is not None
        known = (answer.target >= 0).nonzero()[:samples, 0]
        pictures = list(self.cheat.drawn(views["x"][known]).cpu().numpy()) if len(known) else []
        said, true = answer.scores[known].argmax(1).tolist(), answer.target[known].tolist()
        captions = [f"{self.classes[t]}, said {self.classes[s]}" for t, s in zip(true, said, strict=True)]
        right: list[bool | None] = [t == s for t, s in zip(true, said, strict=True)]
        return [Panel("What the cheater is shown", pictures, captions, right)]


def _network(example: Tensor, classes: int) -> nn.Sequential:
    """Two convolutions on a cue of shape (N, C, H, W), one hidden layer on any other."""
    if example.dim() == 4:
        channels = example.shape[1]
        layers: list[nn.Module] = [nn.BatchNorm2d(channels, affine=False)]
        for inputs in (channels, _WIDTH):
            layers += [nn.Conv2d(inputs, _WIDTH, 3, 2, 1), nn.ReLU(), nn.BatchNorm2d(_WIDTH)]
        layers += [nn.AdaptiveAvgPool2d(4), nn.Flatten()]
        inputs = 16 * _WIDTH
    else:
        inputs = example.shape[1:].numel()  # of an example in which nothing is asked there is no row
        layers = [nn.Flatten(), nn.BatchNorm1d(inputs, affine=False), nn.Linear(inputs, _WIDTH), nn.ReLU()]
        layers += [nn.BatchNorm1d(_WIDTH)]
        inputs = _WIDTH
    return nn.Sequential(*layers, nn.Dropout(0.2), nn.Linear(inputs, classes))
