import math

import numpy as np
import pytest
import torch

from sslkit.ops import onset as ops

RATES = [(16_000, 25.0), (16_000, 29.97), (44_100, 25.0), (8_000, 60.0), (48_000, 12.5)]


def clicks(rate_hz: int, *times_s: float, seconds: float = 2.0) -> torch.Tensor:
    sound = torch.zeros(round(seconds * rate_hz))
    for time_s in times_s:
        sound[round(time_s * rate_hz)] = 20_000
    return sound


@pytest.mark.parametrize("measure", [ops.envelope, ops.onsets])
@pytest.mark.parametrize(("rate_hz", "frame_hz"), RATES)
def test_an_impulse_peaks_at_its_frame(measure: object, rate_hz: int, frame_hz: float) -> None:
    for frame in (0, 7, 13, 20):
        found = measure(clicks(rate_hz, frame / frame_hz), rate_hz, frame_hz)  # type: ignore[operator]
        assert len(found) == math.ceil(2 * frame_hz)
        assert found.argmax() == frame


@pytest.mark.parametrize("measure", [ops.envelope, ops.onsets])
def test_an_impulse_between_frames_is_shared_without_bias(measure: object) -> None:
    errors = []
    for time_s in np.arange(0.5, 1.5, 0.0137):
        found = measure(clicks(16_000, time_s), 16_000, 25.0)  # type: ignore[operator]
        assert abs(int(found.argmax()) - time_s * 25) < 0.6
        weight = found.square() if measure is ops.envelope else found
        errors.append(float((weight * torch.arange(50)).sum() / weight.sum()) / 25 - time_s)
    assert abs(np.mean(errors)) < 0.003
    assert np.abs(errors).max() < 0.004


def test_a_tone_that_begins_has_its_onset_there_and_its_loudness_after() -> None:
    time = torch.arange(32_000) / 16_000
    sound = 10_000 * torch.sin(2 * math.pi * 440 * time) * (time >= 1.0)
    onset, loudness = ops.onsets(sound, 16_000, 25.0), ops.envelope(sound, 16_000, 25.0)
    assert onset.argmax() == 25 and onset[27:-1].max() < 0.1 * onset.max()
    expected = 10_000 / 32768 / math.sqrt(2)
    assert loudness[:24].max() < 1e-6 and torch.allclose(loudness[27:], torch.tensor(expected), rtol=0.01)
    assert loudness[25] == pytest.approx(expected * math.sqrt(0.5), rel=0.02)


def test_shapes_and_silence() -> None:
    silent = torch.zeros(2, 3, 16_000, dtype=torch.int16)
    for measure in (ops.envelope, ops.onsets):
        found = measure(silent, 16_000, 25.0, 30)
        assert found.shape == (2, 3, 30) and not found.any()
        assert measure(torch.full((16_000,), 500.0), 16_000, 25.0, 100)[30:].max() == 0


def test_onsets_do_not_depend_on_the_other_rows() -> None:
    sound = torch.stack([clicks(16_000, 0.4), clicks(16_000, 1.2)]).to(torch.int16)
    found = ops.onsets(sound, 16_000, 25.0)
    assert found.argmax(-1).tolist() == [10, 30]
    assert torch.allclose(found[1], ops.onsets(sound[1], 16_000, 25.0))


def test_peaks_are_the_largest_around_them() -> None:
    strength = torch.tensor([0.0, 1, 3, 1, 0, 0, 2, 2, 0, 0.5, 0, 4])
    assert ops.peaks(strength, 10.0, 1.0, apart_s=0.2) == pytest.approx([0.2, 0.6, 1.1])
    assert ops.peaks(strength, 10.0, 2.5, apart_s=0.2) == pytest.approx([0.2, 1.1])
    assert ops.peaks(torch.zeros(9), 10.0, 0.0) == []
    assert ops.separate([0.0, 0.05, 0.08, 0.2, 0.25], 0.1) == [0.0, 0.2]


def test_each_moment_is_matched_once() -> None:
    assert ops.matches([1.0, 1.05, 2.0], [1.02, 5.0], 0.1) == 1
    assert ops.matches([1.0, 1.09, 3.0], [1.1, 0.95, 2.95], 0.1) == 3
    assert ops.matches([], [1.0], 0.1) == ops.matches([1.0], [], 0.1) == 0
    assert ops.matches([1.0], [1.2], 0.1) == 0
