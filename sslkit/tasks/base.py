"""What a pretext task is: what is cut from raw media, what is asked, and what answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from sslkit import catalog
from sslkit.models.trunk import Trunk
from sslkit.types import Answer, Batch, Draw, Panel, Reads

Views = dict[str, Tensor]


class TaskSettings(BaseModel):
    """Base of every task's `settings:` block: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Look = Callable[[Batch, Draw], Views]
"""A way to make questions of a batch: the `views` of a task, or what they would be without some control."""


Sweep = Callable[[Reads, int], Iterator[Batch]]
"""Some training samples, at most so many, each once and spread evenly over the data: raw batches on the device."""


@dataclass(frozen=True)
class Cheat:
    """How `sslkit audit` measures a shortcut: on a cheater that sees the cue alone, and on the task itself.

    alone: (batch, draw, look) to the questions of `look` with nothing but the cue in `x`, target -1 where a sample has
        no cue. A shape (N, C, H, W) is seen by convolutions, (N, ...) as a vector.
    drawn: such an `x` as pictures (N, H, W, 3) uint8.
    off, on: (task, batch, draw) to the task's views without the control and with it; None: `Task.views`.
    prepared: settings of prepare-data each of which is the control, where it is one: data prepared with all of them off
        are then compared with the same data prepared with one on.
    toybox: settings with which the toybox holds the cue.
    contradicts: the shortcut gives nothing away but makes answers contradict each other: without the control even a
        cheater that sees a sure mark is often wrong.
    """

    alone: Callable[[Batch, Draw, Look], Views]
    drawn: Callable[[Tensor], Tensor]
    off: Callable[[Any, Batch, Draw], Views] | None = None
    on: Callable[[Any, Batch, Draw], Views] | None = None
    prepared: tuple[str, ...] = ()
    toybox: Mapping[str, Any] = field(default_factory=dict)
    contradicts: bool = False


@dataclass(frozen=True)
class Shortcut:
    """A known way to cheat at a task, and what closes it.

    name: short. cue: the signal that gives the answer away. control: the setting or preparation step that removes it.
    source: who found it, or where it can be seen. cheat: how it is measured, or a sentence on why it is not.
    published: the paper's accuracy in percent by (trained on, tested on), "original" or "cleaned", if it has any.
    """

    name: str
    cue: str
    control: str
    source: str
    cheat: Cheat | str
    published: Mapping[tuple[str, str], float] = field(default_factory=dict)


def _here(tensor: Tensor) -> Tensor:
    return tensor


_LEAST_ASKED = 1e-3
"""A sum over no questions is divided by it."""


class Task(nn.Module):
    """One pretext task. A task opens no file, chooses no device and owns no optimiser.

    Class members: Settings (the recipe's `settings:` block), short_name (a second name for `--task`), shortcuts.
    Instance members: trunks (what evaluations keep), classes (what the answers are called; empty if not a
    classification), chance (the accuracy of guessing, None if that has no meaning).
    `self.training` tells `views` whether to augment (training) or to ask the plain question (validation).
    A task that learns an embedding logs its `embedding_std`: the standard deviation over the batch of the normalised
    embeddings, times the root of their width. It is about 1 when they are spread and 0 when all are alike.

    Several processes may share a batch: `views` and `forward` get the rows of one of them, and losses are averaged over
    them. A loss that compares samples with each other (negatives, statistics of the batch) calls `self.gather(tensor)`:
    the tensors (n, ...) of all processes as one (all n, ...), with gradients, in the order of the batch. A loss of what
    was gathered is that of the whole batch, the same in every process. Where not every sample is asked about, a loss
    is `self.mean_of_all(each)`, so that a question weighs the same whichever process asks it.
    """

    Settings: ClassVar[type[TaskSettings]] = TaskSettings
    short_name: ClassVar[str | None] = None
    shortcuts: ClassVar[tuple[Shortcut, ...]] = ()

    trunks: Mapping[str, Trunk]
    classes: tuple[str, ...] = ()
    gather: Callable[[Tensor], Tensor] = staticmethod(_here)

    @property
    def chance(self) -> float | None:
        """Accuracy in percent of guessing, where all answers are equally frequent."""
        return 100.0 / len(self.classes) if self.classes else None

    def reads(self) -> Reads:
        """What a sample must hold, given the settings and whether the task is training."""
        raise NotImplementedError

    @torch.no_grad()
    def views(self, batch: Batch, draw: Draw) -> Views:
        """Cut and distort a raw batch, and write down the right answer. Same device as the batch, no gradients."""
        raise NotImplementedError

    def forward(self, views: Views) -> Answer:
        """Ask the network and compare with the right answer."""
        raise NotImplementedError

    def show(self, views: Views, answer: Answer | None = None, samples: int = 8) -> list[Panel]:
        """Pictures of what was asked about the first samples of a batch, and of what was answered, if it was."""
        raise NotImplementedError

    def before_training(self, sweep: Sweep) -> None:
        """Called once, before the first step of a run: what is fitted to the training data, such as clusters.

        It belongs into buffers, which are stored with the weights, so that a resumed run and every validation use the
        same. All processes see the same samples.
        """

    def mean_of_all(self, each: Tensor, asked: Tensor | None = None) -> Tensor:
        """A loss whose mean over the processes is that of all their questions, each (Q,); 0 where nothing is asked.

        asked: (Q,) 1 for those that are questions, 0 for others; all are without it.
        """
        counts = torch.ones_like(each) if asked is None else asked.to(each.dtype)
        everyone = self.gather(counts.sum().reshape(1).detach())
        return (each * counts).sum() / everyone.mean().clamp(min=_LEAST_ASKED)

    def after_step(self) -> None:
        """Called after each optimiser step: memory banks, moving averages. All processes must do the same here."""


def sight(batch: Batch, takes: Reads) -> tuple[Tensor, Tensor]:
    """What a trunk looks at, clips unfolded: raw (B * clips, ...) pictures or flow, and the (B * clips, 2) `size_px`.

    Pictures are (N, 3, H, W) where the trunk takes one frame, else (N, T, 3, H, W); flow is (N, T, 2, H, W).
    """
    media = batch.flow if takes.flow else batch.frames
    if media is None:
        raise ValueError("the batch holds no " + ("flow" if takes.flow else "frames") + ": reads() did not ask for it")
    raw = media.flatten(0, 1)
    if not takes.flow and takes.frames == 1:
        raw = raw[:, 0]
    return raw, batch.size_px.repeat_interleave(media.shape[1], 0)


def rows_of(x: Tensor, batch: Batch) -> Tensor:
    """The row of the batch that each of the questions `x` came from, int64; all rows gave equally many, in order."""
    return torch.arange(len(batch), device=x.device).repeat_interleave(len(x) // len(batch))


def verdicts(classes: Sequence[str], target: Tensor, answer: Answer | None) -> tuple[list[str], list[bool | None]]:
    """A caption for each of the first questions, (n,) `target`, and whether it was answered right, for a `Panel`."""
    true = [classes[one] for one in target.tolist()]
    if answer is None or answer.scores is None:
        return true, [None] * len(true)
    said = [classes[one] for one in answer.scores[: len(true)].argmax(1).tolist()]
    pairs = list(zip(true, said, strict=True))
    return [f"{one}, said {other}" for one, other in pairs], [one == other for one, other in pairs]


def names() -> list[str]:
    """Names of all tasks."""
    return catalog.names("sslkit.tasks")


def load(name: str) -> type[Task]:
    """The task class of a name (file name, dashes allowed) or of a task's short name. Raises UserError if unknown."""
    task: type[Task] = catalog.load("sslkit.tasks", catalog.task_name(name)).TASK
    return task


def build(name: str, settings: Mapping[str, Any] | None = None) -> Task:
    """A task with its settings block, ready to train."""
    task = load(name)
    return task(task.Settings.model_validate(dict(settings or {})))
