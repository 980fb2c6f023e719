"""Misalignment on media that tell their own time: frames by their brightness, sound by its value."""

from functools import partial
from typing import Any

import pytest
import torch

from sslkit.errors import UserError
from sslkit.tasks import base
from sslkit.tasks.av_sync import AvSync
from sslkit.types import Batch, Draw

FPS, RATE_HZ, FRAMES, CLIP = 12.5, 8000, 6, 20
SMALL: dict[str, Any] = {
    "trunk_settings": {"frames": FRAMES, "fps": FPS, "side_px": 32, "width": 0.125, "cam": True},
    "rate_hz": RATE_HZ,
    "clip_frames": CLIP,
    "overlap": 2,
}
HOP = round(RATE_HZ / FPS)


def built(**settings: Any) -> AvSync:
    torch.manual_seed(0)
    task = base.build("av_sync", {**SMALL, **settings})
    assert isinstance(task, AvSync)
    return task


def timed(clips: int = 5) -> Batch:
    """Frame i has the gray value 10 i; sample n of the sound has the value n."""
    frames = (10 * torch.arange(CLIP)).to(torch.uint8).reshape(1, 1, -1, 1, 1, 1)
    sound = torch.arange(CLIP * HOP, dtype=torch.int16) + 1
    return Batch(
        label=torch.zeros(clips, dtype=torch.int64), index=torch.arange(clips), start_s=torch.zeros(clips, 1),
        size_px=torch.full((clips, 2), 40), frames=frames.expand(clips, 1, -1, 3, 40, 40),
        sound=sound.expand(clips, 1, -1),
    )  # fmt: skip


@pytest.mark.parametrize("training", [True, False])
def test_answers_are_those_of_the_clocks_in_the_media(training: bool) -> None:
    task = built().train(training)
    apart = set()
    for step in range(8):
        views = task.views(timed(), Draw(0, step))
        assert len(views["target"]) == 20 and views["frames"].shape == (10, FRAMES, 3, 32, 32)
        seen = (views["frames"].mean((2, 3, 4)) / 10).round()
        assert torch.equal(seen - seen[:, :1], torch.arange(FRAMES).float().expand(10, -1))
        heard = (views["sound"][:, 0].float() - 1) / HOP
        shift = (seen[:, 0][views["sight_row"]] - heard[views["sound_row"]]).abs()
        assert torch.equal(views["target"], (shift < 0.01).long())
        assert shift[views["target"] == 0].min() >= FRAMES - 2
        apart |= set(shift[views["target"] == 0].round().tolist())
        # neither a window nor a sound tells the answer alone
        for rows in ("sight_row", "sound_row"):
            for row in range(10):
                assert views["target"][views[rows] == row].tolist().count(1) == 1 == (views[rows] == row).sum() // 2
    assert (len(apart) > 3) == training


def test_all_pairs_of_windows_are_equally_likely() -> None:
    task = built(tries=1, clip_frames=10, overlap=5).train()
    found = task._pairs(6000, Draw(0, 0))[:, 0]
    pairs, counts = found.unique(dim=0, return_counts=True)
    assert pairs.tolist() == [[first, second] for first in range(5) for second in range(first + 1, 5)]
    assert counts.min() > 500 and counts.max() < 700


def test_clips_too_short_for_two_windows_are_refused() -> None:
    built(clip_frames=FRAMES + 4)
    for clip_frames in (FRAMES - 1, FRAMES, FRAMES + 3):
        with pytest.raises(UserError, match=rf"clip_frames {clip_frames} leaves no two windows .*: set it to 10 or"):
            built(clip_frames=clip_frames)


def test_first_stage_sees_every_other_picture_and_is_counted_with_the_weights() -> None:
    task = built(slow_steps=2, every=2)
    assert task.views(timed(), Draw(0, 0))["frames"].shape[1] == FRAMES // 2
    task.after_step()
    task.after_step()
    assert task.views(timed(), Draw(0, 0))["frames"].shape[1] == FRAMES
    again = built(slow_steps=2, every=2)
    again.load_state_dict(task.state_dict())
    assert again.views(timed(), Draw(0, 0))["frames"].shape[1] == FRAMES


def test_silent_clips_ask_nothing() -> None:
    task, batch = built(), timed(3)
    assert batch.sound is not None
    batch.sound = batch.sound.clone()
    batch.sound[1] = 0
    views = task.views(batch, Draw(0, 0))
    assert set(views["sample"].tolist()) == {0, 2}
    batch.sound[:] = 0
    answer = task(task.views(batch, Draw(0, 0)))
    assert answer.loss.item() == 0 and "accuracy" not in answer.logs


@pytest.mark.parametrize("training", [True, False])
def test_windows_are_taken_where_there_is_sound(training: bool) -> None:
    """Sound ends before the end: windows that go up to there have none, others do."""
    task, batch = built(tries=30, overlap=4).train(training), timed(20)
    assert batch.sound is not None
    batch.sound = batch.sound.clone()
    batch.sound[..., 9 * HOP :] = 0
    views = task.views(batch, Draw(0, 0))
    assert set(views["sample"].tolist()) == set(range(20))
    first = (views["frames"].mean((2, 3, 4))[:, 0] / 10).round()
    assert first.max() < 9
    few = built(tries=1, overlap=4).train(training).views(batch, Draw(0, 0))
    assert len(few["sample"].unique()) < 20


def test_answer_is_the_mean_of_its_map() -> None:
    task = built().eval()
    views = task.views(timed(2), Draw(0, 0))
    answer = task(views)
    evidence = task.evidence(views["frames"][views["sight_row"]], views["sound"][views["sound_row"]])
    assert answer.scores is not None
    torch.testing.assert_close(answer.scores[:, 1] * 2, evidence.mean((1, 2, 3)), atol=1e-4, rtol=1e-4)
    assert task.localise(views["frames"], views["sound"]).shape == (4, *evidence.shape[2:])


@pytest.mark.slow
def test_learns_to_hear_when_something_is_seen() -> None:
    """A place blinks when a noise is heard; when is different in every clip."""

    def scene(step: int, clips: int = 16) -> Batch:
        random = torch.Generator().manual_seed(step)
        on = (torch.rand(clips, CLIP, generator=random) < 0.4).float()
        frames = torch.full((clips, 1, CLIP, 3, 40, 40), 60.0)
        frames[..., 8:24, 16:32] += 150 * on[:, None, :, None, None, None]
        noise = torch.randn(clips, CLIP * HOP, generator=random) * (40 + 6000 * on.repeat_interleave(HOP, 1))
        batch = timed(clips)
        batch.frames, batch.sound = frames.to(torch.uint8), noise.clamp(-32768, 32767).to(torch.int16)[:, None]
        return batch

    task = built(flip=False, scale=(0.9, 1.0))
    optimiser = torch.optim.Adam(task.train().parameters(), 3e-3)
    for step in range(240):
        optimiser.zero_grad()
        task(task.views(scene(step), Draw(0, step))).loss.backward()
        optimiser.step()
    accuracy = task.eval()(task.views(scene(9999, 32), Draw(0, 0))).logs["accuracy"]
    assert accuracy > 75


def test_loudness_over_time_tells_the_answer_only_without_the_control() -> None:
    """Here all clips become louder: of one window shown, the shifted sound is the louder one."""
    task = built()
    (cheat,) = [one.cheat for one in task.shortcuts if isinstance(one.cheat, base.Cheat)]
    batch = timed(6)
    assert cheat.off is not None
    without = cheat.alone(batch, Draw(0, 0), partial(cheat.off, task))
    level = without["x"].mean(1)
    assert level[without["target"] == 0].min() > level[without["target"] == 1].max() - 1
    per_clip = [level[without["sample"] == row] for row in range(6)]
    assert all(bool(one[1] > one[0]) for one in per_clip)
    closed = cheat.alone(batch, Draw(0, 0), task.views)
    for row in set(closed["sound_row"].tolist()):
        asked = closed["sound_row"] == row
        assert closed["target"][asked].sum() == 1 and bool((closed["x"][asked] == closed["x"][asked][0]).all())


def test_evidence_keeps_its_digits_within_mixed_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    task = built()
    maps = torch.randn(2, task.network.vector_width, 3, 4, 4)
    monkeypatch.setattr(task.network, "joined", lambda seen, heard: {"res5": maps})
    with torch.autocast("cpu", torch.bfloat16):
        mixed = task._evidence(maps, maps)
    assert mixed.dtype == torch.float32 and torch.equal(mixed, task._evidence(maps, maps))


@pytest.mark.parametrize("training", [True, False])
def test_two_channels_are_cut_alike_and_heard_each_on_its_own(training: bool) -> None:
    settings = {**SMALL["trunk_settings"], "channels": 2}
    task, batch = built(trunk_settings=settings).train(training), timed(8)
    assert task.reads().channels == 2 and built().reads().channels == 1
    mono = task.views(batch, Draw(0, 0))
    assert batch.sound is not None
    batch.sound = torch.stack([batch.sound, -batch.sound], 2)
    views = task.views(batch, Draw(0, 0))
    sides = torch.stack([mono["sound"], -mono["sound"]], 1)
    same, exchanged = ((views["sound"] == some).flatten(1).all(1) for some in (sides, sides.flip(1)))
    assert (same | exchanged).all() and bool(exchanged.any()) == training
    assert torch.equal(views["target"], mono["target"])
    other = {**views, "sound": views["sound"].flip(1)}
    with torch.no_grad():
        both, turned, one = (task.eval()(some).scores for some in (views, other, mono))
        twice = task({**mono, "sound": torch.stack([mono["sound"]] * 2, 1)}).scores
    assert not torch.allclose(both, turned) and torch.equal(one, twice)
