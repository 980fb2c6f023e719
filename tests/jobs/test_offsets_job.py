"""Offsets of sound measured from end to end, on real people and on files of which nothing can be told."""

import shutil
from pathlib import Path

import pytest
import torch

from sslkit import jobs
from sslkit.jobs import offsets
from sslkit.jobs.watchers import shipped
from sslkit.types import Result


@pytest.fixture(scope="module")
def people(media_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media") / "people"
    folder.mkdir()
    for name in ("grid_lrwp9a.mpg", "grid_lwbsza.mpg"):
        shutil.copy(media_root / "speech/others/test" / name, folder)
    return folder


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


def test_untrained_networks_are_those_of_their_seed() -> None:
    ours = shipped("cpu")
    torch.manual_seed(5)
    (one,) = offsets._untrained({"a": ours, "b": ours}).values()  # one kind
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after)
    torch.manual_seed(6)
    again = offsets._untrained({"a": ours})["untrained"]
    sound = torch.randint(-9999, 9999, (1, 40_000), generator=torch.Generator().manual_seed(0)).to(torch.int16)
    assert torch.equal(one.hear(sound), again.hear(sound)) and not torch.equal(one.hear(sound), ours.hear(sound))
    assert (one.side_px, one.part, one.squared) == (ours.side_px, ours.part, ours.squared)
