import itertools
import math

import pytest
import torch
from torch import nn

from sslkit.errors import UserError
from sslkit.models.teacher import Teacher
from sslkit.tasks import base
from sslkit.types import Batch, Draw

RATE_HZ = 16_000
HEARS = {"width": 0.25, "rate_hz": RATE_HZ, "sound_s": 1.0}
SMALL = {
    "trunk_settings": {"width": 0.25, "rate_hz": RATE_HZ, "sound_s": 1.0},
    "classes": 3,
    "sound_s": 4.0,
    "parts": 2,
}
PITCHES_HZ = (150.0, 700.0, 3000.0)


class Colours(nn.Module):
    """Is it red, green or blue?"""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures.mean((2, 3)) / 20


def seen_and_heard(n: int, seed: int = 0, parts: int = 2) -> tuple[Batch, torch.Tensor]:
    """In each second, a tone of one of three pitches, and which, (n, parts).

    Beside it two pictures of one colour in the middles of its halves, and two of the next at their beginnings.
    """
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(3, (n, parts), generator=generator)
    time = torch.arange(RATE_HZ) / RATE_HZ
    sound = 5000 * torch.sin(2 * math.pi * torch.tensor(PITCHES_HZ)[kind][..., None] * time)
    sound = sound + 300 * torch.randn(sound.shape, generator=generator)
    frames = torch.randint(0, 60, (n, 1, 4 * parts, 3, 72, 80), generator=generator)
    for part, half in itertools.product(range(parts), (0, 2)):
        frames[torch.arange(n), :, 4 * part + half, (kind[:, part] + 1) % 3] += 150
        frames[torch.arange(n), :, 4 * part + half + 1, kind[:, part]] += 150
    return Batch(
        label=torch.full((n,), -1), index=torch.arange(n), start_s=torch.zeros(n, 1),
        size_px=torch.tensor([[72, 80]] * n), frames=frames.to(torch.uint8),
        sound=sound.flatten(1).to(torch.int16)[:, None],
    ), kind  # fmt: skip


def with_teacher(classifies: bool = True, **settings: object) -> base.Task:
    torch.manual_seed(0)
    task = base.build("soundnet", {**SMALL, **settings})
    task._teacher.append(Teacher(Colours(), 32, 3, classifies))
    return task


@pytest.mark.parametrize("classifies", [True, False])
def test_each_part_has_the_colour_of_its_pitch(classifies: bool) -> None:
    task = with_teacher(classifies)
    task.before_training(lambda reads, samples: iter([seen_and_heard(20)[0], seen_and_heard(20, 1)[0]]))
    batch, kind = seen_and_heard(8, 2)
    for training in (True, False):
        views = task.train(training).views(batch, Draw(0, 0))
        assert views["posterior"].shape == (8, 2, 3)
        assert torch.equal(views["posterior"].argmax(-1), kind)
        assert torch.allclose(views["posterior"].sum(-1), torch.ones(8, 2))
        spectrum = torch.fft.rfft(views["sound"].reshape(8, 2, -1)).abs()
        assert torch.equal((spectrum.argmax(-1)[..., None] - torch.tensor(PITCHES_HZ)).abs().argmin(-1), kind)
        assert torch.equal(views["seen"].float().mean((3, 4)).argmax(-1), kind)
    gain = task.train().views(batch, Draw(0, 0))["sound"].std(1) / batch.sound[:, 0].float().std(1)
    assert gain.min() >= 0.5 and gain.max() <= 2 and gain.std() > 0.1


def test_a_teacher_without_classes_is_standardised_and_all_is_stored() -> None:
    task, batches = with_teacher(False), [seen_and_heard(20)[0]]
    task.before_training(lambda reads, samples: iter(batches))
    said = task._said(batches[0]).flatten(0, 2)
    assert torch.allclose(task.mean, said.mean(0)) and torch.allclose(task.scale, said.std(0, correction=0) / 2)
    kinds = seen_and_heard(20)[1].flatten().bincount()
    assert task.chance == pytest.approx(100 * float(kinds.max()) / 40, rel=1e-5)
    other = with_teacher(False)
    other.load_state_dict(task.state_dict())
    views, same = (one.eval().views(batches[0], Draw(0, 0)) for one in (task, other))
    assert torch.equal(views["posterior"], same["posterior"]) and other.chance == task.chance
    assert not [name for name in task.state_dict() if "teacher" in name]
    plain = with_teacher(True)
    plain.before_training(lambda reads, samples: iter(batches))
    assert not plain.mean.any() and bool((plain.scale == 1).all())


def test_chance_is_that_of_the_parts_which_are_asked_about() -> None:
    """Red is seen in every second picture, and yet no part is red: the other picture is always surer."""
    task, (batch, _) = with_teacher(), seen_and_heard(6)
    batch.frames = torch.zeros_like(batch.frames)
    batch.frames[:, :, 1::4, 0] = 30
    for row in range(6):
        batch.frames[row, :, 3::4, 1 + (row > 1)] = 200
    task.before_training(lambda reads, samples: iter([batch]))
    target = task.eval().views(batch, Draw(0, 0))["posterior"].argmax(-1)
    assert target.flatten().bincount().tolist() == [0, 4, 8]
    assert task.chance == pytest.approx(100 * 8 / 12)


def test_loss_is_the_divergence_of_the_definition() -> None:
    task = with_teacher().eval()
    views = task.views(seen_and_heard(3)[0], Draw(0, 0))
    answer, total = task(views), 0.0
    for scores, posterior in zip(answer.scores.tolist(), views["posterior"].flatten(0, 1).tolist(), strict=True):
        norm = sum(math.exp(score) for score in scores)
        total += sum(p * math.log(p / (math.exp(s) / norm)) for p, s in zip(posterior, scores, strict=True)) / 6
    assert float(answer.loss) == pytest.approx(total, rel=1e-4)


def test_settings_that_do_not_go_together_are_told() -> None:
    with pytest.raises(UserError, match="too few for 2 parts"):
        base.build("soundnet", {**SMALL, "sound_s": 0.6})
    task = base.build("soundnet", SMALL)
    with pytest.raises(UserError, match="settings.classes is 3, but the network of random weights says 128"):
        task.teacher()
    paper = base.build("soundnet", {"trunk_settings": {"width": 0.1}})
    assert (
        paper.head.kernel_size == (8,)
        and paper.head.stride == (2,)
        and paper.reads().frames == 16
        and paper.reads().fps == 0.8
    )


@pytest.mark.parametrize("rate_hz", [16_000, 22_050])
@pytest.mark.parametrize("sound_s", [5.0, 10.0, 15.0, 20.0])
def test_every_part_has_steps_of_its_own(rate_hz: int, sound_s: float) -> None:
    hears = {"width": 0.1, "rate_hz": rate_hz}
    task = base.build("soundnet", {"trunk_settings": hears, "classes": 3, "sound_s": sound_s, "parts": 4}).eval()
    steps = task.trunk.steps(round(sound_s * rate_hz))
    heard = torch.randn(1, task.trunk.vector_width, 1, steps)
    task.trunk.forward = lambda raw: {"conv7": heard}
    views = {"sound": heard, "posterior": torch.full((1, 4, 3), 1 / 3), "sample": torch.zeros(4, dtype=torch.int64)}
    said = task.head(heard[:, :, 0]).shape[2]
    assert said >= 4 and torch.unique(task(views).scores, dim=0).shape == (4, 3)


def test_learns_to_see_by_ear() -> None:
    task = with_teacher(sound_s=1.0, parts=1)
    optimiser = torch.optim.Adam(task.parameters(), 3e-3)
    for step in range(30):
        answer = task(task.views(seen_and_heard(16, step + 5, 1)[0], Draw(0, step)))
        optimiser.zero_grad()
        answer.loss.backward()
        optimiser.step()
    views = task.eval().views(seen_and_heard(16, 99, 1)[0], Draw(0, 0))
    answer = task.train()(views)  # the moving averages of the norms need more steps
    assert answer.logs["accuracy"] > 80  # chance 33
    assert any(task.show(views, answer, 4)[0].right)
