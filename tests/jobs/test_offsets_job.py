"""Offsets of sound measured from end to end, on real people and on files of which nothing can be told."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from sslkit import jobs
from sslkit import recipe as recipes
from sslkit.errors import UserError, WorkError
from sslkit.evals import sync as evaluation
from sslkit.jobs import offsets, runs, watchers
from sslkit.jobs.watchers import shipped
from sslkit.media import write
from sslkit.types import Result


@pytest.fixture(scope="module")
def people(media_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two who talk, beside whom everything lies of which nothing can be told."""
    folder = tmp_path_factory.mktemp("media") / "people"
    folder.mkdir()
    for name in ("grid_lrwp9a.mpg", "grid_lwbsza.mpg"):
        shutil.copy(media_root / "speech/others/test" / name, folder)
    unusable(folder)
    return folder


def unusable(folder: Path) -> None:
    gray = np.full((60, 96, 96, 3), 90, np.uint8)
    (folder / "bad.mp4").write_bytes(b"no video")
    (folder / "beside.jpg").write_bytes(b"no video, and not meant as one")
    write.video(folder / "mute.mp4", gray, 25)
    write.video(folder / "nobody.mp4", gray, 25, np.ones(38_400, np.int16))
    write.wav(folder / "unseen.mp4", np.ones(38_400, np.int16), 16_000)


@pytest.fixture(scope="module")
def measured(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return jobs.probe([], [people], recipe="sync", out=tmp_path_factory.mktemp("out") / "out", device="cpu")


def near(result: Result, init: str, frames: object = "all") -> float:
    wanted = (init, "near_accuracy", frames)
    (value,) = (row["value"] for row in result.rows if (row["init"], row["metric"], row["frames"]) == wanted)
    return value


def test_the_same_networks_untrained_are_no_better_than_chance(measured: Result) -> None:
    assert {row["init"] for row in measured.rows} >= {"lip_sync (shipped)", "untrained", "cca", "always zero"}
    kinds = [{row["metric"] for row in measured.rows if row["init"] == init} for init in ("untrained", "cca")]
    assert "at_ends" in kinds[0] and kinds[0] >= {"near_accuracy", "error_histogram", "auc", "beyond_auc"}
    assert near(measured, "lip_sync (shipped)", 25) > 80 and near(measured, "untrained", 25) < 40
    assert measured.fields["seed"] == 0


def test_published_figures_stand_beside_ours(measured: Result) -> None:
    assert measured.paper is not None and measured.paper.value == near(measured, "SyncNet (paper)", 15) == 96.1
    assert measured.metrics["near_accuracy_15"] == near(measured, "lip_sync (shipped)", 15)
    assert measured.metrics["near_accuracy"] == near(measured, "lip_sync (shipped)")


def test_the_page_draws_curves_and_histograms(measured: Result) -> None:
    page = Path(measured.files["report"]).read_text()
    for title in ("near accuracy", "error histogram, 25 frames averaged", "error histogram, all frames averaged",
                  "answer histogram, 25 frames averaged", "mean error ms"):  # fmt: skip
        assert f">{title}<" in page
    assert page.count("chance 9.677") == 1  # of accuracy alone: an AUC by chance is 50
    (found,) = (r["value"] for r in measured.rows
                if (r["init"], r.get("error"), r["frames"]) == ("untrained", "not found", 25))  # fmt: skip
    assert f"untrained, not found: {found:.3g}" in page


@pytest.mark.parametrize(("name", "value"), [("sync", 96.1), ("speakers", 92.3), ("duets", 92.3)])
def test_recipes_name_what_is_published(name: str, value: float) -> None:
    paper = recipes.load_probe(name).paper
    assert paper is not None and paper.value == value
    assert name != "sync" or (paper.value, paper.metric) == (evaluation.PAPER.value, evaluation.PAPER.metric)


def test_untrained_networks_are_those_of_their_seed() -> None:
    ours = shipped("cpu")
    torch.manual_seed(5)
    ((name, seed, one),) = watchers.blanks([ours, ours], "untrained")  # one kind
    assert (name, seed) == ("untrained", 0)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after)
    torch.manual_seed(6)
    (_, _, again), (_, _, other) = watchers.blanks([ours], "untrained", seeds=2)
    sound = torch.randint(-9999, 9999, (1, 40_000), generator=torch.Generator().manual_seed(0)).to(torch.int16)
    assert torch.equal(one.hear(sound), again.hear(sound)) and not torch.equal(one.hear(sound), ours.hear(sound))
    assert not torch.equal(one.hear(sound), other.hear(sound))
    assert (one.side_px, one.part, one.squared) == (ours.side_px, ours.part, ours.squared)


def test_what_cannot_be_measured_is_skipped_and_told(people: Path, measured: Result) -> None:
    fields = measured.fields
    assert [Path(one["input"]).name for one in fields["clips"]] == ["grid_lrwp9a.mpg", "grid_lwbsza.mpg"]
    assert fields["used"] == 2 and all(one["frames"] > 60 for one in fields["clips"])
    said = {Path(one["input"]).name: one["error"] for one in fields["skipped"]}
    assert said.keys() == {"bad.mp4", "mute.mp4", "nobody.mp4", "unseen.mp4"}
    for name, words in {"bad.mp4": "cannot be read", "mute.mp4": "no sound", "nobody.mp4": "no face"}.items():
        assert words in said[name]
    assert "no pictures" in said["unseen.mp4"]
    assert measured.notes == ["4 of 6 videos were skipped.", *said.values()]
    assert json.loads(Path(measured.files["json"]).read_text())["skipped"] == fields["skipped"]


def test_the_result_says_what_was_measured_with(measured: Result) -> None:
    told = {one["init"]: one for one in measured.fields["networks"]}
    assert told["lip_sync (shipped)"]["weights"] == measured.fields["run"] == "shipped"
    assert told["untrained"]["weights"] == "untrained" and told["cca"] == {"init": "cca", "method": "cca"}
    assert told["lip_sync (shipped)"]["front_end"]["part"] == "mouth"
    assert runs.named([Path("a/run"), Path("b/run"), Path("c")]) == {
        "a/run": Path("a/run"), "b/run": Path("b/run"), "c": Path("c")
    }  # fmt: skip


def test_a_face_without_sound_is_told(media_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = torch.full((80, 2), torch.nan)
    monkeypatch.setattr(offsets.demo, "vectors", lambda *_: [(torch.rand(80, 2), nothing)] * 3)
    shutil.copy(media_root / "speech/others/test/grid_lrwp9a.mpg", tmp_path)
    with pytest.raises(WorkError, match=r"None of the 1 videos .*no face is seen while it is heard for more than 32"):
        jobs.probe([], [tmp_path], recipe="sync", out=tmp_path / "out", device="cpu")


def test_only_nothing_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There are no videos in"):
        jobs.probe([], [tmp_path], recipe="sync", out=tmp_path / "out", device="cpu")
    unusable(tmp_path)
    with pytest.raises(WorkError, match=r"None of the 4 videos can be measured\. .*bad\.mp4 cannot be read"):
        jobs.probe([], [tmp_path], recipe="sync", out=tmp_path / "out", device="cpu")
