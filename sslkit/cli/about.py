"""Commands that say what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sslkit import catalog
from sslkit.cli import completion
from sslkit.cli.app import app, telling
from sslkit.cli.options import Data, Device, Json, Out, Task, Workers, feeders

PANEL = "About"


@app.command(rich_help_panel=PANEL)
def tasks(as_json: Json = False) -> None:
    """List the pretext tasks.

    Example: sslkit tasks --json
    """
    with telling(as_json) as output:
        output.rows(catalog.tasks())


@app.command(rich_help_panel=PANEL)
def recipes(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Show this recipe instead of the list.", autocompletion=completion.recipes(*catalog.RECIPE_KINDS)
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the recipes that come with sslkit, or show one.

    Example: sslkit recipes arrow-of-time > mine.yaml
    """
    with telling(as_json, name) as output:
        from sslkit import recipe

        if name is None:
            output.rows(recipe.listing())
            return
        path = recipe.find(None, name)
        text = path.read_text(encoding="utf-8")
        output.rows([{"name": path.stem, "path": path, "text": text}]) if as_json else output.text(text)


@app.command(rich_help_panel=PANEL)
def doctor(as_json: Json = False) -> None:
    """Say what sslkit finds on this machine, what is missing or does not match, and how to mend it.

    Example: sslkit doctor
    """
    with telling(as_json) as output, output.progress() as progress:
        from sslkit import doctor as checks

        progress(0, 0, "trying what is installed")
        rows = checks.rows()
    output.rows(rows)
    if any(row["state"] == "fail" for row in rows):
        raise typer.Exit(1)


@app.command(rich_help_panel=PANEL)
def bench(
    rows: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ROW]...", help="Measure only these; all by default.", autocompletion=completion.bench),
    ] = None,
    data: Data = None,
    media: Annotated[Path | None, typer.Option(metavar="DIR", help="Videos that are prepared.")] = None,
    task: Task = None,
    full: Annotated[bool, typer.Option("--full", help="Watch memory over 20,000 windows, and an hour.")] = False,
    out: Out = None,
    device: Device = "auto",
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Measure how fast sslkit is here, each figure as a ratio within this run.

    Example: sslkit bench decode step --data data/videos
    """
    with telling(as_json, " ".join(rows or [])) as output, output.progress() as progress:
        from sslkit import jobs

        result = jobs.bench(rows or [], data or [], media, task, out, full, device, feeders(workers), progress)
    output.rows(result.rows) if as_json else output.result(result)
