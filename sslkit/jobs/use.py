"""Demos: what was learnt, put to use on files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from sslkit.demos import arrow as arrow_demo
from sslkit.engine.device import pick
from sslkit.engine.run import Run
from sslkit.errors import SslkitError, UserError
from sslkit.jobs.learn import load_task
from sslkit.tasks import base as tasks
from sslkit.types import Result


def arrow(
    videos: Sequence[Path], weights: Path, out: Path | None = None, overlay: bool = True, device: str = "auto"
) -> Iterator[Result]:
    """Forwards or backwards? One result a video; one that cannot be judged gives a result with an error."""
    learner, run = load_task(weights)
    if run.recipe.task != "arrow_of_time":
        raise UserError(f"{weights} learnt {run.recipe.task}; sslkit arrow needs a run of arrow_of_time.")
    chosen, settings = pick(device), _arrow_settings(run, learner)
    folder = out or Path("runs") / "arrow"
    for video in videos:
        try:
            yield arrow_demo.arrow(Path(video), learner, chosen, settings, folder if overlay else None, overlay)  # type: ignore[arg-type]
        except SslkitError as error:
            yield Result(name="arrow", fields={"input": str(video), "error": str(error), "kind": error.kind})


def _arrow_settings(run: Run, learner: tasks.Task) -> arrow_demo.ArrowSettings:
    prepared = run.data[0]["settings"]
    return arrow_demo.ArrowSettings(
        fps=prepared["fps"] or 25.0,
        short_side_px=prepared["short_side_px"],
        flow_method=prepared["flow"],
        flow_bound_px=prepared["flow_bound_px"],
        fields=learner.trunks["sight"].takes.flow,
        remove_borders=prepared["remove_borders"],
        stabilise=prepared["stabilise"],
    )
