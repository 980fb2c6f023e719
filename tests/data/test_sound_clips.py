"""Sound without pictures: prepared, cut and read on its own."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch

from sslkit.data.dataset import Dataset, collate
from sslkit.data.prepare import prepare
from sslkit.data.settings import PrepareSettings
from sslkit.errors import UserError
from sslkit.types import Draw, Reads

RATE_HZ = 8000


def ramp(seconds: float) -> np.ndarray:
    """Every sample tells its place."""
    return np.arange(round(seconds * RATE_HZ), dtype=np.int16)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("sounds")
    for name, seconds in (("dog/a", 1.0), ("dog/b", 0.2), ("rain/c", 2.6)):
        (root / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / "in" / f"{name}.wav", ramp(seconds), RATE_HZ, subtype="PCM_16")
    settings = PrepareSettings(rate_hz=RATE_HZ, clip_s=1.5, val_share=0)
    prepare("folder", str(root / "in"), root / "out", settings)
    return root / "out"


def test_long_sounds_are_cut_and_short_labelled_ones_kept(sounds) -> None:
    entries = Dataset(sounds, "train").entries
    assert [(e.label_name, round(e.start_s, 2), round(e.sound_s, 2)) for e in entries] == [
        ("dog", 0, 1.0), ("dog", 0, 0.2), ("rain", 0, 1.5), ("rain", 1.5, 1.1),
    ]  # fmt: skip
    counted = json.loads((sounds / "dataset.json").read_text())["counts"]["train"]
    assert counted == {"samples": 4, "seconds": 3.8, "sources": 3}
    assert {(e.kind, e.has("sound"), e.has("frames")) for e in entries} == {("sound", True, False)}


def test_windows_hold_the_samples_of_their_time(sounds) -> None:
    dataset = Dataset(sounds, "train")
    reads = Reads(sound_s=0.5, rate_hz=RATE_HZ, clips=3)
    assert dataset.usable(reads) == [0, 2, 3]
    for how in ("any", "spread"):
        starts = dataset.windows(3, reads.but(start=how), Draw(0, 0))
        batch = collate([dataset.read(3, starts, reads)])
        assert batch.sound.shape == (1, 3, 4000) and batch.frames is None
        first = 1.5 * RATE_HZ + np.array(starts) * RATE_HZ
        assert batch.sound[0, :, 0].tolist() == pytest.approx(first.tolist(), abs=1)
        assert (batch.sound[0].diff() == 1).all()
    spread = dataset.windows(3, reads.but(start="spread"), None)
    assert spread[0] == 0 and spread[-1] == pytest.approx(0.6, abs=0.011)


def test_pictures_are_missed_in_one_sentence(sounds) -> None:
    with pytest.raises(UserError, match="holds no pictures"):
        Dataset(sounds, "train").require(Reads(frames=1, sound_s=0.5, rate_hz=RATE_HZ))


def filmed(path: Path, sound: np.ndarray) -> Path:
    """Black pictures, ten a second, with sound (N, 2) int16 that nothing is lost of."""
    with av.open(str(path), "w") as container:
        shown, heard = container.add_stream("mpeg4", rate=10), container.add_stream("pcm_s16le", rate=RATE_HZ)
        shown.width = shown.height = 64
        heard.layout = "stereo"
        for _ in range(round(len(sound) / RATE_HZ * 10)):
            container.mux(shown.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound).reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate = RATE_HZ
        container.mux(heard.encode(frame))
        for stream in (shown, heard):
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("channels", [1, 2])
def test_sides_are_kept_where_two_channels_are_prepared(tmp_path: Path, channels: int) -> None:
    """The left side counts up, the right one down; in a file of one channel both are the same."""
    (tmp_path / "in").mkdir()
    sides = np.stack([ramp(2.0), -2 * ramp(2.0)], 1)
    soundfile.write(tmp_path / "in/a.wav", sides, RATE_HZ, subtype="PCM_16")
    soundfile.write(tmp_path / "in/b.wav", ramp(2.0), RATE_HZ, subtype="PCM_16")
    filmed(tmp_path / "in/c.mkv", sides)
    settings = PrepareSettings(rate_hz=RATE_HZ, val_share=0, channels=channels, short_side_px=48, remove_borders=False)
    prepare("folder", str(tmp_path / "in"), tmp_path / "out", settings)
    dataset = Dataset(tmp_path / "out", "train")
    assert dataset.info.each[0]["channels"] == channels
    at = {entry.source.rsplit("/", 1)[-1]: index for index, entry in enumerate(dataset.entries)}
    reads = Reads(sound_s=0.5, rate_hz=RATE_HZ, channels=2, clips=2)
    for name in ("a.wav", "c.mkv"):
        heard = collate([dataset.read(at[name], [0.0, 1.0], reads)]).sound
        assert heard is not None and heard.shape == (1, 2, 2, 4000) and heard.dtype == torch.int16
        wanted = sides if channels == 2 else np.stack([sides.mean(1)] * 2, 1)
        for clip, first in enumerate((0, RATE_HZ)):
            assert np.abs(heard[0, clip].numpy().T - wanted[first : first + 4000]).max() <= 1
        mono = dataset.read(at[name], [1.0], reads.but(channels=1)).sound
        assert mono is not None and np.abs(mono[0] - sides[RATE_HZ : RATE_HZ + 4000].mean(1)).max() <= 1
    both = dataset.read(at["b.wav"], [0.0], reads.but(clips=1)).sound
    assert both is not None and np.array_equal(both[0], np.stack([ramp(0.5)] * 2))
