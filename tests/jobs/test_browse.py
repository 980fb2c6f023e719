"""The page of what will be asked: it must be what a training then asks."""

import json
from pathlib import Path

import pytest
import torch

from sslkit import cli, jobs
from sslkit import recipe as recipes
from sslkit.data.dataset import Dataset
from sslkit.engine.feed import Feed
from sslkit.errors import UserError
from sslkit.jobs.browsing import _training, _validation
from sslkit.tasks import base
from sslkit.tasks.rotation import Rotation
from sslkit.types import Draw, Part, Reads

SIZE = ["data.short_side_px=80", "train.batch=4"]


def test_what_is_shown_is_what_the_first_steps_of_training_ask(toybox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = recipes.load("rotation", set=["train.batch=6", "train.accumulate=2", "train.steps=5"], tiny=True)
    torch.manual_seed(0)
    task = base.build(asked.task, asked.settings).train()
    data = Dataset(toybox, "train")
    plan = recipes.plan(asked, len(data.usable(task.reads())), 1, "cpu")
    shown = []
    real = Rotation.views
    monkeypatch.setattr(Rotation, "views", lambda self, batch, draw: shown.append(real(self, batch, draw)) or shown[-1])
    panels = _training(task, data, plan, 8)
    feed = Feed(data, task.reads(), plan, torch.device("cpu"))
    trained = [real(task, next(feed), Draw(plan.seed, step, part=Part(0, 6, 6))) for step in range(2)]
    feed.close()
    assert torch.equal(shown[0]["x"], trained[0]["x"]) and torch.equal(shown[1]["x"], trained[1]["x"][:8])
    assert [panel.title for panel in panels] == ["In training: the samples", "In training: by how much is it turned?"]
    assert len(panels[0].pictures) == 8 and len(panels[1].pictures) == 32
    assert panels[1].captions[:4] == ["0°", "90°", "180°", "270°"] and set(panels[1].right) == {None}


@pytest.fixture(scope="module")
def page(toybox: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, object], str]:
    out = tmp_path_factory.mktemp("browse")
    result = jobs.browse("aot", data=[toybox], out=out, tiny=True, overrides=SIZE, samples=3)
    return result.record(), (out / "browse.html").read_text()


def test_the_page_holds_questions_answers_plan_data_and_shortcuts(page: tuple[dict[str, object], str]) -> None:
    html = page[1]
    for text in ("In training: forwards or backwards?", "In validation: the samples", "camera motion", "epoch steps",
                 "Read in validation", "Known shortcuts", "fields: 12", "stand_up", "usable", "labelled"):  # fmt: skip
        assert text in html, text
    assert html.count("<figure") == 2 * 3 + 2 * 2 * 3  # samples, then each of them in both directions, twice
    assert not any(word in html for word in (" sure", "said", "✓", "✗"))


def test_rows_are_the_facts_of_the_splits(page: tuple[dict[str, object], str], toybox: Path) -> None:
    record = page[0]
    rows = {row["split"]: row for row in record["rows"]}  # type: ignore[attr-defined]
    train = Dataset(toybox, "train")
    assert rows["train"]["samples"] == len(train) == rows["train"]["with_flow"]
    assert rows["train"]["usable"] == len(train.usable(Reads(flow=12, backward=True)))
    assert rows["train"]["height_px"] == "80" and rows["train"]["fps"] == "25"
    assert rows["train"]["labelled"] == len(train)
    assert record["plan"]["samples"] == rows["train"]["usable"]  # type: ignore[index]


def test_what_is_wrong_is_told_as_pretrain_tells_it(toybox: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--short-side-px 112"):
        jobs.browse(recipe="aot-small", data=[toybox], out=tmp_path)
    with pytest.raises(UserError, match="Nothing to learn was named"):
        jobs.browse()
    (tmp_path / "recipe.yaml").touch()
    with pytest.raises(UserError, match="is the folder of a run"):
        jobs.browse("aot", data=[toybox], out=tmp_path, tiny=True, overrides=SIZE)


def test_more_samples_than_there_are(toybox: Path) -> None:
    task = base.build("rotation", recipes.load("rotation", tiny=True).settings)
    plan = recipes.plan(recipes.load("rotation", tiny=True), 16, 1, "cpu")
    data = Dataset(toybox, "val")
    panels = _validation(task, data, plan, 100)
    assert len(panels[0].pictures) == len(data) and len(set(panels[0].captions)) == len(data)


def test_the_command(toybox: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = f"browse --task aot --data {toybox} --tiny --set {SIZE[0]} --set {SIZE[1]} --n 2 --seed 3"
    assert cli.run([*line.split(), "--out", str(tmp_path), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["task"] == "arrow_of_time" and record["plan"]["seed"] == 3 and record["samples"] == 2
    assert Path(record["files"]["report"]) == tmp_path / "browse.html" and (tmp_path / "browse.html").is_file()
