"""Boxes that a user has drawn around what sounds: read back from pictures, with bars cut off or kept, and scaled."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from trees import items, touch, write

from sslkit.data.dataset import Dataset
from sslkit.data.layouts.base import Item
from sslkit.data.prepare import prepare
from sslkit.data.settings import PrepareSettings
from sslkit.errors import UserError, WorkError
from sslkit.evals import localisation
from sslkit.media import write as media
from sslkit.types import Reads

HEAD = "file,start_s,end_s,left,top,right,bottom"
WIDTH, HEIGHT, BAR = 160, 120, 20
SQUARE = (96, 60, 128, 92)


def film(path: Path, bar: int = BAR) -> Path:
    """Four seconds of gray between black bars above and below, with a bright square, and a tone."""
    frames = np.full((100, HEIGHT, WIDTH, 3), 90, np.uint8)
    frames[:, :bar] = frames[:, HEIGHT - bar :] = 0
    left, top, right, bottom = SQUARE
    frames[:, top:bottom, left:right] = 230
    tone = (8000 * np.sin(np.arange(64_000) * 0.3)).astype(np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    media.video(path, frames, 25, tone, 16_000, crf=8)
    return path


def listed(root: Path, *lines: str, head: str = HEAD) -> list[Item]:
    return items("boxes", write(root / "boxes.csv", head, *lines))


class Brightness:
    """Takes what is bright for what sounds."""

    window = Reads(frames=1, sound_s=0.5, side_px=60)

    def localise(self, frames: Tensor, sound: Tensor) -> Tensor:
        return frames[:, 0].float().mean(1)


@pytest.mark.parametrize("bar", [0, BAR])
@pytest.mark.parametrize("removed", [True, False])
def test_boxes_are_read_back_from_the_pictures(tmp_path: Path, bar: int, removed: bool) -> None:
    film(tmp_path / "in" / "clips" / "a.mp4", bar)
    write(tmp_path / "in" / "boxes.csv", HEAD, "clips/a.mp4,1,3,96,60,128,92")
    settings = PrepareSettings(short_side_px=60, remove_borders=removed)
    prepare("boxes", str(tmp_path / "in" / "boxes.csv"), tmp_path / "out", settings)
    data = Dataset(tmp_path / "out", "test")
    assert len(data) == 1 and data.entries[0].seconds == pytest.approx(2, abs=0.05)
    meta, window = data.meta(0), Brightness.window
    assert any(meta["border"]) == (removed and bar > 0)
    ((left, top, right, bottom),), _ = localisation.sources_at(meta["truth"], 1.0, 0.5, meta["border"])
    picture = data.read(0, [1.0], window).frames[0, 0].mean(-1)  # type: ignore[index]
    height, width = picture.shape
    inside = np.zeros(picture.shape, bool)
    inside[round(top * height) : round(bottom * height), round(left * width) : round(right * width)] = True
    assert ((picture > 160) ^ inside).mean() < 0.02 and inside.sum() > 100
    found = localisation.evaluate(Brightness(), Brightness(), data, torch.device("cpu"), clips=2)
    assert found.metrics["pointing"] == 100 and found.rows[0]["windows"] == 2


def test_lines_of_one_clip_are_things_that_sound_together(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4")
    one, whole = listed(
        tmp_path,
        "a.mp4,0.5,2,0,20,40,60,train,dog", "a.mp4,0.5,2,50,20,90,60,train,drum",
        "a.mp4,0.5,2,100,20,140,60,train,dog", "a.mp4,,,10,30,50,70,train,dog",
        head=f"{HEAD},split,label",
    )  # fmt: skip
    assert (one.start_s, one.end_s, one.split, one.tags, one.label_name) == (0.5, 2.0, "train", ("dog", "drum"), None)
    assert (whole.start_s, whole.end_s, whole.label_name, whole.key) == (None, None, "dog", "a-5")
    assert one.truth is not None and whole.truth is not None and one.group == whole.group
    boxes, votes = localisation.sources_at(one.truth, 99.0, 1.0)
    # Each is as good an answer as all: annotators who must agree are another thing.
    assert votes == 1 and [box[0] for box in boxes] == [0.0, 50 / 160, 100 / 160]
    assert localisation.sources_at(whole.truth, 0.0, 0.5)[0] == [[10 / 160, 0.25, 50 / 160, 70 / 120]]


def test_split_is_test_without_one_and_label_none(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4")
    (only,) = listed(tmp_path, "a.mp4,,,0,20,40,60")
    assert (only.split, only.label_name, only.tags, only.problem) == ("test", None, (), None)


def test_missing_silent_and_damaged_files_are_listed(tmp_path: Path) -> None:
    film(tmp_path / "in" / "a.mp4")
    touch(tmp_path / "in", "damaged.mp4")
    media.video(tmp_path / "in" / "mute.mp4", np.full((25, 60, 80, 3), 90, np.uint8), 25)
    lines = [f"{name}.mp4,,,0,20,40,60" for name in ("a", "gone", "damaged", "mute")]
    source = str(write(tmp_path / "in" / "boxes.csv", HEAD, *lines))
    with pytest.raises(WorkError, match="3 of 4 sources could not be prepared"):
        prepare("boxes", source, tmp_path / "out", PrepareSettings(short_side_px=60))
    prepare("boxes", source, tmp_path / "out", PrepareSettings(short_side_px=60, max_skipped=0.8))
    skipped = [json.loads(line) for line in (tmp_path / "out/skipped.jsonl").read_text().splitlines()]
    said = {line["source"]: line["reason"] for line in skipped}
    assert said["gone.mp4"] == "gone.mp4 cannot be prepared: the file is missing."
    assert said["mute.mp4"] == "mute.mp4 cannot be prepared: it has no sound." and "damaged.mp4" in said
    assert [entry.source for entry in Dataset(tmp_path / "out", "test").entries] == ["a.mp4"]
    with pytest.raises(UserError, match="none of the 2 it names is there"):
        listed(tmp_path / "empty", "x.mp4,,,0,20,40,60", "y.mp4,,,0,20,40,60")


def test_every_bad_line_is_told(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4")
    with pytest.raises(UserError) as told:
        listed(
            tmp_path,
            "a.mp4,0,1,0.1,0.1,0.5,0.5,test", "a.mp4,2,1,0,20,40,60,test", "a.mp4,0,1,0,20,40,60,exam",
            "a.png,0,1,0,20,40,60,test", "a.mp4,0,1,0,x,40,60,test", "a.mp4,0", "a.mp4,0,1,0,20,40,60,",
            head=f"{HEAD},split",
        )  # fmt: skip
    for words in (
        "6 lines",
        "line 2: 0.1, 0.1, 0.5, 0.5 is no box of at least a pixel",
        "line 3: start_s '2' and end_s",
        "line 4: split 'exam'",
        "line 5: 'a.png' is no video",
        "line 6: 0, x, 40, 60",
        "line 7: it has too few",
    ):
        assert words in str(told.value)  # fmt: skip
    with pytest.raises(UserError, match=r"line 2: the box lies outside .* 160 pixels wide and 120 high"):
        listed(tmp_path, "a.mp4,,,160,20,200,60")


def test_wrong_requests(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expects a CSV file, but .* is a folder"):
        items("boxes", tmp_path)
    with pytest.raises(UserError, match="expects the columns file, start_s, .*first line is 'file,left'"):
        listed(tmp_path, "a.mp4,1", head="file,left")
    with pytest.raises(UserError, match="found only the column names"):
        listed(tmp_path)
    path = write(tmp_path / "boxes.csv", HEAD, "a.mp4,,,0,20,40,60")
    for settings in ({"stabilise": True}, {"faces": "mouth"}):
        with pytest.raises(UserError, match="no stabilise, no faces"):
            items("boxes", path, **settings)
