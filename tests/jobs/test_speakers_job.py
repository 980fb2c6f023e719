"""Active speakers measured from end to end, on real people put side by side."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from sslkit import jobs
from sslkit.data.layouts import ava_activespeaker
from sslkit.errors import UserError
from sslkit.jobs import speakers
from sslkit.media import write
from sslkit.types import Result


def test_films_of_two_are_composed_measured_and_kept(media_root: Path, tmp_path: Path) -> None:
    people = tmp_path / "people"
    people.mkdir()
    for name in ("grid_lrwp9a.mpg", "grid_lwbsza.mpg", "real_8.mp4"):
        shutil.copy(media_root / "speech/others/test" / name, people)
    write.video(people / "nobody.mp4", np.full((60, 96, 96, 3), 90, np.uint8), 25, np.ones(38_400, np.int16))
    found = jobs.probe([], [people], recipe="duets", out=tmp_path / "out", device="cpu")
    assert found.notes == ["No face with a voice could be followed in nobody.mp4."]
    assert {row["init"] for row in found.rows} == {"lip_sync (shipped)", "random", "cca", "chance"}
    kinds = {"ap", "auc", "f1", "recall", "precision"}
    assert {row["metric"] for row in found.rows if row["init"] == "lip_sync (shipped)"} == kinds
    assert found.metrics["lip_sync (shipped)_auc_25"] > 60 and found.chance == pytest.approx(50, abs=0.1)
    assert found.fields["protocol"] == "duets" and (tmp_path / "out" / "duets.html").stat().st_size > 0
    films = tmp_path / "out" / "films"
    assert len(ava_activespeaker.tracks(str(films), "val")) == 2 * 3
    with pytest.raises(UserError, match="films is already there: move it away, or measure it with --recipe speakers"):
        jobs.probe([], [people], recipe="duets", out=tmp_path / "out", device="cpu")
    again = jobs.probe([], [films], recipe="speakers", out=tmp_path / "again", device="cpu")
    assert again.metrics == found.metrics and again.fields["run"] == "shipped"


def test_films_that_were_not_finished_are_composed_again(
    clip_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = [True, False]

    def compose(couples: object, folder: Path, progress: object) -> None:
        folder.mkdir(parents=True)
        (folder / "000.mp4").write_bytes(b"film")
        if stopped.pop(0):
            raise KeyboardInterrupt

    someone = speakers.duets.Person(clip_file, None, 0, np.zeros(9, np.float32))  # type: ignore[arg-type]
    monkeypatch.setattr(speakers, "_person", lambda video: someone)
    monkeypatch.setattr(speakers.duets, "pairs", lambda groups: groups)
    monkeypatch.setattr(speakers.duets, "compose", compose)
    monkeypatch.setattr(speakers, "speakers_measured", lambda *_: Result("speakers"))
    with pytest.raises(KeyboardInterrupt):
        jobs.probe([], [clip_file.parent], recipe="duets", out=tmp_path, device="cpu")
    assert not list(tmp_path.iterdir())
    found = jobs.probe([], [clip_file.parent], recipe="duets", out=tmp_path, device="cpu")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["duets.html", "films", "result.json"]
    assert found.files["films"] == str(tmp_path / "films") and (tmp_path / "films" / "000.mp4").is_file()


def test_files_that_show_nobody_are_left_out_and_told(tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    assert "bad.mp4 cannot be read" in str(speakers._person(tmp_path / "bad.mp4"))
    write.video(tmp_path / "nobody.mp4", np.full((60, 96, 96, 3), 90, np.uint8), 25, np.ones(38_400, np.int16))
    assert speakers._person(tmp_path / "nobody.mp4") == "No face with a voice could be followed in nobody.mp4."


def test_what_cannot_be_measured_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No video in .*empty shows a person who talks"):
        (tmp_path / "empty").mkdir()
        jobs.probe([], [tmp_path / "empty"], recipe="duets", out=tmp_path / "out", device="cpu")
    with pytest.raises(UserError, match="on one set as it is published"):
        jobs.probe([], [tmp_path, tmp_path], recipe="speakers", out=tmp_path / "out", device="cpu")
