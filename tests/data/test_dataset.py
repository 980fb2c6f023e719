"""Windows read back from small datasets whose pictures, flow and sound say where they come from."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from sslkit.data import samples, shards
from sslkit.data.dataset import Dataset, Sample, collate
from sslkit.data.windows import possible_starts
from sslkit.errors import UserError, WorkError
from sslkit.types import Draw, Reads

FPS, RATE_HZ = 10.0, 16_000
SETTINGS = {"short_side_px": 48, "flow": "dis", "rate_hz": RATE_HZ}


def numbered(frames: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Frames whose grey level is 20 + 5 times their number."""
    levels = (20 + 5 * np.arange(frames)).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (frames, height, width, 3)).copy()


def number_of(pictures: np.ndarray) -> np.ndarray:
    return np.rint((pictures.reshape(*pictures.shape[:-3], -1).mean(-1) - 20) / 5).astype(int)


def fields(values: range, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Flow fields whose horizontal plane is their value, and whose vertical plane is 255 minus it."""
    one = np.ones((height, width), np.uint8)
    return [np.stack([one * value, one * (255 - value)]) for value in values]


def clip(key: str, frames: int = 30, sound_s: float | None = None, flow: bool = True, **about: object) -> shards.Run:
    sound_s = frames / FPS if sound_s is None else sound_s
    stored = samples.clip(
        {"key": key, "source": f"{key}.mp4", "group": key, "label": 0, **about},
        numbered(frames),
        FPS,
        sound=np.arange(round(sound_s * RATE_HZ)).astype(np.int16),
        rate_hz=RATE_HZ,
        fwd=fields(range(1, frames)) if flow else (),
        bwd=fields(range(101, 100 + frames)) if flow else (),
    )
    return shards.pack(stored)


def still(key: str, height: int, width: int) -> shards.Run:
    picture = np.full((height, width, 3), 90, np.uint8)
    return shards.pack(samples.still({"key": key, "source": key, "group": key}, picture))


def make(folder: Path, runs: list[shards.Run], classes: list[str] | None = None, **settings: object) -> Path:
    about = {"layout": "folder", "settings": {**SETTINGS, **settings}, "classes": classes or ["a"], "source_hash": "0"}
    shards.write(folder, [("train", run) for run in runs], about)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("data") / "set", [clip("one"), clip("two", frames=12), clip("three")])


def test_pictures_of_a_window_follow_each_other(folder: Path) -> None:
    dataset = Dataset(folder, "train")
    sample = dataset.read(0, [0.5, 1.2], Reads(frames=4, clips=2))
    assert sample.frames is not None and sample.frames.shape == (2, 4, 48, 64, 3)
    assert number_of(sample.frames).tolist() == [[5, 6, 7, 8], [12, 13, 14, 15]]


def test_clips_of_one_recording_are_of_one_source(tmp_path: Path) -> None:
    runs = [clip("a_0", group="a"), clip("a_10", group="a"), clip("b_0", group="b")]
    dataset = Dataset(make(tmp_path / "set", runs), "train")
    batch = collate([dataset.read(index, [0.0], Reads(frames=1)) for index in range(3)])
    same = batch.extra["source"][:, None] == batch.extra["source"]
    assert same.tolist() == [[True, True, False], [True, True, False], [False, False, True]]


def test_slower_pictures_are_the_nearest_prepared_ones(folder: Path) -> None:
    reads = Reads(frames=4, fps=4)
    dataset = Dataset(folder, "train")
    assert number_of(dataset.read(0, [0.3], reads).frames).tolist() == [[3, 6, 8, 11]]
    assert len(possible_starts(dataset.entries[0], reads)) == 30 - 8


def test_pictures_are_never_repeated_to_reach_a_rate(folder: Path) -> None:
    with pytest.raises(UserError, match="25 fps"):
        Dataset(folder, "train").usable(Reads(frames=4, fps=25))


def test_pictures_are_scaled_to_the_side_that_is_read(folder: Path) -> None:
    assert Dataset(folder, "train").read(0, [0.0], Reads(frames=1, side_px=24)).frames.shape == (1, 1, 24, 32, 3)
    assert Dataset(folder, "train").read(0, [0.0], Reads(frames=1, side_px=96)).frames.shape == (1, 1, 96, 128, 3)


def test_flow_window_is_consecutive_and_reversed_flow_plays_backwards(folder: Path) -> None:
    flow = Dataset(folder, "train").read(0, [0.4, 1.0], Reads(flow=3, backward=True, clips=2)).flow
    assert flow is not None and flow.shape == (4, 3, 2, 48, 64)
    assert np.abs(flow[:, :, 0].mean((-1, -2)) - [[5, 6, 7], [107, 106, 105], [11, 12, 13], [113, 112, 111]]).max() < 1
    assert np.abs(flow[0, :, 1].mean((-1, -2)) - [250, 249, 248]).max() < 1


def test_flow_and_pictures_start_together(folder: Path) -> None:
    sample = Dataset(folder, "train").read(0, [0.7], Reads(frames=2, flow=2))
    assert number_of(sample.frames).tolist() == [[7, 8]]
    assert sample.flow[0, 0, 0].mean() == pytest.approx(8, abs=1)


def test_flow_of_a_window_is_one_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda *args: calls.append(args) or pread(*args))
    Dataset(folder, "train").read(0, [0.7], Reads(flow=10))
    assert len(calls) == 1


def test_sound_has_the_same_centre_as_the_pictures(folder: Path) -> None:
    dataset = Dataset(folder, "train")
    sound = dataset.read(0, [0.5], Reads(frames=5, sound_s=0.5)).sound
    assert sound.shape == (1, 8000) and sound[0, 0] == 8000 and sound[0, -1] == 15_999
    reads = Reads(frames=1, sound_s=1.0)
    around_one_picture = dataset.read(0, [1.0], reads).sound
    assert around_one_picture[0, 0] == round((1.0 + 0.05 - 0.5) * RATE_HZ)
    starts = possible_starts(dataset.entries[0], reads)
    assert (starts.start, starts.stop) == (5, 25 + 1 - 1)
    for start in (starts.start, starts.stop - 1):
        assert dataset.read(0, [start / FPS], reads).sound.shape == (1, RATE_HZ)


def test_sound_at_a_lower_rate_is_resampled(folder: Path) -> None:
    assert Dataset(folder, "train").read(0, [0.5], Reads(frames=5, sound_s=0.5, rate_hz=8000)).sound.shape == (1, 4000)


def test_short_samples_are_left_out(folder: Path) -> None:
    dataset = Dataset(folder, "train")
    assert dataset.usable(Reads(frames=12)) == [0, 1, 2]
    assert dataset.usable(Reads(frames=13)) == [0, 2]
    assert dataset.usable(Reads(flow=12)) == [0, 2]
    assert dataset.usable(Reads(sound_s=2.0)) == [0, 2]
    with pytest.raises(UserError, match=r"longest has 3.00 s.*--clip-s"):
        dataset.usable(Reads(frames=31))
    with pytest.raises(ValueError, match="too short"):
        dataset.windows(1, Reads(frames=13), Draw(0, 0))


def test_missing_or_short_sound_makes_a_sample_unusable(tmp_path: Path) -> None:
    dataset = Dataset(make(tmp_path / "d", [clip("a", sound_s=0), clip("b", sound_s=1.0), clip("c")]), "train")
    assert dataset.usable(Reads(frames=10, sound_s=1.0)) == [1, 2]
    assert dataset.usable(Reads(frames=20, sound_s=2.0)) == [2]


def test_any_start_is_uniform(folder: Path) -> None:
    dataset, reads = Dataset(folder, "train"), Reads(frames=26, clips=5000)
    starts = np.rint(np.array(dataset.windows(0, reads, Draw(1, 0))) * FPS).astype(int)
    assert np.bincount(starts, minlength=5) / 5000 == pytest.approx([0.2] * 5, abs=0.03)


def test_moving_starts_follow_the_motion(tmp_path: Path) -> None:
    motion = [0.0] * 30
    motion[10], motion[20] = 30.0, 10.0
    dataset = Dataset(make(tmp_path / "d", [clip("a", motion=motion)]), "train")
    reads = Reads(frames=3, clips=8000, start="moving")
    starts = np.rint(np.array(dataset.windows(0, reads, Draw(1, 0))) * FPS).astype(int)
    # Windows 8 and 9 hold the step to frame 10, windows 18 and 19 that to frame 20.
    shares = np.bincount(starts, minlength=28) / 8000
    assert shares[[8, 9]] == pytest.approx([0.375, 0.375], abs=0.03)
    assert shares[[18, 19]] == pytest.approx([0.125, 0.125], abs=0.02)
    assert 0 < shares[[*range(8), *range(10, 18), *range(20, 28)]].sum() < 0.02


def test_spread_starts_need_no_draw(folder: Path) -> None:
    dataset = Dataset(folder, "train")
    assert dataset.windows(0, Reads(frames=10, start="spread"), None) == [1.0]
    assert dataset.windows(0, Reads(frames=10, clips=3, start="spread"), None) == [0.0, 1.0, 2.0]
    with pytest.raises(ValueError, match="draw"):
        dataset.windows(0, Reads(frames=10), None)


def test_equal_draws_give_equal_windows(folder: Path) -> None:
    dataset, reads = Dataset(folder, "train"), Reads(frames=3, clips=4, start="moving")
    assert dataset.windows(0, reads, Draw(3, 7)) == dataset.windows(0, reads, Draw(3, 7))


def test_folders_are_concatenated(folder: Path, tmp_path: Path) -> None:
    same = make(tmp_path / "same", [clip("four")])
    other = make(tmp_path / "other", [clip("five", label=1)], ["x", "y"], short_side_px=32)
    dataset = Dataset([folder, same], "train")
    assert [entry.key for entry in dataset.entries] == ["one", "two", "three", "four"]
    assert dataset.info.classes == ("a",) and dataset.info.counts["train"]["samples"] == 4
    assert number_of(dataset.read(3, [2.0], Reads(frames=2)).frames).tolist() == [[20, 21]]
    mixed = Dataset([folder, other], "train")
    assert mixed.info.classes == () and {entry.label for entry in mixed.entries} == {-1}
    assert "short_side_px" not in mixed.info.settings and mixed.info.settings["flow"] == "dis"


def test_what_is_missing_is_told_with_its_option(tmp_path: Path) -> None:
    plain = Dataset(make(tmp_path / "plain", [clip("a", flow=False, sound_s=0)], flow="none"), "train")
    for reads, option in [
        (Reads(flow=5), "--flow"),
        (Reads(frames=1, sound_s=0.1), "--sound"),
        (Reads(frames=1, flow=5, backward=True), "--flow"),
    ]:
        with pytest.raises(UserError, match=option):
            plain.require(reads)
    with pytest.raises(UserError, match="--rate-hz 48000"):
        Dataset(make(tmp_path / "b", [clip("a")]), "train").require(Reads(frames=1, sound_s=0.1, rate_hz=48_000))
    with pytest.raises(UserError, match="--fps 5"):
        Dataset(make(tmp_path / "c", [clip("a")]), "train").require(Reads(flow=4, fps=5))
    with pytest.raises(UserError, match="single pictures"):
        Dataset(make(tmp_path / "d", [still("a", 48, 64)]), "train").require(Reads(frames=2))


def test_wrong_folder_and_split(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a prepared dataset"):
        Dataset(tmp_path, "train")
    with pytest.raises(UserError, match="it has train"):
        Dataset(folder, "val")


def test_stills_are_padded_and_panoramas_cut(tmp_path: Path) -> None:
    dataset = Dataset(make(tmp_path / "d", [still("a", 48, 64), still("b", 48, 200), still("c", 60, 48)]), "train")
    reads = Reads(frames=1)
    batch = collate([dataset.read(i, dataset.windows(i, reads, Draw(0, 0)), reads) for i in range(3)])
    assert batch.frames is not None and batch.frames.shape == (3, 1, 1, 3, 60, 96)
    assert batch.size_px.tolist() == [[48, 64], [48, 96], [60, 48]]
    assert batch.label.tolist() == [-1] * 3 and batch.index.tolist() == [0, 1, 2]
    for frames, (height, width) in zip(batch.frames, batch.size_px.tolist(), strict=True):
        assert (frames[..., :height, :width] > 80).all()
        assert frames[..., height:, :].sum() == 0 and frames[..., width:].sum() == 0


def test_flow_is_padded_with_no_motion_and_cut_at_its_centre() -> None:
    wide = np.tile(np.arange(40, dtype=np.uint8), (1, 3, 2, 10, 1))
    square = np.full((1, 3, 2, 12, 12), 7, np.uint8)
    batch = collate([Sample(0, 1, [0.0], flow=wide), Sample(1, 2, [0.5], flow=square)])
    assert batch.flow is not None and batch.flow.shape == (2, 1, 3, 2, 12, 20)
    assert batch.flow[0, 0, 0, 0, 0].tolist() == list(range(10, 30))
    assert (batch.flow[0, ..., 10:, :] == 128).all() and (batch.flow[1, ..., 12:] == 128).all()
    assert batch.size_px.tolist() == [[10, 20], [12, 12]] and batch.start_s.tolist() == [[0.0], [0.5]]


def test_dataset_can_be_pickled(folder: Path) -> None:
    dataset = Dataset(folder, "train")
    first = dataset.read(0, [0.2], Reads(frames=2, flow=1))
    copy = pickle.loads(pickle.dumps(dataset))
    second = copy.read(0, [0.2], Reads(frames=2, flow=1))
    assert np.array_equal(first.frames, second.frames) and np.array_equal(first.flow, second.flow)


def test_damaged_shard_is_named(tmp_path: Path) -> None:
    folder = make(tmp_path / "d", [clip("a"), clip("b")])
    dataset = Dataset(folder, "train")
    shard = folder / "train-00000.tar"
    data = bytearray(shard.read_bytes())
    for offset, size, _ in [dataset.entries[0].members["mp4"], dataset.entries[0].members["flac"]]:
        data[offset : offset + size] = bytes(size)
    offset, size, _ = (int(value) for value in dataset.entries[0].fwd[2])
    data[offset : offset + size] = bytes(size)
    shard.write_bytes(data[: dataset.entries[1].offset + 10])
    for reads in (Reads(frames=2), Reads(flow=3), Reads(sound_s=0.5)):
        with pytest.raises(WorkError, match=r"a of .*train-00000.tar is damaged"):
            dataset.read(0, [0.1], reads)
    with pytest.raises(WorkError, match=r"b .*train-00000.tar"):
        dataset.read(1, [0.0], Reads(frames=1))
    shard.unlink()
    with pytest.raises(WorkError, match="cannot be read"):
        Dataset(folder, "train").read(0, [0.0], Reads(frames=1))


def test_masks_and_meta_come_back(tmp_path: Path) -> None:
    masks = np.zeros((3, 48, 64), np.uint8)
    masks[1, 3:9, 5:20] = 2
    stored = samples.clip({"key": "m", "truth": {"x": [1, 2]}, "source": "m"}, numbered(3), FPS, masks=masks)
    dataset = Dataset(make(tmp_path / "d", [shards.pack(stored)]), "train")
    assert np.array_equal(dataset.masks(0), masks)
    assert dataset.meta(0)["truth"] == {"x": [1, 2]}
