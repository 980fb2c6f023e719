"""A run is a folder: what was asked (recipe, plan, data), what happened (metrics), and what came out (weights)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pydantic
import yaml

from sslkit.engine import checkpoint, distributed
from sslkit.errors import UserError
from sslkit.models import trunk as trunks
from sslkit.recipe import Plan, Recipe
from sslkit.tasks.base import Task

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_PROSE = ("about", "paper")
"""Keys of a recipe that say nothing about what is computed."""

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
        self._board: SummaryWriter | None = None

    def open(self, recipe: Recipe, plan: Plan, data: Sequence[Mapping[str, Any]] = ()) -> Run:
        """Begin the run, or continue it if the folder holds the same one.

        data: for each prepared folder, {"folder", "source_hash", ...}; a folder that moved is still the same data.
        Raises UserError when the folder holds something else, naming the first difference.
        """
        if distributed.is_main():
            asked = _asked(recipe, plan, data)
            if _is_run(self.folder):
                self._require_same(asked)
            else:
                self._begin(asked)
        distributed.barrier()
        return self

    @classmethod
    def read(cls, folder: Path | str) -> Run:
        """A run that exists, to look at. Raises UserError when the folder holds none."""
        if not _is_run(Path(folder)):
            raise UserError(f"{folder} is not the folder of a run (it has no recipe.yaml); make one with pretrain.")
        return cls(folder)

    @property
    def recipe(self) -> Recipe:
        """The recipe as it was resolved when the run began."""
        return _validated(Recipe, self.folder / "recipe.yaml")

    @property
    def plan(self) -> Plan:
        """What the recipe meant."""
        return _validated(Plan, self.folder / "plan.json")

    @property
    def data(self) -> list[dict[str, Any]]:
        """The prepared folders, {"folder", "source_hash", ...} each."""
        listed: list[dict[str, Any]] = _plain(self.folder / "data.json")
        return listed

    @property
    def step(self) -> int:
        """Steps taken up to the last checkpoint; 0 without one."""
        path = self.folder / "checkpoint.pt"
        return int(checkpoint.read(path, mmap=True)["step"]) if path.is_file() else 0

    @property
    def finished(self) -> bool:
        """Whether all steps of the plan are taken and saved."""
        return self.step >= self.plan.steps

    def rows(self, split: str | None = None) -> list[Row]:
        """Rows of metrics.jsonl, of "train" or "val" or both, as {"step", "split", name: value}."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
        # A run that was killed may leave half a line at the end: what follows the last line break does not count.
        rows: list[Row] = [json.loads(line) for line in lines[:-1]]
        return [row for row in rows if split in (None, row["split"])]

    def log(self, step: int, split: str, values: Mapping[str, float], speed: Mapping[str, float] | None = None) -> None:
        """Write one row. speed: figures of this machine, for TensorBoard only: rows repeat exactly."""
        if not distributed.is_main():
            return
        with open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "split": split, **values}) + "\n")
        for name, value in {**values, **(speed or {})}.items():
            self._tensorboard(step).add_scalar(f"{split}/{name}", value, step)

    def rewind(self, step: int) -> None:
        """Forget rows of later steps: they are about to be written again."""
        if distributed.is_main() and (self.folder / "metrics.jsonl").is_file():
            kept = [json.dumps(row) + "\n" for row in self.rows() if row["step"] <= step]
            with checkpoint.replacing(self.folder / "metrics.jsonl") as file:
                file.write("".join(kept).encode())

    def save(self, state: Mapping[str, Any], name: str = "checkpoint.pt") -> None:
        """Write a checkpoint with the recipe, the plan and the versions; the old one stays until it is whole."""
        if distributed.is_main():
            asked = {"recipe": _json(self.recipe), "plan": _json(self.plan), "versions": versions()}
            checkpoint.write(self.folder / name, {**state, **asked})

    def load(self, name: str = "checkpoint.pt") -> dict[str, Any] | None:
        """The state that was saved last, on the CPU, or None."""
        path = self.folder / name
        return checkpoint.read(path) if path.is_file() else None

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
        """Finish writing for TensorBoard."""
        if self._board is not None:
            self._board.close()
        self._board = None

    def _begin(self, asked: Mapping[str, Any]) -> None:
        # recipe.yaml comes last: it is what makes the folder a run.
        left = {f"{name}{partial}" for name in asked for partial in ("", ".partial")}
        if self.folder.is_dir() and any(path.name not in left for path in self.folder.iterdir()):
            raise UserError(f"{self.folder} holds files but no run; choose another --out.")
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"{self.folder} is a file; choose another --out.")
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, content in asked.items():
            text = yaml.safe_dump(content, sort_keys=False) if name.endswith("yaml") else json.dumps(content, indent=1)
            with checkpoint.replacing(self.folder / name) as file:
                file.write(text.encode())

    def _require_same(self, asked: Mapping[str, Any]) -> None:
        prefixes = {"recipe.yaml": "", "plan.json": "plan.", "data.json": "data."}
        for name in ("recipe.yaml", "plan.json", "data.json"):
            there, now = _comparable(_plain(self.folder / name)), _comparable(asked[name])
            found = first_difference(there, now)
            if found:
                key, before, after = found
                raise UserError(
                    f"{self.folder} holds another run ({prefixes[name]}{key}: {before} there, {after} now); "
                    "choose another --out."
                )

    def _tensorboard(self, step: int) -> SummaryWriter:
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter  # imported late: it takes seconds

            self._board = SummaryWriter(str(self.folder), purge_step=step)
        return self._board


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


def _asked(recipe: Recipe, plan: Plan, data: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"plan.json": _json(plan), "data.json": [dict(one) for one in data], "recipe.yaml": _json(recipe)}


def _comparable(content: Any) -> dict[str, Any]:
    """Without prose, and with data told by what they are, not by where they lie."""
    if isinstance(content, list):
        return {str(n): {k: v for k, v in one.items() if k != "folder"} for n, one in enumerate(content)}
    return {name: value for name, value in content.items() if name not in _PROSE}


def _json(block: pydantic.BaseModel) -> dict[str, Any]:
    """Plain values as JSON has them: lists, not tuples."""
    plain: dict[str, Any] = block.model_dump(mode="json")
    return plain


def _plain(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        return yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} is missing or damaged, so the run cannot continue; choose another --out.") from error


def _validated(kind: type[Block], path: Path) -> Block:
    try:
        return kind.model_validate(_plain(path))
    except pydantic.ValidationError as error:
        raise UserError(f"{path} was written by another version of sslkit; choose another --out.") from error
