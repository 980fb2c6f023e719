"""Commands that put what was learnt to use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sslkit.cli import completion
from sslkit.cli.app import app, telling
from sslkit.cli.options import Device, Json, Out, Workers, feeders, listed
from sslkit.errors import UserError

PANEL = "Using what was learnt"


@app.command(rich_help_panel=PANEL)
def arrow(
    videos: Annotated[list[str], typer.Argument(metavar="VIDEO...", help="Files, or - for a list on stdin.")],
    weights: Annotated[
        Path,
        typer.Option(
            metavar="RUN", help="Run folder of the arrow of time, or its weights.", autocompletion=completion.runs
        ),
    ],
    out: Out = None,
    overlay: Annotated[bool, typer.Option("--overlay/--no-overlay", help="Write videos that show where.")] = True,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Say whether videos run forwards or backwards, and show where that can be seen.

    Example: sslkit arrow clip.mp4 --weights runs/aot --out arrows

    Many: ls clips/*.mp4 | sslkit arrow - --weights runs/aot --json
    """
    with telling(as_json) as output:
        from sslkit import jobs

        failed = output.results(jobs.arrow([Path(video) for video in listed(videos)], weights, out, overlay, device))
    if failed:
        raise typer.Exit(1)


@app.command(rich_help_panel=PANEL)
def sync(
    videos: Annotated[list[str], typer.Argument(metavar="VIDEO...", help="Files, or - for a list on stdin.")],
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN|FILE",
            help="Not what ships: a run folder of lip_sync, or syncnet_v2.model as published.",
            autocompletion=completion.runs,
        ),
    ] = None,
    method: Annotated[
        Literal["lip-sync", "cca"], typer.Option(help="cca compares the mouth with onsets, and needs no weights.")
    ] = "lip-sync",
    fix: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT", help="Write copies whose sound is in time, of those whose is not: a file or a folder."
        ),
    ] = None,
    reach_frames: Annotated[int, typer.Option(min=2, max=100, help="Largest offset, in frames of 1/25 s.")] = 15,
    plot: Annotated[
        Path | None, typer.Option(metavar="HTML", help="Write a page: each face's distance at every offset.")
    ] = None,
    stream: Annotated[int, typer.Option(min=1, help="Which sound, of a file that holds several.")] = 1,
    features: Annotated[
        Path | None, typer.Option(metavar="NPZ", help="Write what is seen and heard, as vectors: a file or a folder.")
    ] = None,
    speakers: Annotated[
        Path | None,
        typer.Option(
            metavar="MP4", help="Write who speaks when: a video, or a folder of them; .rttm and .csv beside it."
        ),
    ] = None,
    detector: Annotated[Path | None, typer.Option(metavar="ONNX", help="A YuNet face detector.")] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Say by how much the sound of talking people is late or early, and mend it.

    Example: sslkit sync talk.mp4 --fix mended.mp4

    Who speaks: sslkit sync panel.mp4 --speakers speakers.mp4

    Many: ls clips/*.mp4 | sslkit sync - --method cca --json
    """
    with telling(as_json) as output, output.progress() as progress:
        from sslkit import jobs

        chosen = [Path(video) for video in listed(videos)]
        found = jobs.sync(
            chosen, weights, method, fix, reach_frames, detector, device, plot, stream, features, speakers, progress
        )
        failed = output.results(found)
    if failed:
        raise typer.Exit(1)


@app.command("localize-sound", rich_help_panel=PANEL)
def localize_sound(
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="VIDEO|PICTURE+SOUND...", help="Files, or - for a list on stdin.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="Run folder of av_object or av_sync, not what ships.", autocompletion=completion.runs
        ),
    ] = None,
    method: Annotated[
        Literal["av_object", "av_sync", "cca"] | None,
        typer.Option(help="That of the weights; without any, cca for what moves to its own sound, which needs none."),
    ] = None,
    sound: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Hear this with every input: what would make this sound?")
    ] = None,
    top_responses: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DATASET",
            help="Instead of files: the clips of each class of a prepared dataset that respond most.",
            autocompletion=completion.datasets,
        ),
    ] = None,
    out: Out = None,
    overlay: Annotated[bool, typer.Option("--overlay/--no-overlay", help="Write videos and pictures.")] = True,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Show what in a video, or in a picture, makes a sound.

    Example: sslkit localize-sound band.mp4 --out found

    A picture: sslkit localize-sound zoo.jpg+bark.wav --weights runs/av_object

    Many: ls clips/*.mp4 | sslkit localize-sound - --method cca --json
    """
    with telling(as_json) as output, output.progress() as progress:
        from sslkit import jobs

        if bool(inputs) == bool(top_responses):
            raise UserError("Give files, or --top-responses DATASET, one of the two.")
        if top_responses:
            if method or sound or not overlay:
                raise UserError(
                    "--top-responses takes the method of the weights and the sounds of the clips, and writes a page: "
                    "leave --method, --sound and --no-overlay out."
                )
            output.result(jobs.top_responses(top_responses, weights, out, device, progress))
            return
        chosen = [Path(one) for one in listed(inputs or [])]
        failed = output.results(jobs.localize_sound(chosen, weights, method, sound, out, overlay, device, progress))
    if failed:
        raise typer.Exit(1)


@app.command(rich_help_panel=PANEL)
def embed(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run folder, or a trunk's file.", autocompletion=completion.runs)
    ],
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Pictures, videos, folders; or - for a list on stdin.")
    ],
    layer: Annotated[str | None, typer.Option(help="Layer of the network; by default the last.")] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="What to write: .npz, .csv or .parquet.")] = Path(
        "features.npz"
    ),
    every_s: Annotated[
        float | None,
        typer.Option(metavar="S", help="Seconds between windows of a video; 1 for pictures, for clips no gap."),
    ] = None,
    pool_dims: Annotated[int, typer.Option(min=1, help="Numbers to keep of a map; 1 keeps one a channel.")] = 9000,
    batch: Annotated[int, typer.Option(min=1, help="Windows that the network sees at once.")] = 32,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Write features of any pictures and videos, with their paths and times.

    Example: sslkit embed runs/rotation pictures/ --out features.npz

    Many: find . -name '*.mp4' | sslkit embed runs/aot - --every-s 10 --out features.csv
    """
    with telling(as_json) as output, output.progress() as progress:
        from sslkit import jobs

        paths = [Path(file) for file in listed(files)]
        result = jobs.embed(run, paths, layer, out, every_s, pool_dims, batch, device, output.each, progress)
    output.result(result)
    if result.fields["failed"]:
        raise typer.Exit(1)


@app.command(rich_help_panel=PANEL)
def retrieve(
    query: Annotated[
        list[str],
        typer.Option(metavar="FILE", help="Picture, video or sound; repeat for more, or - for a list on stdin."),
    ],
    within: Annotated[
        list[Path],
        typer.Option(
            "--in", metavar="DATASET", help="Prepared dataset; repeat to add more.", autocompletion=completion.datasets
        ),
    ],
    to: Annotated[Literal["sight", "sound"], typer.Option(help="What is looked for.")],
    weights: Annotated[
        Path,
        typer.Option(metavar="RUN", help="Run folder of av_embedding or the like.", autocompletion=completion.runs),
    ],
    by: Annotated[
        Literal["sight", "sound"] | None, typer.Option(help="What is asked of a video; by default the other sense.")
    ] = None,
    at_s: Annotated[
        float | None, typer.Option("--at", min=0, metavar="S", help="The moment; by default the middle.")
    ] = None,
    count: Annotated[int, typer.Option("--n", min=1, max=100, help="Neighbours to name.")] = 9,
    out: Out = None,
    device: Device = "auto",
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Find sounds by pictures and pictures by sounds, in prepared data.

    Example: sslkit retrieve --query guitar.jpg --in data/videos --to sound --weights runs/av_embedding --out found

    Many: ls clips/*.mp4 | sslkit retrieve --query - --in data/videos --to sight --weights runs/av_embedding --json
    """
    with telling(as_json) as output, output.progress() as progress:
        from sslkit import jobs

        asked = [Path(one) for one in listed(query)]
        found = jobs.retrieve(asked, within, to, weights, by, at_s, count, out, device, feeders(workers), progress)
        failed = output.results(found)
    if failed:
        raise typer.Exit(1)


@app.command(rich_help_panel=PANEL)
def dub(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run folder of indicated_sound.", autocompletion=completion.runs)
    ],
    on: Annotated[
        list[Path],
        typer.Option(metavar="DATASET", help="Prepared dataset; repeat for more.", autocompletion=completion.datasets),
    ],
    out: Out = None,
    method: Annotated[
        Literal["example", "noise"], typer.Option(help="Take sounds from the train split, or shape noise.")
    ] = "example",
    samples: Annotated[int, typer.Option("--n", min=1, help="Samples of the test split to dub.")] = 8,
    device: Device = "auto",
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Make sounds for silent pictures: WAV files, and videos with them.

    Example: sslkit dub runs/indicated_sound --on data/toybox --out dubbed
    """
    with telling(as_json) as output, output.progress() as progress:
        from sslkit import jobs

        output.result(jobs.dub(run, on, out, method, samples, device, feeders(workers), progress))


@app.command(rich_help_panel=PANEL)
def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run folder, or a trunk's file.", autocompletion=completion.runs)
    ],
    out: Out = None,
    format: Annotated[Literal["safetensors", "onnx", "both"], typer.Option(help="What to write.")] = "both",
    as_json: Json = False,
) -> None:
    """Write the network of a run for other programs: safetensors and ONNX.

    Example: sslkit export runs/rotation --out exported

    The weights of a ResNet load into torchvision's; ONNX takes raw uint8 media and is compared with the run first.
    """
    with telling(as_json, str(run)) as output:
        from sslkit import jobs

        result = jobs.export(run, out, format)
    output.result(result)
