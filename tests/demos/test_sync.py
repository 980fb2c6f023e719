"""Offsets are found to the frame in videos whose every frame and sound tell their time, across chunks and shots."""

import importlib
import json
import shutil

import av
import cv2
import numpy as np
import pytest
import torch

from sslkit import cli, jobs
from sslkit.demos import people, sync
from sslkit.demos.sync import SyncSettings
from sslkit.demos.watchers import Opening
from sslkit.errors import UserError, WorkError
from sslkit.jobs import shipped
from sslkit.media import detectors, read, write
from sslkit.models.lips import HOP, WINDOW

from .codes import Codes

jobs_sync = importlib.import_module("sslkit.jobs.timing")
FRAMES, SIDE = 230, 96
BOX = np.array([[20, 16, 76, 72, 0]], np.float32)


def coded(tmp_path, offset: int, seed: int = 0, voice: int = 0, name: str = "v.mkv"):
    """A video whose brightness is drawn for each frame, and its sound, which follows `offset` frames later."""
    rng = np.random.default_rng(seed)
    drawn = rng.uniform(0.1, 1, FRAMES)
    other = drawn if not voice else np.random.default_rng(voice).uniform(0.1, 1, FRAMES)
    frames = np.broadcast_to((50 + 150 * drawn).astype(np.uint8)[:, None, None, None], (FRAMES, SIDE, SIDE, 3))
    loud = np.roll(other, offset).repeat(HOP) * 6000
    path = tmp_path / name
    write.video(path.with_suffix(".mp4"), frames, 25, sound=(loud * rng.choice([-1, 1], len(loud))).astype(np.int16))
    return path.with_suffix(".mp4")


@pytest.fixture(autouse=True)
def no_cuts(monkeypatch):
    """Frames of random brightness would all be shots."""
    monkeypatch.setattr(people.shots.Cuts, "add", lambda self, frames: [])


def everywhere(picture: np.ndarray, near: np.ndarray | None = None) -> np.ndarray:
    return BOX.copy()


@pytest.mark.parametrize("offset", [-11, 0, 1, 14])
def test_the_offset_is_found_to_the_frame(tmp_path, offset) -> None:
    path = coded(tmp_path, offset)
    result = sync.sync(path, Codes(), SyncSettings(), everywhere)
    told = result.record()
    json.dumps(told)
    assert told["offset_frames"] == offset and told["offset_s"] == pytest.approx(offset / 25)
    assert told["verdict"] == ("in sync" if abs(offset) < 2 else "sound late" if offset > 0 else "sound early")
    assert told["confidence"] > 0.1 and told["coverage"] > 0.8 and len(told["tracks"]) == 1
    assert told["tracks"][0]["box"] == pytest.approx(BOX[0, :4].tolist(), abs=1.5)
    words = {0: "in sync", 1: "in sync", 14: "0.56 s (14 frames of 1/25 s) late: play it earlier by as much"}
    assert words.get(offset, "early: play it later") in result.notes[0]


def test_an_offset_beyond_the_range_is_not_found(tmp_path) -> None:
    told = sync.sync(coded(tmp_path, 16), Codes(), SyncSettings(), everywhere).fields
    assert (told["offset_s"], told["verdict"]) == (None, "not found")


@pytest.mark.parametrize("offset", [-15, 15])
def test_an_offset_at_the_end_of_the_range_is_told_from_another_voice(tmp_path, offset) -> None:
    found = sync.sync(coded(tmp_path, offset), Codes(), SyncSettings(), everywhere)
    (track,) = found.fields["tracks"]
    assert (track["verdict"], track["offset_s"], found.fields["offset_s"]) == ("beyond the range", None, None)
    assert "off by 0.60 s, the end of the range, or by more: raise --reach-frames" in found.notes[0]
    wider = sync.sync(coded(tmp_path, offset), Codes(), SyncSettings(reach_frames=17), everywhere)
    assert wider.fields["offset_frames"] == offset and wider.fields["tracks"][0]["verdict"] == "speaks"


def test_a_curve_that_says_little_is_unsure(tmp_path) -> None:
    path = coded(tmp_path, 0)
    confidence = sync.sync(path, Codes(), SyncSettings(), everywhere).fields["confidence"]

    def said(**settings) -> tuple[str, float | None, str]:
        found = sync.sync(path, Codes(), SyncSettings(**settings), everywhere)
        (track,) = found.fields["tracks"]
        return track["verdict"], track["offset_s"], found.notes[0]

    for nearly in ({"sure": 1.2 * confidence}, {"sure": 2 * confidence, "enough_rows": FRAMES}):
        verdict, offset_s, note = said(**nearly)
        assert (verdict, offset_s) == ("unsure", None) and "not certain whether a face moves with this sound" in note
    verdict, offset_s, note = said(sure=2 * confidence)
    assert (verdict, offset_s) == ("not this voice", None) and "no face moves with this sound within 0.60 s" in note


def test_another_voice_is_told(tmp_path) -> None:
    told = sync.sync(coded(tmp_path, 0, voice=7), Codes(), SyncSettings(), everywhere).fields
    assert told["verdict"] == "not found" and told["tracks"][0]["verdict"] == "not this voice"
    assert told["confidence"] < 0.05


def test_who_speaks_of_two_is_told(tmp_path) -> None:
    path = coded(tmp_path, 4)
    second = np.array([[2, 2, 12, 12, 0]], np.float32)

    class Two(Codes):
        def see(self, frames: torch.Tensor) -> torch.Tensor:
            # the smaller face is cut out as well, but says nothing of the sound
            seen = super().see(frames)
            return seen if self.first else torch.rand(seen.shape, generator=torch.Generator().manual_seed(1))

    watcher = Two()
    order = iter([True, False] * 10)
    original = Two.see

    def see(frames: torch.Tensor) -> torch.Tensor:
        watcher.first = next(order)
        return original(watcher, frames)

    watcher.see = see  # type: ignore[method-assign]
    told = sync.sync(path, watcher, SyncSettings(least_px=5), lambda *_: np.concatenate([BOX, second])).fields
    assert told["offset_frames"] == 4
    # tracks come from left to right, the smaller one first
    assert sorted(track["verdict"] for track in told["tracks"]) == ["not this voice", "speaks"]
    # Of windows of five frames, those whose whole range of offsets is heard; each counts once, whoever is seen.
    assert told["coverage"] == pytest.approx((FRAMES - 4 - 2 * 15) / FRAMES, abs=0.02)


def in_turn(tmp_path, monkeypatch, spans: list[tuple[int, int]]):
    """One person after the other, each for so many frames and with a sound that is so many frames late."""
    rng = np.random.default_rng(5)
    codes = [rng.uniform(0.1, 1, frames) for frames, _ in spans]
    late = [np.roll(drawn, offset) for drawn, (_, offset) in zip(codes, spans, strict=True)]
    bright, loud = (50 + 150 * np.concatenate(codes)).astype(np.uint8), 6000 * np.concatenate(late).repeat(HOP)
    pictures = np.broadcast_to(bright[:, None, None, None], (len(bright), SIDE, SIDE, 3))
    write.video(tmp_path / "v.mp4", pictures, 25, sound=(loud * rng.choice([-1, 1], len(loud))).astype(np.int16))
    cuts = [int(cut) for cut in np.cumsum([frames for frames, _ in spans])[:-1]]
    monkeypatch.setattr(people.shots.Cuts, "add", lambda self, frames: cuts)
    monkeypatch.setattr(jobs_sync.watchers, "watcher", lambda *_: Codes())
    monkeypatch.setattr(jobs_sync.detectors, "finder", lambda _: everywhere)
    return tmp_path / "v.mp4"


def test_faces_that_disagree_leave_no_answer_and_nothing_is_mended(tmp_path, monkeypatch) -> None:
    path = in_turn(tmp_path, monkeypatch, [(150, 1), (150, 9)])
    (found,) = jobs.sync([path], fix=tmp_path / "mended.mp4")
    told = found.fields
    assert [(one["verdict"], one["offset_s"]) for one in told["tracks"]] == [("speaks", 0.04), ("speaks", 0.36)]
    assert (told["offset_s"], told["verdict"], told["agree"]) == (None, "not found", False)
    assert "faces disagree, so no one offset is right for all of it: face 0 (0.0 to 5." in found.notes[0]
    assert ") +0.04 s, face 1 (6.0 to 11." in found.notes[0] and ") +0.36 s; --plot shows each." in found.notes[0]
    assert "faces disagree, so no one shift mends it and nothing was written (see --plot)" in found.notes[-1]
    assert not (tmp_path / "mended.mp4").exists() and "fixed" not in told


def test_a_face_that_is_seen_shortly_does_not_take_the_answer_away_but_nothing_is_mended(tmp_path, monkeypatch) -> None:
    path = in_turn(tmp_path, monkeypatch, [(300, 6), (46, -4)])
    (found,) = jobs.sync([path], fix=tmp_path / "mended.mp4")
    assert [one["offset_s"] for one in found.fields["tracks"]] == [0.24, -0.16]
    assert (found.fields["offset_s"], found.fields["verdict"], found.fields["agree"]) == (0.24, "sound late", False)
    assert "not all faces agree with this: face 1 (12.0 to 13." in found.notes[1] and "-0.16 s;" in found.notes[1]
    assert not (tmp_path / "mended.mp4").exists()


def test_faces_agree_that_are_about_as_late(tmp_path, monkeypatch) -> None:
    (found,) = jobs.sync([in_turn(tmp_path, monkeypatch, [(150, 4), (100, 5), (100, 6)])])
    assert found.fields["agree"] is True and found.fields["offset_frames"] in (4, 5, 6)
    (none,) = jobs.sync([coded(tmp_path, 0, voice=7, name="other.mp4")])
    assert none.fields["agree"] is None


def test_no_face_small_faces_and_no_sound_are_told(tmp_path) -> None:
    path = coded(tmp_path, 0)
    none = sync.sync(path, Codes(), SyncSettings(), lambda *_: np.zeros((0, 5), np.float32))
    assert none.fields["verdict"] == "no face" and none.fields["refused"] == []
    assert "no face was found; what ships finds none below 24 px" in none.record()["notes"][0]
    small = sync.sync(path, Codes(), SyncSettings(least_px=100), everywhere)
    assert small.fields["verdict"] == "not found" and "a face was not judged (56 px large, below" in small.notes[0]
    (refused,) = small.record()["refused"]
    assert refused["reason"] == "56 px large, below 100 px" and refused["start_s"] == 0 and refused["end_s"] > 8
    assert refused["box"] == pytest.approx(BOX[0, :4].tolist(), abs=1.5)
    beside = BOX + np.array([40, 0, 40, 0, 0], np.float32)
    two = sync.sync(path, Codes(), SyncSettings(least_px=100), lambda *_: np.concatenate([BOX, beside]))
    assert "2 faces were not judged" in two.notes[0] and len(two.fields["refused"]) == 2
    write.video(tmp_path / "silent.mp4", np.full((60, SIDE, SIDE, 3), 90, np.uint8), 25)
    with pytest.raises(WorkError, match="silent.mp4 has no sound: there is nothing to compare"):
        sync.sync(tmp_path / "silent.mp4", Codes(), SyncSettings(), everywhere)
    quiet = np.zeros(60 * HOP, np.int16)
    write.video(tmp_path / "zeros.mp4", np.full((60, SIDE, SIDE, 3), 90, np.uint8), 25, sound=quiet)
    zeros = sync.sync(tmp_path / "zeros.mp4", Codes(), SyncSettings(), everywhere)
    assert zeros.fields["verdict"] == "not found" and "there is no sound while a face is seen" in zeros.notes[0]
    assert [track["verdict"] for track in zeros.fields["tracks"]] == ["silent"]


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("size", "told_px"), [((360, 288), 24), ((640, 480), 32), ((1280, 720), 64), ((720, 1280), 64), ((1920, 1080), 96)]
)
def test_how_small_a_face_can_be_found_is_told(media_root, tmp_path, size, told_px) -> None:
    """A face a little larger than what is told is found in a grey picture, a smaller one is not."""
    find, (width, height) = detectors.finder(), size
    assert people.least_found_px(width, height) == told_px
    (head,) = next(read.video_chunks(media_root / "speech/others/test/real_8.mp4", 25, 256, 1))
    face_px = float(np.ptp(find(head)[0, [0, 2]]))
    for share, found in ((1.1, True), (0.75, False)):
        side = round(len(head) * share * told_px / face_px)
        picture = np.full((height, width, 3), 120, np.uint8)
        top, left, small = height // 8, width // 8, cv2.resize(head, (side, side), interpolation=cv2.INTER_AREA)
        picture[top : top + side, left : left + side] = small
        write.video(tmp_path / "v.mp4", [picture] * 10, 25)
        assert bool(people.followed(tmp_path / "v.mp4", 1, 1, find).tracks) == found


def test_open_mouths_and_onsets_agree_where_they_belong_together() -> None:
    rng = np.random.default_rng(0)
    opens = rng.uniform(0, 1, 120) > 0.8
    frames = np.full((120, 64, 64), 150.0)
    frames[:, 26:44, 18:46] -= 60 * opens[:, None, None]
    sight = Opening().see(torch.from_numpy(frames).to(torch.uint8)[None, :, None].expand(1, 120, 3, 64, 64))
    loud = opens.repeat(HOP) * 3000.0 + 20
    early = (WINDOW - 5 * HOP) // 2
    heard = np.pad(loud * rng.choice([-1, 1], len(loud)), (early, WINDOW))[: 115 * HOP + WINDOW]
    sound = Opening().hear(torch.from_numpy(heard).to(torch.int16)[None])
    assert sight.shape == sound.shape == (116, 1)
    right, *wrong = (np.corrcoef(sight[:, 0], np.roll(sound[:, 0], k))[0, 1] for k in (0, 3, 9, -5))
    assert right > 0.6 and np.abs(wrong).max() < right / 2


def test_the_command_measures_mends_and_measures_again(tmp_path, monkeypatch) -> None:
    path = coded(tmp_path, 9)
    monkeypatch.setattr(jobs_sync.watchers, "watcher", lambda *_: Codes())
    monkeypatch.setattr(jobs_sync.detectors, "finder", lambda _: everywhere)
    (told,) = jobs.sync([path], fix=tmp_path / "mended.mp4", plot=tmp_path / "curve.html")
    assert "frames by which sound is late" in (tmp_path / "curve.html").read_text()
    curve = told.fields["tracks"][0]["curve"]
    assert len(curve) == 31 and int(np.argmin(curve)) == 15 + 9
    assert (told.fields["offset_frames"], told.fields["fixed_offset_s"]) == (9, 0)
    assert "moved by -0.36 s; measured again it is 0.00 s" in told.notes[-1]
    with pytest.raises(UserError, match="mended.mp4 is already there"):
        list(jobs.sync([path], fix=tmp_path / "mended.mp4"))
    (tmp_path / "no.mp4").write_bytes(b"nothing")
    bad, good = jobs.sync([tmp_path / "no.mp4", tmp_path / "mended.mp4"], fix=tmp_path / "folder")
    assert bad.fields["kind"] == "work" and "no.mp4 cannot be read" in bad.fields["error"]
    assert "the sound is in time, so nothing was written" in good.notes[-1] and "fixed" not in good.fields


def test_what_is_damaged_is_left_out_and_told(tmp_path) -> None:
    path = coded(tmp_path, 9)
    whole = sync.sync(path, Codes(), SyncSettings(), everywhere).fields
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = np.random.default_rng(1).bytes(3000)
    path.write_bytes(data)
    found = sync.sync(path, Codes(), SyncSettings(), everywhere)
    times_s = found.fields["damaged_s"]
    assert (
        found.fields["offset_frames"] == 9 and found.fields["coverage"] < whole["coverage"] and not whole["damaged_s"]
    )
    assert times_s and all(2 < time_s < 7 for time_s in times_s) and times_s == sorted(times_s)
    assert any("is damaged" in note and "what lies around that was left out" in note for note in found.notes)


def test_a_copy_that_is_not_in_time_is_not_kept_but_what_was_measured_is(tmp_path, monkeypatch, capsys) -> None:
    path = coded(tmp_path, 9)
    monkeypatch.setattr(jobs_sync.watchers, "watcher", lambda *_: Codes())
    monkeypatch.setattr(jobs_sync.detectors, "finder", lambda _: everywhere)
    monkeypatch.setattr(jobs_sync.remux, "with_sound_moved", lambda source, target, *_: shutil.copy(source, target))
    (told,) = jobs.sync([path], fix=tmp_path / "mended.mp4")
    assert (
        "mended.mp4 is not written: with the sound moved by -0.36 s it would be late by +0.36 s" in told.fields["error"]
    )
    assert (told.fields["offset_frames"], told.fields["kind"]) == (9, "work") and "fixed" not in told.fields
    assert not (tmp_path / "mended.mp4").exists()
    assert cli.run(["sync", str(path), "--fix", str(tmp_path / "mended.mp4")]) == 1
    shown = capsys.readouterr()
    assert "sound late" in shown.out and "mended.mp4 is not written" in shown.err


def test_what_cannot_be_written_is_told_before_anything_is_measured(tmp_path, monkeypatch) -> None:
    path = coded(tmp_path, 9)
    monkeypatch.setattr(jobs_sync.demo, "observe", lambda *_: pytest.fail("measured"))
    for name in ("mended.avi", "mended.webm"):
        with pytest.raises(UserError, match=rf"{name} cannot hold what the source holds"):
            list(jobs.sync([path], fix=tmp_path / name))


def test_of_many_videos_one_that_does_not_fit_is_told_alone(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(jobs_sync.watchers, "watcher", lambda *_: Codes())
    monkeypatch.setattr(jobs_sync.detectors, "finder", lambda _: everywhere)
    late, timeless = coded(tmp_path, 9), tmp_path / "late.avi"
    timeless.write_bytes(late.read_bytes())
    good, bad = jobs.sync([late, timeless], fix=tmp_path / "out")
    assert good.fields["fixed_offset_s"] == 0 and bad.fields["offset_frames"] == 9
    assert "late.avi cannot hold what the source holds" in bad.fields["error"] and bad.fields["kind"] == "request"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["v.mp4"]


def test_a_copy_that_was_not_measured_is_not_kept(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(jobs_sync.watchers, "watcher", lambda *_: Codes())
    monkeypatch.setattr(jobs_sync.detectors, "finder", lambda _: everywhere)

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs_sync.demo, "sync", stopped)
    with pytest.raises(KeyboardInterrupt):
        list(jobs.sync([coded(tmp_path, 9)], fix=tmp_path / "mended.mp4"))
    assert [path.name for path in tmp_path.iterdir()] == ["v.mp4"]


def test_a_page_of_what_was_done_is_left_when_work_is_stopped(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(jobs_sync.watchers, "watcher", lambda *_: Codes())
    monkeypatch.setattr(jobs_sync.detectors, "finder", lambda _: everywhere)
    working = jobs.sync([coded(tmp_path, 9), tmp_path / "never.mp4"], plot=tmp_path / "curve.html")
    next(working)
    working.close()
    assert "frames by which sound is late" in (tmp_path / "curve.html").read_text()


@pytest.mark.parametrize("offset", [-1, 1])
def test_what_is_in_sync_is_not_mended(tmp_path, monkeypatch, offset) -> None:
    monkeypatch.setattr(jobs_sync.watchers, "watcher", lambda *_: Codes())
    monkeypatch.setattr(jobs_sync.detectors, "finder", lambda _: everywhere)
    (told,) = jobs.sync([coded(tmp_path, offset)], fix=tmp_path / "mended.mp4")
    assert (told.fields["offset_frames"], told.fields["verdict"]) == (offset, "in sync")
    assert "the sound is in time, so nothing was written" in told.notes[-1] and "fixed" not in told.fields
    assert not (tmp_path / "mended.mp4").exists()


def test_weights_come_with_the_package() -> None:
    watcher = jobs_sync.watchers.shipped("cpu")
    assert (watcher.side_px, watcher.part, watcher.squared) == (64, "mouth", True)
    frames = torch.randint(0, 256, (1, 60, 3, 64, 64), dtype=torch.uint8)
    assert watcher.see(frames).shape == watcher.hear(torch.randint(-999, 999, (1, 55 * HOP + WINDOW))).shape == (56, 20)
    size = sum(path.stat().st_size for path in shipped.FOLDER.glob("lip_sync.*"))
    assert size < 6e6


def test_pieces_of_a_long_track_are_seen_with_what_is_around_them(tmp_path, monkeypatch) -> None:
    path = coded(tmp_path, 0)
    track = sync.people.faces.follow([(n, BOX) for n in range(0, FRAMES, 5)], FRAMES)[0]

    def around(frames: torch.Tensor) -> torch.Tensor:
        level = frames[0].float().mean((1, 2, 3))
        wide = torch.nn.functional.pad(level[None], (5, 5), mode="replicate").unfold(1, 11, 1)[0].mean(1)
        return wide[2:-2, None]

    (whole,) = people.seen(path, [track], around, 16, "face")
    monkeypatch.setattr(people, "_JUDGED_FRAMES", 60)
    (pieces,) = people.seen(path, [track], around, 16, "face")
    assert whole.shape == (len(track.boxes) - 4, 1)
    torch.testing.assert_close(pieces, whole)


def with_second_sound(path, other, target) -> None:
    """The pictures and sound of one file, and the sound of another as a second stream."""
    with av.open(str(path)) as one, av.open(str(other)) as two, av.open(str(target), "w") as copy:
        streams = [one.streams.video[0], one.streams.audio[0], two.streams.audio[0]]
        into = [copy.add_stream_from_template(stream) for stream in streams]
        for source, chosen in ((one, streams[:2]), (two, streams[2:])):
            for packet in source.demux(chosen):
                if packet.dts is not None:
                    packet.stream = into[streams.index(packet.stream)]
                    copy.mux(packet)


def test_the_stream_that_is_asked_for_is_measured_and_it_alone_is_mended(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(jobs_sync.watchers, "watcher", lambda *_: Codes())
    monkeypatch.setattr(jobs_sync.detectors, "finder", lambda _: everywhere)
    path = tmp_path / "two.mkv"
    with_second_sound(coded(tmp_path, 3, name="a.mkv"), coded(tmp_path, -8, name="b.mkv"), path)
    (first,) = jobs.sync([path])
    assert (first.fields["offset_frames"], first.fields["stream"], first.fields["streams"]) == (3, 1, 2)
    assert "has 2 sound streams, of which number 1 was measured: --stream chooses" in first.notes[-1]
    (second,) = jobs.sync([path], stream=2, fix=tmp_path / "mended.mkv")
    assert (second.fields["offset_frames"], second.fields["fixed_offset_s"]) == (-8, 0)
    (first,) = jobs.sync([tmp_path / "mended.mkv"])
    assert first.fields["offset_frames"] == 3
    (none,) = jobs.sync([path], stream=3)
    assert "has no sound stream 3" in none.fields["error"]


def test_what_was_seen_and_heard_is_kept(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(jobs_sync.watchers, "watcher", lambda *_: Codes())
    monkeypatch.setattr(jobs_sync.detectors, "finder", lambda _: everywhere)
    path = coded(tmp_path, 2)
    told = []
    (result,) = jobs.sync([path], features=tmp_path / "kept", progress=lambda *state: told.append(state))
    assert result.files["features"] == str(tmp_path / "kept" / "v.npz")
    with np.load(result.files["features"], allow_pickle=False) as kept:
        assert kept["fps"] == 25 and kept["start_0"] == 0 and kept["boxes_0"].shape[1] == 4
        sight, sound = kept["sight_0"][:, 0], kept["sound"][:, 0]
        assert sight.dtype == np.float32 and len(sight) == len(kept["boxes_0"]) - 4 and len(sound) == FRAMES - 4
    drawn = np.random.default_rng(0).uniform(0.1, 1, FRAMES)
    assert np.corrcoef(sight, drawn[2:-2][: len(sight)])[0, 1] > 0.99
    assert np.corrcoef(sound[8:-8], np.roll(drawn, 2)[2:-2][8:-8])[0, 1] > 0.9
    assert told[-1][0] == told[-1][1] and {"decode", "faces", "features", "search"} == set(result.fields["spent_s"])
    with pytest.raises(UserError, match="v.npz is already there"):
        next(jobs.sync([path], features=tmp_path / "kept"))


def test_a_long_track_is_searched_in_pieces(tmp_path, monkeypatch) -> None:
    observed = sync.observe(coded(tmp_path, 5), Codes(), SyncSettings(), everywhere)
    (whole,) = sync.searched(observed, SyncSettings())
    monkeypatch.setattr(sync, "_SEARCHED_FRAMES", 37)
    (pieces,) = sync.searched(observed, SyncSettings())
    assert (pieces.rows, pieces.offset) == (whole.rows, whole.offset) == (FRAMES - 4 - 30, 5)
    torch.testing.assert_close(pieces.curve, whole.curve)


def test_what_cannot_be_asked_is_said(tmp_path) -> None:
    with pytest.raises(UserError, match="leave --weights out"):
        next(jobs.sync([tmp_path / "a.mp4"], weights=tmp_path, method="cca"))
    with pytest.raises(UserError, match="Two of the videos would be written to one file in .*out"):
        next(jobs.sync([tmp_path / "a" / "v.mp4", tmp_path / "b" / "v.mp4"], method="cca", fix=tmp_path / "out"))


def test_a_page_that_cannot_be_written_is_refused_first(tmp_path) -> None:
    (tmp_path / "there.html").write_text("mine")
    with pytest.raises(UserError, match=r"there\.html is already there: move it away or name another"):
        next(jobs.sync([tmp_path / "no.mp4"], method="cca", plot=tmp_path / "there.html"))
    assert (tmp_path / "there.html").read_text() == "mine"
    with pytest.raises(UserError, match="is a folder: name the page to write, such as .*sync.html"):
        next(jobs.sync([tmp_path / "no.mp4"], method="cca", plot=tmp_path))
    with pytest.raises(UserError, match=r"page\.html cannot be made"):
        next(jobs.sync([tmp_path / "no.mp4"], method="cca", plot=tmp_path / "there.html" / "page.html"))
    assert cli.run(["sync", str(tmp_path / "no.mp4"), "--method", "cca", "--plot", str(tmp_path)]) == 2
    list(jobs.sync([tmp_path / "no.mp4"], method="cca", plot=tmp_path / "new" / "page.html"))
    said = (tmp_path / "new" / "page.html").read_text()
    assert "There is no curve for no.mp4." in said and "no.mp4 does not exist" in said


def test_the_page_says_of_which_video_there_is_nothing_to_draw(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(jobs_sync.watchers, "watcher", lambda *_: Codes())
    monkeypatch.setattr(jobs_sync.detectors, "finder", lambda _: lambda *_: np.zeros((0, 5), np.float32))
    list(jobs.sync([coded(tmp_path, 0, name="nobody.mp4")], plot=tmp_path / "page.html"))
    said = (tmp_path / "page.html").read_text()
    assert "There is no curve for nobody.mp4." in said and "no face was found" in said


@pytest.mark.parametrize(("option", "name"), [("fix", "b.mp4"), ("features", "b.npz"), ("speakers", "b.mp4")])
def test_one_file_for_several_videos_is_refused_first(tmp_path, option, name) -> None:
    videos = [tmp_path / "x.mp4", tmp_path / "y.mp4"]
    with pytest.raises(UserError, match=r"b\.... would be one file for 2 videos: name a folder, or make it first"):
        next(jobs.sync(videos, method="cca", **{option: tmp_path / "a" / name}))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "made.v2").mkdir()
    for answer in jobs.sync(videos, method="cca", fix=tmp_path / "made.v2"):  # a folder, whatever its name
        assert "does not exist" in answer.fields["error"]
