"""Sound without pictures: prepared, cut and read on its own."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

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
