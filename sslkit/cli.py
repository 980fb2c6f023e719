"""The command line: parse, call one function in `sslkit.jobs`, hand its Result to the console.

Nothing heavy is imported before a command runs, so that `sslkit --help` answers at once.
"""

from __future__ import annotations

import importlib.metadata
import os
import select
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from sslkit.errors import SslkitError, UserError
from sslkit.report.console import Output

_GIVEN = "input: "

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line instead of tables.")]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute; auto prefers a GPU.")]
Workers = Annotated[int | None, typer.Option(min=0, help="Processes that decode; by default as suits the machine.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a recipe's setting: train.lr=0.01.")
]
Runs = Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="Run folders, or - for a list on stdin.")]
On = Annotated[list[Path], typer.Option(metavar="DATASET", help="Prepared, labelled dataset; repeat to add more.")]
Inits = Annotated[
    list[str] | None,
    typer.Option("--init", metavar="INIT", help="A control beside the runs: random, supervised, a file."),
]
Seeds = Annotated[int, typer.Option(min=1, help="Repeat with this many seeds.")]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the report and its files.")]


def _version(wanted: bool) -> None:
    if wanted:
        Output().text(f"sslkit {importlib.metadata.version('sslkit')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the trace of an error; may stand anywhere.")] = False,
) -> None:
    """Learn from images, video and sound without labels, and put what was learnt to use.

    Example: sslkit pretrain --task aot --out runs/aot
    """


@app.command("prepare-data")
def prepare_data(
    layout: Annotated[str, typer.Argument(help="What SOURCE looks like: folder, imagenet, ucf101, ..., or toybox.")],
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
    as_json: Json = False,
) -> None:
    """Decode a dataset once, into shards that training reads fast.

    Example: sslkit prepare-data ucf101 downloads/UCF-101 data/ucf101 --flow tvl1 --stabilise

    Without any download: sslkit prepare-data toybox data/toybox
    """
    given: dict[str, Any] = dict(
        short_side_px=short_side_px, fps=fps, clip_s=clip_s, flow=flow, stabilise=stabilise, remove_borders=borders,
        shots=shots, sound=False if no_sound else None, val_share=val_share, fold=fold, seed=seed, clips=clips,
        stills=stills, limit=limit, max_skipped=max_skipped,
    )  # fmt: skip
    chosen = {name: value for name, value in given.items() if value is not None} | _assigned(overrides)
    with _telling(as_json, paths[0] if len(paths) > 1 else layout) as output, output.progress() as progress:
        if len(paths) != 2 and (layout, len(paths)) != ("toybox", 1):
            raise UserError(f"prepare-data {layout} needs SOURCE and OUT, but {len(paths)} paths were given.")
        from sslkit import jobs

        source, out = ["", *paths][-2:]
        result = jobs.prepare_data(layout, source, Path(out), chosen, workers or _cores(), progress)
    output.result(result)


@app.command()
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
    with _telling(as_json, recipe or task) as output, output.progress() as progress:
        if not task and not recipe:
            raise UserError("Nothing says what to train: give --task or --recipe (`sslkit recipes` lists them).")
        from sslkit import jobs

        result = jobs.pretrain(
            task, recipe, data or [], out, tiny, changes, device, _feeders(workers), dry_run, progress
        )
    output.result(result)


@app.command()
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
    with _telling(as_json, " ".join(map(str, on))) as output, output.progress() as progress:
        from sslkit import jobs

        folders = [Path(run) for run in _listed(runs or [])]
        result = jobs.probe(
            folders, on, inits or [], recipe, seeds, overrides or [], out, device, _feeders(workers), progress
        )
    output.result(result)


@app.command()
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
    with _telling(as_json, " ".join(map(str, on))) as output, output.progress() as progress:
        from sslkit import jobs

        folders = [Path(run) for run in _listed(runs or [])]
        result = jobs.finetune(
            folders, on, inits or [], recipe, seeds, overrides or [], out, device, _feeders(workers), progress
        )
    output.result(result)


@app.command()
def arrow(
    videos: Annotated[list[str], typer.Argument(metavar="VIDEO...", help="Files, or - for a list on stdin.")],
    weights: Annotated[Path, typer.Option(metavar="RUN", help="Run folder of the arrow of time, or its weights.")],
    out: Out = None,
    overlay: Annotated[bool, typer.Option("--overlay/--no-overlay", help="Write videos that show where.")] = True,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Say whether videos run forwards or backwards, and show where that can be seen.

    Example: sslkit arrow clip.mp4 --weights runs/aot --out arrows

    Many: ls clips/*.mp4 | sslkit arrow - --weights runs/aot --json
    """
    with _telling(as_json) as output:
        from sslkit import jobs

        failed = output.results(jobs.arrow([Path(video) for video in _listed(videos)], weights, out, overlay, device))
    if failed:
        raise typer.Exit(1)


@app.command()
def tasks(as_json: Json = False) -> None:
    """List the pretext tasks.

    Example: sslkit tasks --json
    """
    with _telling(as_json) as output:
        from sslkit.tasks import base

        rows = []
        for name in base.names():
            task = base.load(name)
            about = " ".join((sys.modules[task.__module__].__doc__ or "").split("\n\n")[0].split())
            cheats = [cheat.name for cheat in task.shortcuts]
            rows.append({"task": name, "short": task.short_name, "about": about, "shortcuts": cheats})
        output.rows(rows)


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="Show this recipe instead of the list.")] = None,
    as_json: Json = False,
) -> None:
    """List the recipes that come with sslkit, or show one.

    Example: sslkit recipes arrow-of-time > mine.yaml
    """
    with _telling(as_json, name) as output:
        from sslkit import recipe

        if name is None:
            output.rows(recipe.listing())
            return
        path = recipe.find(None, name)
        text = path.read_text(encoding="utf-8")
        output.rows([{"name": path.stem, "path": path, "text": text}]) if as_json else output.text(text)


def _assigned(overrides: Sequence[str]) -> dict[str, str]:
    """`--set KEY=VALUE` of prepare-data, whose settings are flat and check their own types."""
    pairs = [assignment.partition("=") for assignment in overrides]
    for key, equals, value in pairs:
        if not (key and equals):
            raise UserError(f"--set {key}{equals}{value}: write KEY=VALUE.")
    return {key.strip(): value.strip() for key, _, value in pairs}


def _listed(names: Sequence[str]) -> list[str]:
    """`-` replaced by the lines of stdin; empty lines and comments (#) are passed over."""
    found: list[str] = []
    for name in names:
        lines = [line.strip() for line in sys.stdin] if name == "-" else [name]
        found += [line for line in lines if name != "-" or (line and not line.startswith("#"))]
    if names and not found:
        raise UserError("Nothing was read from stdin: give one path a line.")
    return found


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _feeders(workers: int | None) -> int:
    """Half the cores feed, up to eight, and the rest compute; 0 reads in the main process."""
    return min(8, max(1, _cores() // 2)) if workers is None else workers


@contextmanager
def _telling(as_json: bool, given: str | None = None) -> Iterator[Output]:
    """The console of one command; its failures are told together with the input that they are about."""
    try:
        # Under torchrun every process runs this; the first one speaks for all.
        yield Output(as_json, speaks=os.environ.get("RANK", "0") == "0")
    except Exception as error:
        if given:
            error.add_note(_GIVEN + given)
        raise


def main() -> None:
    """The `sslkit` program: exit code 0 done, 1 the work failed, 2 the request was wrong, 130 interrupted."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code."""
    words = [word for word in arguments if word != "--debug"]
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        Output().complain("interrupted.")
        return 130
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _reader_left():
            return 0
        if "--debug" in arguments:
            traceback.print_exc()
        return _tell(error, "--json" in words)


def _dispatch(words: Sequence[str]) -> int:
    command = typer.main.get_command(app)
    try:
        with command.make_context("sslkit", list(words)) as context:
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    return 0


def _reader_left() -> bool:
    """Whether nobody reads stdout any more (`sslkit recipes | head -1`), as against a pipe that broke in the work."""
    try:
        descriptor = sys.stdout.fileno()
    except OSError:  # not a file at all
        return False
    watched = select.poll()
    watched.register(descriptor, 0)  # errors are reported in any case
    if not any(event & (select.POLLERR | select.POLLHUP) for _, event in watched.poll(0)):
        return False
    # Python would complain once more when it flushes on its way out.
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return True


def _tell(error: Exception, as_json: bool) -> int:
    """One sentence about a failure; returns the exit code."""
    notes = [note.removeprefix(_GIVEN) for note in getattr(error, "__notes__", []) if note.startswith(_GIVEN)]
    sentence, kind, code = str(error), "work", 1
    if isinstance(error, SslkitError):
        kind, code = error.kind, error.exit_code
    elif hasattr(error, "format_message"):  # of the parser: an unknown option, a missing argument
        if type(error).__name__ == "NoArgsIsHelpError":  # the help has been printed
            return 2
        said = f"{error.format_message().rstrip('.')}. ".replace("?. ", "? ")
        sentence, kind, code = f"{said}Add --help to see what can be given.", UserError.kind, 2
    elif type(error).__name__ == "OutOfMemoryError":
        sentence = "The device ran out of memory: lower train.batch or raise train.accumulate."
    else:
        sentence = f"{type(error).__name__}: {str(error).strip() or 'no message'} (add --debug for the trace)."
    Output(as_json).failure(sentence, kind, notes[-1] if notes else None)
    return code
