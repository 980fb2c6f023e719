import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sslkit.errors import UserError
from sslkit.tasks import base
from sslkit.tasks.ambient_sound import Kinds
from sslkit.types import Batch, Draw

SMALL = {"trunk_settings": {"side_px": 64, "width": 0.25, "fc": 32}, "count": 3, "sound_s": 0.5}
PITCHES_HZ, RATE_HZ = (200.0, 1100.0, 5000.0), 16_000


def heard_and_seen(n: int, seed: int = 0, gain: float = 1.0, kinds: int = 3) -> tuple[Batch, torch.Tensor]:
    """Sounds of some pitches, each beating at a rate of its own, beside pictures of one colour; and which is which."""
    generator = torch.Generator().manual_seed(seed)
    kind = torch.arange(n) % kinds
    time = torch.arange(RATE_HZ // 2) / RATE_HZ
    pitch = torch.tensor(PITCHES_HZ)[kind] * (1 + 0.02 * torch.randn(n, generator=generator))
    beat = torch.sin(2 * math.pi * (4 + 8 * kind)[:, None] * time)
    sound = (0.6 + 0.4 * beat) * torch.sin(2 * math.pi * pitch[:, None] * time)
    sound += 0.02 * torch.randn(sound.shape, generator=generator)
    frames = torch.randint(0, 60, (n, 1, 1, 3, 72, 80), generator=generator)
    frames[torch.arange(n), 0, 0, kind] += 150
    batch = Batch(
        label=torch.full((n,), -1), index=torch.arange(n), start_s=torch.zeros(n, 1),
        size_px=torch.tensor([[72, 80]] * n), frames=frames.to(torch.uint8),
        sound=(8000 * gain * sound).to(torch.int16)[:, None],
    )  # fmt: skip
    return batch, kind


def fitted(batch: Batch, **settings: object) -> base.Task:
    torch.manual_seed(0)
    task = base.build("ambient_sound", {**SMALL, **settings})
    task.before_training(lambda reads, samples: iter([batch]))
    return task


@pytest.mark.parametrize(("targets", "count", "kinds"), [("clusters", 3, 3), ("codes", 1, 2)])
def test_each_pitch_is_a_kind_of_its_own_beside_its_own_colour(targets: str, count: int, kinds: int) -> None:
    task = fitted(heard_and_seen(30, kinds=kinds)[0], targets=targets, count=count)
    for training in (True, False):
        batch, kind = heard_and_seen(12, seed=1, kinds=kinds)
        views = task.train(training).views(batch, Draw(0, 0))
        assert len(set(zip(kind.tolist(), views["target"].flatten().tolist(), strict=True))) == kinds
        assert len(views["target"].unique()) == kinds
        assert torch.equal(views["x"].mean((2, 3)).argmax(1), kind)


def test_gain_does_not_change_the_kind_and_silence_has_none() -> None:
    batch, _ = heard_and_seen(30)
    task = fitted(batch).eval()
    loud, soft = (task.views(heard_and_seen(9, 2, gain)[0], Draw(0, 0))["target"] for gain in (1.0, 0.1))
    assert torch.equal(loud, soft)
    mixed = heard_and_seen(9, 2)[0]
    mixed.sound[4] = 0
    views = task.views(mixed, Draw(0, 0))
    assert views["target"][4] == -1 and (views["target"] >= 0).sum() == 8
    scores = task(views).scores
    heard = torch.arange(9) != 4
    expected = F.cross_entropy(scores[heard], views["target"][heard])
    assert float(task(views).loss) == pytest.approx(float(expected), rel=1e-5)
    mixed.sound.zero_()
    assert float(task(task.views(mixed, Draw(0, 0))).loss) == 0
    assert task.show(views, task(views))[0].captions[4].startswith("silent")


def test_loss_is_that_of_the_formula() -> None:
    batch, _ = heard_and_seen(30)
    for targets in ("clusters", "codes"):
        task = fitted(batch, targets=targets).eval()
        views = task.views(heard_and_seen(5, 3)[0], Draw(0, 0))
        answer, total = task(views), 0.0
        for scores, target in zip(answer.pictures["scores"].tolist(), views["target"].tolist(), strict=True):
            if targets == "clusters":
                total -= math.log(math.exp(scores[target]) / sum(math.exp(score) for score in scores)) / 5
            else:
                chances = [1 / (1 + math.exp(-score)) for score in scores]
                total -= sum(math.log(p if bit else 1 - p) for p, bit in zip(chances, target, strict=True)) / 3 / 5
        assert float(answer.loss) == pytest.approx(total, rel=1e-4)


def test_kinds_travel_with_the_weights() -> None:
    batch, _ = heard_and_seen(31)
    task = fitted(batch)
    other = base.build("ambient_sound", SMALL)
    assert other.chance == pytest.approx(100 / 3)
    other.load_state_dict(task.state_dict())
    assert other.chance == task.chance == pytest.approx(100 * 11 / 31, rel=1e-5)
    views, same = (one.views(batch, Draw(0, 1)) for one in (task, other))
    assert torch.equal(views["target"], same["target"])
    assert torch.equal(fitted(batch).kinds.anchors, task.kinds.anchors)


def test_kinds_are_the_nearest_centre_and_the_sides_of_principal_components() -> None:
    random = np.random.default_rng(0)
    vectors = (random.normal(size=(200, 6)) @ np.diag([5, 4, 3, 1, 1, 1]) + 7).astype(np.float32)
    groups = (4, 2)
    plain = (vectors - vectors.mean(0)) / ((vectors.std(0) + 0.01) * np.sqrt([4, 4, 4, 4, 2, 2]))
    codes = Kinds(groups, "codes", 3)
    codes.fit(torch.from_numpy(vectors))
    values, axes = np.linalg.eigh(np.cov(plain.T))
    expected = plain @ axes[:, np.argsort(-values)[:3]] > 0
    found = codes(torch.from_numpy(vectors)).numpy() > 0
    for column in range(3):  # which side is 1 is free
        assert np.mean(found[:, column] == expected[:, column]) in (
            pytest.approx(0, abs=0.01),
            pytest.approx(1, abs=0.01),
        )
    assert torch.allclose(codes.common, torch.from_numpy(found).float().mean(0))
    clusters = Kinds(groups, "clusters", 5)
    clusters.fit(torch.from_numpy(vectors))
    distance = np.linalg.norm(plain[:, None] - clusters.anchors.numpy()[None], axis=2)
    assert np.array_equal(clusters(torch.from_numpy(vectors)).numpy(), distance.argmin(1))
    for number in range(5):  # as k-means ends: each centre is the mean of its own
        assert np.allclose(plain[distance.argmin(1) == number].mean(0), clusters.anchors[number], atol=1e-3)
    assert clusters.guessed() == pytest.approx(100 * np.bincount(distance.argmin(1)).max() / 200, rel=1e-5)


def test_too_few_sounds_are_told() -> None:
    batch, _ = heard_and_seen(6)
    batch.sound[:4] = 0
    with pytest.raises(UserError, match="settings.count is 3, but only 2 training samples"):
        fitted(batch)


@pytest.mark.parametrize(("targets", "count", "kinds"), [("clusters", 3, 3), ("codes", 1, 2)])
def test_learns_the_sound_of_a_colour(targets: str, count: int, kinds: int) -> None:
    task = fitted(heard_and_seen(60, kinds=kinds)[0], targets=targets, count=count)
    optimiser = torch.optim.Adam(task.parameters(), 2e-3)
    for step in range(15):
        answer = task(task.views(heard_and_seen(12, step + 5, kinds=kinds)[0], Draw(0, step)))
        optimiser.zero_grad()
        answer.loss.backward()
        optimiser.step()
    views = task.eval().views(heard_and_seen(12, 99, kinds=kinds)[0], Draw(0, 0))
    answer = task.train()(views)  # the moving averages of the norms need more steps
    assert answer.logs["accuracy"] > 85 > task.chance + 10
    panel = task.show(views, answer, 4)[0]
    assert len(panel.pictures) == len(panel.captions) == 4 and any(panel.right)
