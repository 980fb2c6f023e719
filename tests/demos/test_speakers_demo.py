"""Who speaks when, in videos whose two faces flicker and whose sound is as loud as one of them is bright."""

import csv
import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from sslkit import jobs
from sslkit.demos import people, speakers, sync
from sslkit.demos.sync import SyncSettings
from sslkit.errors import UserError
from sslkit.media import read, write
from sslkit.models.lips import HOP
from sslkit.ops.speaking import Rule

from .codes import Codes
from .test_sync import in_turn

jobs_sync = importlib.import_module("sslkit.jobs.timing")
FRAMES, HEIGHT, WIDTH = 300, 96, 224
BOXES = np.array([[16, 20, 72, 76, 0], [136, 20, 192, 76, 0]], np.float32)


def everywhere(picture: np.ndarray, near: np.ndarray | None = None) -> np.ndarray:
    scale = picture.shape[0] / HEIGHT
    return np.concatenate([BOXES[:, :4] * scale, BOXES[:, 4:]], 1).astype(np.float32)


@pytest.fixture(autouse=True)
def no_cuts(monkeypatch):
    """Frames of random brightness would all be shots."""
    monkeypatch.setattr(people.shots.Cuts, "add", lambda self, frames: [])


def talk(path, heard: list[tuple[int, int, int | None]], fps: int = 25):
    """Two faces; heard: (first frame, end, who), None is a voice that nobody's face follows, what is left is silent."""
    rng = np.random.default_rng(3)
    drawn = rng.uniform(0.1, 1, (3, FRAMES))
    frames = np.full((FRAMES, HEIGHT, WIDTH, 3), 90, np.uint8)
    for codes, (left, _, right, _, _) in zip(drawn, BOXES.astype(int), strict=False):
        frames[:, :, left - 12 : right + 12] = (50 + 150 * codes)[:, None, None, None]
    loud = np.zeros(FRAMES)
    for first, end, who in heard:
        loud[first:end] = drawn[2 if who is None else who, first:end]
    noise = rng.choice([-1, 1], FRAMES * HOP)
    shown = frames[(np.arange(round(FRAMES * fps / 25)) * 25 / fps + 1e-6).astype(int)]
    write.video(path, shown, fps, sound=(6000 * loud.repeat(HOP) * noise).astype(np.int16), crf=10)
    return path


# Here what belongs together goes together far better than what networks see and hear does.
CLEAR = Rule(least=2.0, both=3.3, peak=3.3, nobody=3.0)
TURNS = [(0, 120, 0), (120, 200, 1), (230, 300, None)]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory):
    return talk(tmp_path_factory.mktemp("film") / "two people.mp4", TURNS)


@pytest.fixture
def told(film, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs_sync.watchers, "watcher", lambda *_: Codes())
    monkeypatch.setattr(jobs_sync.detectors, "finder", lambda _: everywhere)
    monkeypatch.setattr(speakers, "Rule", lambda: CLEAR)
    (result,) = jobs.sync([film], speakers=tmp_path / "out.mp4")
    return result


def test_stretches_are_those_of_the_truth(told) -> None:
    record = told.record()
    json.dumps(record)
    found = [(one["track"], one["start_s"], one["end_s"]) for one in record["speakers"]]
    assert [track for track, *_ in found] == [0, 1, None]
    for (_, start_s, end_s), (first, end, _) in zip(found, TURNS, strict=True):
        assert (start_s, end_s) == (pytest.approx(first / 25, abs=0.3), pytest.approx(end / 25, abs=0.3))
    assert all(one["score"] > 1 for one in record["speakers"][:2]) and record["speakers"][2]["score"] is None
    assert len(record["tracks"]) == 2 and record["spent_s"]["speakers"] > 0
    assert "2 of 2 faces speak: face 0 for 4" in told.notes[-1] and "off screen" in told.notes[-1]


def parsed(text: str) -> list[tuple[str, float, float]]:
    """Who, from, to of an RTTM file, by the columns of NIST."""
    found = []
    for line in text.splitlines():
        kind, file, channel, start_s, length_s, *rest = line.split(" ")
        assert (kind, file, channel, len(rest)) == ("SPEAKER", "two_people", "1", 5)
        assert rest[:2] == rest[3:] == ["<NA>", "<NA>"]
        found.append((rest[2], float(start_s), float(start_s) + float(length_s)))
    return found


def test_the_rttm_file_says_the_same(told) -> None:
    read_back = parsed(Path(told.files["rttm"]).read_text())
    names = {None: "off_screen", 0: "track0", 1: "track1"}
    said = [(names[one["track"]], one["start_s"], one["end_s"]) for one in told.fields["speakers"]]
    assert [who for who, *_ in read_back] == [who for who, *_ in said]
    np.testing.assert_allclose([one[1:] for one in read_back], [one[1:] for one in said], atol=1e-6)


def test_scores_of_every_face_and_frame_are_written_beside(told) -> None:
    with Path(told.files["scores"]).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["time_s", "track", "x0", "y0", "x1", "y1", "score", "speaks"]
    for number, track in enumerate(told.fields["tracks"]):
        own = [row for row in rows if row["track"] == str(number)]
        times_s = np.array([float(row["time_s"]) for row in own])
        np.testing.assert_allclose(times_s, np.arange(track["start_s"], track["end_s"] - 0.01, 0.04), atol=1e-6)
        corners = [[float(row[corner]) for corner in ("x0", "y0", "x1", "y1")] for row in own]
        np.testing.assert_allclose(np.median(corners, 0), track["box"], atol=0.11)
        speaks = np.array([row["speaks"] == "1" for row in own])
        for one in [one for one in told.fields["speakers"] if one["track"] == number]:
            within = (times_s >= one["start_s"] - 1e-6) & (times_s < one["end_s"] - 1e-6)
            assert speaks[within].all()
            assert np.mean([float(row["score"]) for row in np.array(own)[within]]) == pytest.approx(
                one["score"], abs=2e-3
            )
            speaks &= ~within
        assert not speaks.any()


def test_a_face_that_is_found_to_speak_is_not_told_to_be_anothers_as_well(tmp_path, monkeypatch) -> None:
    """Here no whole track is sure, though the first face goes with the sound throughout; the second never does."""
    path = talk(tmp_path / "v.mp4", [(0, 300, 0)])
    monkeypatch.setattr(jobs_sync.watchers, "watcher", lambda *_: Codes())
    monkeypatch.setattr(jobs_sync.watchers, "sure_from", lambda *_: 10.0)
    monkeypatch.setattr(jobs_sync.detectors, "finder", lambda _: everywhere)
    monkeypatch.setattr(speakers, "Rule", lambda: CLEAR)
    (told,) = jobs.sync([path], speakers=tmp_path / "out.mp4")
    assert {one["track"] for one in told.fields["speakers"]} == {0}
    assert [one["verdict"] for one in told.fields["tracks"]] == ["unsure", "not this voice"]
    assert [one["offset_s"] for one in told.fields["tracks"]] == [None, None]
    said = "\n".join(told.record()["notes"])
    assert "not certain whether a face moves" in said and "no face moves" not in said
    assert "faces that speak at times, though all of their track gives no sure offset: face 0." in said
    assert "1 of 2 faces speaks: face 0 for 1" in said


def test_a_face_that_no_moment_is_given_to_is_told(film) -> None:
    observed = sync.observe(film, Codes(), SyncSettings(), everywhere)
    heard = sync.searched(observed, SyncSettings())
    assert {one.said for one in heard} == {"speaks"}
    moved, counted = speakers.notes(film, [], heard[:1])
    assert moved.endswith("faces that move with the sound, though at no moment more than others: face 0.")
    assert counted.endswith("0 of 1 face speaks.")


def test_faces_that_disagree_are_each_judged_at_their_own_offset(tmp_path, monkeypatch) -> None:
    path = in_turn(tmp_path, monkeypatch, [(150, 1), (150, 9)])
    monkeypatch.setattr(speakers, "Rule", lambda: CLEAR)
    (told,) = jobs.sync([path], speakers=tmp_path / "out.mp4")
    assert told.fields["agree"] is False and {one["track"] for one in told.fields["speakers"]} == {0, 1}


def colour(frame: np.ndarray, box: np.ndarray) -> str:
    """Of a box, by its left and right edge."""
    top, bottom = round(box[1]) + 12, round(box[3]) - 4
    edges = [frame[top:bottom, x : x + 2].reshape(-1, 3) for x in (round(box[0]), round(box[2]) - 1)]
    red, _, blue = np.concatenate(edges).astype(float).mean(0)
    return "blue" if blue > red + 60 else "red" if red > blue + 60 else "neither"


def test_boxes_have_the_colours_of_the_lecture(told) -> None:
    shown = read.video(told.files["speakers"])
    assert len(shown.frames) == FRAMES and shown.fps == 25
    assert shown.frames.shape[1] > HEIGHT and shown.frames.shape[2] == WIDTH
    for moment, colours in ((50, ["blue", "red"]), (160, ["red", "blue"]), (215, ["red", "red"])):
        assert [colour(shown.frames[moment], box) for box in BOXES] == colours
    legend = shown.frames[:, HEIGHT + 2 :].astype(float)
    middle = legend[:, :, 160:]  # where words about the voice off screen come
    assert middle[270].std() > 3 * middle[50].std()


def test_the_sound_of_the_video_is_in_time(film, told) -> None:
    before, after = (read.sound(path, 16_000).astype(float) for path in (film, told.files["speakers"]))
    lag = np.argmax(np.correlate(after[2000:60_000], before[2000 + 400 : 60_000 - 400], "valid")) - 400
    assert abs(lag) <= 1 and abs(len(after) - len(before)) < 3000


@pytest.mark.parametrize("fps", [10, 40])
def test_the_video_keeps_its_own_rate(tmp_path, fps) -> None:
    path = talk(tmp_path / "v.mp4", TURNS, fps)
    observed = sync.observe(path, Codes(), SyncSettings(), everywhere)
    found = speakers.spoken(observed, [0, 0], 15)
    speakers.write_overlay(tmp_path / "o.mp4", observed, found)
    shown = read.video(tmp_path / "o.mp4")
    assert shown.fps == fps and len(shown.frames) == FRAMES * fps / 25
    # The mask of a moment is that of the boxes.
    for at_s in (2.0, 6.5):
        masks = [bool(mask[round(at_s * 25)]) for mask in found.speech]
        assert [colour(shown.frames[round(at_s * fps)], box) for box in BOXES] == [["red", "blue"][m] for m in masks]


def test_faces_that_are_not_judged_are_grey_and_no_voice_is_off_screen_while_they_are_seen(film) -> None:
    settings = SyncSettings(least_px=60)  # both are smaller
    observed = sync.observe(film, Codes(), settings, everywhere)
    found = speakers.spoken(observed, [], 15)
    assert not found.speech and not found.unseen.any()
    boxes, colours, texts = speakers._boxes(50, observed.found, found)
    assert len(boxes) == 2 and set(colours) == {speakers.UNJUDGED} and texts == ["", ""]


def test_without_a_face_no_video_is_written(film, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(jobs_sync.watchers, "watcher", lambda *_: Codes())
    monkeypatch.setattr(
        jobs_sync.detectors, "finder", lambda _: lambda picture, near=None: np.zeros((0, 5), np.float32)
    )
    (result,) = jobs.sync([film], speakers=tmp_path / "shown")
    assert result.fields["speakers"] == [] and "no face could be judged" in result.notes[-1]
    assert list((tmp_path / "shown").iterdir()) == []


def test_too_few_pictures_are_told(tmp_path, monkeypatch) -> None:
    path = talk(tmp_path / "v.mp4", TURNS, 2)
    monkeypatch.setattr(jobs_sync.watchers, "watcher", lambda *_: Codes())
    monkeypatch.setattr(jobs_sync.detectors, "finder", lambda _: everywhere)
    (result,) = jobs.sync([path], speakers=tmp_path / "out.mp4")
    assert "2 pictures a second are too few" in result.notes[-1] and result.fields["speakers"] == []
    assert [one.name for one in tmp_path.iterdir()] == ["v.mp4"]


def test_nothing_is_left_of_a_video_that_cannot_be_finished(film, tmp_path, monkeypatch) -> None:
    observed = sync.observe(film, Codes(), SyncSettings(), everywhere)
    found = speakers.spoken(observed, [0, 0], 15)
    calls = iter(range(100))

    def breaks(*_):
        if next(calls) == 40:
            raise KeyboardInterrupt
        return np.zeros((HEIGHT, WIDTH, 3), np.uint8)

    monkeypatch.setattr(speakers.picture, "boxed", breaks)
    with pytest.raises(KeyboardInterrupt):
        speakers.write_overlay(tmp_path / "o.mp4", observed, found)
    assert list(tmp_path.iterdir()) == []


def test_a_late_sound_is_followed_at_its_offset(tmp_path) -> None:
    path = talk(tmp_path / "v.mp4", [(0, 300, 1)])
    observed = sync.observe(path, Codes(), SyncSettings(), everywhere)
    late = sync.Observed(**{**observed.__dict__, "sound": observed.sound.roll(7, 0)})
    assert not speakers.spoken(late, [0, 0], 15, CLEAR).speech[1].any()
    right = speakers.spoken(late, [7, 7], 15, CLEAR)
    assert right.speech[1][20:280].all() and not right.speech[0].any()


def test_names_that_cannot_be_written_are_refused_first(film, tmp_path) -> None:
    with pytest.raises(UserError, match=r"name a file that ends in \.mp4"):
        next(jobs.sync([film], method="cca", speakers=tmp_path / "out.avi"))
    (tmp_path / "out.rttm").touch()
    with pytest.raises(UserError, match=r"out\.rttm is already there"):
        next(jobs.sync([film], method="cca", speakers=tmp_path / "out.mp4"))
    (tmp_path / "scored.csv").touch()
    with pytest.raises(UserError, match=r"scored\.csv is already there"):
        next(jobs.sync([film], method="cca", speakers=tmp_path / "scored.mp4"))
    folder = tmp_path / "shown"
    folder.mkdir()
    (folder / "two people.rttm").touch()
    with pytest.raises(UserError, match=r"two people\.rttm is already there"):
        next(jobs.sync([film, tmp_path / "other.mp4"], method="cca", speakers=folder))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.rttm", "scored.csv", "shown"]


def test_another_voice_than_the_one_that_is_seen(media_root, tmp_path) -> None:
    """The sounds of two talking clips are swapped: no face speaks them, and the page says so."""
    clips = [media_root / "speech/others/test" / name for name in ("real_8.mp4", "vox_00086.mp4")]
    swapped = []
    for path, other in zip(clips, reversed(clips), strict=True):
        swapped.append(tmp_path / path.name)
        frames = (frame for chunk in read.video_chunks(path, 25, 224, end_s=5.0) for frame in chunk)
        write.video(swapped[-1], frames, 25, read.sound(other, 16_000, end_s=5.0))
    results = list(jobs.sync([*clips, *swapped], device="cpu", plot=tmp_path / "page.html"))
    verdicts = [[track["verdict"] for track in result.fields["tracks"]] for result in results]
    assert verdicts[:2] == [["speaks"]] * 2
    assert all(len(said) == 1 and {*said} <= {"not this voice", "unsure"} for said in verdicts[2:])
    own, others = ([result.fields["confidence"] for result in half] for half in (results[:2], results[2:]))
    assert min(own) > 1.5 * max(others)
    said = (tmp_path / "page.html").read_text()
    assert said.count("s: speaks.") == said.count("s: not this voice.") + said.count("s: unsure.") >= 2
