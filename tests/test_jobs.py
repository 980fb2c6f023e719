"""The Python API from end to end on a small toybox: what is trained, written, measured, and refused."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sslkit import jobs
from sslkit.data.dataset import Dataset
from sslkit.engine.run import Run
from sslkit.errors import UserError
from sslkit.evals import pretext
from sslkit.jobs import learn
from sslkit.types import Answer, Batch, Draw, Result

STEPS = ["train.steps=4", "train.epoch_steps=2", "train.batch=4", "data.short_side_px=80"]


@pytest.fixture(scope="module")
def run(toybox: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "aot"
    jobs.pretrain("aot", data=[toybox], out=out, tiny=True, overrides=STEPS, device="cpu", workers=0)
    return out


def test_a_run_holds_all_that_it_promises(run: Path) -> None:
    record = json.loads((run / "result.json").read_text())
    assert record["task"] == "arrow_of_time" and record["steps"] == 4 and record["chance"] == 50
    assert 0 <= record["metrics"]["pretext_accuracy"] <= 100 and "test_pretext_accuracy" in record["metrics"]
    for name in ("recipe.yaml", "plan.json", "data.json", "checkpoint.pt", "best.pt", "trunk.safetensors"):
        assert (run / name).stat().st_size > 0
    page = (run / "report.html").read_text()
    assert "Forwards or backwards?" in page and "First-layer filters" in page and "http" not in page.split("<body")[0]


def test_a_finished_run_returns_its_result_and_trains_nothing(run: Path, toybox: Path) -> None:
    before = (run / "checkpoint.pt").stat().st_mtime_ns
    again = jobs.pretrain("aot", data=[toybox], out=run, tiny=True, overrides=STEPS, device="cpu", workers=0)
    assert "nothing was trained now" in again.notes[-1] and (run / "checkpoint.pt").stat().st_mtime_ns == before
    with pytest.raises(UserError, match=r"train\.lr"):
        other = [*STEPS, "train.lr=0.5"]
        jobs.pretrain("aot", data=[toybox], out=run, tiny=True, overrides=other, device="cpu", workers=0)


def test_a_damaged_result_is_measured_again(run: Path, toybox: Path) -> None:
    result = run / "result.json"
    before = json.loads(result.read_text())
    for damaged in (b"", b"[]", b'{"name": "x", "notes": [], "seconds": 1, "metrics": [3]}', result.read_bytes()[:-30]):
        result.write_bytes(damaged)
        assert learn._earlier(run) is None
    found = jobs.pretrain("aot", data=[toybox], out=run, tiny=True, overrides=STEPS, device="cpu", workers=0)
    assert found.metrics == before["metrics"] == json.loads(result.read_text())["metrics"]
    result.write_text(json.dumps({**before, "chance": float("nan")}))
    earlier = learn._earlier(run)
    assert earlier is not None and earlier.chance != 50 and "nothing was trained now" in earlier.notes[-1]


def test_weights_that_come_back_are_the_best_of_the_run(run: Path) -> None:
    task, opened = jobs.load_task(run)
    best = Run.read(run).load("best.pt")
    assert opened.recipe.task == "arrow_of_time" and not task.training and best is not None
    assert all(torch.equal(value, best["task"][name]) for name, value in task.state_dict().items())


def test_data_prepared_otherwise_are_refused_with_the_option(toybox: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--short-side-px 112"):
        jobs.pretrain(recipe="aot-small", data=[toybox], out=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="for --task arrow_of_time"):
        jobs.pretrain("rotation", recipe="aot-small", data=[toybox], out=tmp_path / "run", device="cpu")


def test_a_dry_run_writes_nothing(toybox: Path, tmp_path: Path) -> None:
    result = jobs.pretrain("aot", data=[toybox], out=tmp_path / "run", tiny=True, overrides=STEPS, dry_run=True)
    assert result.fields["plan"]["steps"] == 4 and not (tmp_path / "run").exists()


def test_pretext_protocol_has_a_row_for_every_label(run: Path, toybox: Path, tmp_path: Path) -> None:
    result = jobs.probe([run], [toybox], recipe="pretext", out=tmp_path / "page", device="cpu", workers=0)
    labels = {entry.label_name for entry in Dataset(toybox, "test").entries}
    assert {row["label"] for row in result.rows} == labels | {"all"}
    assert result.rows[0]["questions"] == 2 * pretext.CLIPS * result.rows[0]["samples"]
    assert all(row["low"] <= row["value"] <= row["high"] for row in result.rows)
    assert (
        json.loads((tmp_path / "page/result.json").read_text())["rows"] and (tmp_path / "page/pretext.html").is_file()
    )


def test_pretext_counts_what_was_answered_right(run: Path, toybox: Path) -> None:
    """Knowing the answer scores 100, always saying forwards 50; pairs go by which of the two has more evidence."""
    task, _ = jobs.load_task(run)

    def answering(evidence: torch.Tensor, views: dict[str, torch.Tensor]) -> Answer:
        scores = torch.stack([-evidence, evidence], 1)
        return Answer(torch.tensor(0.0), {}, scores, views["target"], views["sample"])

    task.show = lambda views, answer: []  # type: ignore[method-assign]
    for forward, value, pairs in (
        (lambda v: answering(v["target"] * 2.0 - 1, v), 100, 100),
        (lambda v: answering(v["target"] * 0.5 + 3, v), 50, 100),
        (lambda v: answering(1 - v["target"] * 2.0, v), 0, 0),
    ):
        task.forward = forward  # type: ignore[method-assign]
        row = pretext.evaluate(task, Dataset(toybox, "test"), torch.device("cpu")).rows[0]
        assert (row["value"], row["pairs"]) == (value, pairs)


def test_several_windows_of_a_clip_keep_their_row(run: Path, toybox: Path) -> None:
    task, _ = jobs.load_task(run)
    reads = task.reads().but(clips=2)
    from sslkit.data.dataset import collate

    data = Dataset(toybox, "test")
    batch: Batch = collate([data.read(i, data.windows(i, reads, None), reads) for i in range(3)])
    assert task.views(batch, Draw(0, 0))["sample"].tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_arrow_goes_on_after_a_bad_video(run: Path, clip_file: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    found: list[Result] = list(jobs.arrow([bad, clip_file], run, out=tmp_path / "out", device="cpu"))
    assert found[0].fields["kind"] == "work" and "bad.mp4" in found[0].fields["error"]
    assert found[1].fields["verdict"] in ("forwards", "backwards") and Path(found[1].fields["overlay"]).is_file()
    page = (tmp_path / "out" / "arrow.html").read_text()
    assert "1 of 2 videos were judged" in page and "bad.mp4" in page and page.count("<figure") >= 2


def test_prepare_data_names_every_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"widen: no setting.*widen_s.*clip_s: "):
        jobs.prepare_data("toybox", "", tmp_path / "x", {"widen": "3", "clip_s": "abc"})


def test_every_name_of_the_api_is_its_function() -> None:
    found = {name: getattr(jobs, name) for name in jobs.__all__}
    assert [name for name, one in found.items() if one.__name__ != name or not inspect.isfunction(one)] == []


def test_sync_does_not_wait_for_what_it_does_not_use() -> None:
    heavy = "{'torchvision', 'sklearn', 'sslkit.engine.fit'}"
    code = f"import sys; from sslkit.jobs import sync; print({heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
