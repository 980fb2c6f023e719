"""A run is a folder: what was asked (recipe, plan, data), what happened (metrics), and what came out (weights)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from sslkit import recipe as recipes
from sslkit.engine import checkpoint, distributed
from sslkit.engine.curves import Curves
from sslkit.engine.lock import Lock
from sslkit.errors import UserError, WorkError
from sslkit.files import replacing, unwritable
from sslkit.models import trunk as trunks
from sslkit.recipe import Plan, Recipe
from sslkit.tasks.base import Task

_PROSE = ("about", "paper", "alarm")
"""Keys of a recipe that say nothing about what is computed."""

_SHARING = ("world", "rank_batch", "accumulate")
"""Keys of a plan that say how the batch is shared out: a run may go on with another number of processes."""

_ASKED = ("plan.json", "data.json", "recipe.yaml")
"""In the order of writing: the last one makes the folder a run."""

Row = dict[str, Any]
Block = TypeVar("Block", bound=pydantic.BaseModel)


class Run:
    """The folder of one run.

    recipe.yaml, plan.json: what was asked, and what it meant here. data.json: the prepared folders and the hash of
    their sources. metrics.jsonl, events.*: one row (and TensorBoard's) every so many steps, marked train or val.
    checkpoint.pt: the last state. best.pt: the weights with the best validation. trunk.safetensors: what evaluations
    and demos load; further trunks of the task are trunk-<name>.safetensors.

    All processes of a distributed run hold one; only the main process writes.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._lock = Lock(self.folder)
        self._curves: Curves | None = None

    def open(self, recipe: Recipe, plan: Plan, data: Sequence[Mapping[str, Any]] = ()) -> Run:
        """Begin the run, or continue it if the folder holds the same one; until `close` no other process can.

        data: for each prepared folder, {"folder", "source_hash", ...}; a folder that moved is still the same data.
        Raises UserError when the folder holds something else, naming the first difference, or is in use, and WorkError
        when it is not writable.
        """
        asked = {"recipe": _json(recipe), "plan": _json(plan), "data": [dict(one) for one in data]}
        given = {what: _comparable(part) for what, part in asked.items()}
        distributed.require_same("recipe, plan, data or versions", {**given, "versions": versions()})
        if distributed.is_main():
            self._enter()
            try:
                if _is_run(self.folder):
                    self._require_same(asked)
                else:
                    self._begin(recipe, plan, data)
            except BaseException:
                self.close()
                raise
        distributed.barrier()
        return self

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @classmethod
    def read(cls, folder: Path | str) -> Run:
        """A run that exists, to look at. Raises UserError when the folder holds none."""
        if not _is_run(Path(folder)):
            raise UserError(f"{folder} is not the folder of a run (it has no recipe.yaml); make one with pretrain.")
        return cls(folder)

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe as it was resolved when the run began."""
        return recipes.resolved(self.folder / "recipe.yaml")

    @property
    def plan(self) -> Plan:
        """What the recipe meant."""
        return _validated(Plan, self.folder / "plan.json")

    @property
    def data(self) -> list[dict[str, Any]]:
        """The prepared folders, {"folder", "source_hash", ...} each."""
        path = self.folder / "data.json"
        listed = _plain(path)
        if not isinstance(listed, list) or not all(isinstance(one, dict) and "source_hash" in one for one in listed):
            raise _damaged(path)
        return listed

    @property
    def step(self) -> int:
        """Steps taken up to the last checkpoint; 0 without one."""
        path = self.folder / "checkpoint.pt"
        return _steps(path, checkpoint.read(path, mmap=True)) if path.is_file() else 0

    @property
    def finished(self) -> bool:
        """Whether all steps of the plan are taken and saved."""
        return self.step >= self.plan.steps

    def rows(self, split: str | None = None) -> list[Row]:
        """Rows of metrics.jsonl, of "train" or "val" or both, as {"step", "split", name: value}."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_bytes().split(b"\n") if path.is_file() else []
        # A run that was killed may leave half a line at the end: what follows the last line break does not count.
        rows = [_row(f"{path}:{number}", line) for number, line in enumerate(lines[:-1], start=1)]
        return [row for row in rows if split in (None, row["split"])]

    def log(self, step: int, split: str, values: Mapping[str, float], speed: Mapping[str, float] | None = None) -> None:
        """Write one row. speed: figures of this machine, for TensorBoard only: rows repeat exactly."""
        if not distributed.is_main():
            return
        path = self.folder / "metrics.jsonl"
        try:
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, "split": split, **values}) + "\n")
        except OSError as error:
            raise unwritable(path, error) from error
        self._curves = self._curves or Curves(self.folder, step)
        self._curves.add(step, {f"{split}/{name}": value for name, value in {**values, **(speed or {})}.items()})

    def rewind(self, step: int) -> None:
        """Forget rows of later steps: they are about to be written again."""
        if distributed.is_main() and (self.folder / "metrics.jsonl").is_file():
            kept = [json.dumps(row) + "\n" for row in self.rows() if row["step"] <= step]
            with replacing(self.folder / "metrics.jsonl") as file:
                file.write("".join(kept).encode())

    def save(self, state: Mapping[str, Any], name: str = "checkpoint.pt") -> None:
        """Write a checkpoint with the recipe, the plan and the versions; the old one stays until it is whole."""
        if distributed.is_main():
            checkpoint.write(self.folder / name, {**state, **self._made_by(), "versions": versions()})

    def load(self, name: str = "checkpoint.pt") -> dict[str, Any] | None:
        """The state that was saved last, on the CPU, or None.

        Raises WorkError when the file is damaged, UserError when it belongs to another recipe or other data.
        """
        path = self.folder / name
        if not path.is_file():
            return None
        state = checkpoint.read(path)
        _steps(path, state)
        self._require_own(path, state)
        return state

    def export(self, task: Task, about: Mapping[str, Any]) -> dict[str, Path]:
        """Write the task's trunks and return the file of each by name: the first is trunk.safetensors.

        about: what goes into their headers besides recipe, task, step and versions, such as metrics.
        """
        recipe = self.recipe
        header = {"recipe": _json(recipe), "task": recipe.task, "step": self.step, "versions": versions(), **about}
        files = {}
        for number, (name, trunk) in enumerate(task.trunks.items()):
            files[name] = self.folder / (f"trunk-{name}.safetensors" if number else "trunk.safetensors")
            if distributed.is_main():
                trunks.save(trunk, files[name], {**header, "trunk": name})
        return files

    def close(self) -> None:
        """Finish writing, and let other processes have the run."""
        if self._curves is not None:
            self._curves.close()
        self._curves = None
        self._lock.release()

    def _enter(self) -> None:
        """Make the folder, and keep other processes out of it."""
        left = {"lock"} | {f"{name}{partial}" for name in _ASKED for partial in ("", ".partial")}
        try:
            if not _is_run(self.folder) and self.folder.is_dir() and {p.name for p in self.folder.iterdir()} - left:
                raise UserError(f"{self.folder} holds files but no run; choose another --out.")
            if self.folder.exists() and not self.folder.is_dir():
                raise UserError(f"{self.folder} is a file; choose another --out.")
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self.folder, error) from error
        self._lock.take()

    def _begin(self, recipe: Recipe, plan: Plan, data: Sequence[Mapping[str, Any]]) -> None:
        listed = [dict(one) for one in data]
        texts = (json.dumps(_json(plan), indent=1), json.dumps(listed, indent=1), recipes.dump(recipe))
        for name, text in zip(_ASKED, texts, strict=True):
            with replacing(self.folder / name) as file:
                file.write(text.encode())

    def _require_same(self, asked: Mapping[str, Any]) -> None:
        prefixes = {"recipe": "", "plan": "plan.", "data": "data."}
        for what, there in self._made_by().items():
            found = first_difference(_comparable(there), _comparable(asked[what]))
            if found:
                key, before, after = found
                raise UserError(
                    f"{self.folder} holds another run ({prefixes[what]}{key}: {before} there, {after} now); "
                    "choose another --out."
                )

    def _require_own(self, path: Path, state: Mapping[str, Any]) -> None:
        try:
            recipe = _json(Recipe.model_validate(state.get("recipe")))
        except pydantic.ValidationError as error:
            raise UserError(f"{path} was written by another version of sslkit; choose another --out.") from error
        pairs = ((recipe, _json(self.recipe)), (state.get("data", self.data), self.data))
        found = next(filter(None, (first_difference(_comparable(a), _comparable(b)) for a, b in pairs)), None)
        if found:
            key, there, here = found
            raise UserError(
                f"{path} is of another run ({key}: {there} there, {here} in this folder): take the one that this run "
                "wrote, or delete it to go on without it."
            )

    def _made_by(self) -> dict[str, Any]:
        """What was asked when the run began, as plain values."""
        return {"recipe": _json(self.recipe), "plan": _json(self.plan), "data": self.data}


def versions() -> dict[str, str]:
    """Versions of sslkit and of the libraries that decide what is computed."""
    return {name: metadata.version(name) for name in ("sslkit", "torch", "torchvision", "numpy")}


def first_difference(there: Any, now: Any, key: str = "") -> tuple[str, Any, Any] | None:
    """The first place at which two trees of plain values differ, as (dotted key, value there, value now), or None.

    What one of them lacks is called "nothing".
    """
    if isinstance(there, dict) and isinstance(now, dict):
        for name in {**there, **now}:
            found = first_difference(there.get(name, "nothing"), now.get(name, "nothing"), f"{key}.{name}".lstrip("."))
            if found:
                return found
        return None
    return None if there == now else (key, there, now)


def _is_run(folder: Path) -> bool:
    return (folder / "recipe.yaml").is_file()


def _comparable(content: Any) -> Any:
    """Without prose and sharing out, and with data told by what they are, not by where they lie."""
    if isinstance(content, list):
        return {str(number): _without(one, ("folder",)) for number, one in enumerate(content)}
    return _without(content, (*_PROSE, *_SHARING))


def _without(content: Any, keys: Sequence[str]) -> Any:
    return {k: v for k, v in content.items() if k not in keys} if isinstance(content, dict) else content


def _json(block: pydantic.BaseModel) -> dict[str, Any]:
    """Plain values as JSON has them: lists, not tuples."""
    plain: dict[str, Any] = block.model_dump(mode="json")
    return plain


def _plain(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is missing or damaged, so the run cannot be used: copy it again or choose another --out.")


def _validated(kind: type[Block], path: Path) -> Block:
    try:
        return kind.model_validate(_plain(path))
    except pydantic.ValidationError as error:
        raise UserError(f"{path} was written by another version of sslkit; choose another --out.") from error


def _steps(path: Path, state: Mapping[str, Any]) -> int:
    """Steps that a checkpoint says were taken."""
    step = state.get("step")
    if not isinstance(step, int) or step < 0:
        raise UserError(f"{path} does not say how many steps were taken: take the one that the run wrote.")
    return step


def _row(place: str, line: bytes) -> Row:
    try:
        row: Row = json.loads(line)
        if isinstance(row["step"], int) and row["split"] in ("train", "val"):
            return row
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise WorkError(f"{place} is damaged: mend the line, or delete it.")
