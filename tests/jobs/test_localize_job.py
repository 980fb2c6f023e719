import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sslkit import cli, jobs
from sslkit.data import toybox
from sslkit.data.dataset import Dataset
from sslkit.data.prepare import prepare
from sslkit.data.settings import PrepareSettings
from sslkit.errors import UserError
from sslkit.jobs import sources
from sslkit.media import read, write
from sslkit.types import Result


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, toybox: Path) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    short = ["train.steps=1", "train.batch=4", "train.epoch_steps=1"]
    for task in ("av_object", "av_sync", "av_correspondence"):
        jobs.pretrain(task, data=[toybox], out=folder / task, tiny=True, overrides=short, device="cpu", workers=0)
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize("method", ["av_object", "av_sync"])
def test_many_inputs_go_on_after_a_bad_one(runs: dict[str, Path], method: str, clip_file: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    found: list[Result] = list(jobs.localize_sound([bad, clip_file], runs[method], out=tmp_path / "out", device="cpu"))
    assert "error" in found[0].fields and found[1].fields["method"] == method
    assert found[1].fields["heard_share"] < 0.9  # the tone begins in the middle
    page = (tmp_path / "out" / "localize-sound.html").read_text()
    assert "bad.mp4" in page and "clip.mp4" in page
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "clip-sound.mp4", "clip-sound.png", "localize-sound.html"
    }  # fmt: skip


def test_weights_that_ship_claim_nothing_of_other_media(runs: dict[str, Path], clip_file: Path, tmp_path: Path) -> None:
    picture = tmp_path / "still.png"
    picture.write_bytes(write.png(read.video(clip_file).frames[40]))
    both = [clip_file, Path(f"{picture}+{clip_file}")]
    video, still = jobs.localize_sound(both, method="av_object", out=tmp_path / "shipped", device="cpu")
    for found, other in ((video, "Try --method cca, or weights"), (still, "Try weights of your own (--weights).")):
        (note,) = (note for note in found.notes if "The weights that ship learnt from drawn scenes" in note)
        assert "are a guess" in note and other in note and found.fields["probability"] is not None
    claim, page = "that something in it makes the sound", (tmp_path / "shipped" / "localize-sound.html").read_text()
    assert "are a guess" in page and claim not in page
    (own,) = jobs.localize_sound([clip_file], runs["av_object"], out=tmp_path / "own", device="cpu")
    (followed,) = jobs.localize_sound([clip_file], method="cca", overlay=False)
    assert not any("weights that ship" in note for note in own.notes + followed.notes)
    assert claim in (tmp_path / "own" / "localize-sound.html").read_text()


def test_the_method_suits_what_is_given(clip_file: Path, tmp_path: Path) -> None:
    picture, sound, short = tmp_path / "still.png", tmp_path / "s.flac", tmp_path / "short.mp4"
    frames = read.video(clip_file).frames
    picture.write_bytes(write.png(frames[40]))
    sound.write_bytes(write.flac(tone := read.sound(clip_file, 16_000), 16_000))
    write.video(short, frames[:40], 25, tone[-25_600:])
    given = [clip_file, Path(f"{picture}+{sound}"), short]
    found = jobs.localize_sound(given, out=tmp_path / "out", device="cpu")
    assert [one.fields["method"] for one in found] == ["cca", "av_object", "av_object"]
    (other,) = jobs.localize_sound([clip_file], sound=sound, overlay=False, device="cpu")
    assert other.fields["method"] == "av_object"


def test_people_are_told_where_when_and_which_files(
    clip_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["localize-sound", str(clip_file), "--method", "cca", "--out", str(tmp_path)]
    assert cli.run([*line, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["files"]) == {"picture", "overlay", "report"} and Path(told["files"]["report"]).is_file()
    for path in tmp_path.iterdir():
        path.unlink()
    assert cli.run(line) == 0
    names, values, *files = (line.split() for line in capsys.readouterr().out.splitlines())
    shown, peak = dict(zip(names, values, strict=True)), told["peak"]
    assert shown["input"] == str(clip_file) and float(shown["time_s"]) == peak["time_s"]
    assert [float(shown["x"]), float(shown["y"])] == peak["peak_xy"] and float(shown["score"]) == peak["score"]
    assert [tuple(pair) for pair in files[:3]] == list(told["files"].items())


def test_a_picture_is_given_with_its_sound(runs: dict[str, Path], clip_file: Path, tmp_path: Path) -> None:
    picture, sound = tmp_path / "a+b.png", tmp_path / "s.flac"
    picture.write_bytes(write.png(read.video(clip_file).frames[40]))
    sound.write_bytes(write.flac(read.sound(clip_file, 16_000)[16_000:], 16_000))
    given = [Path(f"{picture}+{sound}"), picture]
    both, alone = jobs.localize_sound(given, runs["av_object"], overlay=False, device="cpu")
    assert both.fields["input"] == f"{picture}+{sound}" and both.fields["sight"] == str(picture)
    assert both.fields["sound"] == str(sound) and not both.files
    assert "has no sound" in alone.fields["error"]
    (other,) = jobs.localize_sound([clip_file], runs["av_object"], sound=sound, overlay=False, device="cpu")
    assert other.fields["sound"] == str(sound)


def test_wrong_requests_are_told_before_any_work(runs: dict[str, Path], clip_file: Path) -> None:
    for weights, method, told in [
        (None, "av_sync", "No weights of av_sync come with sslkit"),
        (runs["av_object"], "cca", "learns nothing"),
        (runs["av_object"], "av_sync", "learnt av_object, not av_sync"),
        (runs["av_correspondence"], None, "needs a run of av_object or av_sync"),
    ]:
        with pytest.raises(UserError, match=told):
            list(jobs.localize_sound([clip_file], weights, method, overlay=False))  # type: ignore[arg-type]


def test_weights_that_ship_find_what_moves_and_sounds(tmp_path: Path) -> None:
    hits: list[bool] = []
    told: list[tuple[Any, ...]] = []
    for scene in toybox.scenes(7, clips=6, types=("objects", "face"), seconds=1.6, width_px=150, height_px=112):
        clip, path = toybox.render(scene), tmp_path / f"{scene.key}.mp4"
        write.video(path, clip.frames, toybox.FPS, clip.sound, toybox.RATE_HZ, crf=10)
        (found,) = jobs.localize_sound([path], overlay=False, device="cpu", progress=lambda *args: told.append(args))
        for peak in found.fields["frames"]:
            boxes = clip.truth["boxes"][min(len(clip.frames) - 1, int(peak["time_s"] * toybox.FPS))]
            x, y = peak["peak_xy"]
            hits.append(any(x0 <= x <= x1 and y0 <= y <= y1 for _, x0, y0, x1, y1 in boxes))
    assert len(hits) >= 24 and np.mean(hits) > 0.7
    assert told and all(0 <= done <= total + 1 and text.endswith("maps, s") for done, total, text in told)


@pytest.mark.parametrize("name", ["localize-sound.html", "top-responses.html", "result.json"])
def test_pages_are_not_replaced(name: str, clip_file: Path, toybox: Path, tmp_path: Path) -> None:
    (tmp_path / name).write_text("kept")
    asked = [str(clip_file)] if name == "localize-sound.html" else ["--top-responses", str(toybox)]
    assert cli.run(["localize-sound", *asked, "--out", str(tmp_path), "--device", "cpu"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == [name] and (tmp_path / name).read_text() == "kept"


def test_top_responses_of_each_class(runs: dict[str, Path], toybox: Path, tmp_path: Path) -> None:
    result = jobs.top_responses([toybox], runs["av_object"], tmp_path / "out", "cpu")
    assert (tmp_path / "out" / "top-responses.html").is_file()
    for name in {row["class"] for row in result.rows}:
        responses = [row["response"] for row in result.rows if row["class"] == name]
        assert responses == sorted(responses, reverse=True) and 1 <= len(responses) <= 4
    assert {row["class"] for row in result.rows} == {panel.title for panel in result.panels}
    assert result.fields["samples"] == sum(len(Dataset(toybox, split)) for split in ("train", "val", "test"))
    with pytest.raises(UserError, match="top responses need"):
        jobs.top_responses([toybox], runs["av_correspondence"], tmp_path / "no")


def test_top_responses_of_data_without_a_test_split(runs: dict[str, Path], clip_file: Path, tmp_path: Path) -> None:
    source = tmp_path / "videos"
    source.mkdir()
    for name in ("one", "two", "three"):
        shutil.copy(clip_file, source / f"{name}.mp4")
    prepare("folder", str(source), tmp_path / "data", PrepareSettings(short_side_px=80))
    result = jobs.top_responses([tmp_path / "data"], runs["av_object"], tmp_path / "out", "cpu")
    assert {row["source"] for row in result.rows} == {"one.mp4", "two.mp4", "three.mp4"}
    assert result.fields["split"] == "train, val"
    with pytest.raises(UserError, match="holds no samples"):
        jobs.top_responses([source], runs["av_object"], tmp_path / "none")


@pytest.mark.parametrize("option", [["--method", "cca"], ["--sound", "other.wav"], ["--no-overlay"]])
def test_top_responses_refuse_what_they_do_not_heed(
    option: list[str], toybox: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["localize-sound", "--top-responses", str(toybox), *option]) == 2
    assert "leave --method, --sound and --no-overlay out." in capsys.readouterr().err


def test_the_name_of_a_sound_may_hold_a_plus(tmp_path: Path) -> None:
    picture = tmp_path / "a+b.jpg"
    picture.write_bytes(b"")
    for name in ("tone.wav", "x+y.wav"):
        scene = sources._scene(Path(f"{picture}+{tmp_path / name}"), None)
        assert (scene.sight, scene.sound) == (picture, tmp_path / name)
    with pytest.raises(UserError, match="names its own sound: leave that out, or --sound"):
        sources._scene(Path(f"{picture}+{tmp_path / 'x.wav'}"), tmp_path / "y.wav")
