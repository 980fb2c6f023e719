import math
from pathlib import Path

import pytest
import torch

from sslkit import recipe as recipes
from sslkit.data.dataset import Dataset, collate
from sslkit.tasks import base
from sslkit.tasks.av_object import AvObject, contrast, moving
from sslkit.types import Batch, Draw


def made() -> AvObject:
    asked = recipes.load("av_object_moving", tiny=True)
    torch.manual_seed(0)
    task = base.build(asked.task, asked.settings)
    assert isinstance(task, AvObject)
    return task


def test_places_move_where_the_pictures_differ() -> None:
    moved = torch.zeros(3, 8, 8)
    moved[0, :2, :2], moved[0, 4:6, 4:6], moved[0, 6:, 6:] = 40, 11, 9
    moved[1] = 1.0  # noise
    found = moving(moved, (4, 4))
    assert found[0].nonzero().tolist() == [[0, 0], [2, 2]]
    assert found[1].all() and found[2].all()


def test_contrast_is_cross_entropy_without_clips_of_the_same_file() -> None:
    logits = torch.tensor([[2.0, 0.0, 5.0], [1.0, 3.0, 0.0], [5.0, 0.5, 1.0]])
    own = contrast(logits, torch.tensor([0, 1, 2]))
    target = torch.arange(3)
    both = [torch.nn.functional.cross_entropy(one, target) for one in (logits, logits.T)]
    torch.testing.assert_close(own, sum(both) / 2)
    apart = contrast(logits, torch.tensor([0, 1, 0]))
    rows = [math.log(1 + math.exp(-2)), math.log(1 + math.exp(-2) + math.exp(-3)), math.log(1 + math.exp(-0.5))]
    columns = [math.log(1 + math.exp(-1)), math.log(1 + math.exp(-3) + math.exp(-2.5)), math.log(1 + math.exp(-1))]
    assert apart.item() == pytest.approx(sum(rows + columns) / 6, rel=1e-5)
    assert contrast(torch.zeros(0, 0), torch.zeros(0)).item() == 0


def test_a_second_picture_is_read_to_train_only(toybox: Path) -> None:
    task, data = made(), Dataset(toybox, "train")
    reads = task.reads()
    assert (reads.frames, reads.fps) == (2, 12.5)
    rows = data.usable(reads)[:4]
    batch = collate([data.read(i, data.windows(i, reads, Draw(0, i)), reads) for i in rows])
    views = task.views(batch, Draw(0, 0))
    assert views["moved"].shape == (4, 48, 48) and 0 < views["moved"].mean() < 20
    assert task.eval().reads().frames == 1 and task.window.frames == 1


def test_the_moving_thing_is_found_in_single_pictures() -> None:
    """A square moves and sounds, one of another colour stands still: which colour it is must be learnt."""
    rng = torch.Generator().manual_seed(0)
    task = made()

    def batch(n: int = 16) -> tuple[Batch, torch.Tensor]:
        frames = torch.full((n, 1, 2, 3, 60, 80), 90, dtype=torch.uint8)
        frames += torch.randint(0, 4, frames.shape, generator=rng, dtype=torch.uint8)
        at = torch.randint(0, 2, (n,), generator=rng)
        for row in range(n):
            for side, colour in ((int(at[row]), 0), (1 - int(at[row]), 2)):
                for time in range(2):
                    x = 14 + 40 * side + (4 * time if colour == 0 else 0)
                    frames[row, 0, time, :, 24:36, x : x + 12] = 20
                    frames[row, 0, time, colour, 24:36, x : x + 12] = 240
        tone = torch.sin(torch.arange(8000) * (0.2 + 0.5 * torch.rand(n, 1, generator=rng)))
        index = torch.arange(n)
        size_px = torch.tensor([[60, 80]] * n)
        sound = (9000 * tone).to(torch.int16)[:, None]
        return Batch(
            label=index, index=index, start_s=torch.zeros(n, 1), size_px=size_px, frames=frames, sound=sound
        ), at

    optimiser = torch.optim.AdamW(task.parameters(), 3e-3)
    for step in range(25):
        answer = task(task.views(batch()[0], Draw(0, step)))
        optimiser.zero_grad()
        answer.loss.backward()
        optimiser.step()
    held_out, at = batch()
    assert held_out.frames is not None and held_out.sound is not None
    with torch.no_grad():
        heat = task.eval().localise(held_out.frames[:, 0, :1], held_out.sound[:, 0])
    column = heat.flatten(1).argmax(1) % heat.shape[2] / heat.shape[2]
    assert ((column >= 0.5).long() == at).float().mean() > 0.9
