import importlib
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import pytest
import soundfile
import torch

from sslkit import jobs
from sslkit.data.dataset import Dataset
from sslkit.demos.dub import Examples, _faded, dubbed
from sslkit.errors import UserError, WorkError
from sslkit.models.weights import Match
from sslkit.ops.onset import onsets, peaks
from sslkit.ops.texture import cochleagram
from sslkit.tasks import base
from sslkit.tasks.indicated_sound import IndicatedSound
from sslkit.types import Batch, Reads

# Its function is of the same name, and hides it.
jobs_dub = importlib.import_module("sslkit.jobs.dubbing")
RATE_HZ = 16_000
SMALL = {
    "trunk_settings": {"side_px": 64, "width": 0.125, "fc": 0}, "frames": 10, "fps": 25, "steps": 4, "components": 6,
    "hidden": 16,
}  # fmt: skip


def hits() -> Batch:
    """Windows of ten frames, each with a blow at the fifth; of three pitches."""
    since = torch.arange(10 * 640) / RATE_HZ - 5 / 25
    tone = torch.sin(2 * math.pi * torch.tensor([200.0, 900.0, 4000.0])[:, None] * since)
    sound = 9000 * tone * (-since / 0.03).exp().where(since >= 0, torch.zeros(()))
    return Batch(
        label=torch.zeros(3), index=torch.arange(3), start_s=torch.zeros(3, 1), size_px=torch.tensor([[64, 64]] * 3),
        frames=torch.zeros(3, 1, 10, 3, 64, 64, dtype=torch.uint8), sound=sound.to(torch.int16)[:, None],
    )  # fmt: skip


def blow(pitch: int) -> list[int]:
    """Gray values of the five frames from a blow on, as the task of the fixture reads them; 0 is silence."""
    return [10 * (1 + 5 * pitch + frame) for frame in range(5)]


def shown(*values: int) -> torch.Tensor:
    """Gray pictures."""
    return torch.tensor(values, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 72, 80)


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> IndicatedSound:
    """Foretells from gray values, as if it had learnt that; see `blow`."""
    torch.manual_seed(0)
    task = base.build("indicated_sound", SMALL).eval()
    assert isinstance(task, IndicatedSound)
    task.before_training(lambda reads, samples: iter([hits()]))
    known = task.known(task.heard(hits().sound[:, 0])).unflatten(1, (10, 4))
    frames = torch.cat([known[:1, 0], known[:, 5:].flatten(0, 1)])
    monkeypatch.setattr(
        task, "components", lambda clips: frames[(clips.mean((2, 3, 4)) / 10).round().long()].flatten(1, 2)
    )
    return task


def test_each_peak_gets_the_sound_of_the_nearest_hit_at_its_time(task: IndicatedSound) -> None:
    still = [0] * 15
    frames = shown(*still, *blow(1), *still, *blow(2), *still)
    sound = dubbed(task, frames, Examples.of(task, [hits()]))
    assert sound.dtype == torch.int16 and len(sound) == len(frames) * 640
    for frame, pitch_hz in ((15, 900), (35, 4000)):
        before, after = (sound[first * 640 : (first + 3) * 640].float() for first in (frame - 4, frame))
        assert before.abs().max() < 0.1 * after.abs().max() > 500
        assert abs(int(torch.fft.rfft(after).abs().argmax()) * RATE_HZ / len(after) - pitch_hz) < 20
    strength = onsets(sound, RATE_HZ, 25.0)
    assert peaks(strength, 25.0, 0.3 * float(strength.max())) == pytest.approx([15 / 25, 35 / 25], abs=0.05)


def test_where_nothing_is_foretold_nothing_is_heard(task: IndicatedSound) -> None:
    assert not dubbed(task, shown(*[0] * 30), Examples.of(task, [hits()])).any()


def test_noise_is_given_the_envelopes_that_were_foretold(task: IndicatedSound) -> None:
    sound = dubbed(task, shown(*[0] * 15, *blow(1), *[0] * 5))
    assert len(sound) == RATE_HZ
    assert sound[15 * 640 :].float().std() > 10 * sound[: 14 * 640].float().std()
    band = cochleagram(sound, task.ear).mean(1).argmax()
    assert band == cochleagram(hits().sound[1, 0], task.ear).mean(1).argmax()


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
    assert {"onset_precision", "onset_recall", "onset_f1", "control_onset_f1"} <= set(result.metrics)
    for row in result.rows:
        sound, rate_hz = soundfile.read(tmp_path / "out" / row["sound"])
        assert rate_hz == RATE_HZ and len(sound) == row["seconds"] * RATE_HZ
        assert (tmp_path / "out" / row["video"]).stat().st_size > 1000


def test_one_sample_has_no_control(
    task: IndicatedSound, toybox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_dub, "loaded", lambda run: (task, None, Match()))
    result = jobs.dub(tmp_path / "run", [toybox], tmp_path / "out", "noise", samples=1)
    assert set(result.metrics) == {"onset_precision", "onset_recall", "onset_f1"}


def test_files_are_not_replaced(
    task: IndicatedSound, toybox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_dub, "loaded", lambda run: (task, None, Match()))
    monkeypatch.setattr(Examples, "of", lambda *_: pytest.fail("work was begun"))
    there = tmp_path / f"{Dataset(toybox, 'test').entries[0].key}.mp4"
    there.write_bytes(b"kept")
    with pytest.raises(UserError, match=f"{there.name} is already there: move it away or name another --out"):
        jobs.dub(tmp_path / "run", [toybox], tmp_path)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"kept"]


def test_samples_of_equal_keys_each_have_files(
    task: IndicatedSound, toybox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_dub, "loaded", lambda run: (task, None, Match()))
    monkeypatch.setattr(jobs_dub, "dubbed", lambda task, frames, _: torch.zeros(len(frames) * 640, dtype=torch.int16))
    other, namesake = tmp_path / "other", tmp_path / "too" / toybox.name
    shutil.copytree(toybox, other)
    result = jobs.dub(tmp_path / "run", [toybox, other], tmp_path / "out", "noise", samples=99)
    keys = [entry.key for entry in Dataset(toybox, "test").entries]
    names = [f"{folder}-{key}" for folder in (toybox.name, "other") for key in keys]
    assert [row["sound"] for row in result.rows] == [f"{name}.wav" for name in names]
    assert {path.stem for path in (tmp_path / "out").iterdir()} == set(names)
    shutil.copytree(toybox, namesake)
    numbered = [f"{number}-{toybox.name}-{key}" for number, key in enumerate(keys * 2)]
    assert jobs_dub._names(Dataset([toybox, namesake], "test")) == numbered


def test_only_runs_that_foretell_sounds_can_dub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = SimpleNamespace(recipe=SimpleNamespace(task="rotation"))
    monkeypatch.setattr(jobs_dub, "loaded", lambda folder: (torch.nn.Identity(), run, Match()))
    with pytest.raises(UserError, match="learnt rotation; sslkit dub needs a run of indicated_sound"):
        jobs.dub(tmp_path, [tmp_path])


def test_onsets_are_counted_by_hand() -> None:
    said, true = [[0.5, 1.0, 2.0], [0.3]], [[0.55, 2.5], []]
    found = jobs_dub._agreement(said, true)
    assert found == {"onset_precision": 25.0, "onset_recall": 50.0, "onset_f1": 33.33}
    assert jobs_dub._agreement([[]], [[]])["onset_f1"] == 0


def test_impacts_of_a_toybox_are_those_of_its_truth_and_lie_where_its_sound_has_onsets(toybox: Path) -> None:
    data, found = Dataset([toybox], "test"), 0
    for index in range(len(data)):
        heard = [one for one in data.meta(index)["truth"]["sounds"] if one["kind"] in ("impact", "step", "thud")]
        times = jobs_dub._impacts_s(data, index, RATE_HZ)
        assert set(times) <= {one["time_s"] for one in heard if one["level"] >= 0.1}
        sound = data.read(index, [0.0], Reads(sound_s=data.entries[index].sound_s, rate_hz=RATE_HZ)).sound
        assert sound is not None
        strength = onsets(torch.from_numpy(sound[0]), RATE_HZ, 50.0)
        found += sum(float(strength[max(0, round(50 * one) - 1) :][:3].max()) > 0.05 for one in times) - len(times)
    assert found == 0
