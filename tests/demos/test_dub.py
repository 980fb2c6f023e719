import importlib
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import pytest
import soundfile
import torch

from sslkit import jobs
from sslkit.demos.dub import Examples, _faded, dubbed
from sslkit.errors import UserError, WorkError
from sslkit.models.weights import Match
from sslkit.ops.texture import cochleagram
from sslkit.tasks import base
from sslkit.tasks.indicated_sound import IndicatedSound
from sslkit.types import Batch

# Its function is of the same name, and hides it.
jobs_dub = importlib.import_module("sslkit.jobs.dub")
RATE_HZ = 16_000
SMALL = {
    "trunk_settings": {"side_px": 64, "width": 0.125, "fc": 0}, "frames": 10, "fps": 25, "steps": 4, "components": 6,
    "hidden": 16,
}  # fmt: skip


def tones() -> Batch:
    """Windows of three pitches."""
    time = torch.arange(10 * 640) / RATE_HZ
    sound = 6000 * torch.sin(2 * math.pi * torch.tensor([200.0, 900.0, 4000.0])[:, None] * time)
    return Batch(
        label=torch.zeros(3), index=torch.arange(3), start_s=torch.zeros(3, 1), size_px=torch.tensor([[64, 64]] * 3),
        sound=sound.to(torch.int16)[:, None],
    )  # fmt: skip


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> IndicatedSound:
    """Foretells, of bright, gray and dark pictures, the tones: as if it had learnt that."""
    torch.manual_seed(0)
    task = base.build("indicated_sound", SMALL).eval()
    assert isinstance(task, IndicatedSound)
    task.before_training(lambda reads, samples: iter([tones()]))
    known = task.known(task.heard(tones()))
    monkeypatch.setattr(task, "components", lambda frames: known[(frames.mean((1, 2, 3, 4)) / 100).long()])
    return task


def pitches(sound: torch.Tensor) -> list[float]:
    """Of each fifth of a second."""
    spectrum = torch.fft.rfft(sound.float().unfold(0, 3200, 3200)).abs()
    return [float(peak) * 5 for peak in spectrum.argmax(1)]


def test_each_picture_gets_the_sound_that_is_nearest(task: IndicatedSound) -> None:
    frames = torch.cat([torch.full((20, 3, 72, 80), value, dtype=torch.uint8) for value in (50, 150, 250)])
    sound = dubbed(task, frames, Examples.of(task, [tones()]))
    assert sound.dtype == torch.int16 and len(sound) == 60 * 640
    found = pitches(sound)
    assert len(found) == 12
    for part, hz in enumerate((200, 900, 4000)):  # but where one goes over into the next
        assert all(abs(one - hz) <= 5 for one in found[4 * part + 1 : 4 * part + 3])


def test_noise_is_given_the_envelopes_that_were_foretold(task: IndicatedSound) -> None:
    frames = torch.full((25, 3, 72, 80), 150, dtype=torch.uint8)
    sound = dubbed(task, frames)
    assert len(sound) == RATE_HZ
    band = cochleagram(sound, task.ear).mean(1).argmax()
    assert band == cochleagram(tones().sound[1, 0], task.ear).mean(1).argmax()


def test_pieces_fade_into_each_other() -> None:
    pieces = torch.stack([torch.full((8,), 1.0), torch.full((8,), 3.0)])
    joined = _faded(pieces, [0, 4])
    assert joined.shape == (12,) and (joined.diff() >= -1e-6).all()
    assert joined[:4].tolist() == [1.0] * 4 and joined[-4:].tolist() == [3.0] * 4
    assert joined[5] + joined[6] == pytest.approx(4)


def test_what_cannot_be_dubbed_is_told(task: IndicatedSound) -> None:
    with pytest.raises(WorkError, match="fewer than the 10"):
        dubbed(task, torch.zeros(9, 3, 64, 64, dtype=torch.uint8))
    with pytest.raises(WorkError, match="no examples to choose"):
        Examples.of(task, [])


@pytest.mark.parametrize("method", ["example", "noise"])
def test_sounds_and_videos_are_written(
    task: IndicatedSound,
    method: Literal["example", "noise"],
    toybox: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jobs_dub, "loaded", lambda run: (task, None, Match()))
    result = jobs.dub(tmp_path / "run", [toybox], tmp_path / "out", method, samples=2)
    assert len(result.rows) == 2
    for row in result.rows:
        sound, rate_hz = soundfile.read(tmp_path / "out" / row["sound"])
        assert rate_hz == RATE_HZ and len(sound) == row["seconds"] * RATE_HZ and abs(sound).max() > 0
        assert (tmp_path / "out" / row["video"]).stat().st_size > 1000


def test_only_runs_that_foretell_sounds_can_dub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = SimpleNamespace(recipe=SimpleNamespace(task="rotation"))
    monkeypatch.setattr(jobs_dub, "loaded", lambda folder: (torch.nn.Identity(), run, Match()))
    with pytest.raises(UserError, match="learnt rotation; sslkit dub needs a run of indicated_sound"):
        jobs.dub(tmp_path, [tmp_path])
