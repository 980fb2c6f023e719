"""What a worker does in one go: some items become samples and a report, which are there as a whole or not at all."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from sslkit.data import shards
from sslkit.data.clips import Refused, Step, prepare_item
from sslkit.data.layouts.base import Item
from sslkit.data.settings import PrepareSettings
from sslkit.errors import UserError, WorkError

Alive = Callable[[int], None]
PARTIAL = ".partial"
_NOTHING: Mapping[int, str] = {}


@dataclass(frozen=True)
class Job:
    """One item to prepare. number: its place in the dataset. size: bytes of its file when it was listed, -1: none."""

    number: int
    label: int
    item: Item
    size: int = -1

    @classmethod
    def of(cls, number: int, label: int, item: Item) -> Job:
        """A job whose file is as it is now."""
        return cls(number, label, item, _stamp(item.path)[0])


@dataclass(frozen=True)
class Task:
    """Some items to be done in one go. path: of its files, without their extension."""

    path: Path
    jobs: tuple[Job, ...]
    settings: PrepareSettings

    @property
    def tar(self) -> Path:
        """The samples, one run after the other."""
        return self.path.with_suffix(".tar")

    @property
    def name(self) -> str:
        """Its last source, for a line of progress."""
        return self.jobs[-1].item.source

    @property
    def done(self) -> bool:
        """Whether its report, which is written last, is there and fits its samples."""
        try:
            size = sum(record["size"] for _, record in self.report()["records"])
            return not size or self.tar.stat().st_size == size
        except (OSError, ValueError):
            return False

    def report(self) -> dict[str, Any]:
        """records: (split, index record) of every sample; skipped: what was left out, and why."""
        report: dict[str, Any] = json.loads(self.path.with_suffix(".json").read_bytes())
        return report

    def work(self, given_up: Mapping[int, str] = _NOTHING, alive: Alive = lambda number: None) -> None:
        """Do it. What cannot be read is reported, not raised.

        given_up: number of a job -> why it is not to be tried again. alive: called with the number of the job before
        each, and whenever a part of it is done. Raises OSError when the samples cannot be written.
        """
        outcome = _Outcome()
        # A name of its own: what a killed call left may still be open elsewhere for a moment.
        partial = self.path.with_suffix(f".{secrets.token_hex(4)}{PARTIAL}")
        with partial.open("wb") as file:
            for job in self.jobs:
                alive(job.number)
                if job.number in given_up:
                    outcome.skipped.append({"source": job.item.source, "reason": given_up[job.number]})
                else:
                    _do(job, file, self.settings, outcome, alive)
        if outcome.records:
            partial.replace(self.tar)
        else:
            partial.unlink()
        report = shards.dumps({"records": outcome.records, "skipped": outcome.skipped})
        shards.replace_bytes(self.path.with_suffix(".json"), report.encode())


@dataclass
class _Outcome:
    """What has become of the items so far."""

    records: list[tuple[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)


class _Unreadable(Exception):
    """A source that cannot be prepared; the message is the reason."""


def _do(job: Job, file: IO[bytes], settings: PrepareSettings, outcome: _Outcome, alive: Alive) -> None:
    """Append the samples of an item to a file; nothing of it stays when it turns out to be unreadable."""
    begin, item = file.tell(), job.item
    records: list[tuple[str, Any]] = []
    refused: list[dict[str, Any]] = []
    try:
        for sample in _unchanged(job, prepare_item(item, job.number, job.label, settings)):
            alive(job.number)
            if isinstance(sample, Refused):
                refused.append({"source": sample.source, "start_s": sample.start_s, "reason": sample.reason})
            elif sample is not None:
                packed = shards.pack(sample)
                file.write(packed.data)
                records.append((item.split, packed.record))
    except _Unreadable as error:
        file.seek(begin)
        file.truncate()
        outcome.skipped.append({"source": item.source, "reason": str(error)})
        return
    outcome.records += records
    outcome.skipped += refused


def _unchanged(job: Job, samples: Iterator[Step]) -> Iterator[Step]:
    """The samples of a file that stays the same from when it was listed until it has been read."""
    before = _stamp(job.item.path)
    if before[0] not in (job.size, -1):
        raise _Unreadable(f"{job.item.path} has changed since it was listed.")
    yield from _read(samples)
    if _stamp(job.item.path) != before:
        raise _Unreadable(f"{job.item.path} changed while it was read.")


def _stamp(path: Path | None) -> tuple[int, int]:
    """Size and time of the last change of a file; -1 if there is none."""
    try:
        found = path.stat() if path is not None and path.is_file() else None
    except OSError:
        found = None
    return (-1, -1) if found is None else (found.st_size, found.st_mtime_ns)


def _read(samples: Iterator[Step]) -> Iterator[Step]:
    """The samples, but whatever goes wrong with the source as _Unreadable: writing them may fail for other reasons."""
    try:
        yield from samples
    except (UserError, MemoryError):
        raise
    except Exception as error:  # Decoders fail in many ways, and one bad file must not end a week's work.
        raise _Unreadable(str(error) if isinstance(error, WorkError) else f"{type(error).__name__}: {error}") from error
