"""Commands that train networks and measure them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sslkit.cli.app import app, telling
from sslkit.cli.options import Device, Inits, Json, On, Out, Overrides, Runs, Seeds, Workers, feeders, listed
from sslkit.errors import UserError

PANEL = "Learning"


@app.command(rich_help_panel=PANEL)
def pretrain(
    task: Annotated[str | None, typer.Option(help="A pretext task; alone, it also names the recipe.")] = None,
    recipe: Annotated[str | None, typer.Option(metavar="NAME|PATH", help="A packaged recipe or a file.")] = None,
    data: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Prepared dataset; repeat to add more.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="Run folder; one that exists is resumed.")] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="Apply the recipe's tiny form, for a CPU.")] = False,
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
    recipe: Annotated[str, typer.Option(metavar="NAME|PATH", help="Protocol of the probe.")] = "linear",
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
    recipe: Annotated[str, typer.Option(metavar="NAME|PATH", help="Protocol of the finetuning.")] = "clips",
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
