"""Shortcuts of a task, measured on prepared data or on a toybox in which the cue is known to be."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sslkit import pages
from sslkit import recipe as recipes
from sslkit.catalog import nearest
from sslkit.data.dataset import Dataset, DatasetInfo
from sslkit.data.prepare import prepare
from sslkit.data.settings import PrepareSettings
from sslkit.engine.device import pick
from sslkit.errors import UserError
from sslkit.evals import audit as audits
from sslkit.evals.audit import Audit, Audited, Finding, Material, World, slug
from sslkit.jobs.data import Progress, check_prepared, toybox_settings
from sslkit.recipe import Recipe
from sslkit.tasks import base as tasks
from sslkit.tasks.base import Cheat, Shortcut
from sslkit.types import Result

Folders = Mapping[World, Sequence[Path]]

_CLIPS = 300  # more than there are to learn from: a third of them must tell 50 from 60 %
_MAY_DIFFER = {"max_skipped", "shard_mb"}


def audit(
    task: str,
    data: Sequence[Path] = (),
    cleaned: Sequence[Path] = (),
    shortcuts: Sequence[str] = (),
    recipe: str | None = None,
    steps: int | None = None,
    overrides: Sequence[str] = (),
    out: Path | None = None,
    device: str = "auto",
    workers: int = 1,
    progress: Progress | None = None,
) -> Result:
    """Train a cheater on the cue of each shortcut, and the task, without and with the control; see `evals.audit`.

    data, cleaned: prepared folders; `cleaned` hold the same media as `data`, prepared with the control of a shortcut.
    Without data, toyboxes that have the cue are made in `out`. shortcuts: which; none named means all that can be
    measured. recipe: how the task is trained; None: the tiny form of its own. steps: of every training.

    Raises UserError for folders that differ in more than a control, and when nothing can be measured.
    """
    began = time.perf_counter()
    measured, notes = _measured(task, shortcuts)
    asked = recipes.load(recipe or task, set=[*overrides, *_steps(steps)], tiny=recipe is None)
    out, chosen = out or Path("runs") / f"audit-{asked.task}", pick(device)
    pairs = _pairs(measured, list(data), list(cleaned))
    found = []
    for shortcut, cheat in measured:
        folders = pairs.get(shortcut.name) or _toybox(shortcut, cheat, asked, out, workers, progress)
        if recipe is not None:
            _check(asked, cheat, folders)
        worlds = audits.material(folders)
        one = Audit(shortcut, cheat, worlds, asked, out, chosen, workers, steps or audits.STEPS, progress)
        found.append(Audited(shortcut, one.findings()))
        notes += _remarks(shortcut, cheat, worlds, found[-1].findings)
    chance = tasks.build(asked.task, asked.settings).chance
    result = Result(
        name=f"shortcuts of {asked.task}",
        fields={
            "task": asked.task,
            "recipe": asked.name,
            "protocol": "audit",
            "data": [str(folder) for folder in data] or ["toybox"],
            "cleaned": [str(folder) for folder in cleaned],
            "seed": asked.train.seed,
            "device": str(chosen),
            "closed": {one.shortcut.name: one.closed(chance) for one in found},
        },
        chance=chance,
        rows=[row for one in found for row in one.rows(chance)],
        shown=[row for one in found for row in one.table()],
        notes=notes,
        seconds=time.perf_counter() - began,
    )
    return pages.of_audit(result, found, tasks.build(asked.task, asked.settings).classes, out)


def _steps(steps: int | None) -> list[str]:
    return [] if steps is None else [f"train.steps={steps}"]


def _measured(task: str, names: Sequence[str]) -> tuple[list[tuple[Shortcut, Cheat]], list[str]]:
    """The shortcuts that are asked for and can be measured, and a sentence about each that cannot."""
    declared = {slug(shortcut): shortcut for shortcut in tasks.load(task).shortcuts}
    wanted = [name.replace(" ", "-") for name in names] or list(declared)
    for name in wanted:
        if name not in declared:
            hint = nearest(name, list(declared)).rstrip(".")
            raise UserError(f"{task} declares no shortcut called {name!r}; {hint}.".replace("?.", "?"))
    chosen = [declared[name] for name in wanted]
    notes = [f"{one.name} is not measured. {one.cheat}" for one in chosen if isinstance(one.cheat, str)]
    measured = [(one, one.cheat) for one in chosen if isinstance(one.cheat, Cheat)]
    if not measured:
        raise UserError(" ".join(notes) or f"{task} declares no shortcut.")
    return measured, notes


def _pairs(measured: Sequence[tuple[Shortcut, Cheat]], data: list[Path], cleaned: list[Path]) -> dict[str, Folders]:
    """For each shortcut the folders of its worlds, as far as they were given."""
    if not data:
        if cleaned:
            raise UserError("--cleaned says what --data became: give --data too.")
        return {}
    plain, other = Dataset(data, "train").info, Dataset(cleaned, "train").info if cleaned else None
    pairs: dict[str, Folders] = {}
    controlled = False
    for shortcut, cheat in measured:
        if not cheat.prepared:
            pairs[shortcut.name] = {"original": data, "cleaned": data}
        elif _on(cheat, plain):
            pairs[shortcut.name] = {"cleaned": data}
        elif other is not None and _on(cheat, other):
            _require_same(plain, other, cheat)
            controlled = True
            pairs[shortcut.name] = {"original": data, "cleaned": cleaned}
        else:
            pairs[shortcut.name] = {"original": data}
    if cleaned and not controlled:
        controls = ", ".join(name for _, cheat in measured for name in cheat.prepared) or "none"
        raise UserError(f"{cleaned[0]} has no control that {data[0]} lacks; controls of preparation are: {controls}.")
    return pairs


def _on(cheat: Cheat, info: DatasetInfo) -> bool:
    return any(settings.get(name) for settings in info.each for name in cheat.prepared)


def _require_same(plain: DatasetInfo, other: DatasetInfo, cheat: Cheat) -> None:
    """Raise UserError when two preparations differ in more than the control."""
    may = " or ".join(cheat.prepared)
    if plain.source_hashes != other.source_hashes:
        raise UserError(f"{other.folders[0]} was prepared from other media than {plain.folders[0]}.")
    for folder, one, two in zip(other.folders, plain.each, other.each, strict=True):
        for name in sorted(set(one) | set(two)):
            if one.get(name) != two.get(name) and name not in {*cheat.prepared, *_MAY_DIFFER}:
                raise UserError(
                    f"{folder} was prepared with {name} {two.get(name)} and not {one.get(name)}; it may differ in "
                    f"{may} only: prepare it again."
                )


def _toybox(
    shortcut: Shortcut, cheat: Cheat, asked: Recipe, out: Path, workers: int, progress: Progress | None
) -> Folders:
    """Toyboxes that have the cue, prepared without and with the control where that is how it is controlled."""
    content, settings = toybox_settings(asked)
    content = content | {"clips": _CLIPS if content["clips"] else 0}
    own = out / slug(shortcut) if cheat.prepared or cheat.toybox else out
    plain = content | settings | dict(cheat.toybox) | dict.fromkeys(cheat.prepared, False)
    worlds: dict[World, dict[str, Any]] = {
        "original": plain,
        "cleaned": plain | dict.fromkeys(cheat.prepared[:1], True),
    }
    folders: dict[World, Sequence[Path]] = {}
    for world, how in worlds.items():
        folders[world] = [own / (f"toybox-{world}" if cheat.prepared else "toybox")]
        prepare("toybox", "", folders[world][0], PrepareSettings(**how), max(workers, 2), progress)
    return folders


def _check(asked: Recipe, cheat: Cheat, folders: Folders) -> None:
    """Raise UserError when data were prepared otherwise than the recipe asks, the control apart."""
    free = asked.data.model_copy(
        update={name: None for name in cheat.prepared if name in type(asked.data).model_fields}
    )
    for paths in folders.values():
        check_prepared(free, Dataset(paths, "train").info)


def _remarks(
    shortcut: Shortcut, cheat: Cheat, worlds: Mapping[World, Material], findings: Sequence[Finding]
) -> list[str]:
    """Sentences on what was left out."""
    notes = []
    if len(worlds) == 1:
        other = (
            "with " + " or ".join(cheat.prepared) if "original" in worlds else "without " + " and ".join(cheat.prepared)
        )
        notes.append(f"{shortcut.name}: one half only; for the other, prepare the same media {other}.")
    left = {world: found.left_out for world, found in worlds.items() if found.left_out}
    notes += [
        f"{shortcut.name}: {count} {world} samples have no counterpart and were left out."
        for world, count in left.items()
    ]
    if any(found.value is None for found in findings):
        notes.append(f"{shortcut.name}: no held-out sample has the cue, so the cheater was asked nothing.")
    return notes
