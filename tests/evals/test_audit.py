"""Audits: a planted cue is read and its control stops it; worlds, intervals, refusals; what people and scripts get."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sslkit import jobs
from sslkit import recipe as recipes
from sslkit.data.prepare import prepare
from sslkit.data.settings import PrepareSettings
from sslkit.errors import UserError
from sslkit.evals import audit as audits
from sslkit.evals.audit import Audit, Audited, material
from sslkit.evals.base import interval
from sslkit.evals.cheater import _network
from sslkit.ops import cues
from sslkit.recipe import Recipe
from sslkit.tasks import rotation
from sslkit.tasks.base import Cheat, Look, Shortcut, Views
from sslkit.types import Batch, Draw, Reads

NIN = ["settings.trunk_settings.side_px=16", "settings.trunk_settings.width=0.1", "train.batch=8", "train.steps=3"]


def planted(task: rotation.Rotation, batch: Batch, draw: Draw) -> Views:
    """Every copy carries its turn as the brightness of its corners."""
    views = task.views(batch, draw)
    views["x"][..., :2, :2] = 60.0 * views["target"][:, None, None, None]
    return views


def corners(batch: Batch, draw: Draw, look: Look) -> Views:
    views = look(batch, draw)
    return {**views, "x": cues.corners(views["x"], 2)}


def drawn(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.uint8).permute(0, 2, 3, 1)


PLANTED = Shortcut(
    "planted mark", "brightness of a corner", "nothing is planted", "made up", Cheat(corners, drawn, off=planted)
)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return recipes.load("rotation-nin", set=NIN, tiny=True)


def audited(recipe: Recipe, colours: Path, out: Path, shortcut: Shortcut = PLANTED, steps: int = 60) -> Audited:
    worlds = material({"original": [colours], "cleaned": [colours]})
    assert isinstance(shortcut.cheat, Cheat)
    one = Audit(shortcut, shortcut.cheat, worlds, recipe, out, torch.device("cpu"), 0, steps)
    return Audited(shortcut, one.findings())


def test_a_cheater_reads_a_planted_cue_and_nothing_when_the_control_is_on(
    recipe: Recipe, colours: Path, tmp_path: Path
) -> None:
    found = audited(recipe, colours, tmp_path)
    off, on = (row for row in found.rows(25.0) if row["network"] == "cheater")
    assert (off["trained_on"], on["trained_on"]) == ("original", "cleaned") and off["questions"] == 64
    assert off["value"] > 90 and off["low"] > 80
    assert on["low"] <= 25 <= on["high"] + 5
    assert found.closed(25.0) is True
    tasks = [(row["trained_on"], row["tested_on"]) for row in found.rows(25.0) if row["network"] == "task"]
    assert tasks == [(one, two) for one in ("original", "cleaned") for two in ("original", "cleaned")]
    panels = [one.panel for one in found.findings]
    assert all(len(panel.pictures) == len(panel.captions) == 16 for panel in panels[:2])
    assert panels[0].pictures[0].shape == (4, 4, 3)


def test_a_control_that_does_nothing_is_told(recipe: Recipe, colours: Path, tmp_path: Path) -> None:
    useless = replace(PLANTED, cheat=Cheat(corners, drawn, off=planted, on=planted))
    assert audited(recipe, colours, tmp_path, useless).closed(25.0) is False


def test_an_audit_that_was_interrupted_goes_on(recipe: Recipe, colours: Path, tmp_path: Path) -> None:
    first = audited(recipe, colours, tmp_path, steps=5)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("checkpoint.pt")}
    assert len(before) == 4  # the task as it is, without anything planted, lies beside the shortcut's own runs
    assert (tmp_path / "task" / "checkpoint.pt") in before
    again = audited(recipe, colours, tmp_path, steps=5)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert [one.value for one in again.findings] == [one.value for one in first.findings]


def test_samples_without_the_cue_are_not_asked_about(recipe: Recipe, colours: Path, tmp_path: Path) -> None:
    def half(batch: Batch, draw: Draw, look: Look) -> Views:
        views = corners(batch, draw, look)
        return {**views, "target": views["target"].where((batch.index % 2 == 0)[views["sample"]], -1)}

    def none(batch: Batch, draw: Draw, look: Look) -> Views:
        views = corners(batch, draw, look)
        return {**views, "target": torch.full_like(views["target"], -1)}

    few = audited(recipe, colours, tmp_path / "a", replace(PLANTED, cheat=Cheat(half, drawn, off=planted)), 5)
    assert [one.questions for one in few.findings if one.network == "cheater"] == [32, 32]
    empty = audited(recipe, colours, tmp_path / "b", replace(PLANTED, cheat=Cheat(none, drawn, off=planted)), 5)
    assert [one.value for one in empty.findings if one.network == "cheater"] == [None, None]
    assert empty.closed(25.0) is None and not empty.findings[0].panel.pictures


def test_a_shortcut_that_contradicts_is_closed_when_answers_become_possible() -> None:
    def finding(world: audits.World, low: float, high: float) -> audits.Finding:
        empty = torch.zeros(4, 4)
        return audits.Finding("cheater", world, world, low, low, high, 8, 8, empty, None)  # type: ignore[arg-type]

    contradicting = replace(PLANTED, cheat=replace(PLANTED.cheat, contradicts=True))  # type: ignore[type-var]
    assert Audited(contradicting, [finding("original", 70, 76), finding("cleaned", 98, 100)]).closed(25.0) is True
    assert Audited(contradicting, [finding("original", 70, 76), finding("cleaned", 72, 80)]).closed(25.0) is False
    assert Audited(PLANTED, [finding("cleaned", 20, 30)]).closed(25.0) is True
    assert Audited(PLANTED, [finding("original", 20, 30)]).closed(25.0) is None


def test_an_interval_knows_that_questions_about_one_source_are_alike() -> None:
    right = torch.arange(64) % 2 == 0
    alone, together = interval(right, list(range(64))), interval(right, [i % 2 for i in range(64)])
    assert 0.35 < alone[0] < 0.42 and 0.58 < alone[1] < 0.65
    assert together == (0.0, 1.0)
    assert interval(torch.ones(8), list("abcdefgh")) == (1.0, 1.0)


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Toyboxes of small clips in which bars tell the time: as they are, painted black, and cut off."""
    out = tmp_path_factory.mktemp("bars")
    asked = {
        "short_side_px": 80,
        "flow": "dis",
        "clips": 30,
        "seconds": 0.8,
        "border_share": 1.0,
        "encoder_noise": True,
    }
    ways = {"kept": {}, "zeroed": {"zero_borders": True}, "removed": {"remove_borders": True}}
    for name, way in ways.items():
        prepare("toybox", "", out / name, PrepareSettings(**{**asked, "remove_borders": False, **way}))
    return {name: out / name for name in ways}


AOT = ["settings.trunk_settings={fields: 12, side_px: 64, width: 0.05}", "train.batch=8"]


def test_bars_of_a_toybox_tell_the_time_until_they_are_zeroed(bars: dict[str, Path], tmp_path: Path) -> None:
    result = jobs.audit(
        "aot", [bars["kept"]], [bars["zeroed"]], ["black-borders"], overrides=AOT, steps=25, out=tmp_path / "out",
        device="cpu", workers=0,
    )  # fmt: skip
    cheaters = {row["tested_on"]: row for row in result.rows if row["network"] == "cheater"}
    assert cheaters["original"]["value"] > 80 and cheaters["original"]["low"] > 60
    assert 40 <= cheaters["cleaned"]["value"] <= 60
    assert result.fields["closed"] == {"black borders": True}
    paper = {(row["trained_on"], row["tested_on"]): row["paper"] for row in result.rows if row["network"] == "task"}
    assert paper[("original", "original")] == 98.1 and paper[("original", "cleaned")] == 87.9
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert record["protocol"] == "audit" and record["chance"] == 50 and len(record["rows"]) == 6
    wanted = {"shortcut", "network", "trained_on", "tested_on", "metric", "value", "low", "high", "chance", "paper"}
    assert wanted <= set(record["rows"][0])
    page = (tmp_path / "out" / "audit.html").read_text()
    assert "black borders: the cue alone, without the control" in page and page.count("data:image") >= 32
    assert "98.1" in page


def test_data_of_one_kind_give_one_half(bars: dict[str, Path], tmp_path: Path) -> None:
    quick = {"overrides": AOT, "steps": 2, "device": "cpu", "workers": 0, "shortcuts": ["black borders"]}
    plain = jobs.audit("aot", [bars["kept"]], out=tmp_path / "a", **quick)
    assert {row["tested_on"] for row in plain.rows} == {"original"}
    assert "prepare the same media with zero_borders or remove_borders" in " ".join(plain.notes)
    removed = jobs.audit("aot", [bars["removed"]], out=tmp_path / "b", **quick)
    cheater, task = removed.rows
    assert cheater["tested_on"] == "cleaned" and cheater["value"] is None and task["value"] is not None
    assert "no held-out sample has the cue" in " ".join(removed.notes)


def test_worlds_hold_the_samples_that_both_have(tmp_path: Path) -> None:
    for name, stills in (("many", 20), ("few", 12)):
        prepare("toybox", "", tmp_path / name, PrepareSettings(short_side_px=48, clips=0, stills=stills))
    worlds = material({"original": [tmp_path / "many"], "cleaned": [tmp_path / "few"]})
    assert worlds["original"].left_out == 8 and worlds["cleaned"].left_out == 0
    reads = Reads(frames=1)
    for world in worlds.values():
        parts = [world.train, *world.held_out]
        assert sum(len(part.usable(reads)) for part in parts) == 12 and len(world.held_out) == 2
    (tmp_path / "few" / "val-index.jsonl").unlink()
    (tmp_path / "few" / "test-index.jsonl").unlink()
    with pytest.raises(UserError, match="few needs a train split and one to ask about"):
        material({"original": [tmp_path / "few"]})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"shortcuts": ["colours"]}, "declares no shortcut called 'colours'"),
        ({"shortcuts": ["encoder-order"]}, "encoder order is not measured. It would need"),
        ({"cleaned": ["zeroed"]}, "give --data too"),
        ({"data": ["kept"], "cleaned": ["kept"]}, "has no control that"),
        ({"data": ["kept"], "cleaned": ["toybox"]}, "has no control|from other media"),
        ({"data": ["kept"], "recipe": "aot-small"}, "--short-side-px 112"),
    ],
)
def test_what_cannot_be_audited_is_refused_in_a_sentence(
    changes: dict[str, Any], sentence: str, bars: dict[str, Path], toybox: Path, tmp_path: Path
) -> None:
    known = {**bars, "toybox": toybox}
    changes = {
        k: [known.get(v, v) for v in value] if isinstance(value, list) else value for k, value in changes.items()
    }
    with pytest.raises(UserError, match=sentence):
        jobs.audit("aot", out=tmp_path / "out", device="cpu", workers=0, **changes)
    assert not (tmp_path / "out").exists()


def test_a_task_without_measurable_shortcuts_says_why() -> None:
    with pytest.raises(UserError, match="shared recordings is not measured. Prepare-data refuses"):
        jobs.audit("labels")


def test_preparations_that_differ_in_more_than_the_control_are_refused(bars: dict[str, Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    asked = {
        "short_side_px": 64,
        "flow": "dis",
        "clips": 30,
        "seconds": 0.8,
        "border_share": 1.0,
        "encoder_noise": True,
    }
    prepare("toybox", "", other, PrepareSettings(**asked, remove_borders=False, zero_borders=True, limit=1))
    with pytest.raises(UserError, match="other media|short_side_px 64 and not 80"):
        jobs.audit("aot", [bars["kept"]], [other], ["black-borders"], out=tmp_path / "out", device="cpu")


def test_a_cheater_can_be_built_on_an_example_in_which_nothing_is_asked() -> None:
    assert _network(torch.zeros(0, 2, 3), 2)(torch.ones(4, 2, 3)).shape == (4, 2)
