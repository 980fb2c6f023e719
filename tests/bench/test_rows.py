"""Every row of the benchmark comes out, with tiny counts; how long anything takes is not tested."""

import json
from pathlib import Path

import pytest
import torch

from sslkit import catalog, cli, jobs
from sslkit import recipe as recipes
from sslkit.bench import roofline, step
from sslkit.bench.base import Bench, Row, one_thread
from sslkit.types import Reads

AMOUNTS = {"turns": 1, "seconds": 0.01, "steps": 2, "windows": 16, "pairs": 1, "longer": 2}
FIELDS = set(Row.__dataclass_fields__)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, clip_file: Path) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    (folder / "clip.mp4").write_bytes(clip_file.read_bytes())
    return folder


@pytest.fixture
def small(toybox: Path, videos: Path, tmp_path: Path) -> Bench:
    return Bench((toybox,), videos, videos / "clip.mp4", tmp_path, workers=1, **AMOUNTS)  # type: ignore[arg-type]


def rows(name: str, bench: Bench) -> list[Row]:
    with one_thread():
        return list(catalog.load("sslkit.bench", name).rows(bench))


@pytest.mark.own_process
def test_decoding_clips_and_flow(small: Bench) -> None:
    clips, flow = rows("decode", small)
    assert clips.what == "clips: 16 pictures" and flow.what == "flow: 12 fields both ways"
    for row in (clips, flow):
        assert row.value and row.other and row.ratio and row.clock == "cpu" and row.unit == "windows/s"
    assert clips.aim == ">= 0.8"


@pytest.mark.own_process
def test_memory_of_a_worker(small: Bench) -> None:
    (row,) = rows("memory", small)
    assert row.unit == "MiB" and row.value and row.other and row.value > 10
    assert row.ratio == row.value / row.other and row.aim == "<= 1.05"


def test_speed_and_memory_of_sync(small: Bench) -> None:
    speed, *stages, memory = rows("sync", small)
    assert speed.what.endswith(" s of 96x64") and speed.unit == "times real time" and speed.value
    assert [row.what for row in stages] == ["decode", "faces", "features", "search"]
    assert memory.what == "peak memory, 2 times as long" and memory.aim == "<= 1.1" and memory.ratio


def test_a_step_against_a_loop_by_hand(small: Bench) -> None:
    (row,) = rows("step", Bench(**{**vars(small), "task": "rotation"}))
    assert row.row == "step" and row.ratio and row.aim == "<= 1.05" and row.against == "loop by hand"


@pytest.mark.own_process
def test_waiting_of_the_device(small: Bench) -> None:
    found = rows("waiting", small)
    assert [row.what for row in found] == ["fit, rotation", "fit, arrow_of_time"]
    assert all(row.value is not None and 0 <= row.value <= 100 for row in found)


def test_flow_of_a_pair(small: Bench) -> None:
    found = rows("flow", small)
    assert found[0].against == "DIS of OpenCV" and found[0].value
    pytest.importorskip("skimage")
    assert [row.against for row in found] == ["DIS of OpenCV", "TV-L1 of scikit-image"]


def test_starting_the_program(small: Bench) -> None:
    shown, sync = rows("startup", small)
    assert shown.value and shown.other and shown.aim == "<= 1.5"
    assert sync.what == "sslkit sync" and sync.ratio and sync.aim is None


@pytest.mark.own_process
def test_preparing_videos(small: Bench) -> None:
    plain, with_flow, two, *stages = rows("prepare", small)
    assert plain.unit == with_flow.unit == "min per core-minute" and plain.value and with_flow.value
    assert two.against == "one worker" and two.ratio
    names = ("decoding", "borders", "shots", "flow", "encoding", "writing")
    assert [row.what for row in stages] == [f"share of {name}" for name in names]
    shares = [row.value or 0.0 for row in stages]
    assert all(0 < share < 100 for share in shares) and sum(shares) <= 100


def test_the_roofline_says_what_it_needs(small: Bench) -> None:
    assert all("CUDA" in str(row.note) and row.value is None for row in rows("roofline", small))


@pytest.mark.cuda
def test_the_roofline_on_a_device(small: Bench) -> None:
    found = rows("roofline", Bench(**{**vars(small), "device": "cuda"}))
    assert all(row.ratio and row.ratio > 0.5 for row in found)


def test_operations_and_bytes_are_counted() -> None:
    one, two = torch.zeros(8, 16), torch.zeros(16, 32)
    with roofline.Counter() as counter:
        one.t().t() @ two
    assert counter.found == [(2 * 8 * 16 * 32, 4 * (8 * 16 + 16 * 32 + 8 * 32))]
    weights, picture = torch.zeros(4, 3, 3, 3, requires_grad=True), torch.zeros(2, 3, 10, 10)
    with roofline.Counter() as counter:
        torch.nn.functional.conv2d(picture, weights).sum().backward()
    forward = 2 * (2 * 4 * 8 * 8) * (3 * 3 * 3)
    assert counter.totals()[0] == 2 * forward  # the picture asks for no gradient
    assert counter.least_s(roofline.Peak(flops=1.0, bytes=1e12)) == pytest.approx(2 * forward, rel=1e-6)


def test_the_roofline_is_measured_on_any_device(small: Bench) -> None:
    tiny = recipes.load("rotation", tiny=True)
    row = roofline.measured(small, tiny)
    assert row.value and row.other and row.ratio == pytest.approx(row.value / row.other) and "TFLOP" in str(row.note)


def test_a_resident_batch_is_what_is_read() -> None:
    reads = Reads(frames=3, flow=5, backward=True, sound_s=0.5, clips=2)
    batch = step.resident(reads, 4, 60, torch.device("cpu"))
    assert batch.frames is not None and batch.frames.shape == (4, 2, 3, 3, 60, 80)
    assert batch.flow is not None and batch.flow.shape == (4, 4, 5, 2, 60, 80)
    assert batch.sound is not None and batch.sound.shape == (4, 2, 8000)


@pytest.mark.slow
@pytest.mark.own_process
def test_all_of_it_through_the_job(toybox: Path, videos: Path) -> None:
    result = jobs.bench([], [toybox], videos, "rotation", device="cpu", workers=1, **AMOUNTS)
    assert {str(row["row"]) for row in result.rows} == set(catalog.names("sslkit.bench"))


def test_a_page_of_some_rows(toybox: Path, videos: Path, tmp_path: Path) -> None:
    named = ["step", "roofline"]
    result = jobs.bench(named, [toybox], videos, "rotation", tmp_path / "page", device="cpu", workers=1, **AMOUNTS)
    assert [str(row["row"]) for row in result.rows] == named
    assert all(set(row) == FIELDS for row in result.rows)
    page = (tmp_path / "page" / "bench.html").read_text()
    assert "loop by hand" in page and json.loads((tmp_path / "page" / "result.json").read_text())["rows"]


def test_the_command_prints_one_object_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["bench", "roofline", "--device", "cpu", "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["row"] for row in found] == ["roofline", "roofline"] and set(found[0]) == FIELDS


def test_an_unknown_row_and_data_without_clips_are_one_sentence(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    assert cli.run(["bench", "decoding"]) == 2
    assert "decode" in capsys.readouterr().err
    assert cli.run(["bench", "memory", "--data", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
