"""Sound that is moved in files is found and mended by the command, and what it says is counted rightly."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from sslkit import jobs
from sslkit.errors import UserError, WorkError
from sslkit.jobs import moved
from sslkit.jobs.moved import Asked
from sslkit.media import write
from sslkit.types import Result


def said(offset: int | None, mended_s: float | str | None = None, group: str = "people") -> Asked:
    return Asked("a.mp4", group, 5, offset, "", mended_s)


def shares(rows: list[dict[str, object]], group: str = "people") -> dict[object, object]:
    return {row["metric"]: row["value"] for row in rows if row["group"] == group}


def test_answers_are_counted() -> None:
    answers = [said(5, 0.0), said(6, 0.04), said(4, 0.0), said(None), said(-5, 0.0), said(4, "not found")]
    rows = moved.rows("ours", [*answers, said(5, 0.0, "others")])
    assert shares(rows) == {"file_right": 66.67, "file_wrong": 16.67, "file_unanswered": 16.67, "mended_zero": 50.0}
    assert shares(rows, "others") == {"file_right": 100, "file_wrong": 0, "file_unanswered": 0, "mended_zero": 100}
    assert shares(rows, "all")["file_right"] == pytest.approx(100 * 5 / 7, abs=0.01)
    # Nothing was written for any: of no copies there is no share.
    assert "mended_zero" not in shares(moved.rows("ours", [said(None)]))


def test_a_wrong_answer_whose_copy_is_not_kept_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sync(videos: list[Path], *_: object, **__: object) -> list[Result]:
        refused = {"offset_frames": 9, "verdict": "sound late", "error": "it is not written", "kind": "work"}
        return [Result("sync", fields={"input": str(video), **refused}) for video in videos]

    monkeypatch.setattr(moved, "sync", sync)
    monkeypatch.setattr(moved.remux, "with_sound_moved", lambda *_: None)
    (answer,) = moved.asked(tmp_path / "v.mp4", "people", [3], None)
    assert (answer.offset, answer.mended_s, answer.right) == (9, "not kept", False)
    assert shares(moved.rows("ours", [answer])) == {"file_right": 0, "file_wrong": 100, "file_unanswered": 0}


def test_what_cannot_be_found_is_not_asked(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"")
    with pytest.raises(UserError, match="moved=15 is beyond what can be found, 14 frames to either side"):
        jobs.probe([], [tmp_path], recipe="sync", overrides=["moved=[3,15]"], out=tmp_path / "out", device="cpu")


@pytest.mark.realdata
def test_a_file_is_moved_asked_and_mended(media_root: Path, tmp_path: Path) -> None:
    people = tmp_path / "people"
    people.mkdir()
    shutil.copy(media_root / "speech/others/test/grid_lrwp9a.mpg", people)
    given = ["moved=[-7,0,9]"]
    result = jobs.probe([], [people], recipe="sync", overrides=given, out=tmp_path / "out", device="cpu")
    (told,) = result.fields["moved"].values()
    assert [one["moved_frames"] for one in told] == [-7, 0, 9]
    assert all(abs(one["offset_frames"] - one["moved_frames"]) <= 1 for one in told)
    assert [one["mended_s"] for one in told] == [0, None, 0]  # what is in time is not written
    rows = [row for row in result.rows if row["metric"].startswith("file_")]
    assert {row["value"] for row in rows if row["metric"] == "file_right"} == {100}
    assert any(row["metric"] == "mended_zero" for row in result.shown)
    assert [path.name for path in people.iterdir()] == ["grid_lrwp9a.mpg"]


def test_a_file_of_which_nothing_can_be_told_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    with pytest.raises(WorkError, match=r"broken\.mp4"):
        list(moved.asked(broken, "people", [3], None, "cpu"))
    sound = tmp_path / "unseen.mp4"
    write.wav(sound, np.ones(38_400, np.int16), 16_000)
    with pytest.raises(WorkError, match=r"unseen\.mp4 has no pictures"):
        list(moved.asked(sound, "people", [3], None, "cpu"))
