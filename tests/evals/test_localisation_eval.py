from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sslkit import jobs
from sslkit.data.dataset import Dataset
from sslkit.data.prepare import prepare
from sslkit.data.settings import PrepareSettings
from sslkit.errors import UserError
from sslkit.evals.localisation import _followed, _heard, _other, evaluate, sources_at
from sslkit.ops.localisation import centre_heat
from sslkit.types import Reads

TRUTH: dict[str, Any] = {
    "type": "objects",
    "fps": 25,
    "size": [200, 100],
    "objects": [{"id": 1}, {"id": 2}],
    "boxes": [[[1, 20, 10, 40, 30], [2, 100, 50, 140, 90]]] * 50,
    "sounds": [
        {"time_s": 0.5, "end_s": 1.3, "kind": "impact", "object": 1, "xy": [0, 0], "level": 0.5},
        {"time_s": 1.0, "end_s": 1.5, "kind": "hum", "object": 2, "xy": [], "level": 0.25},
    ],
}
ONE, TWO = [0.1, 0.1, 0.2, 0.3], [0.5, 0.5, 0.7, 0.9]


def test_sources_are_what_is_heard_around_a_time() -> None:
    assert sources_at(TRUTH, 0.5, 0.4) == ([ONE], 1)
    assert sources_at(TRUTH, 1.4, 0.4) == ([TWO], 1)
    assert sources_at(TRUTH, 0.85, 0.6) == ([ONE, TWO], 1)
    assert sources_at(TRUTH, 1.0, 0.4) == ([TWO], 1)  # an impact is over after a tenth of a second
    assert sources_at(TRUTH, 0.1, 0.2) == ([], 1)
    gone = {**TRUTH, "boxes": [[[2, 100, 50, 140, 90]]] * 50}
    assert sources_at(gone, 0.5, 0.4) == ([], 1)


def test_what_was_cut_off_of_the_toybox_counts_for_nothing() -> None:
    (box,), _ = sources_at(TRUTH, 0.5, 0.4, (20, 0, 0, 100))
    assert box == pytest.approx([0.2, 0.0, 0.4, 0.125])
    assert sources_at(TRUTH, 0.5, 0.4, (0, 0, 40, 0)) == ([], 1), "none of it is left"
    assert sources_at(TRUTH, 0.5, 0.4, (0, 0, 0, 0)) == ([ONE], 1)


def test_boxes_lie_on_objects_where_bars_were_removed(tmp_path: Path) -> None:
    settings = PrepareSettings(clips=6, seconds=1.0, short_side_px=96, border_share=1.0, scenes="objects")
    prepare("toybox", "", tmp_path / "bars", settings, 1, None)
    data, apart = Dataset(tmp_path / "bars", "train"), []
    for index in range(len(data)):
        meta, masks, fps = data.meta(index), data.masks(index), data.entries[index].fps
        assert any(meta["border"])
        for one in meta["truth"]["sounds"]:
            seen = masks[min(int(one["time_s"] * fps), len(masks) - 1)] == one["object"]
            boxes, _ = sources_at({**meta["truth"], "sounds": [one]}, one["time_s"], 0.02, meta["border"])
            if boxes and seen.sum() > 50:
                rows, columns = seen.nonzero()
                height, width = seen.shape
                left, right = columns.min() / width, (columns.max() + 1) / width
                top, bottom = rows.min() / height, (rows.max() + 1) / height
                apart += [abs(a - b) for a, b in zip(boxes[0], (left, top, right, bottom), strict=True)]
    assert len(apart) > 20 and max(apart) < 0.02


def test_pictures_that_were_moved_are_refused(toybox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Dataset(toybox, "train")
    meta = data.meta
    for moved in ({"camera": [[1.0] * 9]}, {"boxes": [[0.0] * 4]}):
        monkeypatch.setattr(data, "meta", lambda index, moved=moved: {**meta(index), **moved})
        with pytest.raises(UserError, match="prepare the data without stabilise and faces"):
            evaluate(Centre(), Centre(), data, torch.device("cpu"), clips=1)


def test_annotators_make_a_consensus() -> None:
    box = [0.2, 0.2, 0.5, 0.5]
    assert sources_at({"boxes": [box, box, box]}, 3.0, 1.0) == ([box] * 3, 2)
    assert sources_at({"boxes": [box]}, 3.0, 1.0) == ([box], 1)


class Centre:
    """Always the middle, surer of the louder sound."""

    window = Reads(frames=1, sound_s=0.5, side_px=64)

    def __init__(self, flat: bool = False) -> None:
        self.flat = flat

    def localise(self, frames: Tensor, sound: Tensor) -> Tensor:
        heat = torch.ones(12, 16) if self.flat else centre_heat(12, 16)
        return heat * (1 + sound.float().abs().mean(1))[:, None, None]


def test_baselines_stand_beside_the_network(toybox: Path) -> None:
    result = evaluate(Centre(), Centre(flat=True), Dataset(toybox, "train"), torch.device("cpu"), clips=3)
    rows = {(row["scenes"], row["network"]): row for row in result.rows}
    centre, ours, flat = (rows["all", name] for name in ("centre", "matched sound", "untrained"))
    assert result.chance == centre["pointing"] and result.metrics["pointing"] == ours["pointing"]
    assert abs(ours["pointing"] - centre["pointing"]) < 15 and abs(ours["auc"] - centre["auc"]) < 5
    assert 0 < flat["pointing"] < 50 and flat["ciou"] == 0
    assert rows["all", "whole picture"]["windows"] == centre["windows"] > 10
    assert {"objects", "figure"} <= {row["scenes"] for row in result.rows}
    assert centre["low"] <= centre["pointing"] <= centre["high"]
    assert centre["above_centre"] == centre["above_low"] == centre["above_high"] == 0
    assert ours["above_centre"] == pytest.approx(ours["pointing"] - centre["pointing"], abs=0.02)
    assert rows["all", "cca"]["windows"] == centre["windows"]
    assert rows["all", "another sound"]["windows"] == centre["windows"]
    assert 0 <= result.metrics["sound_roc_auc"] <= 100


def test_areas_that_look_at_nothing_are_all_printed(toybox: Path) -> None:
    result = evaluate(Centre(), Centre(flat=True), Dataset(toybox, "train"), torch.device("cpu"), clips=2)
    for group in {row["scenes"] for row in result.rows}:
        rows = {row["network"]: row for row in result.rows if row["scenes"] == group}
        names = ("centre", "centre half", "whole picture")
        assert {rows[name]["windows"] for name in names} == {rows["matched sound"]["windows"]}
        assert all(0 <= rows[name]["ciou"] <= 100 and 0 < rows[name]["auc"] < 100 for name in names)
        assert "pointing" not in rows["centre half"]


def test_silence_is_told_from_sound(toybox: Path) -> None:
    result = evaluate(Centre(), Centre(flat=True), Dataset(toybox, "train"), torch.device("cpu"), clips=2)
    rows = {row["network"]: row for row in result.rows if row["scenes"] == "all"}
    silent, heard = rows["silence"], rows["matched sound"]
    assert silent["mean_max"] == pytest.approx(float(centre_heat(12, 16).max()), abs=1e-3)
    assert heard["mean_max"] > 10 * silent["mean_max"]
    assert silent["windows"] == heard["windows"] and "mean_max" not in rows["centre"]


def test_another_sound_is_of_another_source(toybox: Path) -> None:
    data = Dataset(toybox, "train")
    names = ["a", "a", "b", "b", "c"]
    data.entries = [replace(entry, group=name) for entry, name in zip(data.entries, names, strict=False)]
    assert [_other(data, range(5), number) for number in range(5)] == [4, 4, 1, 1, 3]
    assert _other(data, [0, 1], 1) is None
    heard = _heard(data, 2, Reads(frames=1, sound_s=0.5, clips=3, start="spread"))
    assert heard.shape == (3, 8000) and heard.dtype == torch.int16


def test_motion_that_follows_the_sound_needs_no_network(toybox: Path) -> None:
    data = Dataset(toybox, "train")
    index = next(i for i, entry in enumerate(data.entries) if entry.label_name == "talking")
    maps = _followed(data, index, [0.1, 0.5, 9.0])
    assert maps is not None and maps.shape[0] == 3 and maps.max() > 0
    box = torch.tensor(data.meta(index)["truth"]["face"]["boxes"][12]) / torch.tensor([106, 80, 106, 80])
    row, column = divmod(int(maps[1].argmax()), maps.shape[2])
    x, y = (column + 0.5) / maps.shape[2], (row + 0.5) / maps.shape[1]
    assert box[0] - 0.05 <= x <= box[2] + 0.05 and box[1] - 0.05 <= y <= box[3] + 0.05


def test_command_wants_one_run_that_knows_places(tmp_path: Path, toybox: Path) -> None:
    with pytest.raises(UserError, match="takes one run"):
        jobs.probe([tmp_path / "a", tmp_path / "b"], [toybox], recipe="localise", out=tmp_path / "none")
    run = tmp_path / "run"
    jobs.pretrain(
        "av_object",
        data=[toybox],
        out=run,
        tiny=True,
        overrides=["train.steps=2", "train.batch=8"],
        device="cpu",
        workers=0,
    )
    result = jobs.probe([run], [toybox], recipe="localise", out=tmp_path / "out", device="cpu", workers=0)
    assert result.metrics["pointing"] >= 0 and (tmp_path / "out" / "localise.html").is_file()
    assert result.fields["task"] == "av_object"


def test_weights_that_ship_are_measured_without_a_run(tmp_path: Path, toybox: Path) -> None:
    options = ["clips=1"]
    result = jobs.probe([], [toybox], recipe="localise", overrides=options, out=tmp_path, device="cpu", workers=0)
    assert (result.fields["run"], result.fields["task"]) == ("shipped", "av_object")
    rows = {row["network"]: row for row in result.rows if row["scenes"] == "all"}
    assert rows["matched sound"]["pointing"] > rows["untrained"]["pointing"]
