"""Vectors written and read back in each format, by other libraries where there is one."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from sslkit.demos import vectors
from sslkit.demos.vectors import Place, Vectors
from sslkit.errors import UserError, WorkError

ROWS = np.random.default_rng(0).normal(size=(5000, 3)).astype(np.float32)
ABOUT = {"layer": "conv3", "run": "runs/größer"}


def write(path: Path, rows: np.ndarray = ROWS, forget: tuple[str, ...] = ()) -> list[Place]:
    """In pieces of 7, ten windows of 0.1 s a file."""
    places = [Place(f"f{n // 10}, {{x}}.mp4", n % 10 * 0.1, n % 10 * 0.1 + 0.1) for n in range(len(rows))]
    with Vectors(path) as held:
        for first in range(0, len(rows), 7):
            held.add(places[first : first + 7], rows[first : first + 7])
        for name in forget:
            held.forget(name)
        held.write(ABOUT)
    return places


def test_npz_holds_plain_arrays(tmp_path: Path) -> None:
    places = write(tmp_path / "a" / "v.npz")
    with np.load(tmp_path / "a" / "v.npz", allow_pickle=False) as found:
        assert set(found) == {"features", "path", "start_s", "end_s", "layer", "run"}
        assert found["features"].dtype == np.float32 and np.array_equal(found["features"], ROWS)
        assert found["path"].tolist() == [place.path for place in places]
        assert found["start_s"][13] == pytest.approx(0.3) and found["end_s"][13] == pytest.approx(0.4)
        assert str(found["layer"]) == "conv3" and str(found["run"]) == "runs/größer"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["v.npz"]


def test_csv_brings_every_number_back(tmp_path: Path) -> None:
    places = write(tmp_path / "v.csv")
    with (tmp_path / "v.csv").open(newline="", encoding="utf-8") as file:
        head, *lines = csv.reader(file)
    assert head == ["path", "start_s", "end_s", "f0", "f1", "f2"] and len(lines) == len(ROWS)
    assert np.array_equal(np.array([line[3:] for line in lines], np.float32), ROWS)
    assert lines[13][:3] == [places[13].path, "0.3", "0.4"]


def test_parquet_is_read_by_pyarrow(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    places = write(tmp_path / "v.parquet")
    table = parquet.read_table(tmp_path / "v.parquet")
    assert table.column_names == ["path", "start_s", "end_s", "features"]
    assert np.array_equal(np.array(table["features"].to_pylist(), np.float32), ROWS)
    assert table["path"].to_pylist() == [place.path for place in places]
    assert table.schema.metadata[b"layer"] == b"conv3"


@pytest.mark.parametrize("suffix", [".npz", ".csv"])
def test_what_is_forgotten_is_left_out(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"v{suffix}", ROWS[:40], ("f1, {x}.mp4", "f3, {x}.mp4"))
    kept = np.concatenate([ROWS[:10], ROWS[20:30]])
    if suffix == ".npz":
        found = np.load(tmp_path / "v.npz")["features"]
    else:
        found = np.loadtxt(tmp_path / "v.csv", np.float32, delimiter=",", skiprows=1, usecols=(-3, -2, -1))
    assert np.array_equal(found, kept)


def test_a_file_that_is_there_and_an_unknown_format_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "v.npz").write_bytes(b"mine")
    with pytest.raises(UserError, match="already there"):
        Vectors(tmp_path / "v.npz")
    with pytest.raises(UserError, match=r"must end with \.npz, \.csv or \.parquet"):
        Vectors(tmp_path / "v.json")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UserError, match="pip install pyarrow"):
        Vectors(tmp_path / "v.parquet")
    assert (tmp_path / "v.npz").read_bytes() == b"mine" and len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(vectors.Vectors, "_csv", full)
    with pytest.raises(WorkError, match="free some space"):
        write(tmp_path / "v.csv")
    assert not list(tmp_path.iterdir())


def test_names_that_are_no_text_are_written_as_escapes(tmp_path: Path) -> None:
    with Vectors(tmp_path / "v.csv") as held:
        held.add([Place(os.fsdecode(b"a\xff.jpg"), 0, 0)], ROWS[:1])
        held.write(ABOUT)
    assert "a\\xff.jpg" in (tmp_path / "v.csv").read_text()
