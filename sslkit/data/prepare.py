"""Prepare data: decode every source once, in parallel, into shards that training reads in any order.

Every finished task lies in OUT/.parts as a whole or not at all, so that an interrupted call goes on where it stopped.
At the end the parts are joined in the order of the items: the shards are the same bytes however many workers there
were and however often the work was interrupted. `dataset.json` is written last; without it a folder is no dataset.
"""

from __future__ import annotations

import csv
import fcntl
import importlib.metadata
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from types import ModuleType
from typing import Any

from sslkit import catalog
from sslkit.data import shards
from sslkit.data.about import About
from sslkit.data.layouts.base import Item, rank
from sslkit.data.pool import run
from sslkit.data.settings import LAYOUT_OPTIONS, PrepareSettings
from sslkit.data.task import PARTIAL, Job, Task
from sslkit.errors import UserError, WorkError

Progress = Callable[[int, int, str], None]
_STILLS_PER_TASK = 64
_SEGMENTS_PER_TASK = 16
_NOT_COMPARED = {"max_skipped", "time_limit_s"}


@dataclass(frozen=True)
class Prepared:
    """What a finished dataset holds. skipped: lines of skipped.jsonl. seconds: that its last call to `prepare` took."""

    out: Path
    layout: str
    classes: tuple[str, ...]
    counts: Mapping[str, Mapping[str, float]]
    skipped: int
    seconds: float


@dataclass(frozen=True)
class _Plan:
    """What is prepared, and what makes two calls the same."""

    layout: str
    settings: dict[str, Any]
    source_hash: str
    items: list[Item] = field(repr=False)
    classes: tuple[str, ...] = ()

    def identity(self) -> dict[str, Any]:
        return {"layout": self.layout, "settings": self.settings, "source_hash": self.source_hash}


def prepare(
    layout: str,
    source: str,
    out: Path,
    settings: PrepareSettings,
    workers: int = 0,
    progress: Progress | None = None,
    cluster: str | None = None,
) -> Prepared:
    """Prepare SOURCE, which is laid out as `layout` says, into the folder OUT, and say what it holds.

    A finished OUT of the same source and settings is returned at once, an unfinished one is finished. workers:
    processes; with 0 all is done in this one, where a decoder that hangs or crashes is not survived. cluster: address
    of a Dask scheduler, such as "tcp://host:8786", whose workers do it instead; see `sslkit.data.cluster`. progress is
    called with (tasks done, tasks in all, name of a source). Raises UserError for a source of another layout, for an
    OUT that holds something else, for splits that share a recording and for a cluster that cannot do it; WorkError when
    more than `settings.max_skipped` of the sources cannot be read, or OUT cannot be written.
    """
    started = time.monotonic()
    plan = _plan(layout, source, settings)
    if (out / "dataset.json").is_file():
        _same(out, About.of(out).model_dump(), plan.identity())
        return _finished(out)
    with _writing(out):
        return _prepared(
            out, plan, settings, partial(run, workers=workers, progress=progress, cluster=cluster), started
        )


def _prepared(
    out: Path, plan: _Plan, settings: PrepareSettings, work: Callable[[list[Task]], None], started: float
) -> Prepared:
    parts = _parts(out, plan)
    with _alone(parts):
        for left in parts.glob(f"*{PARTIAL}"):
            left.unlink()
        tasks = _tasks(plan, settings, parts)
        work(tasks)
        skipped = _skipped(out, tasks, settings)
        about = {
            **plan.identity(),
            "classes": list(plan.classes),
            "skipped": skipped,
            "versions": _versions(),
            "seconds": round(time.monotonic() - started, 3),
        }
        shards.write(out, _runs(tasks), about, round(settings.shard_mb * 2**20))
    shutil.rmtree(parts)
    return _finished(out)


def _plan(layout: str, source: str, settings: PrepareSettings) -> _Plan:
    module = catalog.load("sslkit.data.layouts", layout)
    name = module.__name__.rpartition(".")[2]
    foreign = (LAYOUT_OPTIONS - set(module.OPTIONS)) & settings.model_fields_set
    if foreign:
        option = "--" + sorted(foreign)[0].replace("_", "-")
        own = ", ".join("--" + option.replace("_", "-") for option in module.OPTIONS) or "none"
        raise UserError(f"The layout {name} has no option {option}; its own options are: {own}.")
    items = _listed(module, name, source, settings)
    _check_places(source, items)
    _check_groups(items)
    classes = tuple(sorted({item.label_name for item in items if item.label_name is not None}))
    items = _limited(items, settings)
    return _Plan(name, _recorded(module, settings), _hash(items), items, classes)


def _recorded(layout: ModuleType, settings: PrepareSettings) -> dict[str, Any]:
    """The settings as `dataset.json` keeps them; a layout knows whether its sound is in time, unless told."""
    synced = settings.synced if settings.synced is not None else getattr(layout, "SYNCED", False)
    return settings.recorded(layout.OPTIONS) | {"synced": synced}


def _listed(module: ModuleType, name: str, source: str, settings: PrepareSettings) -> list[Item]:
    try:
        return list(module.items(source, settings))
    except OSError as error:
        reason = f"{error.filename or source}: {(error.strerror or str(error)).lower()}"
    except (UnicodeDecodeError, csv.Error) as error:
        reason = f"a list in {source} is not plain text ({error})"
    raise UserError(f"The layout {name} cannot be read: {reason}.")


def _check_places(source: str, items: Sequence[Item]) -> None:
    """Lists may name files of SOURCE only: what a downloaded list points at elsewhere is none of its business."""
    if source in ("", "-"):
        return
    root = Path(os.path.abspath(source))
    root = root.parent if root.is_file() else root
    for item in items:
        if item.path is not None and not Path(os.path.abspath(item.path)).is_relative_to(root):
            raise UserError(f"{item.source} lies outside of {root}, where SOURCE may not lead; move or link it there.")


def _check_groups(items: Sequence[Item]) -> None:
    """No recording may have clips in two splits: what was learnt from one would be tested on the other."""
    split_of: dict[tuple[str, str], Item] = {}
    for item in items:
        for name in (("source", str(item.path or item.source)), ("group", item.group)):
            other = split_of.setdefault(name, item)
            if other.split != item.split:
                raise UserError(
                    f"{item.source} is in {item.split}, but {other.source} of the same recording ({item.group}) is in "
                    f"{other.split}; put all clips of a recording into one split."
                )


def _limited(items: list[Item], settings: PrepareSettings) -> list[Item]:
    if settings.limit is None:
        return items
    kept: set[int] = set()
    for split in shards.SPLITS:
        of_split = [number for number, item in enumerate(items) if item.split == split]
        of_split.sort(key=lambda number: rank(f"{items[number].source}/{items[number].key}", settings.seed))
        kept.update(of_split[: settings.limit])
    return [item for number, item in enumerate(items) if number in kept]


def _hash(items: Sequence[Item]) -> str:
    """Changes when a name, size, split, label or time of any source does."""
    digest = blake2b(digest_size=16)
    for item in items:
        size = item.path.stat().st_size if item.path is not None and item.path.is_file() else -1
        facts = (item.source, size, item.split, item.label_name, item.start_s, item.end_s, item.group, repr(item.scene))
        # What older layouts do not have changes no hash of theirs.
        more = tuple(fact for fact in (item.fold, item.tags, item.truth, item.heard and item.heard.name) if fact)
        digest.update(repr(facts + more).encode(errors="surrogateescape"))
    return digest.hexdigest()


def _parts(out: Path, plan: _Plan) -> Path:
    """The folder of unfinished work in OUT, made if OUT is empty or new."""
    parts = out / ".parts"
    stated = parts / "plan.json"
    if stated.is_file():
        _same(out, _stated(stated), plan.identity())
        return parts
    if out.exists() and (not out.is_dir() or any(path.name != ".parts" for path in out.iterdir())):
        raise UserError(f"{out} is neither empty nor a prepared dataset; name a new folder.")
    parts.mkdir(parents=True, exist_ok=True)
    shards.replace_json(stated, plan.identity())
    return parts


def _stated(path: Path) -> dict[str, Any]:
    """The plan of unfinished work."""
    try:
        plan = json.loads(path.read_bytes())
        return {"layout": plan["layout"], "settings": dict(plan["settings"]), "source_hash": plan["source_hash"]}
    except (ValueError, KeyError, TypeError) as error:
        raise WorkError(f"{path} is damaged; remove {path.parent} to begin again.") from error


def _same(out: Path, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise UserError showing the first difference between what is in OUT and what is asked for.

    A setting that did not exist yet when OUT was prepared had its default.
    """
    pairs = {"layout": (there["layout"], wanted["layout"])}
    default = {name: known.default for name, known in PrepareSettings.model_fields.items()}
    for name in sorted(set(there["settings"]) | set(wanted["settings"])):
        old, new = (each["settings"].get(name, default.get(name)) for each in (there, wanted))
        pairs[name] = (old, new)
    for name, (old, new) in pairs.items():
        if old != new and name not in _NOT_COMPARED:
            raise UserError(f"{out} was prepared with {name} {old}, but {new} is asked for now; name another folder.")
    if there["source_hash"] != wanted["source_hash"]:
        raise UserError(f"{out} was prepared from other files than SOURCE holds now; name another folder.")


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """A full disk, or a folder that may not be written, is told in one sentence."""
    try:
        yield
    except BrokenPipeError:  # of whoever reads the progress
        raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise WorkError(f"{out} cannot be written: {reason}; mend that, and start again to go on from here.") from error


@contextmanager
def _alone(parts: Path) -> Iterator[None]:
    """Keep a second call out of the same folder."""
    with (parts / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"{parts.parent} is being prepared by another process; wait for it.") from error
        yield


def _tasks(plan: _Plan, settings: PrepareSettings, parts: Path) -> list[Task]:
    """Videos one by one, stills and segments of one file by the dozen: what a worker does in one go."""
    label_of = {name: label for label, name in enumerate(plan.classes)}
    groups: list[list[Job]] = []
    for number, item in enumerate(plan.items):
        job = Job.of(number, label_of[item.label_name] if item.label_name is not None else -1, item)
        if groups and _together(groups[-1], item):
            groups[-1].append(job)
        else:
            groups.append([job])
    return [Task(parts / f"{number:07d}", tuple(group), settings) for number, group in enumerate(groups)]


def _together(group: Sequence[Job], item: Item) -> bool:
    last = group[-1].item
    if item.scene is None and item.path is not None and item.path == last.path:
        return len(group) < _SEGMENTS_PER_TASK
    return item.still and last.still and len(group) < _STILLS_PER_TASK


def _skipped(out: Path, tasks: Sequence[Task], settings: PrepareSettings) -> int:
    """Write skipped.jsonl, count its lines, and refuse when too many sources could not be read."""
    lines: dict[str, None] = {}
    unreadable: set[str] = set()
    for task in tasks:
        for line in task.report()["skipped"]:
            lines[shards.dumps(line)] = None
            if "start_s" not in line:
                unreadable.add(line["source"])
    path = out / "skipped.jsonl"
    shards.replace_bytes(path, "".join(line + "\n" for line in lines).encode())
    sources = {job.item.source for task in tasks for job in task.jobs}
    if len(unreadable) > settings.max_skipped * len(sources):
        raise WorkError(
            f"{len(unreadable)} of {len(sources)} sources could not be prepared ({path} says why), but at most "
            f"{settings.max_skipped:.0%} may fail; mend them, or start again with a larger --max-skipped to go on."
        )
    if not any(task.report()["records"] for task in tasks):
        raise WorkError(f"Not one sample could be prepared; {path} says why.")
    return len(lines)


def _runs(tasks: Sequence[Task]) -> Iterator[tuple[str, shards.Run]]:
    for task in tasks:
        records = task.report()["records"]
        if not records:
            continue
        with task.tar.open("rb") as file:
            for split, record in records:
                yield split, shards.Run(file.read(record["size"]), record)


def _versions() -> dict[str, str]:
    packages = ("sslkit", "numpy", "av", "opencv-python-headless", "torch")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in packages}


def _finished(out: Path) -> Prepared:
    about = About.of(out)
    if (out / ".parts").is_dir():
        shutil.rmtree(out / ".parts")
    return Prepared(out, about.layout, tuple(about.classes), about.counts, about.skipped, about.seconds)
