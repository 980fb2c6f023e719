"""Clips of faces and mouths: whom they show, when, and with which sound."""

from pathlib import Path

import numpy as np
import pytest

from sslkit.data.dataset import Dataset
from sslkit.data.face_clips import FaceClip, face_clips, marked_clip
from sslkit.data.prepare import prepare
from sslkit.data.settings import PrepareSettings
from sslkit.errors import UserError
from sslkit.media import read, write
from sslkit.types import Reads


@pytest.fixture(scope="module")
def mouths(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("mouths") / "data"
    settings = PrepareSettings(clips=3, seconds=2.0, scenes="face", faces="mouth", short_side_px=64, seed=3)
    prepare("toybox", "", out, settings)
    return out


def test_mouths_of_the_toybox_open_with_their_sound(mouths) -> None:
    agree = []
    for split in ("train", "val", "test"):
        if not (mouths / f"{split}-index.jsonl").is_file():
            continue
        dataset = Dataset(mouths, split)
        for index, entry in enumerate(dataset.entries):
            assert (entry.height, entry.width, entry.fps) == (64, 64, 25) and entry.sound_s == pytest.approx(
                entry.frames / 25, abs=0.01
            )
            frames = read.frames(dataset.member(index, "mp4"), range(entry.frames)).astype(float)
            sound = read.sound(dataset.member(index, "flac"), 16_000).astype(float)
            loud = np.sqrt(np.square(sound[: entry.frames * 640].reshape(-1, 640)).mean(1))
            middle = np.abs(frames[:, 24:40, 16:48] - np.median(frames, 0)[24:40, 16:48]).mean((1, 2, 3))
            agree.append(np.corrcoef(middle, loud)[0, 1])
            assert len(dataset.meta(index)["boxes"]) == entry.frames
    assert len(agree) == 3 and np.mean(agree) > 0.2


def test_what_is_known_to_be_in_time_is_written_down(mouths, tmp_path) -> None:
    Dataset(mouths, "train").require(Reads(frames=5, sound_s=0.2, synced=True))
    (tmp_path / "talk").mkdir()
    (tmp_path / "talk" / "a.mp4").write_bytes(Dataset(mouths, "train").member(0, "mp4"))
    prepare("folder", str(tmp_path / "talk"), tmp_path / "out", PrepareSettings(short_side_px=64, val_share=0))
    with pytest.raises(UserError, match="out is in time with its pictures is not known.*--set synced=true"):
        Dataset(tmp_path / "out", "train").require(Reads(frames=5, synced=True))


def test_without_a_face_the_reason_is_told() -> None:
    flat = np.full((10, 96, 128, 3), 90, np.uint8)
    assert list(face_clips(flat, "face", 64, 5)) == ["No face was found."]


@pytest.mark.parametrize("layout", ["ava_activespeaker", "columbia"])
def test_marked_faces_are_cut_out_along_their_boxes(layout: str, tmp_path: Path) -> None:
    """A disc on a ramp, which no detector takes for a face, moves to the right; it stays in the middle of its clip."""
    fps, count, side = (25.0, 60, 60) if layout == "ava_activespeaker" else (30_000 / 1001, 70, 60)
    rows, columns = np.mgrid[:160, :240]
    left = 20 + 1.5 * np.arange(count)
    discs = [(columns - x - side / 2) ** 2 + (rows - 70) ** 2 < 12**2 for x in left]
    frames = np.stack([np.where(disc, 240, 20 + columns // 4) for disc in discs])[..., None].repeat(3, 3)
    frames[:, :20] = 0  # a black bar: boxes are those of the whole picture
    write.video(tmp_path / "film.mp4", frames.astype(np.uint8), fps)
    marks = [
        (k, left[k], 70 - side / 2, "SPEAKING_AUDIBLE" if k < count // 2 else "NOT_SPEAKING") for k in range(count)
    ]
    lines = [f"{k} {round(x)} {round(y)} {side} {int(word[0] == 'S')}" for k, x, y, word in marks]
    if layout == "ava_activespeaker":
        lines = [
            f"film,{k / fps},{x / 240},{y / 160},{(x + side) / 240},{(y + side) / 160},{word},film_a"
            for k, x, y, word in marks
        ]
    path = tmp_path / ("train/film-activespeaker.csv" if layout == "ava_activespeaker" else "fusion/bell.txt")
    path.parent.mkdir()
    path.write_text("\n".join(lines))
    settings = PrepareSettings(faces="face", short_side_px=56, min_s=0.5, fps=25, remove_borders=True)
    prepare(layout, str(tmp_path), tmp_path / "out", settings)
    dataset = Dataset(tmp_path / "out", "train" if layout == "ava_activespeaker" else "test")
    names = {"ava_activespeaker": ["SPEAKING_AUDIBLE", "NOT_SPEAKING"], "columbia": ["speaking", "silent"]}[layout]
    assert [dataset.meta(index)["label_name"] for index in range(len(dataset.entries))] == names
    for index, entry in enumerate(dataset.entries):
        shown = read.frames(dataset.member(index, "mp4"), range(entry.frames)).astype(float).mean(3)
        assert shown.shape[1:] == (56, 56) and entry.frames > 20
        # 1.4 boxes wide and from the top of the box: its middle is at half the width, and 0.36 from above
        ys, xs = np.nonzero((shown > 160).all(0))
        assert abs(xs.mean() - 27.5) < 1.5 and abs(ys.mean() - 56 * 0.5 / 1.4) < 1.5 and len(xs) > 150


def test_a_single_mark_becomes_one_picture(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (20, 90, 120, 3)).astype(np.uint8)
    write.video(tmp_path / "film.mp4", frames, 25.0)
    labels = ["NOT_SPEAKING"] * 10 + ["SPEAKING_AUDIBLE"] + ["NOT_SPEAKING"] * 8
    lines = [f"film,{k / 25},0.1,0.1,0.6,0.8,{label},film_a" for k, label in enumerate(labels)]
    (tmp_path / "train").mkdir()
    (tmp_path / "train/film-activespeaker.csv").write_text("\n".join(lines))
    done = prepare(
        "ava_activespeaker", str(tmp_path), tmp_path / "out", PrepareSettings(faces="face", short_side_px=56)
    )
    dataset = Dataset(tmp_path / "out", "train")
    assert [entry.frames for entry in dataset.entries] == [9, 1, 7] and done.skipped == 0
    assert dataset.meta(1)["label_name"] == "SPEAKING_AUDIBLE"


def test_a_marked_face_that_is_too_small_is_told() -> None:
    boxes = np.tile(np.float32([10, 10, 40, 40]), (5, 1))
    small = marked_clip(np.zeros((5, 90, 90, 3), np.uint8), boxes, "face", 64)
    assert small == "The face that is marked is 30 px large, below 40."


@pytest.mark.realdata
def test_a_real_face_is_cut_out_for_as_long_as_it_is_there(media_root) -> None:
    frames = read.video(media_root / "speech/others/train/grid_brbk7n.mpg", 25.0, None, 0, 2.0).frames
    (one,) = face_clips(frames, "face", 64, 25)
    assert isinstance(one, FaceClip) and one.first == 0 and len(one.frames) == len(one.boxes) > 40
    assert list(face_clips(frames, "face", 64, 60)) == [
        f"No face can be followed: one is seen for {len(one.boxes)} frames only."
    ]
