"""Feature vectors of many windows on their way to one file: npz, CSV or Parquet, however many there are."""

from __future__ import annotations

import csv
import io
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import UserError
from sslkit.files import replacing, unwritable

Rows = NDArray[np.float32]
FORMATS = (".npz", ".csv", ".parquet")
_BLOCK_ROWS = 1024


@dataclass(frozen=True)
class Place:
    """Where a vector was cut from: a file, and the seconds of it that the network saw (0 to 0: a still picture)."""

    path: str
    start_s: float
    end_s: float


class Vectors:
    """Holds vectors of length `dims` on the disk until all are there, then writes them; a context manager.

    `path` is written as a whole by `write`, or not at all. Raises UserError for an unknown suffix, for a file that is
    there already, and for Parquet without pyarrow; WorkError for a disk that is full.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix not in FORMATS:
            raise UserError(f"{path} must end with {', '.join(FORMATS[:-1])} or {FORMATS[-1]}: give another --out.")
        if path.exists():
            raise UserError(f"{path} is already there: move it away or give another --out.")
        if path.suffix == ".parquet":
            _pyarrow()
        self.path, self.dims, self._places = path, 0, list[Place]()
        self._forgotten: set[str] = set()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._held: IO[bytes] = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 (closed on leaving)
        except OSError as error:
            raise unwritable(path, error) from error

    def __enter__(self) -> Vectors:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def __len__(self) -> int:
        return len(self._kept())

    def add(self, places: Sequence[Place], rows: Rows) -> None:
        """Vectors (n, D) float32, D always the same, with the place of each."""
        try:
            self._held.write(np.ascontiguousarray(rows, "<f4").tobytes())
        except OSError as error:
            raise unwritable(self.path, error) from error
        self._places += places
        self.dims = rows.shape[1]

    def forget(self, path: str) -> None:
        """Leave out all windows of a file: it could not be read to its end."""
        self._forgotten.add(path)

    def write(self, about: Mapping[str, str]) -> None:
        """Write the file. about: what npz and Parquet say of all rows, such as layer and run."""
        write = {".npz": self._npz, ".csv": self._csv, ".parquet": self._parquet}[self.path.suffix]
        with replacing(self.path) as file:
            write(file, about)

    def _kept(self) -> list[int]:
        return [row for row, place in enumerate(self._places) if place.path not in self._forgotten]

    def _blocks(self) -> Iterator[tuple[list[Place], Rows]]:
        """All that is kept, some rows at a time."""
        self._held.flush()
        kept = self._kept()
        held = np.memmap(self._held, "<f4", "r", shape=(len(self._places), self.dims)) if kept else None
        for first in range(0, len(kept), _BLOCK_ROWS):
            these = kept[first : first + _BLOCK_ROWS]
            yield [self._places[row] for row in these], np.asarray(held)[these]

    def _npz(self, file: IO[bytes], about: Mapping[str, str]) -> None:
        places = [self._places[row] for row in self._kept()]
        columns: dict[str, Any] = {
            "path": np.array([_text(place.path) for place in places], np.str_),
            "start_s": np.array([place.start_s for place in places], np.float64),
            "end_s": np.array([place.end_s for place in places], np.float64),
            **{name: np.array(value, np.str_) for name, value in about.items()},
        }
        with zipfile.ZipFile(file, "w") as archive:
            with archive.open("features.npy", "w", force_zip64=True) as member:
                shape = (len(places), self.dims)
                np.lib.format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": shape})
                for _, rows in self._blocks():
                    member.write(rows.tobytes())
            for name, values in columns.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, values, allow_pickle=False)

    def _csv(self, file: IO[bytes], _: Mapping[str, str]) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        lines = csv.writer(text)
        lines.writerow(["path", "start_s", "end_s", *(f"f{number}" for number in range(self.dims))])
        for places, rows in self._blocks():
            for place, row in zip(places, rows.tolist(), strict=True):
                times = (round(place.start_s, 6), round(place.end_s, 6))
                # Nine digits bring every float32 back.
                lines.writerow([_text(place.path), *times, *(f"{value:.9g}" for value in row)])
        text.detach()

    def _parquet(self, file: IO[bytes], about: Mapping[str, str]) -> None:
        arrow, parquet = _pyarrow()
        fields = [("path", arrow.string()), ("start_s", arrow.float64()), ("end_s", arrow.float64())]
        fields.append(("features", arrow.list_(arrow.float32(), self.dims)))
        schema = arrow.schema(fields, metadata=dict(about))
        with parquet.ParquetWriter(file, schema) as writer:
            for places, rows in self._blocks():
                features = arrow.FixedSizeListArray.from_arrays(arrow.array(rows.ravel()), self.dims)
                columns = [[_text(p.path) for p in places], [p.start_s for p in places], [p.end_s for p in places]]
                writer.write_table(arrow.table([*map(arrow.array, columns), features], schema=schema))


def _text(path: str) -> str:
    """A path as text that every format can hold: bytes that are no UTF-8 are written as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError("Parquet needs pyarrow: run pip install pyarrow, or give --out features.npz.") from error
    return pyarrow, pyarrow.parquet
