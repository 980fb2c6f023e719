import math
from dataclasses import replace

import pytest
import torch
import torchaudio.functional

from sslkit.ops import texture as ops

RATE_HZ = 16_000
EAR = ops.Cochlea(bands=32, frame_hz=400, rate_hz=RATE_HZ, high_hz=8000.0)
TIME = torch.arange(2 * RATE_HZ) / RATE_HZ


def tone(hz: float, loudness: torch.Tensor | float = 1.0) -> torch.Tensor:
    return 10_000 * loudness * torch.sin(2 * math.pi * hz * TIME)


def wave(hz: float) -> torch.Tensor:
    return 0.5 + 0.5 * torch.sin(2 * math.pi * hz * TIME)


def inner(cochleagram: torch.Tensor) -> torch.Tensor:
    """Without the frames that know of the sound's ends."""
    return cochleagram[..., 20:-20]


def noise(samples: int) -> torch.Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(0))


def test_settings_of_the_papers() -> None:
    assert (ops.AMBIENT.bands, ops.AMBIENT.frame_hz, ops.AMBIENT.exponent) == (32, 400, 0.3)
    assert (ops.INDICATED.bands, ops.INDICATED.frame_hz, ops.INDICATED.exponent) == (42, 90, 0.3)
    assert ops.cochleagram(torch.zeros(2, 3, 22_050, dtype=torch.int16), ops.INDICATED).shape == (2, 3, 42, 90)
    with pytest.raises(ValueError, match="do not fit a rate of 16000 Hz"):
        replace(ops.AMBIENT, rate_hz=16_000)
    with pytest.raises(ValueError, match="too few"):
        replace(ops.AMBIENT, bands=2)


def test_bands_are_spaced_like_the_ear_and_lose_no_energy() -> None:
    centres = ops.centres_hz(EAR)
    assert centres[0] == pytest.approx(20) and centres[-1] == pytest.approx(8000)
    width = centres.diff()
    expected = (24.7 + centres / 9.265) * float(ops._hz_to_erb(torch.tensor([20.0, 8000.0])).diff()) / 31
    assert torch.allclose(width, (expected[:-1] + expected[1:]) / 2, rtol=0.01)
    assert torch.allclose(ops._filters(EAR, 2048, torch.device("cpu")).square().sum(0), torch.ones(1025), atol=1e-6)


@pytest.mark.parametrize("ear", [EAR, ops.INDICATED, ops.AMBIENT, replace(EAR, high_hz=3000.0), replace(EAR, bands=3)])
def test_envelopes_are_those_of_the_full_rate(ear: ops.Cochlea) -> None:
    sound = 5000 * noise(2 * ear.rate_hz + 77) * (1 + torch.sin(torch.arange(2 * ear.rate_hz + 77) / 300))
    slow, rate_hz = ops._envelopes(sound / 32768, ear)
    full = ops._bands(sound / 32768, ear).abs()
    step = ear.rate_hz // rate_hz
    assert torch.allclose(slow, full[..., ::step], atol=1e-5)
    expected = torchaudio.functional.resample(full, ear.rate_hz, ear.frame_hz).clamp(min=0) ** ear.exponent
    found = ops.cochleagram(sound, ear)
    assert found.shape == expected.shape
    assert (found - expected).abs().mean() < 0.002


@pytest.mark.parametrize("band", [3, 10, 20, 30])
def test_a_tone_is_heard_in_its_band_at_its_loudness(band: int) -> None:
    found = inner(ops.cochleagram(tone(float(ops.centres_hz(EAR)[band])), EAR))
    assert found.mean(-1).argmax() == band
    assert torch.allclose(found[band], torch.tensor((10_000 / 32768) ** 0.3), rtol=0.01)
    apart = (torch.arange(32) - band).abs() > 1
    assert found[apart].max() < 0.3 * found[band].min()


def test_an_impulse_stays_in_its_frame() -> None:
    click = torch.zeros(RATE_HZ)
    click[RATE_HZ // 2] = 30_000
    assert (ops.cochleagram(click, replace(EAR, frame_hz=100))[5:].argmax(-1) == 50).all()


def test_modulation_is_found_at_its_rate() -> None:
    rates = ops.modulation_rates_hz()
    for hz in (float(rates[3]), float(rates[6])):
        found = ops.cochleagram(tone(float(ops.centres_hz(EAR)[15]), wave(hz)), replace(EAR, exponent=1.0))
        power = ops.texture_statistics(found, 400).modulation[15]
        assert power.argmax() == (rates - hz).abs().argmin()
        assert power.max() > 0.85
        assert power.sum() == pytest.approx(1.0, abs=0.05)


def test_bands_that_rise_together_are_correlated() -> None:
    one, two, other = (float(hz) for hz in ops.centres_hz(EAR)[[8, 16, 24]])
    sound = tone(one, wave(3)) + tone(two, wave(3)) + tone(other, 1 - wave(3))
    statistics = ops.texture_statistics(inner(ops.cochleagram(sound, EAR)), 400)
    assert statistics.correlation[8, 16] > 0.98
    assert statistics.correlation[8, 24] < -0.6  # the compressed waves are not mirror images
    assert torch.allclose(statistics.correlation.diagonal(), torch.ones(32), atol=1e-3)


def test_statistics_are_their_definition() -> None:
    found = ops.cochleagram(noise(RATE_HZ) * 3000, EAR)
    statistics = ops.texture_statistics(found, 400)
    assert torch.allclose(statistics.mean, found.mean(-1))
    assert torch.allclose(statistics.std, found.std(-1, correction=0))
    assert torch.allclose(statistics.correlation, torch.corrcoef(found), atol=1e-4)
    assert statistics.vector().shape == (32 + 32 + 320 + 32 * 31 // 2,)
    batch = ops.texture_statistics(torch.stack([found, found * 0]), 400).vector()
    assert torch.allclose(batch[0], statistics.vector(), atol=1e-4) and not batch[1].any()


def test_noise_is_given_the_envelopes_of_a_sound() -> None:
    cochlea = replace(EAR, frame_hz=90)
    melody = tone(400, wave(2)) + tone(2500, 1 - wave(2)) + 300 * noise(len(TIME))
    wanted = ops.cochleagram(melody, cochlea)
    back = ops.synthesised(wanted, noise(len(TIME)), cochlea)
    found = ops.cochleagram(back, cochlea)

    def likeness(one: torch.Tensor, two: torch.Tensor) -> float:
        return float(torch.corrcoef(torch.stack([inner(one).flatten(), inner(two).flatten()]))[0, 1])

    assert likeness(wanted, found) > 0.9
    assert likeness(wanted, ops.cochleagram(3000 * noise(len(TIME)), cochlea)) < 0.5
    assert inner(found).mean() == pytest.approx(float(inner(wanted).mean()), rel=0.1)
    once = ops.cochleagram(ops.synthesised(wanted, noise(len(TIME)), cochlea, rounds=1), cochlea)
    assert (found - wanted).abs().mean() < (once - wanted).abs().mean()


@pytest.mark.cuda
def test_cochleagrams_are_the_same_on_cuda() -> None:
    sound = noise(RATE_HZ) * 3000
    found = ops.cochleagram(sound.cuda(), EAR)
    assert torch.allclose(found.cpu(), ops.cochleagram(sound, EAR), atol=1e-4)
    expected = ops.texture_statistics(found.cpu(), 400).vector()
    assert torch.allclose(ops.texture_statistics(found, 400).vector().cpu(), expected, atol=1e-3)


def test_filters_are_made_once_also_where_nothing_may_be_learnt_from_them() -> None:
    ear, sound = ops.Cochlea(6, 100, 8000, high_hz=3000.0), 1000 * noise(4000)
    with torch.inference_mode():
        first = ops.cochleagram(sound, ear)
    made = [one.cache_info().misses for one in (ops._filters, ops._narrow)]
    assert torch.equal(ops.cochleagram(sound, ear), first)
    assert made == [one.cache_info().misses for one in (ops._filters, ops._narrow)]
    assert not any(one.is_inference() for one in ops._narrow(ear, ops._spectrum_size(4000, ear), sound.device)[1:])
