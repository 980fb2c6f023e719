"""Tables of results: real probes of a small dataset, and the conditions under which they may stand side by side."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from sslkit import cli, jobs, pages
from sslkit.errors import UserError
from sslkit.evals.compare import compare, read
from sslkit.models import trunk as trunks

QUICK = ["layers=[block1,block2]", "weight_decays=[0.1]"]


def probe(folder: Path, on: Path, *changes: str, width: float = 0.1) -> Path:
    trunk = trunks.build("nin", {"side_px": 16, "width": width})
    (folder / "run").mkdir(parents=True)
    trunks.save(trunk, folder / "run" / "trunk.safetensors", {"task": "rotation"})
    out = folder / "probe"
    jobs.probe([folder / "run"], [on], ["random"], "linear", 2, [*QUICK, *changes], out, "cpu", 0)
    return out


def prepared_otherwise(source: Path, out: Path, **settings: Any) -> Path:
    shutil.copytree(source, out)
    about = json.loads((out / "dataset.json").read_text())
    about["settings"] |= settings
    (out / "dataset.json").write_text(json.dumps(about))
    return out


@pytest.fixture(scope="module")
def first(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return probe(tmp_path_factory.mktemp("first"), colours)


def test_probes_of_different_networks_on_data_that_moved_are_compared(
    first: Path, colours: Path, tmp_path: Path
) -> None:
    moved = prepared_otherwise(colours, tmp_path / "moved", max_skipped=0.5)
    second = probe(tmp_path / "second", moved, width=0.2)
    result = compare([first, second / "result.json"])
    records = [json.loads((folder / "result.json").read_text()) for folder in (first, second)]
    assert {(row["result"], row["init"], row["value"]) for row in result.rows} == {
        (str(name), init, record["metrics"][f"{init}_top1"])
        for name, record in zip([first, second / "result.json"], records, strict=True)
        for init in ("run", "random")
    }
    assert [row["value"] for row in result.rows] == sorted((row["value"] for row in result.rows), reverse=True)
    assert {row["runs"] for row in result.rows} == {2} and all(row["layer"] for row in result.rows)
    assert result.chance == pytest.approx(100 / 3) and not result.fields["unlike"]


@pytest.mark.parametrize(
    ("change", "settings", "where"),
    [
        ("val_share=0.5", {}, r"split\.held_out_share: '0.2' in the first, '0.5' in the second"),
        ("pool=max", {}, r"preprocessing\.pool: 'avg' in the first, 'max' in the second"),
        ("protocol=knn", {}, r"protocol: 'frozen, linear \(linear\)' in the first, 'frozen, knn"),
        ("", {"short_side_px": 48}, r"data\.0\.settings\.short_side_px: '24' in the first, '48' in the second"),
    ],
)
def test_what_was_measured_otherwise_is_refused_and_told(
    first: Path, colours: Path, tmp_path: Path, change: str, settings: dict[str, Any], where: str
) -> None:
    on = prepared_otherwise(colours, tmp_path / "data", **settings)
    other = probe(tmp_path / "other", on, *([change] if change else []))
    with pytest.raises(UserError, match=where):
        compare([first, other])
    result = compare([first, other], loose=True)
    assert result.fields["unlike"] == [str(other)]
    assert {row["differs"] for row in result.rows if row["result"] == str(first)} == {None}
    assert {row["differs"] for row in result.rows if row["result"] == str(other)} == {
        where.split(":")[0].replace("\\", "")
    }


def a_run(folder: Path, value: float, source_hash: str = "1", **record: Any) -> Path:
    folder.mkdir(parents=True)
    metrics = {"pretext_accuracy": value, "val_pretext_accuracy": value, "train_loss": 1.0, "val_loss": 2.0 - value}
    result = {"run": str(folder), "task": "rotation", "recipe": "tiny", "metrics": metrics, "chance": 25.0, **record}
    (folder / "result.json").write_text(json.dumps(result))
    data = [{"folder": str(folder), "source_hash": source_hash, "settings": {"short_side_px": 64}}]
    (folder / "data.json").write_text(json.dumps(data))
    return folder


def test_runs_are_compared_by_what_they_answer_on_held_out_media(tmp_path: Path) -> None:
    runs = [a_run(tmp_path / name, value) for name, value in (("a", 0.25), ("b", 0.75))]
    rows = compare([*runs, runs[0]]).rows
    assert [(Path(row["result"]).name, row["metric"], row["value"], row["chance"]) for row in rows] == [
        ("b", "pretext_accuracy", 0.75, 25.0),
        ("a", "pretext_accuracy", 0.25, 25.0),
        ("b", "val_loss", 1.25, None),
        ("a", "val_loss", 1.75, None),
    ]
    with pytest.raises(UserError, match=r"data\.0\.source_hash"):
        compare([runs[0], a_run(tmp_path / "c", 0.5, "2")])
    with pytest.raises(UserError, match="pretext task rotation"):
        compare([runs[0], a_run(tmp_path / "d", 0.5, task="arrow_of_time")])


def test_a_run_and_a_probe_of_it_are_not_alike(first: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="protocol"):
        compare([first, a_run(tmp_path / "a", 0.25)])


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"metrics": 3}', "[" * 100_000])
def test_what_is_no_result_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(UserError, match=r"result\.json is"):
        read(tmp_path)


def test_missing_results_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist: name the folder of a finished run"):
        read(tmp_path)
    with pytest.raises(UserError, match="nothing to compare"):
        compare([])
    run = a_run(tmp_path / "a", 0.5)
    (run / "data.json").unlink()
    with pytest.raises(UserError, match="does not say what was learnt from"):
        read(run)


def test_command_prints_markdown_json_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(a_run(tmp_path / name, value)) for name, value in (("a|1", 0.25), ("b", 0.75))]
    assert cli.run(["compare", *runs, "--format", "markdown", "--out", str(tmp_path / "page")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| result | init |") and lines[2].split(" | ")[4] == "0.75" and len(lines) == 6
    assert "a\\|1" in lines[3]
    assert "val_loss" in (tmp_path / "page" / "compare.html").read_text()
    assert cli.run(["compare", *runs, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 4


def test_an_evaluation_does_not_write_over_the_result_of_a_run(colours: Path, tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", 0.5)
    (run / "recipe.yaml").write_text("")
    with pytest.raises(UserError, match="result of its own"):
        jobs.probe([run], [colours], out=run, device="cpu")
    with pytest.raises(UserError, match="result of its own"):
        jobs.finetune([run], [colours], out=run, device="cpu")


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["runs/a/probe-x", "runs/b/probe-x"], ["a", "b"]),
        (
            ["runs/a/probe-x/result.json", "runs/b/p/result.json", "runs/b"],
            ["a/probe-x/result.json", "b/p/result.json", "b"],
        ),
        (["/tmp/runs/a", "/tmp/runs/b"], ["a", "b"]),
        (["runs/a"], ["a"]),
        (["a", "a/b"], ["a", "a/b"]),
    ],
)
def test_labels_of_a_chart_are_what_tells_results_apart(names: list[str], labels: list[str]) -> None:
    assert pages._told_apart(names) == dict(zip(names, labels, strict=True))
