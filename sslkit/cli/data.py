"""Commands that make and show datasets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from sslkit.cli import completion
from sslkit.cli.app import app, telling
from sslkit.cli.options import Data, Json, Out, Overrides, PretrainRecipe, Task, Tiny, Workers, cores
from sslkit.errors import UserError

PANEL = "Data"


@app.command("prepare-data", rich_help_panel=PANEL)
def prepare_data(
    layout: Annotated[
        str,
        typer.Argument(
            help="What SOURCE looks like: folder, imagenet, ucf101, ..., or toybox.", autocompletion=completion.layouts
        ),
    ],
    paths: Annotated[list[str], typer.Argument(metavar="[SOURCE] OUT", help="The toybox has no SOURCE.")],
    short_side_px: Annotated[int | None, typer.Option(help="Short side of the prepared pictures.")] = None,
    fps: Annotated[float | None, typer.Option(help="Constant rate of the prepared clips.")] = None,
    clip_s: Annotated[float | None, typer.Option(help="Longest clip; longer ones are cut.")] = None,
    flow: Annotated[Literal["none", "dis", "tvl1"] | None, typer.Option(help="Optical flow to store.")] = None,
    stabilise: Annotated[bool | None, typer.Option("--stabilise/--no-stabilise", help="Undo camera motion.")] = None,
    borders: Annotated[bool | None, typer.Option("--remove-borders/--keep-borders", help="Cut black bars off.")] = None,
    shots: Annotated[bool | None, typer.Option("--shots/--no-shots", help="Cut at changes of shot.")] = None,
    no_sound: Annotated[bool, typer.Option("--no-sound", help="Leave sound out.")] = False,
    val_share: Annotated[float | None, typer.Option(help="Share held out where a layout has no split.")] = None,
    fold: Annotated[int | None, typer.Option(help="Which of a layout's official splits.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the toybox, and of what is drawn.")] = None,
    clips: Annotated[int | None, typer.Option(help="Clips that the toybox makes.")] = None,
    stills: Annotated[int | None, typer.Option(help="Stills that the toybox makes.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many items of each split.")] = None,
    max_skipped: Annotated[float | None, typer.Option(help="Share of unreadable input to accept, 0 to 1.")] = None,
    overrides: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="Any other setting, such as widen_s=2.7; repeatable."),
    ] = [],  # noqa: B006
    workers: Workers = None,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Dask scheduler whose workers do it, such as tcp://host:8786; see above."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Decode a dataset once, into shards that training reads fast.

    Example: sslkit prepare-data ucf101 downloads/UCF-101 data/ucf101 --flow tvl1 --stabilise

    Without any download: sslkit prepare-data toybox data/toybox

    With --cluster, the workers must find SOURCE and OUT under the same paths as this machine. Dask runs code that it is
    sent (pickles): use a cluster that you trust, in a network where nobody else can reach it.
    """
    given: dict[str, Any] = dict(
        short_side_px=short_side_px, fps=fps, clip_s=clip_s, flow=flow, stabilise=stabilise, remove_borders=borders,
        shots=shots, sound=False if no_sound else None, val_share=val_share, fold=fold, seed=seed, clips=clips,
        stills=stills, limit=limit, max_skipped=max_skipped,
    )  # fmt: skip
    chosen = {name: value for name, value in given.items() if value is not None} | _assigned(overrides)
    with telling(as_json, paths[0] if len(paths) > 1 else layout) as output, output.progress() as progress:
        if len(paths) != 2 and (layout, len(paths)) != ("toybox", 1):
            raise UserError(f"prepare-data {layout} needs SOURCE and OUT, but {len(paths)} paths were given.")
        from sslkit import jobs

        source, out = ["", *paths][-2:]
        result = jobs.prepare_data(layout, source, Path(out), chosen, workers or cores(), progress, cluster)
    output.result(result)


@app.command(rich_help_panel=PANEL)
def duplicates(
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATASET...",
            help="Prepared datasets: first what is learnt from.",
            autocompletion=completion.datasets,
        ),
    ],
    bits: Annotated[int, typer.Option(min=0, max=32, help="By how many of 64 bits two hashes may differ.")] = 6,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if there are any.")] = False,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Find near-duplicates between train and held-out splits, within a dataset and between several.

    Example: sslkit duplicates data/pictures data/caltech --strict
    """
    with telling(as_json, " ".join(map(str, data))) as output, output.progress() as progress:
        from sslkit import jobs

        result = jobs.duplicates(data, out, bits, progress)
    output.result(result)
    if strict and result.fields["duplicates"]:
        raise typer.Exit(1)


@app.command(rich_help_panel=PANEL)
def browse(
    task: Task = None,
    recipe: PretrainRecipe = None,
    data: Data = None,
    samples: Annotated[int, typer.Option("--n", min=1, max=200, help="Samples to show, of each mode.")] = 24,
    tiny: Tiny = False,
    overrides: Overrides = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Short for --set train.seed=N.")] = None,
    out: Out = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Show what a network will be asked, with the right answers, as a page.

    Example: sslkit browse --task aot --data data/videos
    """
    changes = [*(overrides or []), *([] if seed is None else [f"train.seed={seed}"])]
    with telling(as_json, recipe or task) as output, output.progress() as progress:
        from sslkit import jobs

        result = jobs.browse(task, recipe, data or [], out, tiny, changes, samples, workers or cores(), progress)
    output.result(result)


def _assigned(overrides: Sequence[str]) -> dict[str, str]:
    """`--set KEY=VALUE` of prepare-data, whose settings are flat and check their own types."""
    pairs = [assignment.partition("=") for assignment in overrides]
    for key, equals, value in pairs:
        if not (key and equals):
            raise UserError(f"--set {key}{equals}{value}: write KEY=VALUE.")
    return {key.strip(): value.strip() for key, _, value in pairs}
