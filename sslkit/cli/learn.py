"""Commands that train networks and measure them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sslkit.cli import completion
from sslkit.cli.app import app, telling
from sslkit.cli.options import (
    Data,
    Device,
    Inits,
    Json,
    On,
    Out,
    Overrides,
    PretrainRecipe,
    Runs,
    Seeds,
    Task,
    Tiny,
    Workers,
    feeders,
    listed,
)
from sslkit.errors import UserError

PANEL = "Learning"


@app.command(rich_help_panel=PANEL)
def pretrain(
    task: Task = None,
    recipe: PretrainRecipe = None,
    data: Data = None,
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="Run folder; one that exists is resumed.")] = None,
    tiny: Tiny = False,
    overrides: Overrides = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Short for --set train.seed=N.")] = None,
    device: Device = "auto",
    workers: Workers = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Train a network on a pretext task.

    Example: sslkit pretrain --task aot --data data/ucf101 --out runs/aot

    Change a setting: sslkit pretrain --task rotation --data data/pictures --set train.lr=0.01
    """
    changes = [*(overrides or []), *([] if seed is None else [f"train.seed={seed}"])]
    with telling(as_json, recipe or task) as output, output.progress() as progress:
        if not task and not recipe:
            raise UserError("Nothing says what to train: give --task or --recipe (`sslkit recipes` lists them).")
        from sslkit import jobs

        result = jobs.pretrain(
            task, recipe, data or [], out, tiny, changes, device, feeders(workers), dry_run, progress
        )
    output.result(result)


@app.command(rich_help_panel=PANEL)
def probe(
    on: On,
    runs: Runs = None,
    inits: Inits = None,
    recipe: Annotated[
        str,
        typer.Option(metavar="NAME|PATH", help="Protocol of the probe.", autocompletion=completion.recipes("probe")),
    ] = "linear",
    seeds: Seeds = 1,
    overrides: Overrides = None,
    out: Out = None,
    device: Device = "auto",
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Measure what the frozen layers of runs know, beside controls.

    Example: sslkit probe runs/aot --on data/ucf101 --init random
    """
    with telling(as_json, " ".join(map(str, on))) as output, output.progress() as progress:
        from sslkit import jobs

        folders = [Path(run) for run in listed(runs or [])]
        result = jobs.probe(
            folders, on, inits or [], recipe, seeds, overrides or [], out, device, feeders(workers), progress
        )
    output.result(result)


@app.command(rich_help_panel=PANEL)
def finetune(
    on: On,
    runs: Runs = None,
    inits: Inits = None,
    recipe: Annotated[
        str,
        typer.Option(
            metavar="NAME|PATH", help="Protocol of the finetuning.", autocompletion=completion.recipes("finetune")
        ),
    ] = "clips",
    seeds: Seeds = 1,
    overrides: Overrides = None,
    out: Out = None,
    device: Device = "auto",
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Train runs on with labels, and measure them beside controls.

    Example: sslkit finetune runs/aot --on data/ucf101 --init random --seeds 3
    """
    with telling(as_json, " ".join(map(str, on))) as output, output.progress() as progress:
        from sslkit import jobs

        folders = [Path(run) for run in listed(runs or [])]
        result = jobs.finetune(
            folders, on, inits or [], recipe, seeds, overrides or [], out, device, feeders(workers), progress
        )
    output.result(result)


@app.command(rich_help_panel=PANEL)
def compare(
    results: Annotated[
        list[str],
        typer.Argument(metavar="RUN|RESULT...", help="Folders of runs, probes, finetunings; or - for a list on stdin."),
    ],
    loose: Annotated[bool, typer.Option("--loose", help="Also what was not measured alike, and mark it.")] = False,
    format: Annotated[Literal["table", "markdown"], typer.Option(help="How the table is printed.")] = "table",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Put results of runs, probes or finetunings into one table, if they were measured alike.

    Example: sslkit compare runs/a/probe-caltech runs/b/probe-caltech
    """
    with telling(as_json) as output:
        from sslkit import jobs
        from sslkit.report.console import markdown

        result = jobs.compare([Path(name) for name in listed(results)], out, loose)
    if format == "markdown" and not as_json:
        output.text(markdown(result.rows))
    else:
        output.result(result)


@app.command(rich_help_panel=PANEL)
def audit(
    task: Annotated[
        str, typer.Option(help="The pretext task whose shortcuts are measured.", autocompletion=completion.tasks)
    ],
    data: Data = None,
    cleaned: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="The same media, prepared with the control of a shortcut.")
    ] = None,
    shortcut: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this one, such as camera-motion; repeatable.")
    ] = None,
    recipe: PretrainRecipe = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of every training.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Short for --set train.seed=N.")] = None,
    overrides: Overrides = None,
    out: Out = None,
    device: Device = "auto",
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Measure by which shortcuts a task can be solved, and whether its controls stop them.

    Example: sslkit audit --task aot --out runs/audit

    On your data: sslkit audit --task aot --data data/videos --cleaned data/steady --shortcut camera-motion
    """
    changes = [*(overrides or []), *([] if seed is None else [f"train.seed={seed}"])]
    with telling(as_json, task) as output, output.progress() as progress:
        from sslkit import jobs

        result = jobs.audit(
            task,
            data or [],
            cleaned or [],
            shortcut or [],
            recipe,
            steps,
            changes,
            out,
            device,
            feeders(workers),
            progress,
        )
    output.result(result)
