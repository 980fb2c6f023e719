"""From small files that say where each frame comes from, through the whole of prepare, to what a dataset reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from sslkit.data import clips, cutting, pool, samples
from sslkit.data.dataset import Dataset, collate
from sslkit.data.prepare import prepare
from sslkit.data.settings import PrepareSettings
from sslkit.errors import UserError, WorkError
from sslkit.media import read, write
from sslkit.types import Reads

RATE_HZ = 16_000
PLAIN = {"short_side_px": 48, "shots": False, "remove_borders": False, "min_s": 0.2}


def numbered(frames: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Frames whose number is written in eight bright or dark bars, the lowest bit first."""
    bits = np.arange(frames)[:, None] >> np.arange(8) & 1
    rows = np.where(bits, 200, 50).astype(np.uint8).repeat(width // 8, axis=1)
    return np.broadcast_to(rows[:, None, :, None], (frames, height, width, 3)).copy()


def number_of(pictures: np.ndarray) -> list[int]:
    bars = pictures.mean((1, 3)).reshape(len(pictures), 8, -1).mean(-1)
    return ((bars > 125) << np.arange(8)).sum(-1).tolist()


def textured(frames: int, seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A random texture that moves two pixels a frame to the right."""
    texture = np.random.default_rng(seed).integers(40, 220, (height // 4, width // 4, 3)).astype(np.uint8)
    texture = texture.repeat(4, 0).repeat(4, 1)
    return np.stack([np.roll(texture, 2 * frame, axis=1) for frame in range(frames)])


def video(path: Path, frames: np.ndarray, fps: float = 10, sound: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write.video(path, frames, fps, sound, RATE_HZ)
    return path


def picture(path: Path, level: int, height: int = 60, width: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(write.jpeg(np.full((height, width, 3), level, np.uint8)))


def frames_of(dataset: Dataset, index: int) -> np.ndarray:
    count = dataset.entries[index].frames
    frames = dataset.read(index, [0.0], Reads(frames=count)).frames
    assert frames is not None
    return frames[0]


def digests(out: Path) -> dict[str, str]:
    paths = [path for path in out.iterdir() if path.name != "dataset.json"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(paths)}


def skipped(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short videos, and pictures in two splits."""
    root = tmp_path_factory.mktemp("tree")
    for number in range(3):
        video(root / "train" / f"v{number}.mp4", textured(12, number))
    for number in range(3):
        picture(root / ("train", "val", "val")[number] / f"p{number}.jpg", 50 + number)
    return root


class TestVideos:
    def test_a_long_video_becomes_clips_of_known_frames(self, tmp_path: Path) -> None:
        video(tmp_path / "src" / "a.mp4", numbered(53))
        prepare("folder", str(tmp_path / "src"), tmp_path / "out", PrepareSettings(**PLAIN, clip_s=2.0))
        dataset = Dataset(tmp_path / "out", "train")
        assert [number_of(frames_of(dataset, i)) for i in range(3)] == [
            list(range(20)),
            list(range(20, 40)),
            list(range(40, 53)),
        ]
        assert [(entry.start_s, entry.end_s) for entry in dataset.entries] == [(0, 2), (2, 4), (4, 5.3)]
        flips = [bin(number ^ number - 1).count("1") for number in range(1, 20)]
        assert dataset.entries[0].motion == pytest.approx([0] + [150 / 8 * bits for bits in flips], abs=4)
        assert {entry.source for entry in dataset.entries} == {"a.mp4"}

    def test_a_trailing_piece_that_is_too_short_is_dropped(self, tmp_path: Path) -> None:
        video(tmp_path / "src" / "a.mp4", numbered(24))
        prepare(
            "folder", str(tmp_path / "src"), tmp_path / "out", PrepareSettings(**{**PLAIN, "min_s": 0.5}, clip_s=2.0)
        )
        assert [entry.frames for entry in Dataset(tmp_path / "out", "train").entries] == [20]

    def test_rate_and_size(self, tmp_path: Path) -> None:
        video(tmp_path / "src" / "a.mp4", numbered(30, 96, 128))
        prepare("folder", str(tmp_path / "src"), tmp_path / "out", PrepareSettings(**PLAIN, fps=4))
        dataset = Dataset(tmp_path / "out", "train")
        assert number_of(frames_of(dataset, 0)) == [0, 2, 5, 7, 10, 12, 15, 17, 20, 22, 25, 27]
        assert (dataset.entries[0].height, dataset.entries[0].width, dataset.entries[0].fps) == (48, 64, 4)

    @pytest.mark.parametrize(("source", "prepared"), [(25, 25), (29.97, 29.97), (50, 25), (59.94, 29.97), (120, 30)])
    def test_source_rates_are_divided_until_they_are_at_most_30(self, source: float, prepared: float) -> None:
        assert clips.rate(source, None) == pytest.approx(prepared)

    def test_borders_are_removed_before_scaling(self, tmp_path: Path) -> None:
        frames = np.zeros((12, 96, 128, 3), np.uint8)
        frames[:, 16:80] = textured(12, 0, 64, 128)
        video(tmp_path / "src" / "a.mp4", frames)
        prepare("folder", str(tmp_path / "src"), tmp_path / "out", PrepareSettings(short_side_px=48, shots=False))
        dataset = Dataset(tmp_path / "out", "train")
        entry = dataset.entries[0]
        assert np.abs(np.array(entry.border) - [16, 16, 0, 0]).max() <= 2
        assert entry.height == 48 and 96 <= entry.width <= 100
        assert frames_of(dataset, 0)[:, [0, -1]].mean() > 40

    def test_borders_that_stay_are_written_down_and_can_be_zeroed(self, tmp_path: Path) -> None:
        frames = np.zeros((12, 96, 128, 3), np.uint8)
        frames[:] = np.random.default_rng(0).integers(0, 9, frames.shape, np.uint8)
        frames[:, 16:80] = textured(12, 0, 64, 128)
        video(tmp_path / "src" / "a.mp4", frames)
        kept = {"short_side_px": 48, "shots": False, "remove_borders": False, "flow": "dis"}
        reads = Reads(frames=6, flow=5, backward=True, start="spread")
        batches = []
        for zero in (False, True):
            out = tmp_path / f"{zero}"
            prepare("folder", str(tmp_path / "src"), out, PrepareSettings(**kept, zero_borders=zero))
            dataset = Dataset(out, "train")
            assert dataset.entries[0].border == (0, 0, 0, 0) and dataset.entries[0].bars == (8, 8, 0, 0)
            batches.append(collate([dataset.read(0, dataset.windows(0, reads, None), reads)]))
        plain, zeroed = batches
        assert plain.extra["bars"].tolist() == [[8, 8, 0, 0]] and zeroed.frames.shape == plain.frames.shape
        assert zeroed.frames[..., :7, :].float().mean() < 1 < plain.frames[..., :7, :].float().mean()
        # JPEG lets some of the picture's flow into a bar, in the blocks that hold both.
        assert (zeroed.flow.float()[..., :4, :] - 128).abs().mean() < 0.5
        assert (plain.flow.float()[..., :4, :] - 128).abs().mean() > 1
        inside = (zeroed.flow.float() - plain.flow.float())[..., 20:28, :].abs().mean()
        assert inside < 2

    def test_bars_are_painted_where_they_stay_or_not_at_all(self) -> None:
        with pytest.raises(ValueError, match="--keep-borders"):
            PrepareSettings(zero_borders=True)

    def test_sound_is_cut_with_its_clip(self, tmp_path: Path) -> None:
        sound = np.zeros(4 * RATE_HZ, np.int16)
        sound[::1000] = 1  # never silent for long
        click_s = 2.5
        sound[int(click_s * RATE_HZ) :][:40] = 20_000
        video(tmp_path / "src" / "a.mp4", numbered(40), sound=sound)
        prepare("folder", str(tmp_path / "src"), tmp_path / "out", PrepareSettings(**PLAIN, clip_s=2.0))
        dataset = Dataset(tmp_path / "out", "train")
        assert dataset.entries[0].sound_s == pytest.approx(2.0, abs=0.3)
        heard = dataset.read(1, [0.0], Reads(sound_s=1.0)).sound
        assert heard is not None
        assert np.abs(heard[0].astype(int)).argmax() / RATE_HZ == pytest.approx(0.5, abs=0.01)

    def test_sound_that_ends_early_is_not_padded(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(-5000, 5000, RATE_HZ).astype(np.int16)
        video(tmp_path / "src" / "a.mp4", numbered(30), sound=noise)
        video(tmp_path / "src" / "b.mp4", numbered(30))
        prepare("folder", str(tmp_path / "src"), tmp_path / "out", PrepareSettings(**PLAIN, val_share=0))
        dataset = Dataset(tmp_path / "out", "train")
        assert dataset.entries[0].sound_s == pytest.approx(1.0, abs=0.15)
        assert not dataset.entries[1].has("sound")

    def test_flow_follows_the_motion_and_back(self, tmp_path: Path) -> None:
        video(tmp_path / "src" / "a.mp4", textured(6, 3, 96, 128))
        settings = PrepareSettings(**{**PLAIN, "short_side_px": 96}, flow="dis")
        prepare("folder", str(tmp_path / "src"), tmp_path / "out", settings)
        dataset = Dataset(tmp_path / "out", "train")
        entry = dataset.entries[0]
        assert len(entry.fwd) == len(entry.bwd) == 5 and entry.flow_bound == 20
        flow = dataset.read(0, [0.0], Reads(flow=5, backward=True)).flow
        assert flow is not None
        across = (np.median(flow[:, :, 0, 20:-20, 20:-20], axis=(1, 2, 3)) - 128) * 20 / 127
        assert across == pytest.approx([2, -2], abs=0.3)

    def test_backward_flow_can_be_left_out(self, tmp_path: Path) -> None:
        video(tmp_path / "src" / "a.mp4", textured(4, 3))
        prepare("folder", str(tmp_path / "src"), tmp_path / "out", PrepareSettings(**PLAIN, flow="dis", backward=False))
        dataset = Dataset(tmp_path / "out", "train")
        assert dataset.entries[0].has("flow") and not dataset.entries[0].has("backward")
        with pytest.raises(UserError, match="--backward"):
            dataset.require(Reads(flow=2, backward=True))


class TestShots:
    def chunks(self, shots: list[int], size: int) -> Iterator[np.ndarray]:
        """Frames (T, 1, 1, 3) of shots of these lengths: grey level is the shot, red the frame number."""
        frames = np.zeros((sum(shots), 1, 1, 3), np.uint8)
        frames[:, 0, 0, 1] = np.repeat(np.arange(len(shots)), shots)
        frames[:, 0, 0, 0] = np.arange(sum(shots))
        return (frames[at : at + size] for at in range(0, len(frames), size))

    @pytest.mark.parametrize("size", [3, 7, 10, 64])
    def test_pieces_lie_within_shots_whatever_the_chunks(self, size: int) -> None:
        class Cuts:
            """Tells a cut two frames late, as the real one does."""

            levels: ClassVar[list[int]] = []

            def add(self, frames: np.ndarray) -> list[int]:
                seen = len(self.levels)
                self.levels = self.levels + frames[:, 0, 0, 1].tolist()
                certain = range(max(1, seen - 2), max(1, len(self.levels) - 2))
                return [at for at in certain if self.levels[at] != self.levels[at - 1]]

        pieces = list(cutting.shot_pieces(self.chunks([7, 25, 4, 10, 20], size), 10, Cuts()))
        assert [(first, len(frames)) for first, frames in pieces] == [
            (0, 7), (7, 10), (17, 10), (27, 5), (32, 4), (36, 10), (46, 10), (56, 10),
        ]  # fmt: skip
        for first, frames in pieces:
            assert frames[:, 0, 0, 0].tolist() == list(range(first, first + len(frames)))

    def test_shots_of_a_file_become_clips(self, tmp_path: Path) -> None:
        shots = [np.repeat(textured(1, seed) // 3 + base, 25, axis=0) for seed, base in ((1, 0), (2, 150), (3, 60))]
        video(tmp_path / "src" / "a.mp4", np.concatenate(shots), fps=25)
        settings = PrepareSettings(short_side_px=48, remove_borders=False)
        prepare("folder", str(tmp_path / "src"), tmp_path / "out", settings)
        entries = Dataset(tmp_path / "out", "train").entries
        assert [entry.start_s for entry in entries] == [0, 1, 2]
        assert [entry.frames for entry in entries] == [25, 25, 25]


class TestSegments:
    def prepared(self, tmp_path: Path, lines: list[str], **settings: object) -> Dataset:
        video(tmp_path / "a.mp4", numbered(60))
        (tmp_path / "s.csv").write_text("file,split,start_s,end_s,label\n" + "\n".join(lines))
        prepare("segments", str(tmp_path / "s.csv"), tmp_path / "out", PrepareSettings(**PLAIN, **settings))
        return Dataset(tmp_path / "out", "train")

    def test_segments_are_exact(self, tmp_path: Path) -> None:
        dataset = self.prepared(
            tmp_path, ["a.mp4,train,1.0,2.5,sit", "a.mp4,train,2.5,2.6,fall", "a.mp4,train,4,6,walk"]
        )
        assert [number_of(frames_of(dataset, i)) for i in range(3)] == [
            list(range(10, 25)),
            [25],
            list(range(40, 60)),
        ]
        assert [(entry.label, entry.label_name) for entry in dataset.entries] == [(1, "sit"), (0, "fall"), (2, "walk")]
        assert dataset.info.classes == ("fall", "sit", "walk")
        assert {entry.group for entry in dataset.entries} == {"a.mp4"}

    def test_short_segments_can_be_widened(self, tmp_path: Path) -> None:
        lines = ["a.mp4,train,2.5,2.7,x", "a.mp4,train,0.1,0.3,x", "a.mp4,train,5.8,6,x", "a.mp4,train,1,4,x"]
        dataset = self.prepared(tmp_path, lines, widen_s=1.0)
        numbers = [number_of(frames_of(dataset, i)) for i in range(4)]
        assert [(each[0], each[-1]) for each in numbers] == [(21, 30), (0, 9), (50, 59), (10, 39)]

    def test_a_recording_on_both_sides_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"a.mp4 is in val, but a.mp4 of the same recording"):
            self.prepared(tmp_path, ["a.mp4,train,0,1,x", "a.mp4,val,1,2,x"])


def test_a_ucf_group_on_both_sides_is_refused(tmp_path: Path) -> None:
    for clip in ("c01", "c02"):
        video(tmp_path / "UCF-101" / "YoYo" / f"v_YoYo_g01_{clip}.avi", numbered(3))
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "trainlist01.txt").write_text("YoYo/v_YoYo_g01_c01.avi 1\n")
    (lists / "testlist01.txt").write_text("YoYo/v_YoYo_g01_c02.avi\n")
    with pytest.raises(
        UserError, match=r"g01_c02.avi is in test, but .*g01_c01.avi of the same recording \(YoYo/v_YoYo_g01\)"
    ):
        prepare("ucf101", str(tmp_path), tmp_path / "out", PrepareSettings(**PLAIN))


class TestStills:
    def test_pictures_keep_their_shape(self, tmp_path: Path) -> None:
        picture(tmp_path / "src" / "x" / "a.jpg", 90, 60, 90)
        picture(tmp_path / "src" / "y" / "b.jpg", 200, 300, 100)
        prepare("folder", str(tmp_path / "src"), tmp_path / "out", PrepareSettings(short_side_px=48, val_share=0))
        dataset = Dataset(tmp_path / "out", "train")
        assert [frames_of(dataset, i).shape for i in range(2)] == [(1, 48, 72, 3), (1, 144, 48, 3)]
        assert [frames_of(dataset, i).mean() for i in range(2)] == pytest.approx([90, 200], abs=1)
        assert [(e.kind, e.label, e.fps, e.seconds) for e in dataset.entries] == [
            ("image", 0, 0, 0),
            ("image", 1, 0, 0),
        ]

    def test_many_pictures_share_a_task(self, tmp_path: Path) -> None:
        for number in range(70):
            picture(tmp_path / "src" / f"{number:02d}.jpg", number, 16, 16)
        seen: list[int] = []
        settings = PrepareSettings(short_side_px=16, val_share=0)
        prepare(
            "folder", str(tmp_path / "src"), tmp_path / "out", settings, 1, lambda done, total, name: seen.append(total)
        )
        assert seen == [2, 2]
        dataset = Dataset(tmp_path / "out", "train")
        assert [round(float(frames_of(dataset, i).mean())) for i in range(70)] == list(range(70))


class TestToybox:
    def test_scenes_keep_their_truth(self, tmp_path: Path) -> None:
        settings = PrepareSettings(short_side_px=48, clips=10, stills=10, seconds=0.4, border_share=0.0)
        done = prepare("toybox", "", tmp_path / "out", settings)
        assert {split: count["samples"] for split, count in done.counts.items()} == {"train": 14, "val": 2, "test": 4}
        dataset = Dataset(tmp_path / "out", "train")
        entry = dataset.entries[0]
        assert (entry.frames, entry.height, entry.width, entry.fps, entry.sound_s) == (10, 48, 64, 25, 0.4)
        masks, truth = dataset.masks(0), dataset.meta(0)["truth"]
        for number, x0, y0, x1, y1 in truth["boxes"][5]:
            rows, columns = np.nonzero(masks[5] == number)
            assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (x0, y0, x1, y1)
        assert dataset.entries[-1].kind == "image" and dataset.entries[-1].label >= 0
        assert dataset.info.classes and "val_share" not in dataset.info.settings

    def test_stabilised_scenes_stand_still_with_their_masks(self, tmp_path: Path) -> None:
        asked = {"short_side_px": 96, "clips": 10, "seconds": 1.0, "camera_share": 1.0, "camera_habit": True}
        settings = PrepareSettings(**asked, stabilise=True, max_skipped=1.0)
        prepare("toybox", "", tmp_path / "out", settings)
        dataset = Dataset(tmp_path / "out", "train")
        assert len(dataset) >= 4
        for index in range(4):
            meta, masks = dataset.meta(index), dataset.masks(index)
            found, true = np.array(meta["camera"]), np.array(meta["truth"]["camera"])
            corners = np.array([[0, 0, 1], [127, 0, 1], [0, 95, 1], [127, 95, 1]]).T
            places = [one @ corners for one in (found, true)]
            off_px = np.abs(places[0][:, :2] / places[0][:, 2:] - places[1][:, :2] / places[1][:, 2:])
            assert np.median(off_px) < 1 and masks.shape == (25, *frames_of(dataset, index).shape[1:3])
            # Where no object ever is, a steady clip is its own median picture.
            frames = frames_of(dataset, index).astype(float)
            differs = np.abs(frames - np.median(frames, axis=0)).mean(-1)
            assert differs[masks > 0].mean() > 2 * differs[masks == 0].mean()

    def test_data_of_before_an_option_are_as_good(self, tmp_path: Path) -> None:
        settings = PrepareSettings(short_side_px=48, clips=0, stills=2)
        prepare("toybox", "", tmp_path / "out", settings)
        path = tmp_path / "out" / "dataset.json"
        about = json.loads(path.read_text())
        for name in ("camera_habit", "encoder_noise", "zero_borders"):
            assert about["settings"].pop(name) is False
        path.write_text(json.dumps(about))
        prepare("toybox", "", tmp_path / "out", settings)
        with pytest.raises(UserError, match="camera_habit False, but True"):
            prepare("toybox", "", tmp_path / "out", settings.model_copy(update={"camera_habit": True}))


@pytest.fixture(scope="module")
def reference(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the tree becomes without any interruption."""
    out = tmp_path_factory.mktemp("reference") / "out"
    done = prepare("folder", str(tree), out, TestResuming.SETTINGS)
    assert done.counts["train"]["samples"] == 4 and done.counts["val"]["samples"] == 2
    assert not (out / ".parts").exists()
    return digests(out)


class TestResuming:
    SETTINGS = PrepareSettings(**PLAIN, shard_mb=0.02)

    def test_two_workers_give_the_same_bytes(self, tree: Path, reference: dict[str, str], tmp_path: Path) -> None:
        seen: list[tuple[int, int]] = []
        prepare(
            "folder", str(tree), tmp_path / "out", self.SETTINGS, 2, lambda done, total, _: seen.append((done, total))
        )
        assert digests(tmp_path / "out") == reference
        assert seen == [(n, 5) for n in range(1, 6)]

    @pytest.mark.slow
    def test_flow_is_the_same_in_any_process(self, tree: Path, tmp_path: Path) -> None:
        settings = self.SETTINGS.model_copy(update={"flow": "dis"})
        for workers in (1, 2):
            prepare("folder", str(tree), tmp_path / f"{workers}", settings, workers)
        assert digests(tmp_path / "1") == digests(tmp_path / "2")

    def test_an_interrupted_call_goes_on(
        self, tree: Path, reference: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        work, names = pool.Task.work, []

        def interrupted(task: pool.Task) -> None:
            if len(names) == 2:
                raise KeyboardInterrupt
            names.append(task.path.name)
            work(task)

        monkeypatch.setattr(pool.Task, "work", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare("folder", str(tree), tmp_path / "out", self.SETTINGS)
        with pytest.raises(UserError, match="not a prepared dataset"):
            Dataset(tmp_path / "out", "train")
        # What a killed process leaves: samples without a report, and half a file.
        (tmp_path / "out" / ".parts" / "0000003.tar").write_bytes(b"half")
        (tmp_path / "out" / ".parts" / "0000004.partial").write_bytes(b"half")
        monkeypatch.setattr(pool.Task, "work", lambda task: names.append(task.path.name) or work(task))
        prepare("folder", str(tree), tmp_path / "out", self.SETTINGS)
        assert names == [f"{number:07d}" for number in range(5)]
        assert digests(tmp_path / "out") == reference

    def test_a_finished_folder_is_returned_at_once(self, tree: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        first = prepare("folder", str(tree), out, self.SETTINGS)
        before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
        called: list[int] = []
        again = prepare("folder", str(tree), out, self.SETTINGS, 2, lambda *_: called.append(1))
        assert again == first and not called
        assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before

    def test_other_settings_or_sources_are_refused(self, tree: Path, tmp_path: Path) -> None:
        source, out = tmp_path / "src", tmp_path / "out"
        picture(source / "a.jpg", 5)
        settings = PrepareSettings(short_side_px=48)
        prepare("folder", str(source), out, settings)
        with pytest.raises(UserError, match="prepared with short_side_px 48, but 64 is asked for"):
            prepare("folder", str(source), out, PrepareSettings(short_side_px=64))
        with pytest.raises(UserError, match="prepared with layout folder, but toybox"):
            prepare("toybox", "", out, settings)
        picture(source / "b.jpg", 5)
        with pytest.raises(UserError, match="from other files"):
            prepare("folder", str(source), out, settings)
        with pytest.raises(UserError, match="neither empty nor a prepared dataset"):
            prepare("folder", str(source), source, settings)

    def test_unfinished_work_with_other_settings_is_refused(
        self, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pool.Task, "work", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare("folder", str(tree), tmp_path / "out", self.SETTINGS)
        with pytest.raises(UserError, match="prepared with flow none, but dis"):
            prepare("folder", str(tree), tmp_path / "out", PrepareSettings(**PLAIN, shard_mb=0.02, flow="dis"))


def _interrupt(task: pool.Task) -> None:
    raise KeyboardInterrupt


class TestSkipping:
    @pytest.fixture
    def broken(self, tmp_path: Path) -> Path:
        for number in range(3):
            picture(tmp_path / "src" / f"{number}.jpg", 50)
        (tmp_path / "src" / "cut.jpg").write_bytes((tmp_path / "src" / "0.jpg").read_bytes()[:300])
        (tmp_path / "src" / "fake.mp4").write_bytes(b"not a video")
        return tmp_path / "src"

    def test_unreadable_files_are_listed(self, broken: Path, tmp_path: Path) -> None:
        done = prepare("folder", str(broken), tmp_path / "out", PrepareSettings(short_side_px=48, max_skipped=0.5))
        assert done.skipped == 2 and sum(count["samples"] for count in done.counts.values()) == 3
        assert {line["source"]: bool(line["reason"]) for line in skipped(tmp_path / "out")} == {
            "cut.jpg": True,
            "fake.mp4": True,
        }

    def test_too_many_are_an_error_that_a_larger_share_resumes(
        self, broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "out"
        with pytest.raises(WorkError, match=r"2 of 5 sources .*skipped.jsonl.* 10% .*--max-skipped"):
            prepare("folder", str(broken), out, PrepareSettings(short_side_px=48))
        assert len(skipped(out)) == 2 and not (out / "dataset.json").exists()
        monkeypatch.setattr(pool.Task, "work", _interrupt)
        done = prepare("folder", str(broken), out, PrepareSettings(short_side_px=48, max_skipped=0.4))
        assert done.skipped == 2

    def test_a_file_that_breaks_in_the_middle_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        video(tmp_path / "src" / "a.mp4", numbered(40))
        video(tmp_path / "src" / "b.mp4", numbered(40))
        whole, calls = samples.clip, []

        def clip(*args: object, **named: object) -> object:
            calls.append(1)
            if len(calls) == 2:
                raise RuntimeError("odd")
            return whole(*args, **named)

        monkeypatch.setattr(samples, "clip", clip)
        settings = PrepareSettings(**PLAIN, clip_s=2.0, max_skipped=0.5, val_share=0)
        prepare("folder", str(tmp_path / "src"), tmp_path / "out", settings)
        assert [entry.source for entry in Dataset(tmp_path / "out", "train").entries] == ["b.mp4", "b.mp4"]
        assert skipped(tmp_path / "out") == [{"source": "a.mp4", "reason": "RuntimeError: odd"}]

    def test_nothing_readable_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "src").mkdir()
        (tmp_path / "src" / "a.jpg").write_bytes(b"")
        with pytest.raises(WorkError, match="Not one sample"):
            prepare("folder", str(tmp_path / "src"), tmp_path / "out", PrepareSettings(max_skipped=1))

    def test_refused_clips_are_listed_but_do_not_count(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        video(tmp_path / "src" / "a.mp4", numbered(40))
        steady = clips.stabilise.stabilise

        def stabilise(frames: np.ndarray) -> object:
            result = steady(frames)
            object.__setattr__(result, "reason", "too shaky" if number_of(frames)[0] else None)
            object.__setattr__(result, "frames", frames)
            object.__setattr__(result, "known", None)
            object.__setattr__(result, "homographies", np.stack([np.eye(3)] * len(frames)))
            return result

        monkeypatch.setattr(clips.stabilise, "stabilise", stabilise)
        settings = PrepareSettings(**PLAIN, clip_s=2.0, stabilise=True, max_skipped=0)
        prepare("folder", str(tmp_path / "src"), tmp_path / "out", settings)
        # It is tried again in halves, down to a quarter of a clip.
        assert skipped(tmp_path / "out") == [
            {"source": "a.mp4", "start_s": start_s, "reason": "too shaky"} for start_s in (2.0, 2.5, 3.0, 3.5)
        ]
        meta = Dataset(tmp_path / "out", "train").meta(0)
        assert np.array(meta["camera"]).shape == (20, 3, 3)


def test_limit_draws_from_every_class(tmp_path: Path) -> None:
    for name in "abcd":
        for number in range(20):
            picture(tmp_path / "src" / name / f"{number}.jpg", 50, 16, 16)
    done = prepare("folder", str(tmp_path / "src"), tmp_path / "out", PrepareSettings(short_side_px=16, limit=12))
    assert {split: count["samples"] for split, count in done.counts.items()} == {"train": 12, "val": 8}
    assert len({entry.label for entry in Dataset(tmp_path / "out", "train").entries}) >= 3
    assert done.classes == ("a", "b", "c", "d")


def test_options_of_other_layouts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="folder has no option --which; its own options are: --val-share"):
        prepare("folder", str(tmp_path), tmp_path / "out", PrepareSettings(which="digit"))


def test_a_second_call_at_the_same_time_is_refused(tree: Path, tmp_path: Path) -> None:
    settings = PrepareSettings(**PLAIN)

    def meddle(done: int, total: int, name: str) -> None:
        with pytest.raises(UserError, match="another process"):
            prepare("folder", str(tree), tmp_path / "out", settings)

    prepare("folder", str(tree), tmp_path / "out", settings, 1, meddle)


def test_no_absolute_path_leaks_into_the_shards(tree: Path, tmp_path: Path) -> None:
    prepare("folder", str(tree), tmp_path / "out", PrepareSettings(**PLAIN))
    content = b"".join(path.read_bytes() for path in (tmp_path / "out").glob("*.tar"))
    assert str(tree).encode() not in content


@pytest.mark.realdata
def test_words_of_grid_are_cut_where_they_are_spoken(media_root: Path, tmp_path: Path) -> None:
    root = media_root / "speech" / "grid"
    name = sorted(path.stem for path in (root / "s1").iterdir())[0]
    for folder, ending in (("s1", ".mkv"), ("align/s1", ".align")):
        (tmp_path / "src" / folder).mkdir(parents=True)
        (tmp_path / "src" / folder / f"{name}{ending}").symlink_to(root / folder / f"{name}{ending}")
    prepare(
        "grid", str(tmp_path / "src"), tmp_path / "out", PrepareSettings(which="all", widen_s=0.6, short_side_px=96)
    )
    dataset = Dataset(tmp_path / "out", "train")
    assert [entry.label_name for entry in dataset.entries] == ["bin", "blue", "at", "f", "two", "now"]
    whole = read.sound(root / "s1" / f"{name}.mkv", RATE_HZ)
    for index, entry in enumerate(dataset.entries):
        sound = dataset.read(index, [0.0], Reads(sound_s=0.5)).sound
        begin = round(entry.start_s * RATE_HZ)
        assert entry.frames == 15 and np.array_equal(sound[0], whole[begin : begin + RATE_HZ // 2])
