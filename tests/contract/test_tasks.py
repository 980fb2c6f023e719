"""What every task must hold, run over every file in sslkit/tasks."""

import inspect
from functools import partial
from pathlib import Path

import pytest
import torch

from sslkit import recipe as recipes
from sslkit.data.dataset import Dataset, collate
from sslkit.data.settings import PrepareSettings
from sslkit.engine.feed import Feed
from sslkit.engine.fit import fit
from sslkit.engine.run import Run
from sslkit.evals import features
from sslkit.recipe import Recipe
from sslkit.tasks import base
from sslkit.types import Batch, Draw, Reads

PRETEXT = [*(name for name in base.names() if name != "labels"), "lip_sync_2016", "lip_sync_2019", "av_object_moving"]


@pytest.fixture(params=PRETEXT)
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return recipes.load(request.param, tiny=True)


@pytest.fixture
def task(recipe: Recipe) -> base.Task:
    torch.manual_seed(0)
    return base.build(recipe.task, recipe.settings)


def batch_of(toybox: Path, reads: Reads, n: int = 4) -> Batch:
    data = Dataset(toybox, "train")
    chosen = data.usable(reads)[:n]
    return collate([data.read(i, data.windows(i, reads, Draw(0, i)), reads) for i in chosen])


def test_views_are_a_function_of_the_draw_and_carry_no_gradients(task: base.Task, toybox: Path) -> None:
    batch = batch_of(toybox, task.reads())
    first, again, other = (task.views(batch, Draw(0, step)) for step in (1, 1, 2))
    assert first.keys() == again.keys()
    for name, value in first.items():
        assert torch.equal(value, again[name]) and not value.requires_grad
    assert any(not torch.equal(value, other[name]) for name, value in first.items())
    plain = [task.eval().views(batch, Draw(0, step)) for step in (1, 2)]
    assert all(torch.equal(value, plain[1][name]) for name, value in plain[0].items())


@pytest.mark.cuda
def test_views_are_the_same_on_cuda(task: base.Task, toybox: Path) -> None:
    batch = batch_of(toybox, task.reads())
    here, there = task.views(batch, Draw(0, 1)), task.cuda().views(batch.to("cuda"), Draw(0, 1))
    for name, value in here.items():
        torch.testing.assert_close(there[name].cpu(), value, atol=1e-2, rtol=0)


def test_loss_falls_on_one_batch(task: base.Task, toybox: Path) -> None:
    views = task.views(batch_of(toybox, task.reads()), Draw(0, 0))
    optimiser = torch.optim.Adam(task.parameters(), 2e-3)
    losses = []
    for _ in range(20):
        answer = task(views)
        optimiser.zero_grad()
        answer.loss.backward()
        optimiser.step()
        task.after_step()
        losses.append(answer.loss.item())
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


def test_shows_what_it_asked_and_names_its_sources(task: base.Task, toybox: Path) -> None:
    task.eval()
    views = task.views(batch_of(toybox, task.reads()), Draw(0, 0))
    answered, asked, first = task.show(views, task(views)), task.show(views), task.show(views, samples=1)
    for panels in (answered, asked, first):
        assert panels and all(len(p.captions) == len(p.pictures) == len(p.right) for p in panels)
        assert all(picture.dtype.name == "uint8" and picture.shape[-1] == 3 for p in panels for picture in p.pictures)
    assert all(verdict is None for panel in asked for verdict in panel.right)
    assert {verdict for panel in answered for verdict in panel.right} <= {True, False}
    assert len(answered[0].pictures) == len(asked[0].pictures) == 4 * len(first[0].pictures)
    text = inspect.getmodule(type(task)).__doc__ or ""
    assert "Source:" in text and "Departures:" in text and "Asked:" in text
    assert task.shortcuts and task.chance is not None


def test_cheaters_of_shortcuts_can_be_asked(task: base.Task, toybox: Path) -> None:
    for cheat in [one.cheat for one in task.shortcuts if isinstance(one.cheat, base.Cheat)]:
        assert {*cheat.prepared, *cheat.toybox} <= set(PrepareSettings.model_fields)
        batch = batch_of(toybox, task.reads())
        for other in (cheat.off, cheat.on):
            look = task.views if other is None else partial(other, task)
            views, again = (cheat.alone(batch, Draw(0, 3), look) for _ in range(2))
            assert torch.equal(views["x"], again["x"]) and torch.isfinite(views["x"].float()).all()
            assert len(views["x"]) == len(views["target"]) == len(views["sample"])
            assert set(views["target"].tolist()) <= set(range(-1, len(task.classes)))
            pictures = cheat.drawn(views["x"])
            assert pictures.dtype == torch.uint8 and pictures.shape[0] == len(views["x"]) and pictures.shape[3] == 3


@pytest.mark.parametrize("name", base.names())
def test_every_shortcut_is_measured_or_says_why_not(name: str) -> None:
    shortcuts = base.load(name).shortcuts
    assert shortcuts and len({one.name for one in shortcuts}) == len(shortcuts)
    for one in shortcuts:
        assert all((one.name, one.cue, one.control, one.source))
        assert isinstance(one.cheat, base.Cheat) or (one.cheat[0].isupper() and one.cheat.endswith("."))
        assert {world for cell in one.published for world in cell} <= {"original", "cleaned"}


def test_interrupted_training_ends_with_the_same_weights(recipe: Recipe, toybox: Path, tmp_path: Path) -> None:
    def train(folder: Path, stop: int | None) -> dict[str, torch.Tensor]:
        torch.manual_seed(5)
        task = base.build(recipe.task, recipe.settings)
        short = recipe.model_copy(
            update={"train": recipe.train.model_copy(update={"steps": 4, "epochs": None, "batch": 4})}
        )
        data = Dataset(toybox, "train")
        reads = task.train().reads()
        plan = recipes.plan(short, len(data.usable(reads)), 1, "cpu").model_copy(update={"validate_steps": 2})
        run = Run(folder).open(short, plan)

        def progress(done: int, total: int, figures: object) -> None:
            if done == stop:
                raise KeyboardInterrupt

        try:
            fit(task, Feed(data, reads, plan, torch.device("cpu")), short, plan, run, progress=progress)
        except KeyboardInterrupt:
            return train(folder, None)
        return task.state_dict()

    whole, broken = train(tmp_path / "whole", None), train(tmp_path / "broken", 3)
    assert all(torch.equal(value, broken[name]) for name, value in whole.items())


def test_probes_accept_the_trunk(task: base.Task, toybox: Path) -> None:
    for trunk in task.trunks.values():
        found = features.extract(trunk, Dataset(toybox, "test"), device=torch.device("cpu"))
        assert set(found.layers) == set(trunk.widths)
        assert all(torch.isfinite(value.float()).all() for value in found.layers.values())
