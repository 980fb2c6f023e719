"""Runs that trained networks come from, and folders for what is measured of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sslkit.engine.run import Run
from sslkit.errors import UserError
from sslkit.models import weights
from sslkit.models.weights import Match
from sslkit.tasks import base as tasks


def load_task(folder: Path) -> tuple[tasks.Task, Run]:
    """The task of a run with its best weights (the last ones where nothing was validated), in evaluation mode.

    Raises UserError for what is no run or has no weights, WorkError when they are damaged or do not fit the task.
    """
    return loaded(folder)[:2]


def loaded(folder: Path) -> tuple[tasks.Task, Run, Match]:
    """As `load_task`, and how many weights matched."""
    run = Run.read(folder)
    state = run.load("best.pt") or run.load()
    if state is None:
        raise UserError(f"{folder} has no checkpoint yet; let its training go on first.")
    learner = tasks.build(run.recipe.task, run.recipe.settings)
    match = weights.fill(learner, state.get("task"), str(folder))
    return learner.eval(), run, match


def named(runs: Sequence[Path]) -> dict[str, Path]:
    """Runs by what rows call them: the names of their folders, or their paths where two have one name."""
    names = [Path(run).resolve().name for run in runs]
    return {name if names.count(name) == 1 else str(run): Path(run) for name, run in zip(names, runs, strict=True)}


def evaluation_folder(out: Path | None, runs: Sequence[Path], what: str, on: Sequence[Path]) -> Path:
    """Where an evaluation's page and result go: into the first run, beside the first file of weights, or `out`."""
    parent = Path(runs[0]) if runs else Path("runs")
    parent = parent.parent if parent.is_file() else parent
    folder = out or parent / f"{what}-{'-'.join(Path(dataset).name for dataset in on)}"
    if (folder / "recipe.yaml").exists():
        raise UserError(f"{folder} is the folder of a run, which has a result of its own: choose another --out.")
    return folder
