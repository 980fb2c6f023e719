"""What is heard in the toybox: when, from where, and from what."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from sslkit.data import toybox
from sslkit.data.toybox import sound, speech
from sslkit.data.toybox.objects import Objects


def log_spectrum(wave):
    """Log power in 40 bands from 80 Hz to 8 kHz, without the level."""
    power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 16_384)) ** 2
    edges = np.geomspace(80, 7990, 41) / 16_000 * 16_384
    bands = np.array([power[int(a) : int(b) + 1].mean() for a, b in pairwise(edges)])
    level = np.log(bands + 1e-4 * bands.max())
    return level - level.mean()


def recognised(make, seeds=12):
    """Share of sounds that the nearest mean spectrum of other seeds names rightly."""
    spectra = np.array([[log_spectrum(make(kind, seed)) for seed in range(seeds)] for kind in toybox.KINDS])
    centroids, asked = spectra[:, ::2].mean(1), spectra[:, 1::2]
    far = ((asked[:, :, None] - centroids[None, None]) ** 2).sum(-1)
    return np.mean(far.argmin(-1) == np.arange(len(toybox.KINDS))[:, None])


def test_each_kind_has_its_own_timbre():
    def ring(kind, seed):
        rng = np.random.default_rng(seed)
        return sound.strike(sound.TIMBRE[kind], rng, rng.uniform(0.6, 1.4))

    assert recognised(ring) > 0.9


def test_each_kind_hums_in_its_own_way():
    def whirr(kind, seed):
        rng = np.random.default_rng(seed)
        return sound.hum(sound.TIMBRE[kind], rng, np.arange(8000) / 16_000, rng.uniform(0.6, 1.4))

    assert recognised(whirr) > 0.9


def test_impacts_start_on_their_sample():
    heard = 0
    for plan in toybox.scenes(0, clips=18, types=("objects",)):
        stage = Objects(plan)
        recorded, entries = stage.sound()
        first = min(entries, key=lambda entry: entry.start_s if entry.start_s > 0 else 9.0)
        wave = np.abs(recorded.astype(float))
        # Not where something hums, or where an impact from before the clip still rings.
        if wave[:160].max() > 60 or first.kind != "impact" or first.level < 0.1:
            continue
        loud = np.flatnonzero(wave > 120)[0]
        assert 0 <= loud - round(first.start_s * 16_000) <= 12
        heard += 1
    assert heard >= 6


def test_impacts_are_where_the_object_is():
    checked = 0
    for plan in toybox.scenes(1, clips=8, types=("objects",), camera_share=0.5):
        clip = toybox.render(plan)
        for entry in clip.truth["sounds"]:
            frame = round(entry["time_s"] * 25)
            if entry["kind"] != "impact" or frame >= len(clip.frames) or frame == 0:
                continue
            boxes = [b[1:] for f in (frame - 1, frame) for b in clip.truth["boxes"][f] if b[0] == entry["object"]]
            x, y = entry["xy"]
            if len(boxes) == 2 and 0 <= x < 192 and 0 <= y < 144:
                x0, y0, x1, y1 = np.min(boxes, 0)[0], np.min(boxes, 0)[1], np.max(boxes, 0)[2], np.max(boxes, 0)[3]
                # Frames are 40 ms apart: between them an object moves by several pixels.
                assert x0 - 7 <= x <= x1 + 7 and y0 - 7 <= y <= y1 + 7
                checked += 1
    assert checked > 20


def test_a_humming_object_is_heard_all_the_time_and_followed():
    found = 0
    for plan in toybox.scenes(2, clips=14, types=("objects",), seconds=1.0):
        clip = toybox.render(plan)
        for thing in clip.truth["objects"]:
            if not thing["humming"]:
                continue
            entry = next(e for e in clip.truth["sounds"] if e["kind"] == "hum" and e["object"] == thing["id"])
            assert (entry["time_s"], entry["end_s"]) == (0.0, 1.0)
            power = (clip.sound.reshape(25, 640).astype(float) ** 2).mean(1) ** 0.5
            assert power.min() > 500
            size = (clip.masks == thing["id"]).sum((1, 2))
            for (x, y), mask in zip(entry["xy"], clip.masks, strict=True):
                ys, xs = np.nonzero(mask == thing["id"])
                if len(xs) > 0.8 * size.max():  # Else something hides it.
                    assert abs(xs.mean() - x) < 6 and np.hypot(xs - x, ys - y).min() < 16
            found += 1
    assert found >= 3


def envelope(wave, frames):
    """Loudness around the moment of each frame, (frames,)."""
    padded = np.pad(wave.astype(float) ** 2, (320, 320))
    return np.sqrt([padded[640 * i : 640 * i + 640].mean() for i in range(frames)])


def best_lag(opening, loud, reach=12):
    def match(lag):
        first, second = (opening[: len(opening) - lag], loud[lag:]) if lag >= 0 else (opening[-lag:], loud[:lag])
        return np.corrcoef(first, second)[0, 1]

    lags = range(-reach, reach + 1)
    values = [match(lag) for lag in lags]
    return lags[int(np.argmax(values))], max(values)


@pytest.mark.parametrize("offset", [0, 5, -7])
def test_the_mouth_follows_the_voice_at_the_offset_that_was_asked_for(offset):
    for plan in toybox.scenes(3, clips=2, types=("face",)):
        clip = toybox.render(replace(plan, av_offset_frames=offset))
        opening = np.array(clip.truth["face"]["mouth_opening"])
        lag, match = best_lag(opening, envelope(clip.sound, plan.frames))
        assert lag == offset and match > 0.75
        assert clip.truth["av_offset_s"] == pytest.approx(offset / 25)


def test_an_offset_moves_all_sounds_and_no_picture():
    plan = next(p for p in toybox.scenes(0, clips=12, types=("objects",)) if p.label_name == "ball")
    first, late = toybox.render(plan), toybox.render(replace(plan, av_offset_frames=10))
    np.testing.assert_array_equal(first.frames, late.frames)
    times = [e["time_s"] for e in first.truth["sounds"] if e["kind"] == "impact" and e["time_s"] < 1.5]
    moved = [e["time_s"] for e in late.truth["sounds"] if e["kind"] == "impact"]
    assert times and all(min(abs(t + 0.4 - m) for m in moved) < 1e-5 for t in times)
    assert np.corrcoef(first.sound[:-6400], late.sound[6400:])[0, 1] > 0.95


def test_speech_is_voiced_at_the_pitch_of_the_voice():
    said = speech.speak(np.random.default_rng(0), speech.Voice(120.0, 1.0, 4.5), 0.0, 2.0)
    assert np.abs(said.wave).max() <= 1 and said.opening.min() == 0 and 0.5 < said.opening.max() <= 1
    middle = int(said.opening.argmax())
    piece = said.wave[middle - 800 : middle + 800]
    likeness = np.correlate(piece, piece, "full")[1599:]
    period = 80 + likeness[80:230].argmax()
    assert 120 * 0.85 < 16_000 / period < 120 * 1.15


def test_a_walker_is_heard_at_its_ankles():
    plan = next(p for p in toybox.scenes(0, clips=8, types=("figure",)) if p.label_name == "walk")
    clip = toybox.render(plan)
    steps = [entry for entry in clip.truth["sounds"] if entry["kind"] == "step"]
    assert 2 <= len(steps) <= 6
    for entry in steps:
        ankles = np.array(clip.truth["keypoints"][min(round(entry["time_s"] * 25), 49)])[[0, 5], :2]
        assert np.hypot(*(ankles - entry["xy"]).T).min() < 6


@pytest.mark.parametrize("kind", toybox.TYPES)
def test_sound_is_neither_clipped_nor_silent(kind):
    for plan in toybox.scenes(4, clips=3, types=(kind,), seconds=1.6):
        wave = toybox.render(plan).sound
        assert 300 < np.abs(wave.astype(int)).max() <= 32_000
