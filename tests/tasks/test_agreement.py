import math

import pytest
import torch

from sslkit.errors import UserError
from sslkit.tasks import base
from sslkit.types import Batch, Draw

RATE_HZ, FPS, FRAMES = 16_000, 25, 25
SMALL = {"kinds": 2, "vectors": 6, "frames": 6, "side_px": 40}


def impacts(n: int, seed: int = 0, gain: float = 1.0) -> tuple[Batch, torch.Tensor, torch.Tensor]:
    """A patch jumps up and down for five frames, left with a low sound or right with a high one; which, and when."""
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(2, (n,), generator=generator)
    at = torch.randint(6, 18, (n,), generator=generator)
    frames = torch.full((n, 1, FRAMES, 3, 40, 40), 60.0) + 4 * torch.randn(n, 1, FRAMES, 3, 40, 40, generator=generator)
    time = torch.arange(FRAMES * 640) / RATE_HZ
    since = time - at[:, None] / FPS
    pitch = torch.tensor([200.0, 2500.0])[kind] * (1 + 0.05 * torch.randn(n, generator=generator))
    sound = torch.sin(2 * math.pi * pitch[:, None] * since) * (-since / 0.05).exp().where(since >= 0, torch.zeros(()))
    for row in range(n):
        for step in range(-2, 3):
            top, left = 10 + 12 * (step % 2), 4 + 22 * int(kind[row])
            frames[row, 0, at[row] + step, :, top : top + 8, left : left + 10] += 150
    sound += 0.003 * torch.randn(sound.shape, generator=generator)
    return Batch(
        label=torch.full((n,), -1), index=torch.arange(n), start_s=torch.zeros(n, 1),
        size_px=torch.tensor([[40, 40]] * n), frames=frames.clamp(0, 255).to(torch.uint8),
        sound=(12_000 * gain * sound).to(torch.int16)[:, None],
    ), kind, at  # fmt: skip


def fitted(**settings: object) -> base.Task:
    torch.manual_seed(0)
    task = base.build("agreement", {**SMALL, **settings})
    task.before_training(lambda reads, samples: iter([impacts(20)[0], impacts(20, 1)[0]]))
    return task


def test_the_window_holds_the_impact_in_pictures_and_sound() -> None:
    batch, kind, at = impacts(12, 2)
    ramp = (6 * torch.arange(FRAMES)).reshape(1, 1, -1, 1, 1, 1)
    batch.frames = ramp.expand(12, 1, -1, 3, 40, 40).to(torch.uint8)
    task = base.build("agreement", SMALL)
    for training in (True, False):
        views = task.train(training).views(batch, Draw(0, 0))
        first = views["frames"][:, 0].mean((1, 2, 3)) / 6
        assert ((at - first - 3).abs() <= (1 if training else 0)).all()
        assert torch.allclose(views["frames"].mean((2, 3, 4)).diff(dim=1), torch.tensor(6.0))
        loudest = views["sound"].unfold(1, 640, 640).square().mean(-1).argmax(1)
        assert torch.equal(loudest, at - first.round().long())
        pitch = torch.fft.rfft(views["sound"]).abs().argmax(1) * RATE_HZ / views["sound"].shape[1]
        assert torch.equal((pitch > 1000).long(), kind)


def test_a_step_of_gradient_descent_is_the_rule() -> None:
    task = fitted(border=0.5).eval()
    views = task.views(impacts(30, 3)[0], Draw(0, 0))
    rate, senses = 0.7, ((task.sight, views["frames"]), (task.sound, views["sound"]))
    entries = [codebook(raw)["entries"].detach() for codebook, raw in senses]
    for (codebook, _), x in zip(senses, entries, strict=True):  # vectors that lie close together, of classes at random
        codebook.vectors.data = x[:6] + 0.1 * torch.randn(x[:6].shape, generator=torch.Generator().manual_seed(1))
        codebook.label.copy_(torch.tensor([0, 1, 1, 0, 1, 0]))
    own = [codebook.vectors.detach().clone() for codebook, _ in senses]
    nearest = [torch.cdist(x, v).argmin(1) for x, v in zip(entries, own, strict=True)]
    said = [codebook.label[which] for (codebook, _), which in zip(senses, nearest, strict=True)]
    moved = 0
    expected = [v.clone() for v in own]
    for sense, (codebook, _) in enumerate(senses):
        for x, other in zip(entries[sense], said[1 - sense].tolist(), strict=True):
            distance = (own[sense] - x).norm(dim=1)
            near, far = distance.argsort()[:2].tolist()
            labels = {near: int(codebook.label[near]), far: int(codebook.label[far])}
            if labels[near] == labels[far] or other not in labels.values():
                continue
            if distance[near] / distance[far] <= (1 - 0.5) / (1 + 0.5):
                continue
            for vector in (near, far):
                towards = (x - own[sense][vector]) / distance[vector]
                expected[sense][vector] += (1 if labels[vector] == other else -1) * rate * towards / 30
            moved += 1
    optimiser = torch.optim.SGD(task.parameters(), rate)
    task(views).loss.backward()
    optimiser.step()
    assert moved > 5
    for (codebook, _), wanted in zip(senses, expected, strict=True):
        assert torch.allclose(codebook.vectors, wanted, atol=1e-5)


def test_gain_changes_nothing_and_all_is_stored() -> None:
    task = fitted().eval()
    loud, soft = (task(task.views(impacts(9, 4, gain)[0], Draw(0, 0))) for gain in (1.0, 0.25))
    assert torch.equal(loud.target, soft.target)
    other = base.build("agreement", SMALL).eval()
    assert other.chance == pytest.approx(50)
    other.load_state_dict(task.state_dict())
    same = other(other.views(impacts(9, 4)[0], Draw(0, 0)))
    assert torch.equal(same.scores, loud.scores) and torch.equal(same.target, loud.target)
    assert other.chance == task.chance != pytest.approx(50, abs=1e-6)


def test_two_senses_come_to_agree_on_what_happened() -> None:
    task = fitted()
    optimiser = torch.optim.SGD(task.parameters(), 0.5)
    for step in range(25):
        answer = task(task.views(impacts(16, step + 5)[0], Draw(0, step)))
        optimiser.zero_grad()
        answer.loss.backward()
        optimiser.step()
    batch, kind, _ = impacts(40, 99)
    views = task.eval().views(batch, Draw(0, 0))
    answer = task(views)
    assert answer.logs["accuracy"] > 90 > task.chance + 20 and answer.logs["kinds_used"] > 1.8
    by_kind = torch.stack([answer.target, kind]).unique(dim=1)
    assert by_kind.shape[1] == 2  # each class is one kind of impact
    assert torch.equal(answer.scores.argmax(1), task.sight.label[task.sight(views["frames"])["nearness"].argmax(1)])
    views["sound"] = views["sound"][torch.randperm(40, generator=torch.Generator().manual_seed(0))]
    assert task(views).logs["accuracy"] < 75


def test_samples_that_are_too_few_are_told() -> None:
    with pytest.raises(UserError, match="settings.vectors is 60, more than there are training samples"):
        fitted(vectors=60)
