"""The released SyncNet in `sslkit sync`: it is handed what it was made for, each thing at its time, and answers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import signal
from torch import Tensor

from sslkit import jobs
from sslkit.demos import people
from sslkit.demos.watchers import Trained, released
from sslkit.errors import UserError
from sslkit.media import detectors, write
from sslkit.models import syncnet
from sslkit.models.lips import HOP, RATE_HZ
from sslkit.models.syncnet import SyncNetSight, SyncNetSound

BOX = np.array([[20, 16, 76, 72, 0]], np.float32)
FRAMES, SIDE = 70, 96
SLOPE_HZ = 800.0
"""By how much the pitch rises in a second."""


def everywhere(picture: np.ndarray, near: np.ndarray | None = None) -> np.ndarray:
    return BOX.copy()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the released layout, wrapped as a checkpoint, with a name that says nothing."""
    torch.manual_seed(0)
    state = {}
    for side, network in (("lip", SyncNetSight()), ("aud", SyncNetSound())):
        for part in ("cnn", "fc"):
            module = network.get_submodule(part)
            state |= {f"net{part}{side}.{name}": value for name, value in module.state_dict().items()}
    path = tmp_path_factory.mktemp("released") / "weights.bin"
    torch.save({"state_dict": state}, path)
    return path


@pytest.fixture
def watcher(weights: Path) -> Trained:
    return released(weights, torch.device("cpu"))


def written(path: Path, numbers: np.ndarray, sound: np.ndarray) -> Path:
    """Frame k is as bright as number k, 0 to 1."""
    frames = np.broadcast_to(
        (20 + 200 * numbers).round().astype(np.uint8)[:, None, None, None], (len(numbers), SIDE, SIDE, 3)
    )
    write.video(path, frames, 25, sound=sound.astype(np.int16))
    return path


def times_by_pitch(sound: Tensor, rate_hz: int) -> Tensor:
    """In place of MFCC: of each column of 25 ms the time that its pitch tells, in all 13 coefficients."""
    phase = np.unwrap(np.angle(signal.hilbert(sound.numpy().astype(float))))
    pitch = torch.from_numpy(np.diff(phase, append=phase[..., -1:])) * rate_hz / (2 * np.pi)
    told_s = (pitch.unfold(-1, 400, 160).median(-1).values - 500) / SLOPE_HZ
    return told_s[..., None].expand(*told_s.shape, 13)


def test_frames_and_sound_of_one_window_are_of_the_same_time(
    watcher: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Column k of window t begins 10 k ms after frame t, as where python_speech_features has made the columns."""
    frames = 48
    at_s = np.arange(frames * HOP) / RATE_HZ
    chirp = 8000 * np.sin(2 * np.pi * (500 * at_s + SLOPE_HZ * at_s**2 / 2))
    path = written(tmp_path / "v.mp4", np.arange(frames) / frames, chirp)
    monkeypatch.setattr(syncnet, "mfcc", times_by_pitch)
    monkeypatch.setattr(watcher.task.sound, "dense", lambda raw: watcher.task.sound.heard(raw)[:, :, 0])

    def read_back(raw: Tensor) -> Tensor:
        assert raw.shape[2:] == (3, 224, 224)
        return ((raw.mean((2, 3, 4)) - 20) * frames / 200).unfold(1, 5, 1)

    monkeypatch.setattr(watcher.task.sight, "dense", read_back)
    found = people.followed(path, 40, 40, everywhere)
    (sight,) = people.seen(path, found.tracks, watcher.see, watcher.side_px, watcher.part)
    heard = people.heard(path, found.frames, watcher.hear).vectors
    first = found.tracks[0].start
    number = first + np.arange(len(sight))[:, None] + np.arange(5)
    assert np.abs(sight.numpy() - number).max() < 0.5
    middle_s = number[:, :1] / 25 + 0.01 * np.arange(20) + 0.0125
    off_s = heard[first : first + len(sight)].numpy() - middle_s
    assert np.abs(off_s[1:-1]).max() < 0.010 and abs(float(np.median(off_s))) < 0.001


@pytest.fixture
def readable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that see how bright a window's middle is, and hear how loud; before them all is as released."""

    def see(self: SyncNetSight, raw: Tensor) -> Tensor:
        return ((raw[:, 2:-2].mean((2, 3, 4)) - 20) / 200)[..., None] * 40

    def hear(self: SyncNetSound, raw: Tensor) -> Tensor:
        root = self.heard(raw)[:, :, 0, 7:11].exp().mean(-1).sqrt()  # columns that lie in the third of five frames
        return (root / root.amax())[..., None] * 40

    monkeypatch.setattr(SyncNetSight, "dense", see)
    monkeypatch.setattr(SyncNetSound, "dense", hear)
    monkeypatch.setattr(people.shots.Cuts, "add", lambda self, frames: [])
    monkeypatch.setattr(detectors, "finder", lambda _=None: everywhere)


def talking(path: Path, offset: int, seed: int = 0) -> Path:
    """A video whose sound is as loud as its frames are bright, `offset` frames later."""
    rng = np.random.default_rng(seed)
    drawn = rng.uniform(0.1, 1, FRAMES)
    loud = np.roll(drawn, offset).repeat(HOP) * 8000
    return written(path, drawn, loud * rng.choice([-1, 1], len(loud)))


def test_a_known_offset_is_found_and_told(weights: Path, tmp_path: Path, readable: None) -> None:
    path = talking(tmp_path / "late.mp4", 6)
    (told,) = jobs.sync([path], weights=weights, device="cpu")
    assert (told.fields["offset_frames"], told.fields["verdict"]) == (6, "sound late")
    assert told.fields["method"] == "syncnet_v2" and told.fields["weights"] == str(weights)
    front_end = told.fields["front_end"]
    assert (front_end["part"], front_end["side_px"], front_end["sound"]["mfcc"]) == ("syncnet", 224, 13)
    assert told.fields["confidence"] > 3
    curve = torch.tensor(told.fields["tracks"][0]["curve"])
    assert told.fields["confidence"] == pytest.approx(float(curve.median() - curve.min()), abs=1e-3)


def test_the_file_is_measured_as_runs_are(weights: Path, tmp_path: Path, readable: None) -> None:
    folder = tmp_path / "people"
    folder.mkdir()
    for seed in (1, 2):
        talking(folder / f"{seed}.mp4", 0, seed)
    found = jobs.probe([weights], [folder], recipe="sync", out=tmp_path / "out", device="cpu")
    right = [row["value"] for row in found.rows if row["init"] == "weights.bin" and row["metric"] == "near_accuracy"]
    assert right and min(right) > 90


def test_the_file_tells_who_speaks_as_runs_do(weights: Path, tmp_path: Path, readable: None) -> None:
    talking(tmp_path / "film.mp4", 0)
    middle = FRAMES // 2
    lines = [
        f"film,{k / 25},{x},0.2,{x + 0.5},0.8,{'SPEAKING_AUDIBLE' if k < middle else 'NOT_SPEAKING'},film_{face}"
        for face, x in (("a", 0.1), ("b", 0.3))
        for k in range(FRAMES)
    ]
    (tmp_path / "val").mkdir()
    (tmp_path / "val/film-activespeaker.csv").write_text("\n".join(lines))
    found = jobs.probe([weights], [tmp_path], recipe="speakers", out=tmp_path / "out", device="cpu")
    assert {row["init"] for row in found.rows} >= {"weights.bin", "random", "chance"}


def test_a_wrong_file_is_one_sentence_that_names_a_weight(tmp_path: Path) -> None:
    path = tmp_path / "syncnet_v2.model"
    torch.save({"conv1.weight": torch.zeros(3)}, path)
    with pytest.raises(UserError, match=r"syncnet_v2\.model does not have .*: netcnnlip\.0\.weight is missing; [^.]*"):
        next(jobs.sync([tmp_path / "v.mp4"], weights=path))


@pytest.mark.realdata
def test_random_weights_find_nothing_in_a_talking_face(weights: Path, media_root: Path) -> None:
    (told,) = jobs.sync([media_root / "speech/others/train/grid_brbk7n.mpg"], weights=weights, device="cpu")
    assert told.fields["verdict"] == "not found" and told.fields["offset_s"] is None
    assert len(told.fields["tracks"]) == 1 and len(told.fields["tracks"][0]["curve"]) == 31
    assert told.fields["coverage"] > 0.3
