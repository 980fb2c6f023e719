"""Datasets: made, checked, found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sslkit.catalog import nearest
from sslkit.data.dataset import Dataset, DatasetInfo
from sslkit.data.prepare import prepare
from sslkit.data.settings import PrepareSettings
from sslkit.errors import UserError
from sslkit.recipe import Data, Recipe
from sslkit.tasks import base as tasks
from sslkit.types import Result

Progress = Callable[[int, int, str], None]

# The embedded default: as much as can be made and learnt from in a few minutes, of what the task reads.
TOYBOX_CLIPS: dict[str, Any] = {"clips": 200, "stills": 0, "seconds": 2.0, "seed": 0}
TOYBOX_STILLS: dict[str, Any] = {"clips": 0, "stills": 400, "seed": 0}


def prepare_data(
    layout: str,
    source: str,
    out: Path,
    options: dict[str, Any],
    workers: int = 2,
    progress: Progress | None = None,
    cluster: str | None = None,
) -> Result:
    """Decode media once into a prepared dataset; see `sslkit.data.prepare`."""
    prepared = prepare(layout, source, out, _prepare_settings(options), workers, progress, cluster)
    rows = [{"split": split, **counts} for split, counts in prepared.counts.items()]
    notes = []
    if prepared.skipped:
        notes.append(f"{prepared.skipped} sources or clips were skipped; {out / 'skipped.jsonl'} says why.")
    return Result(
        name=f"{layout} prepared in {out}",
        fields={
            "out": str(out),
            "layout": prepared.layout,
            "classes": list(prepared.classes),
            "skipped": prepared.skipped,
        },
        rows=rows,
        notes=notes,
        seconds=prepared.seconds,
    )


def toybox(recipe: Recipe, folder: Path, workers: int, progress: Progress | None) -> Path:
    """The toybox, prepared as a recipe asks, in `folder`; made once."""
    content, settings = toybox_settings(recipe)
    name = "-".join(
        ["toybox", "clips" if content["clips"] else "stills", *(f"{k}_{v}" for k, v in sorted(settings.items()))]
    ).replace("short_side_px", "side")
    out = folder / name.lower()
    prepare("toybox", "", out, PrepareSettings(**content, **settings), max(workers, 2), progress)
    return out


def toybox_settings(recipe: Recipe) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the toybox of a recipe holds, and how it is prepared: settings of prepare-data."""
    settings = {k: v for k, v in recipe.data.model_dump().items() if v is not None}
    reads = tasks.build(recipe.task, recipe.settings).reads()
    if reads.flow:
        settings.setdefault("flow", "dis")
    if recipe.data.faces:
        settings["scenes"] = "face"
    settings.setdefault("short_side_px", 128)
    return (TOYBOX_CLIPS if reads.flow or reads.frames > 1 or reads.sound_s else TOYBOX_STILLS), settings


def split_of(data: Sequence[Path], split: str) -> Dataset | None:
    """A split of those folders that have it, or None."""
    having = [folder for folder in data if (Path(folder) / f"{split}-index.jsonl").is_file()]
    found = Dataset(having, split) if having else None
    return found if found is not None and len(found) else None


@dataclass(frozen=True)
class _Setting:
    key: str
    option: str


_OPTIONS = [
    _Setting("short_side_px", "--short-side-px {}"),
    _Setting("fps", "--fps {}"),
    _Setting("flow", "--flow {}"),
    _Setting("stabilise", "--stabilise"),
    _Setting("remove_borders", "--remove-borders"),
    _Setting("faces", "--set faces={}"),
]


def check_prepared(data: Data, info: DatasetInfo) -> None:
    """Raise UserError when data were prepared otherwise than a recipe asks, naming the first difference."""
    for setting in _OPTIONS:
        wanted = getattr(data, setting.key)
        for folder, there in zip(info.folders, info.each, strict=True):
            if wanted is not None and there.get(setting.key) != wanted:
                option = setting.option.format(wanted)
                raise UserError(
                    f"{folder} was prepared with {setting.key} {there.get(setting.key)}, but the recipe asks for "
                    f"{wanted}: prepare it with {option}, or change the recipe with --set data.{setting.key}=..."
                )


def _prepare_settings(options: dict[str, Any]) -> PrepareSettings:
    known = PrepareSettings.model_fields
    mistakes = [
        f"{key}: no setting of prepare-data; {nearest(key, list(known))}" for key in options if key not in known
    ]
    settings: PrepareSettings | None = None
    try:
        settings = PrepareSettings.model_validate({key: value for key, value in options.items() if key in known})
    except ValidationError as error:
        mistakes += [": ".join([*map(str, e["loc"]), e["msg"]]) for e in error.errors()]
    if mistakes or settings is None:
        raise UserError("; ".join(mistakes) + ".")
    return settings
