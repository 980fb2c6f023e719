"""Options that several commands have, and what becomes of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from sslkit.cli import completion
from sslkit.errors import UserError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line instead of tables.")]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute; auto prefers a GPU.")]
Workers = Annotated[int | None, typer.Option(min=0, help="Processes that decode; by default as suits the machine.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a recipe's setting: train.lr=0.01.")
]
Task = Annotated[
    str | None,
    typer.Option(help="A pretext task; alone, it also names the recipe.", autocompletion=completion.tasks),
]
PretrainRecipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME|PATH",
        help="A packaged recipe or a file.",
        autocompletion=completion.recipes("pretrain"),
    ),
]
Tiny = Annotated[bool, typer.Option("--tiny", help="Apply the recipe's tiny form, for a CPU.")]
Runs = Annotated[
    list[str] | None,
    typer.Argument(metavar="[RUN]...", help="Run folders, or - for a list on stdin.", autocompletion=completion.runs),
]
Data = Annotated[
    list[Path] | None,
    typer.Option(metavar="DIR", help="Prepared dataset; repeat to add more.", autocompletion=completion.datasets),
]
On = Annotated[
    list[Path],
    typer.Option(
        metavar="DATASET", help="Prepared, labelled dataset; repeat to add more.", autocompletion=completion.datasets
    ),
]
Inits = Annotated[
    list[str] | None,
    typer.Option(
        "--init",
        metavar="INIT",
        help="A control beside the runs: random, supervised, a file.",
        autocompletion=completion.inits,
    ),
]
Seeds = Annotated[int, typer.Option(min=1, help="Repeat with this many seeds.")]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the report and its files.")]


def listed(names: Sequence[str]) -> list[str]:
    """`-` replaced by the lines of stdin; empty lines and comments (#) are passed over."""
    found: list[str] = []
    for name in names:
        lines = [line.strip() for line in sys.stdin] if name == "-" else [name]
        found += [line for line in lines if name != "-" or (line and not line.startswith("#"))]
    if names and not found:
        raise UserError("Nothing was read from stdin: give one path a line.")
    return found


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def feeders(workers: int | None) -> int:
    """Half the cores feed, up to eight, and the rest compute; 0 reads in the main process.

    Under torchrun the processes of a host share its cores.
    """
    sharing = int(os.environ.get("LOCAL_WORLD_SIZE") or 1)
    return min(8, max(1, cores() // sharing // 2)) if workers is None else workers
