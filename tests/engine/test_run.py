"""A run is a folder: it opens as new, as the same, or not at all; its files are whole or absent."""

import errno
import json
import os
import resource

import pytest
import torch
import yaml

from sslkit.engine import checkpoint
from sslkit.engine import run as run_module
from sslkit.engine.run import Run, first_difference
from sslkit.errors import UserError, WorkError
from sslkit.models import trunk as trunks
from sslkit.recipe import Recipe

DATA = [{"folder": "toys", "source_hash": "abc"}]


@pytest.fixture
def asked(tiny):
    train = tiny.train(lr=1e-5, milestones=(1.5, 2))
    return Recipe(name="brighter", task="brighter", about="one", settings={"a": [1, 2]}, train=train), tiny.plan(train)


@pytest.fixture
def run(tmp_path, asked):
    return Run(tmp_path / "deep/run").open(*asked, DATA)


def test_a_new_run_writes_down_what_was_asked(run, asked):
    recipe, plan = asked
    assert yaml.safe_load((run.folder / "recipe.yaml").read_text())["train"]["lr"] == 1e-5
    read = Run.read(run.folder)
    assert (read.recipe, read.plan, read.data) == (recipe, plan, DATA)
    assert (read.step, read.finished, read.rows()) == (0, False, [])
    assert sorted(p.name for p in run.folder.iterdir()) == ["data.json", "lock", "plan.json", "recipe.yaml"]


def test_the_same_run_opens_again(run, asked):
    recipe, plan = asked
    moved = [{"folder": "elsewhere", "source_hash": "abc"}]
    assert Run(run.folder).open(recipe.model_copy(update={"about": "two"}), plan, moved).plan == plan


def test_another_run_is_refused_with_the_first_difference(run, asked, tiny):
    recipe, plan = asked
    slower = recipe.model_copy(update={"train": recipe.train.model_copy(update={"lr": 0.01})})
    with pytest.raises(UserError, match=r"train\.lr: 1e-05 there, 0\.01 now\); choose another --out"):
        Run(run.folder).open(slower, plan, DATA)
    with pytest.raises(UserError, match=r"settings\.b: nothing there, 3 now"):
        Run(run.folder).open(recipe.model_copy(update={"settings": {"a": [1, 2], "b": 3}}), plan, DATA)
    with pytest.raises(UserError, match=r"plan\.steps: 12 there, 13 now"):
        Run(run.folder).open(recipe, plan.model_copy(update={"steps": 13}), DATA)
    with pytest.raises(UserError, match=r"data\.0\.source_hash: abc there, xyz now"):
        Run(run.folder).open(recipe, plan, [{"folder": "toys", "source_hash": "xyz"}])
    with pytest.raises(UserError, match=r"data\.1: nothing there"):
        Run(run.folder).open(recipe, plan, DATA * 2)


def test_folders_that_are_no_run_are_left_alone(tmp_path, asked):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/photo.jpg").write_bytes(b"x")
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(UserError, match="holds files but no run"):
        Run(tmp_path / "full").open(*asked)
    with pytest.raises(UserError, match="is a file"):
        Run(tmp_path / "file").open(*asked)
    with pytest.raises(UserError, match="not the folder of a run"):
        Run.read(tmp_path / "full")
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["photo.jpg"]


def test_a_run_that_died_while_it_began_begins_again(tmp_path, asked):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "plan.json").write_text('{"samp')
    (folder / "recipe.yaml.partial").write_text("na")
    assert Run(folder).open(*asked).recipe == asked[0]


def test_damaged_files_are_named(run, asked):
    (run.folder / "plan.json").write_text("{")
    with pytest.raises(UserError, match=r"plan\.json is missing or damaged"):
        Run(run.folder).open(*asked, DATA)
    (run.folder / "recipe.yaml").write_text("name: x\n")
    with pytest.raises(UserError, match=r"recipe\.yaml:1: task: missing setting; .* of another version"):
        _ = run.recipe


def test_rows_and_curves(run):
    run.log(2, "train", {"loss": 0.5}, {"samples_per_s": 100.0})
    run.log(4, "val", {"accuracy": 50.0})
    run.close()
    lines = (run.folder / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {"step": 2, "split": "train", "loss": 0.5}
    assert run.rows("val") == [{"step": 4, "split": "val", "accuracy": 50.0}]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curves = EventAccumulator(str(run.folder)).Reload()
    assert sorted(curves.Tags()["scalars"]) == ["train/loss", "train/samples_per_s", "val/accuracy"]
    assert [(event.step, event.value) for event in curves.Scalars("val/accuracy")] == [(4, 50.0)]


def test_curves_of_a_resumed_run_go_on_from_its_checkpoint(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for step, loss in ((2, 0.5), (4, 0.4), (6, 0.3)):
        run.log(step, "train", {"loss": loss})
    run.close()
    run.log(4, "train", {"loss": 0.25})
    run.close()
    points = EventAccumulator(str(run.folder)).Reload().Scalars("train/loss")
    assert [(point.step, point.value) for point in points] == [(2, 0.5), (4, 0.25)]


@pytest.mark.parametrize(("rows", "file"), [(0, "events"), (200, "metrics.jsonl")])
def test_a_disk_that_fills_while_rows_are_written_is_told(run, rows, file):
    """Curves are longer than rows, unless there are rows from before; half a row does not count."""
    lines = "".join(json.dumps({"step": 0, "split": "train", "loss": 1.0}) + "\n" for _ in range(rows))
    (run.folder / "metrics.jsonl").write_text(lines)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(lines) + 300, hard))
    try:
        with pytest.raises(WorkError, match=rf"{file}.* cannot be written \(file too large\): free some space"):
            for step in range(1, 100):
                run.log(step, "train", {"loss": 0.5})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    run.close()
    written = [row["step"] for row in run.rows()][rows:]
    assert written and written == list(range(1, len(written) + 1))


def test_rewinding_forgets_later_rows_and_half_lines(run):
    for step in (2, 4, 6):
        run.log(step, "train", {"loss": 1 / step})
    with open(run.folder / "metrics.jsonl", "a") as file:
        file.write('{"step": 8')
    assert [row["step"] for row in run.rows()] == [2, 4, 6]
    run.rewind(4)
    assert (run.folder / "metrics.jsonl").read_text().endswith('"loss": 0.25}\n')
    assert [row["step"] for row in run.rows()] == [2, 4]


def test_checkpoints_carry_what_made_them(run, asked):
    state = {"step": 3, "task": {"w": torch.arange(3.0)}}
    run.save(state)
    loaded = run.load()
    assert loaded["recipe"] == asked[0].model_dump(mode="json") and loaded["format"] == checkpoint.FORMAT
    assert set(loaded["versions"]) == {"sslkit", "torch", "torchvision", "numpy"}
    assert torch.equal(loaded["task"]["w"], state["task"]["w"])
    assert run.step == 3 and not run.finished
    run.save({"step": asked[1].steps})
    assert run.finished


class Bomb:
    def __reduce__(self):
        raise MemoryError("killed in the middle of the write")


@pytest.mark.parametrize("failure", ["while writing", "before the rename"])
def test_a_save_that_dies_leaves_the_last_checkpoint(run, monkeypatch, failure):
    run.save({"step": 1, "w": torch.ones(1000)})
    before = (run.folder / "checkpoint.pt").read_bytes()
    state = {"step": 2, "w": torch.zeros(1000)}
    if failure == "while writing":
        state["bomb"] = Bomb()
    else:
        monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):
        run.save(state)
    assert (run.folder / "checkpoint.pt").read_bytes() == before and run.step == 1
    assert not list(run.folder.glob("*.partial"))


def test_bytes_are_on_the_disk_before_the_name_changes(run, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, f=original, n=name: (calls.append(n), f(*a))[1])
    run.save({"step": 1})
    assert calls == ["fsync", "replace", "fsync"]


def test_a_full_disk_is_told_in_a_sentence(run, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WorkError, match=r"checkpoint\.pt cannot be written \(no space left on device\): free"):
        run.save({"step": 1})


def test_damaged_and_foreign_checkpoints_are_refused(run):
    path = run.folder / "checkpoint.pt"
    run.save({"step": 1, "w": torch.ones(1000)})
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"not a checkpoint at all"):
        path.write_bytes(damaged)
        with pytest.raises((WorkError, UserError), match=r"^\S+checkpoint\.pt [^\n]*\.$"):
            run.load()
    torch.save({"state_dict": {}}, path)
    with pytest.raises(UserError, match="no checkpoint of this version"):
        run.load()


def test_code_in_a_checkpoint_is_not_run(run, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"format": checkpoint.FORMAT, "step": Evil()}, run.folder / "checkpoint.pt")
    with pytest.raises(UserError):
        run.load()
    assert not (tmp_path / "owned").exists()


def test_trunks_travel_with_what_made_them(run, tiny, monkeypatch):
    task = tiny.Brighter()
    task.trunks = {"sight": task.trunk, "sound": tiny.Eye(norm=False)}
    run.save({"step": 5})
    files = run.export(task, {"metrics": {"pretext_accuracy": 70.0}})
    assert {n: p.name for n, p in files.items()} == {"sight": "trunk.safetensors", "sound": "trunk-sound.safetensors"}
    monkeypatch.setattr(trunks, "build", lambda name, settings: tiny.Eye(norm=True))
    loaded, about = trunks.load(files["sight"])
    assert torch.equal(loaded.conv1.weight, task.trunk.conv1.weight)
    assert about["step"] == 5 and about["task"] == "brighter" and about["trunk"] == "sight"
    assert about["metrics"] == {"pretext_accuracy": 70.0} and about["versions"] == run_module.versions()
    assert about["recipe"]["train"]["lr"] == 1e-5


def test_first_difference():
    assert first_difference({"a": {"b": [1]}}, {"a": {"b": [1]}}) is None
    assert first_difference({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}) == ("a.c", 2, 3)
    assert first_difference({}, {"x": 1}) == ("x", "nothing", 1)
