"""Correspondence of sight and sound on media that tell who they are: every source has its own gray value and pitch."""

from dataclasses import replace
from functools import partial
from operator import itemgetter
from typing import Any

import pytest
import torch
from torch import Tensor

from sslkit.models.l3 import FRONTS
from sslkit.ops.spectrum import log_spectrogram
from sslkit.tasks import base
from sslkit.tasks.av_object import AvObject
from sslkit.tasks.correspondence import Correspondence
from sslkit.types import Batch, Draw, Part

SMALL: dict[str, Any] = {
    "sight": {"side_px": 32, "width": 0.125, "stride": 2},
    "sound": {"front": "mel", "width": 0.125, "stride": 2, "sound_s": 0.25},
    "dimensions": 32,
}
RATE_HZ, SAMPLES = 16_000, 4000
TASKS = ["av_correspondence", "av_embedding", "av_object"]


def built(name: str, **settings: Any) -> Correspondence:
    torch.manual_seed(0)
    task = base.build(name, {**SMALL, "distort": False, "flip": False, **settings})
    assert isinstance(task, Correspondence)
    return task


def telling(kinds: Tensor, source: Tensor | None = None, side_px: int = 40) -> Batch:
    """Sample i is of kind k: gray stripes around 20 + 10 k, and a tone of 200 (k + 2) Hz, of any loudness."""
    n = len(kinds)
    gray = (20 + 10 * kinds)[:, None, None, None, None, None] + 30 * (torch.arange(side_px) // 5 % 2)
    time = torch.arange(SAMPLES) / RATE_HZ
    tone = torch.sin(2 * torch.pi * 200 * (kinds[:, None] + 2) * time) * torch.logspace(2, 4, n)[:, None]
    return Batch(
        label=torch.zeros(n, dtype=torch.int64), index=torch.arange(n), start_s=torch.zeros(n, 1),
        size_px=torch.full((n, 2), side_px), frames=gray.expand(n, 1, 1, 3, side_px, side_px).to(torch.uint8),
        sound=tone.to(torch.int16)[:, None], extra={"source": kinds if source is None else source},
    )  # fmt: skip


def seen(views: base.Views) -> Tensor:
    """The kind that each question's frame is of."""
    return ((views["frames"].mean((1, 2, 3)) - 35) / 10).round().long()[views["sight_row"]]


def heard(views: base.Views) -> Tensor:
    """The kind that each question's sound is of."""
    loudest = torch.fft.rfft(views["sound"].float()).abs().argmax(1) * RATE_HZ / SAMPLES
    kind: Tensor = (loudest / 200 - 2).round().long()
    return kind[views["sound_row"]]


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("training", [True, False])
def test_right_answers_are_those_of_the_media(name: str, training: bool) -> None:
    task = built(name, negatives=3).train(training)
    kinds = torch.arange(20) % 10  # two clips of each source
    views = task.views(telling(kinds), Draw(0, 1))
    assert len(views["target"]) == 20 * (4 if training else 2)
    assert torch.equal(views["target"], (seen(views) == heard(views)).long())
    # a negative is never of the same source, and every positive is the sample's own sound, not only its source's
    match = views["target"] == 1
    assert torch.equal(views["sight_row"][match], torch.arange(20))
    assert torch.equal(views["sound_row"][match], torch.arange(20))
    assert torch.equal(views["sample"], views["sight_row"])
    answer = task(views)
    assert answer.scores is not None and torch.equal(answer.scores[:, 1] > 0, answer.scores.argmax(1) == 1)


def test_every_negative_is_some_frames_positive() -> None:
    task = built("av_correspondence", negatives=5)
    views = task.views(telling(torch.arange(12)), Draw(0, 3))
    own = views["sound_row"][views["target"] == 1]
    assert set(views["sound_row"].tolist()) == set(own.tolist())
    raw = telling(torch.arange(12)).sound
    assert raw is not None and torch.equal(views["sound"], raw[:, 0])


def test_black_frames_and_silence_ask_nothing_and_are_no_negatives() -> None:
    task, batch = built("av_correspondence", negatives=8), telling(torch.arange(8))
    assert batch.frames is not None and batch.sound is not None
    frames, sound = batch.frames.clone(), batch.sound.clone()
    frames[2], sound[5] = 0, torch.randint(-3, 4, (1, SAMPLES), dtype=torch.int16)
    views = task.views(replace(batch, frames=frames, sound=sound), Draw(0, 0))
    for rows in ("sight_row", "sound_row"):
        assert set(views[rows].tolist()) == {0, 1, 3, 4, 6, 7}


def test_a_batch_of_one_video_asks_nothing() -> None:
    task = built("av_embedding").eval()
    answer = task(task.views(telling(torch.arange(4), torch.zeros(4, dtype=torch.int64)), Draw(0, 0)))
    assert answer.scores is not None and answer.scores.shape == (0, 2)
    assert answer.loss.item() == 0 and "accuracy" not in answer.logs
    nothing = task.views(telling(torch.arange(1)), Draw(0, 0))
    assert task.show(nothing, task(nothing))[0].pictures == []


def test_matches_and_mismatches_weigh_the_same() -> None:
    task = built("av_correspondence", negatives=3)
    views = task.views(telling(torch.arange(6)), Draw(0, 0))
    logits = torch.where(views["target"] == 1, 2.0, 5.0)
    answer = task.answered(logits, views, {})
    expected = (torch.tensor(2.0).neg().exp().log1p() + torch.tensor(5.0).exp().log1p()) / 2
    torch.testing.assert_close(answer.loss, expected)
    assert float(answer.logs["accuracy"]) == 50


@pytest.mark.parametrize("name", TASKS)
def test_learns_which_pitch_belongs_to_which_gray(name: str) -> None:
    task = built(name, negatives=4)
    trained(task, lambda step: telling(torch.randint(0, 10, (24,), generator=torch.Generator().manual_seed(step))), 100)
    answer = task(task.views(telling(torch.arange(10)), Draw(1, 0)))
    assert answer.logs["accuracy"] > 80


def trained(task: Correspondence, batch: Any, steps: int) -> None:
    """Train on `batch(step)`, and leave in evaluation mode."""
    optimiser = torch.optim.Adam(task.train().parameters(), 3e-3)
    for step in range(steps):
        optimiser.zero_grad()
        task(task.views(batch(step), Draw(0, step))).loss.backward()
        optimiser.step()
    task.eval()


@pytest.mark.slow
def test_finds_what_makes_the_sound() -> None:
    """Two striped squares in a picture, one of them sounds; which, only pairs of videos can have told."""

    def scenes(step: int, n: int = 32) -> tuple[Batch, Tensor]:
        random = torch.Generator().manual_seed(step)
        batch = telling(torch.stack([torch.randperm(8, generator=random)[:2] for _ in range(n)])[:, 0], side_px=64)
        kinds = torch.stack([(batch.extra["source"] + 1) % 8, batch.extra["source"]], 1)
        other = torch.randint(0, 8, (n,), generator=random)
        kinds[:, 0] = torch.where(other == kinds[:, 1], (other + 1) % 8, other)
        frames = torch.full((n, 1, 1, 3, 64, 64), 128, dtype=torch.uint8)
        corners = torch.stack([torch.randperm(4, generator=random)[:2] for _ in range(n)])
        for i in range(n):
            for kind, corner in zip(kinds[i].tolist(), corners[i].tolist(), strict=True):
                y, x = 32 * (corner // 2) + 6, 32 * (corner % 2) + 6
                frames[i, 0, 0, kind % 3, y : y + 20, x : x + 20] = 20 + 25 * kind
        return replace(batch, frames=frames, extra={"source": torch.arange(n)}), corners[:, 1]

    settings = {**SMALL, "sight": {"side_px": 64, "width": 0.25, "stride": 1}, "scale": (0.9, 1.0), "centre_share": 1.0}
    task = built("av_object", negatives=8, **settings)
    assert isinstance(task, AvObject)
    trained(task, lambda step: scenes(step)[0], 150)
    batch, sounding = scenes(10_000)
    assert batch.frames is not None and batch.sound is not None
    with torch.no_grad():
        heat = task.localise(batch.frames[:, 0], batch.sound[:, 0])
    place = heat.flatten(1).argmax(1)
    corner = 2 * (place // 8 // 4) + (place % 8) // 4
    assert (corner == sounding).float().mean() > 0.8


def test_front_end_of_the_picture_is_the_networks() -> None:
    task = built("av_correspondence").eval()
    views = task.views(telling(torch.arange(4)), Draw(0, 0))
    panel = task.show(views, task(views))[0]
    assert len(panel.pictures) == 8 and panel.pictures[0].shape == (48, 32, 3)
    level = log_spectrogram(views["sound"][:1], FRONTS["mel"])[0]
    assert level.argmax(0).float().mean() < 16  # a low tone
    assert panel.pictures[0][32:].mean(1)[:, 0].argmax() > 10  # at the foot of the picture


def test_several_processes_ask_the_questions_of_one() -> None:
    """Each has half of the rows; what it gathers is that of both."""
    task, batch = built("av_correspondence", negatives=2), telling(torch.arange(12))
    whole = task.views(batch, Draw(0, 1))
    halves = [batch.map(itemgetter(rows)) for rows in (slice(0, 6), slice(6, 12))]
    draws = [partial(Draw, 0, 1, part=Part(first, 6, 12)) for first in (0, 6)]
    sent: list[list[Tensor]] = [[], []]
    for half, draw, own in zip(halves, draws, sent, strict=True):

        def keep(tensor: Tensor, own: list[Tensor] = own) -> Tensor:
            own.append(tensor)
            return tensor

        task.gather = keep
        task.views(half, draw())
    for half, draw in zip(halves, draws, strict=True):
        gathered = [torch.cat(pair) for pair in zip(*sent, strict=True)]

        def receive(tensor: Tensor, left: list[Tensor] = gathered) -> Tensor:
            return left.pop(0)

        task.gather = receive
        views = task.views(half, draw())
        assert all(torch.equal(views[name], whole[name]) for name in ("sight_row", "sound_row", "target", "sample"))


def test_title_cards_give_the_answer_away_only_without_the_control() -> None:
    task = built("av_correspondence")
    (cards,) = [one.cheat for one in task.shortcuts if isinstance(one.cheat, base.Cheat)]
    assert cards.off is not None and cards.on is not None
    batch = telling(torch.arange(64) % 16)
    without = cards.alone(batch, Draw(0, 0), partial(cards.off, task))
    alike = without["x"][:, 0] == without["x"][:, 1]
    assert alike[without["target"] == 1].all() and not alike[without["target"] == 0].all()
    assert 0.3 < without["x"][:, 0].mean() < 0.7
    closed = cards.alone(batch, Draw(0, 0), partial(cards.on, task))
    assert len(closed["x"]) and not closed["x"].any()
    assert len(closed["sample"].unique()) < len(without["sample"].unique())
