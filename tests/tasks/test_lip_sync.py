"""Lip sync on media that tell their own time: frames by their brightness, sound by its value."""

import pytest
import torch
from torch.nn import functional as F

from sslkit.errors import UserError
from sslkit.models.lips import FPS, HOP, RATE_HZ, WINDOW
from sslkit.tasks import base
from sslkit.types import Batch, Draw

SMALL = {
    "windows": 8,
    "sight": {"side_px": 32, "width": 8, "dimensions": 16},
    "sound": {"width": 8, "dimensions": 16},
}
LEVELS = 8.0
"""Gray levels from one frame to the next."""


def timed(task: base.Task, clips: int = 6) -> Batch:
    """Frame i has the gray value 8 i; sample n of the sound has the value n."""
    reads = task.reads()
    frames = (LEVELS * torch.arange(reads.frames)).to(torch.uint8).reshape(1, 1, -1, 1, 1, 1)
    samples = round(reads.sound_s * reads.rate_hz)
    return Batch(
        label=torch.zeros(clips, dtype=torch.int64), index=torch.arange(clips), start_s=torch.zeros(clips, 1),
        size_px=torch.full((clips, 2), 40), frames=frames.expand(clips, 1, -1, 3, 40, 40),
        sound=torch.arange(samples, dtype=torch.int16).expand(clips, 1, -1),
    )  # fmt: skip


def test_every_window_of_pictures_lies_over_its_window_of_sound() -> None:
    for training in (True, False):
        task = base.build("lip_sync", {**SMALL, "distort": False}).train(training)
        batch = timed(task)
        views = task.views(batch, Draw(0, 1))
        assert views["frames"].shape[1] == 12 and views["sound"].shape[1] == 7 * HOP + WINDOW
        # where the sound that was read begins, on the clock of its frames: both have the same centre
        lead_s = (batch.frames.shape[2] / FPS - batch.sound.shape[2] / RATE_HZ) / 2
        number = views["frames"].mean((2, 3, 4)) / LEVELS
        for window in range(8):
            seen_s = (number[:, window + 2] + 0.5) / FPS
            heard_s = views["sound"][:, window * HOP + WINDOW // 2] / RATE_HZ + lead_s
            assert torch.allclose(seen_s, heard_s, atol=1e-3)
        speeds = number[:, 1:-1].diff(dim=1).mean(1)
        assert (speeds.std() > 0.01) == training and ((speeds > 0.88) & (speeds < 1.12)).all()


def test_loss_is_that_of_the_formula() -> None:
    torch.manual_seed(0)
    for loss in ("matching", "contrastive"):
        task = base.build("lip_sync", {**SMALL, "loss": loss}).eval()
        views = {**task.views(timed(task, 3), Draw(0, 0)), "sound": 1000 * torch.randn(3, 7 * HOP + WINDOW)}
        sight, sound = (
            F.normalize(x, dim=-1) for x in (task.sight.dense(views["frames"]), task.sound.dense(views["sound"]))
        )
        total, pairs = 0.0, 0
        for b in range(3):
            for t in range(8):
                if loss == "matching":
                    for one, other in ((sight, sound), (sound, sight)):
                        scores = torch.stack([10 * one[b, t] @ other[b, s] - 5 for s in range(8)])
                        total += float(scores.logsumexp(0) - scores[t]) / 2 / 24
                    continue
                near = (20 * (sight[b, t] - sound[b, t]).norm()) ** 2
                far = [
                    max(0.0, 20 - float(20 * (sight[b, t] - sound[b, s]).norm())) ** 2
                    for s in range(8)
                    if abs(s - t) >= 3
                ]
                total, pairs = total + float(near) / 4 / 24, pairs + len(far)
                total += sum(far) / 4 / (3 * 30)
        assert pairs in (0, 90)
        torch.testing.assert_close(float(task(views).loss), total, rtol=1e-4, atol=1e-4)


def test_the_contrastive_loss_as_published_is_that_of_its_formula() -> None:
    """Vectors as they are, far pairs of the same clip by 2 to 5 windows, a margin that some of them reach."""
    torch.manual_seed(0)
    settings = {"loss": "contrastive", "compare": "distance", "margin": 1.7, "least_shift": 2, "most_shift": 5}
    task = base.build("lip_sync", {**SMALL, **settings}).eval()
    views = task.views(timed(task, 2), Draw(0, 0))
    sight, sound = 0.3 * torch.randn(2, 8, 16), 0.3 * torch.randn(2, 8, 16)
    task.sight.dense, task.sound.dense = (lambda _: sight), (lambda _: sound)
    near, far = [], []
    for b in range(2):
        for t in range(8):
            for s in range(8):
                d = float(sum((float(x) - float(y)) ** 2 for x, y in zip(sight[b, t], sound[b, s], strict=True)) ** 0.5)
                if t == s:
                    near.append(d**2)
                elif 2 <= abs(t - s) <= 5:
                    far.append(max(1.7 - d, 0.0) ** 2)
    assert len(near) == 16 and len(far) == 2 * 2 * (6 + 5 + 4 + 3) and 0 < sum(value > 0 for value in far) < len(far)
    pairs = 2 * len(near)  # as many of either kind
    expected = (sum(near) + sum(far) / len(far) * len(near)) / (2 * pairs)
    torch.testing.assert_close(float(task(views).loss), expected, rtol=1e-4, atol=1e-5)
    assert not task.squared and base.build("lip_sync", {**SMALL, "compare": "distance"}).squared


def test_windows_hear_and_see_the_same_alone_and_in_a_clip() -> None:
    torch.manual_seed(0)
    task = base.build("lip_sync", {**SMALL, "windows": 20}).eval()
    sound = 1000 * torch.randn(1, 19 * HOP + WINDOW)
    whole = task.sound.dense(sound)
    assert whole.shape == (1, 20, 16)
    later = task.sound.dense(sound[:, 5 * HOP :])
    # away from the ends, up to the level of the whole clip, which both are set to
    assert F.cosine_similarity(whole[:, 9:14], later[:, 4:9], dim=-1).min() > 0.98
    frames = torch.rand(1, 24, 3, 32, 32) * 255
    assert F.cosine_similarity(task.sight.dense(frames)[:, 5:15], task.sight.dense(frames[:, 5:19]), dim=-1).min() > 0.9


@pytest.mark.parametrize("compare", ["cosine", "distance"])
def test_near_windows_are_told_apart_within_mixed_precision(compare: str) -> None:
    """Long vectors at small distances: in bfloat16, the squares of their lengths differ by more than these."""
    task = base.build("lip_sync", {**SMALL, "compare": compare})
    sight = 14 * F.normalize(torch.randn(4, 8, 128), dim=-1)
    sound = sight + 2 * F.normalize(torch.randn(4, 8, 128), dim=-1)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = task._similar(sight, sound)
    assert torch.equal(mixed, task._similar(sight, sound))
    if compare == "distance":
        torch.testing.assert_close(mixed, -torch.cdist(sight, sound).square() / 2, atol=1e-2, rtol=1e-3)


def test_learns_mouths_that_open_with_the_sound() -> None:
    torch.manual_seed(0)
    task = base.build("lip_sync", {**SMALL, "distort": False, "speeds": (1.0, 1.05)})

    def talking(seed: int, clips: int = 8) -> Batch:
        batch = timed(task, clips)
        generator = torch.Generator().manual_seed(seed)
        frames, samples = batch.frames.shape[2], batch.sound.shape[2]
        loud = torch.rand(clips, frames, generator=generator)
        picture = torch.full((clips, frames, 1, 40, 40), 90.0)
        picture[..., 12:28, 12:28] += 120 * loud[..., None, None, None]
        per_sample = F.interpolate(loud[:, None], samples, mode="nearest")[:, 0]
        voice = torch.randn(clips, samples, generator=generator) * 4000 * per_sample
        batch.frames = picture.expand(-1, -1, 3, -1, -1)[:, None].to(torch.uint8)
        batch.sound = voice.to(torch.int16)[:, None]
        return batch

    optimiser = torch.optim.Adam(task.parameters(), 3e-3)
    for step in range(40):
        answer = task(task.views(talking(step), Draw(0, step)))
        optimiser.zero_grad()
        answer.loss.backward()
        optimiser.step()
    assert answer.logs["accuracy"] > 50  # chance 12.5
    task.eval()
    swapped = task.views(talking(99), Draw(0, 0))
    answer = task(swapped)
    assert answer.logs["near_accuracy"] > 70
    swapped["sound"] = swapped["sound"].roll(1, 0)
    assert task(swapped).logs["accuracy"] < 35


def test_a_correlated_start_puts_windows_together() -> None:
    settings = {
        "sight_trunk": "lip_motion", "sound_trunk": "speech_bands", "compare": "distance", "start": "correlated",
        "sight": {"dimensions": 8, "context": 2}, "sound": {"dimensions": 8, "context": 2}, "windows": 40, "slack": 2,
    }  # fmt: skip
    task = base.build("lip_sync", settings)
    draw = torch.Generator().manual_seed(0)

    def clips(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        cause = torch.randn(count, task.frames, 8, generator=draw)
        sides = [torch.randn(count, task.frames, width, generator=draw) for width in (64, 80)]
        sides[0][..., :8] += 3 * cause
        sides[1][..., :8] += 3 * cause.roll(1, 1)  # heard a frame later: the filters find it
        return sides[0], sides[1]

    with torch.no_grad():
        task._correlate(*clips(60), torch.tensor([0] * 50 + [1] * 10))
        sight, sound = (n._filtered(x) for n, x in zip((task.sight, task.sound), clips(5), strict=True))
    similar = -torch.cdist(sight, sound).square() / 2
    right = similar.argmax(2) == torch.arange(similar.shape[2])
    assert similar.shape == (5, 44, 44) and right[:, 2:-2].float().mean() > 0.8
    assert float((task.sound.gain / task.sight.gain).max()) > 0.9  # how well the best of them correlates


def test_settings_that_do_not_go_together_are_refused() -> None:
    far = {"loss": "contrastive", "windows": 8}
    for wrong in ({**far, "least_shift": 8}, {**far, "most_shift": 2}, {"start": "correlated"}):
        with pytest.raises(ValueError, match=r"no two windows are so far apart|only linear networks"):
            base.load("lip_sync").Settings(**wrong)


def test_at_their_own_speed_clips_stay_as_they_were_filmed() -> None:
    task = base.build("lip_sync", {**SMALL, "distort": False, "flip": False, "speeds": [1.0, 1.0]})
    batch = timed(task.train())
    assert task.reads() == task.eval().reads()
    views = task.train().views(batch, Draw(0, 1))
    assert torch.equal(views["frames"].mean((2, 3, 4)), batch.frames[:, 0].float().mean((2, 3, 4)))
    assert torch.equal(views["sound"], batch.sound[:, 0].float())


def test_vectors_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(UserError, match="lips gives vectors of 16 numbers, speech of 24, which cannot be compared"):
        base.build("lip_sync", {**SMALL, "sound": {"width": 8, "dimensions": 24}})
