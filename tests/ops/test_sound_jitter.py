import math
from dataclasses import replace

import pytest
import torch

from sslkit.ops import sound_jitter as ops
from sslkit.ops.sound import level_db
from sslkit.types import Draw, Part

RATE_HZ = 16_000
NONE = ops.SoundRanges((0, 0), (0, 0), 0, 0, ("white",), (0, 0), 0, (0.1, 0.2), (0, 0))


def noise(*shape: int, loudness: float = 1000.0) -> torch.Tensor:
    return loudness * torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def tone(hz: float) -> torch.Tensor:
    return 5000 * torch.sin(2 * math.pi * hz * torch.arange(RATE_HZ) / RATE_HZ)


def distorted(sound: torch.Tensor, ranges: ops.SoundRanges, seed: int = 0) -> torch.Tensor:
    return ops.jitter_sound(sound, ops.draw_sound_jitter(tuple(sound.shape), RATE_HZ, ranges, Draw(seed, 0)), RATE_HZ)


def test_nothing_drawn_is_nothing_done() -> None:
    sound = noise(4, 2, 8000).to(torch.int16)
    assert torch.allclose(distorted(sound, NONE), sound.float(), atol=0.5)


@pytest.mark.parametrize(
    "ranges",
    [
        replace(NONE, gain_db=(-20.0, 20.0)),
        replace(NONE, tilt_db=(-6.0, 6.0)),
        replace(NONE, flip_chance=0.5),
        replace(NONE, noise_chance=1.0, noises=("white", "pink", "babble"), snr_db=(0.0, 20.0)),
        replace(NONE, reverb_chance=1.0, reverb_s=(0.05, 0.8), direct_db=(0.0, 6.0)),
        ops.SoundRanges(reverb_chance=1.0, noise_chance=1.0),
    ],
    ids=["gain", "tilt", "polarity", "noise", "reverberation", "all"],
)
def test_no_distortion_moves_an_impulse(ranges: ops.SoundRanges) -> None:
    click = torch.zeros(12, RATE_HZ)
    click[:, 7000] = 8000
    found = distorted(click, ranges)
    assert (found.abs().argmax(-1) == 7000).all()
    assert found.shape == click.shape and found.isfinite().all() and found.abs().max() <= 32767


def test_gain_is_in_db_and_stops_at_full_scale() -> None:
    sound = torch.stack([noise(4000), noise(4000), 20_000 + 0 * noise(4000)])
    found = ops.amplified(sound, torch.tensor([6.0, -20.0, 12.0]))
    change = level_db(found) - level_db(sound)
    assert change[:2].tolist() == pytest.approx([6, -20], abs=1e-3)
    assert found[2].max() == pytest.approx(32767)


@pytest.mark.parametrize("snr_db", [20.0, 0.0])
def test_noise_is_as_strong_as_asked(snr_db: float) -> None:
    sound = torch.stack([tone(300), tone(2000)])[:, None].repeat(1, 2, 1)
    ranges = replace(NONE, noise_chance=1.0, snr_db=(snr_db, snr_db))
    for kind in ("white", "pink", "babble"):
        added = distorted(sound, replace(ranges, noises=(kind,))) - sound
        assert (level_db(sound) - level_db(added)).mean() == pytest.approx(snr_db, abs=0.1)


def test_pink_noise_falls_by_three_db_an_octave_and_white_does_not() -> None:
    sound = tone(100)[None].repeat(20, 1)
    for kind, expected in (("white", 0.0), ("pink", -3.01)):
        added = distorted(sound, replace(NONE, noise_chance=1.0, noises=(kind,), snr_db=(0, 0))) - sound
        power = torch.fft.rfft(added).abs().square().mean(0)
        octaves = torch.stack([power[250 * 2**k : 500 * 2**k].mean() for k in range(5)]).log10() * 10
        assert octaves.diff().mean() == pytest.approx(expected, abs=0.3)


def test_babble_is_another_row() -> None:
    sound = torch.stack([tone(200), tone(500), tone(1100), tone(2300)])
    ranges = replace(NONE, noise_chance=1.0, noises=("babble",), snr_db=(0, 0))
    partners = set()
    for seed in range(10):
        likeness = torch.corrcoef(torch.cat([sound, distorted(sound, ranges, seed) - sound]))[4:, :4]
        assert (likeness.max(1).values > 0.99).all()
        partners |= set(zip(range(4), likeness.argmax(1).tolist(), strict=True))
    assert partners == {(i, j) for i in range(4) for j in range(4) if i != j}


def test_silence_stays_finite_and_silent() -> None:
    found = distorted(torch.zeros(3, 4000, dtype=torch.int16), ops.SoundRanges(noise_chance=1.0, reverb_chance=1.0))
    assert not found.any()
    assert ops.with_noise(noise(2, 100), torch.zeros(2, 100), torch.zeros(2)).isfinite().all()


def test_reverberation_dies_away_as_asked() -> None:
    ranges = replace(NONE, reverb_chance=1.0, reverb_s=(0.5, 0.5), direct_db=(6.0, 6.0))
    click = torch.zeros(50, RATE_HZ)
    click[:, 1000] = 10_000
    found = distorted(click, ranges)
    assert not found[:, :1000].abs().max() > 1e-2
    energy = found.square().mean(0)
    assert 10 * (energy[1000] / energy[1001:].sum()).log10() == pytest.approx(6.0, abs=0.1)
    early, late = energy[2000:2400].mean(), energy[5200:5600].mean()  # 0.2 s apart
    assert 10 * (early / late).log10() == pytest.approx(24.0, abs=1.0)


def test_tilt_is_an_octave_equaliser() -> None:
    for hz, expected in ((500, -4.0), (1000, 0.0), (4000, 8.0)):
        found = ops.tilted(tone(hz)[None], torch.tensor([4.0]), RATE_HZ)
        assert float(level_db(found) - level_db(tone(hz))) == pytest.approx(expected, abs=0.15)


def test_polarity_turns_about_half() -> None:
    sound = noise(200, 100)
    found = distorted(sound, replace(NONE, flip_chance=0.5))
    flipped = (found * sound).sum(1) < 0
    assert torch.allclose(torch.where(flipped[:, None], -found, found), sound, atol=0.5)
    assert 60 < flipped.sum() < 140


def test_draws_repeat_and_do_not_depend_on_how_a_batch_is_split() -> None:
    whole = ops.draw_sound_jitter((6, 2, 500), RATE_HZ, ops.SoundRanges(), Draw(3, 5))
    again = ops.draw_sound_jitter((6, 2, 500), RATE_HZ, ops.SoundRanges(), Draw(3, 5))
    part = ops.draw_sound_jitter((2, 2, 500), RATE_HZ, ops.SoundRanges(), Draw(3, 5, part=Part(4, 2, 6)))
    for name in ("gain_db", "tilt_db", "sign", "response", "noise", "snr_db", "which", "partner"):
        assert torch.equal(getattr(whole, name), getattr(again, name))
        assert torch.equal(getattr(whole, name)[4:], getattr(part, name))


@pytest.mark.cuda
def test_distortions_are_the_same_on_cuda() -> None:
    sound = noise(4, 2, 8000)
    drawn = ops.draw_sound_jitter((4, 2, 8000), RATE_HZ, ops.SoundRanges(), Draw(0, 0))
    expected = ops.jitter_sound(sound, drawn, RATE_HZ)
    assert torch.allclose(ops.jitter_sound(sound.cuda(), drawn, RATE_HZ).cpu(), expected, atol=1.0)
