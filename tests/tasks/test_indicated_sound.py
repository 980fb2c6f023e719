import math

import pytest
import torch

from sslkit.tasks import base
from sslkit.tasks.indicated_sound import _compared, _matched
from sslkit.types import Batch, Draw

RATE_HZ, FPS, FRAMES = 16_000, 25, 10
SMALL = {
    "trunk_settings": {"side_px": 64, "width": 0.125, "fc": 0}, "frames": FRAMES, "fps": FPS, "steps": 4,
    "components": 4, "hidden": 32,
}  # fmt: skip
PITCHES_HZ = (200.0, 900.0, 4000.0)


def flashes(n: int, seed: int = 0) -> tuple[Batch, torch.Tensor, torch.Tensor]:
    """Pictures of one of three colours become bright, with a blow of the pitch of that colour; which, and when."""
    generator = torch.Generator().manual_seed(seed)
    kind, at = torch.arange(n) % 3, torch.randint(2, FRAMES - 2, (n,), generator=generator)
    frames = torch.randint(30, 60, (n, 1, FRAMES, 3, 72, 80), generator=generator)
    for row in range(n):
        frames[row, 0, :, kind[row]] += 80
        frames[row, 0, at[row] :] += 100
    since = torch.arange(FRAMES * RATE_HZ // FPS) / RATE_HZ - at[:, None] / FPS
    fall = (-since / 0.1).exp().where(since >= 0, torch.zeros(()))
    sound = 9000 * fall * torch.sin(2 * math.pi * torch.tensor(PITCHES_HZ)[kind][:, None] * since)
    return Batch(
        label=torch.full((n,), -1), index=torch.arange(n), start_s=torch.zeros(n, 1),
        size_px=torch.tensor([[72, 80]] * n), frames=frames.to(torch.uint8), sound=sound.to(torch.int16)[:, None],
    ), kind, at  # fmt: skip


def fitted(**settings: object) -> base.Task:
    torch.manual_seed(0)
    task = base.build("indicated_sound", {**SMALL, **settings})
    task.before_training(lambda reads, samples: iter([flashes(12)[0], flashes(12, 1)[0]]))
    return task


def test_each_flash_has_its_pitch_at_its_moment() -> None:
    task = fitted()
    for training in (True, False):
        batch, kind, at = flashes(9, 2)
        views = task.train(training).views(batch, Draw(0, 0))
        assert views["frames"].shape == (9, FRAMES, 3, 64, 64) and views["heard"].shape == (9, 42, FRAMES * 4)
        colour = views["frames"].mean((3, 4))
        assert torch.equal(colour[:, 0].argmax(1), kind)
        assert torch.equal(colour.mean(2).diff(dim=1).argmax(1) + 1, at)
        began = views["heard"].mean(1).diff(dim=1).argmax(1) + 1
        assert ((began - 4 * at).abs() <= 1).all()
        band = views["heard"].mean(2).argmax(1).float()
        centre = torch.stack([band[kind == k].mean() for k in range(3)])
        assert (centre.diff() > 5).all() and all(band[kind == k].std() < 1 for k in range(3))


def test_components_are_those_of_a_principal_component_analysis() -> None:
    task = fitted()
    columns = torch.cat([task.heard(flashes(12, seed)[0].sound[:, 0]) for seed in (0, 1)]).transpose(1, 2).flatten(0, 1)
    assert torch.allclose(task.mean, columns.mean(0), atol=1e-5)
    _, values, axes = torch.linalg.svd(columns - columns.mean(0), full_matrices=False)
    assert torch.allclose((task.axes @ axes[:4].T).abs(), torch.eye(4), atol=1e-2)
    kept = task.rebuilt(task.known(columns.T[None])).transpose(1, 2)[0]
    expected = float(values[4:].square().sum() / values.square().sum())
    assert float((kept - columns).square().sum() / (columns - task.mean).square().sum()) < expected * 1.05 + 0.01
    other = base.build("indicated_sound", SMALL)
    other.load_state_dict(task.state_dict())
    assert torch.equal(other.axes, task.axes)


def test_loss_is_that_of_the_formula() -> None:
    task = fitted().eval()
    views = task.views(flashes(3, 4)[0], Draw(0, 0))
    said, total = task.components(views["frames"]), 0.0
    for row in range(3):
        for moment in range(FRAMES * 4):
            true = [float(axis @ (views["heard"][row, :, moment] - task.mean)) for axis in task.axes]
            square = sum((float(a) - b) ** 2 for a, b in zip(said[row, moment], true, strict=True))
            total += math.log(1 / 625 + square) / (3 * FRAMES * 4)
    answer = task(views)
    assert float(answer.loss) == pytest.approx(total, rel=1e-4)
    true = (views["heard"].transpose(1, 2) - task.mean) @ task.axes.T

    def far(one: int, other: int) -> float:
        return float((said[one] - true[other]).square().sum())

    for row, before in ((0, 2), (1, 0), (2, 1)):
        pairs = [far(row, row) + far(before, before), far(row, before) + far(before, row)]
        assert answer.scores[row].tolist() == pytest.approx([-one for one in pairs], rel=1e-4)


def test_errors_of_loudness_stand_beside_those_of_a_constant() -> None:
    told = _compared("loudness", torch.tensor([1.0, 2.0, 6.0]), torch.tensor([2.0, 3.0, 7.0]))
    assert {name: float(one) for name, one in told.items()} == pytest.approx(
        {"loudness_r": 1.0, "loudness_error": 1.0, "loudness_constant_error": 14 / 3}
    )
    task = fitted().eval()
    logs = task(task.views(flashes(6, 4)[0], Draw(0, 0))).logs
    assert {f"{what}_{kind}" for what in ("loudness", "centroid") for kind in ("r", "error", "constant_error")} < set(
        logs
    )


def test_quiet_answers_are_not_nearer_to_quiet_sounds_than_they_should_be() -> None:
    """Half as loud as they should be, all right: nearer to the quiet sound of another clip, and yet told apart."""
    true = torch.tensor([1.0, 4.0, 9.0])[:, None, None].expand(3, 5, 2)
    near = _matched(0.3 * true, true)
    assert (near[:, 0] < near[:, 1]).all()
    assert (_matched(0 * true, true)[:, 0] >= near.new_zeros(3)).all()
    constant = _matched(torch.full_like(true, 2.0), true)
    assert torch.equal(constant[:, 0], constant[:, 1])


@pytest.mark.parametrize("training", [True, False])
def test_clips_are_cut_around_a_hit_with_their_sound(training: bool) -> None:
    """Of ten frames that are read six are cut, and what is seen and heard of the blow is at the same moment."""
    task = fitted(frames=6, read_s=FRAMES / FPS).train(training)
    assert task.reads().frames == FRAMES and task.moments == 24
    batch, _, at = flashes(30, 2)
    frames, sound = task.cut(batch, Draw(0, 0))
    assert frames.shape[:2] == (30, 6) and sound.shape == (30, 6 * RATE_HZ // FPS)
    seen = frames.float().mean((2, 3, 4)).diff(dim=1)
    hit = seen.amax(1) > 20
    assert hit.all() and len(seen.argmax(1).unique()) > 1
    first = (sound.abs() > 200).byte().argmax(1) * FPS / RATE_HZ
    assert ((first - seen.argmax(1) - 1).abs() < 0.2).all()
    middle = task.cut(batch)[0].float().mean((2, 3, 4)).diff(dim=1).argmax(1) + 1
    assert (middle[(at >= 3) & (at <= 7)] == 3).all()


def test_a_late_hit_is_cut_where_a_frame_has_no_whole_number_of_samples() -> None:
    task = fitted(fps=30, steps=3, frames=20, read_s=4 / 3)
    reads = task.reads()
    sound = torch.zeros(1, 1, round(reads.sound_s * RATE_HZ), dtype=torch.int16)
    sound[..., -2000:] = 9000
    picture = torch.arange(reads.frames, dtype=torch.uint8)[None, None, :, None, None, None].expand(1, 1, -1, 3, 8, 8)
    batch = Batch(
        label=torch.tensor([-1]), index=torch.tensor([0]), start_s=torch.zeros(1, 1),
        size_px=torch.tensor([[8, 8]]), frames=picture, sound=sound,
    )  # fmt: skip
    frames, heard = task.cut(batch)
    assert frames[0, :, 0, 0, 0].tolist() == list(range(20, 40)) and torch.equal(heard[0], sound[0, 0, -10667:])


def test_a_clip_alone_is_asked_nothing_but_what_it_sounds_like() -> None:
    task = fitted().eval()
    views = task.views(flashes(1)[0], Draw(0, 0))
    answer = task(views)
    assert (
        answer.scores is None
        and answer.target is None
        and "accuracy" not in answer.logs
        and "loudness_r" in answer.logs
    )
    assert math.isfinite(answer.loss.item())
    assert task.show(views, answer)[0].right == [None]


def test_silent_clips_are_left_out() -> None:
    task, (batch, *_) = fitted(), flashes(6)
    assert batch.sound is not None
    batch.sound = batch.sound.clone()
    batch.sound[[1, 4]] = 0
    views = task.views(batch, Draw(0, 0))
    assert views["sample"].tolist() == [0, 2, 3, 5] and len(views["frames"]) == len(views["heard"]) == 4
    assert views["asked"].all()
    batch.sound[:] = 0
    silent = task.views(batch, Draw(0, 0))
    assert len(silent["sample"]) == 6 and silent["asked"].all()
    # Where another process has something to ask, what is silent here weighs nothing.
    task.gather = lambda tensor: torch.cat([tensor, torch.ones_like(tensor)])
    views = task.views(batch, Draw(0, 0))
    assert not views["asked"].any() and float(task(views).loss.detach()) == 0


def test_changes_are_those_to_the_frames_around_and_to_the_first() -> None:
    task = fitted(changes=True).eval()
    seen: list[torch.Tensor] = []
    task.trunk.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    frames = torch.rand(1, FRAMES, 3, 64, 64) * 255
    task.components(frames)
    gray = frames[0].mean(1)
    for frame in range(FRAMES):
        to = [max(0, frame - 1), frame, min(FRAMES - 1, frame + 1)], [frame, 0, frame]
        assert torch.allclose(seen[0][frame], 128 + gray[to[0]] - gray[to[1]], atol=1e-3)
    assert torch.equal(seen[0][-1], frames[0, 0])


def test_the_first_frame_is_seen_in_colour_and_the_others_with_their_neighbours() -> None:
    task = fitted().eval()
    seen: list[torch.Tensor] = []
    task.trunk.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    frames = torch.rand(2, FRAMES, 3, 64, 64) * 255
    task.components(frames)
    shown = seen[0].reshape(2, FRAMES + 1, 3, 64, 64)
    assert torch.equal(shown[:, -1], frames[:, 0])
    gray = frames.mean(2)
    for frame in range(FRAMES):
        around = [max(0, frame - 1), frame, min(FRAMES - 1, frame + 1)]
        assert torch.allclose(shown[:, frame], gray[:, around])


def test_learns_when_and_how_high_it_sounds() -> None:
    task = fitted()
    optimiser = torch.optim.Adam(task.parameters(), 4e-3)
    for step in range(20):
        answer = task(task.views(flashes(9, step + 5)[0], Draw(0, step)))
        optimiser.zero_grad()
        answer.loss.backward()
        optimiser.step()
    views = task.eval().views(flashes(12, 99)[0], Draw(0, 0))
    answer = task.train()(views)  # the moving averages of the norms need more steps
    assert answer.logs["accuracy"] > 90 and answer.logs["loudness_r"] > 0.5 and answer.logs["centroid_r"] > 0.8
    panel = task.show(views, answer, 4)[0]
    assert len(panel.pictures) == 4 and any(panel.right)
