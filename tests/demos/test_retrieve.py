"""Files looked for across the senses: what is in the data is found again, and what cannot be asked is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from sslkit import cli, jobs
from sslkit.data.dataset import Dataset
from sslkit.data.prepare import prepare
from sslkit.data.settings import PrepareSettings
from sslkit.errors import UserError, WorkError
from sslkit.media import read, write
from sslkit.types import Reads

TINY = ["train.steps=2", "train.batch=4", "train.validate_epochs=1"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def run(toybox: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "ave"
    jobs.pretrain("av_embedding", data=[toybox], out=out, tiny=True, overrides=TINY, device="cpu", workers=0)
    return out


@pytest.fixture(scope="module")
def media(toybox: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The second training sample as a picture of its middle, as its sound, and as a video; and files that are odd."""
    folder, dataset = tmp_path_factory.mktemp("media"), Dataset(toybox, "train")
    reads = Reads(frames=1, start="spread")
    middle = dataset.read(1, dataset.windows(1, reads, None), reads).frames
    assert middle is not None
    Image.fromarray(middle[0, 0]).save(folder / "middle.png")
    frames = read.frames(dataset.member(1, "mp4"), range(dataset.entries[1].frames))
    sound = read.sound(dataset.member(1, "flac"), 16_000)
    soundfile.write(folder / "heard.wav", sound, 16_000, subtype="PCM_16")
    write.video(folder / "both.mkv", frames, dataset.entries[1].fps, sound, 16_000)
    write.video(folder / "mute.mp4", frames, dataset.entries[1].fps)
    soundfile.write(folder / "silent.wav", np.zeros(16_000, np.int16), 16_000, subtype="PCM_16")
    soundfile.write(folder / "short.wav", sound[6000:8000], 16_000, subtype="PCM_16")
    return folder


@pytest.mark.parametrize(
    ("name", "by", "to"), [("middle.png", None, "sight"), ("heard.wav", None, "sound"), ("both.mkv", "sight", "sight")]
)
def test_what_is_in_the_data_is_found_first(
    toybox: Path, run: Path, media: Path, tmp_path: Path, name: str, by: str | None, to: str
) -> None:
    (found,) = jobs.retrieve([media / name], [toybox], to, run, by, out=tmp_path, device="cpu")  # type: ignore[arg-type]
    own = Dataset(toybox, "train").entries[1]
    first, second = found.fields["neighbours"][:2]
    assert (first["source"], first["label"], first["split"]) == (own.source, own.label_name, "train")
    assert first["distance"] < second["distance"] and len(found.fields["neighbours"]) == 9


def test_a_video_is_asked_by_the_sense_that_is_not_looked_for(
    toybox: Path, run: Path, media: Path, tmp_path: Path
) -> None:
    for to, by in (("sight", "sound"), ("sound", "sight")):
        (found,) = jobs.retrieve([media / "both.mkv"], [toybox], to, run, count=3, out=tmp_path / to, device="cpu")  # type: ignore[arg-type]
        assert found.fields["by"] == by and found.fields["to"] == to and len(found.fields["neighbours"]) == 3
        assert found.fields["at_s"] == pytest.approx(Dataset(toybox, "train").entries[1].seconds / 2, abs=0.05)
        text = (tmp_path / to / "retrieve.html").read_text()
        assert text.count("<audio") == 4 and text.count("data:audio/flac;base64,") == 4


def test_many_queries_and_bad_ones(
    toybox: Path, run: Path, media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["middle.png", "gone.mp4", "silent.wav", "mute.mp4", "short.wav"]
    asked = [part for name in names for part in ("--query", str(media / name))]
    rest = ["--in", str(toybox), "--to", "sight", "--weights", str(run), "--out", str(tmp_path), "--n", "2"]
    assert cli.run(["retrieve", *asked, *rest, "--device", "cpu", "--workers", "0", "--json"]) == 1
    told = {Path(line["input"]).name: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    assert list(told) == names
    assert "does not exist" in told["gone.mp4"]["error"] and "silent at" in told["silent.wav"]["error"]
    assert "has no sound: ask it by its sight" in told["mute.mp4"]["error"]
    for name in ("middle.png", "short.wav"):
        assert {"input", "by", "to", "at_s", "neighbours"} <= set(told[name]) and "error" not in told[name]
        assert set(told[name]["neighbours"][0]) == {"source", "split", "start_s", "label", "tags", "distance"}


@pytest.mark.parametrize(("to", "by"), [("sight", "sight"), ("sound", "sight")])
def test_a_file_does_not_find_itself(run: Path, media: Path, tmp_path: Path, to: str, by: str) -> None:
    source = tmp_path / "videos"
    for name in ("both.mkv", "copy.mkv", "deeper/both.mkv"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(media / "both.mkv", source / name)
    prepare("folder", str(source), tmp_path / "data", PrepareSettings(short_side_px=80))
    ask = {"data": [tmp_path / "data"], "to": to, "weights": run, "by": by, "device": "cpu"}
    (found,) = jobs.retrieve([source / "both.mkv"], out=tmp_path / "one", **ask)  # type: ignore[arg-type]
    assert {one["source"] for one in found.fields["neighbours"]} == {"copy.mkv", "deeper/both.mkv"}
    assert f"{source / 'both.mkv'}: what the data hold of a file of this name (1) was left out." in found.notes
    (found,) = jobs.retrieve([source / "deeper/both.mkv"], out=tmp_path / "two", **ask)  # type: ignore[arg-type]
    assert {one["source"] for one in found.fields["neighbours"]} == {"copy.mkv"}
    (found,) = jobs.retrieve([media / "mute.mp4"], out=tmp_path / "three", **ask | {"by": "sight"})  # type: ignore[arg-type]
    assert len(found.fields["neighbours"]) == 3 and not any("left out" in note for note in found.notes)


@pytest.mark.parametrize(("heard", "mute"), [("train", "val"), ("val", "train")])
def test_splits_without_the_sense_are_passed_over(
    toybox: Path, run: Path, media: Path, tmp_path: Path, heard: str, mute: str
) -> None:
    apart = tmp_path / "avc"
    jobs.pretrain("av_correspondence", data=[toybox], out=apart, tiny=True, overrides=TINY, device="cpu", workers=0)
    made = Dataset(toybox, "train")
    for number in range(3):
        sound = read.sound(made.member(number, "flac"), 16_000)
        frames = read.frames(made.member(number, "mp4"), range(made.entries[number].frames))
        for split, heard_there in ((heard, sound), (mute, None)):
            (tmp_path / "in" / split).mkdir(parents=True, exist_ok=True)
            write.video(
                tmp_path / "in" / split / f"{split}-{number}.mkv", frames, made.entries[number].fps, heard_there
            )
    prepare("folder", str(tmp_path / "in"), tmp_path / "data", PrepareSettings(short_side_px=80))
    for weights in (run, apart):  # with a space of its own, and with one that is made of pairs
        ask = {"weights": weights, "out": tmp_path / f"out-{weights.name}", "device": "cpu"}
        (found,) = jobs.retrieve([media / "both.mkv"], [tmp_path / "data"], "sound", **ask)  # type: ignore[arg-type]
        near = found.fields["neighbours"]
        assert [one["split"] for one in near] == [heard] * 3


def test_no_split_holds_the_sense(run: Path, media: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(media / "mute.mp4", tmp_path / "in")
    prepare("folder", str(tmp_path / "in"), tmp_path / "data", PrepareSettings(short_side_px=80))
    with pytest.raises(UserError, match="holds no sound; prepare videos that have a sound track"):
        list(jobs.retrieve([media / "both.mkv"], [tmp_path / "data"], "sound", run, out=tmp_path, device="cpu"))


def test_people_are_told_what_was_found_and_where_the_page_is(
    toybox: Path, run: Path, media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--query", str(media / "middle.png"), "--in", str(toybox), "--weights", str(run)]
    rest = [*asked, "--to", "sight", "--n", "3", "--device", "cpu", "--workers", "0", "--out"]
    assert cli.run(["retrieve", *rest, str(tmp_path / "one"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert cli.run(["retrieve", *rest, str(tmp_path / "other")]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line, neighbour in zip(lines[1:4], told["neighbours"], strict=True):
        assert neighbour["source"] in line and f"{neighbour['distance']:.4g}" in line
    assert lines[4].split() == ["report", str(tmp_path / "other" / "retrieve.html")]
    assert told["files"] == {"report": str(tmp_path / "one" / "retrieve.html")}
    assert Path(told["files"]["report"]).is_file()


def test_moments(toybox: Path, run: Path, media: Path, tmp_path: Path) -> None:
    ask = {"data": [toybox], "to": "sound", "weights": run, "device": "cpu", "out": tmp_path / "none"}
    (found,) = jobs.retrieve([media / "both.mkv"], at_s=0.2, **ask | {"out": tmp_path / "one"})  # type: ignore[arg-type]
    assert found.fields["at_s"] == 0.2
    (found,) = jobs.retrieve([media / "both.mkv"], at_s=9.0, **ask)  # type: ignore[arg-type]
    assert "its moment at 9 s" in found.fields["error"]
    (found,) = jobs.retrieve([media / "middle.png"], by="sound", **ask)  # type: ignore[arg-type]
    assert "is a picture and has no sound" in found.fields["error"]


def test_a_page_is_not_replaced(run: Path, media: Path, toybox: Path, tmp_path: Path) -> None:
    (tmp_path / "retrieve.html").write_text("kept")
    ask = ["--query", str(media / "middle.png"), "--in", str(toybox), "--to", "sight", "--weights", str(run)]
    assert cli.run(["retrieve", *ask, "--out", str(tmp_path), "--device", "cpu", "--workers", "0"]) == 2
    with pytest.raises(UserError, match="retrieve.html is already there: move it away or name another --out."):
        next(jobs.retrieve([], [toybox], "sight", tmp_path / "no run", out=tmp_path))
    assert (tmp_path / "retrieve.html").read_text() == "kept"


def test_wrong_requests(toybox: Path, run: Path, media: Path, tmp_path: Path) -> None:
    with pytest.raises((UserError, WorkError)):
        list(jobs.retrieve([media / "middle.png"], [toybox], "sight", tmp_path))
    with pytest.raises(UserError, match="holds no samples"):
        list(jobs.retrieve([media / "middle.png"], [tmp_path], "sight", run))
