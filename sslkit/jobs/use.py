"""What was learnt, put to use on files and in other programs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from sslkit import pages
from sslkit.data.layouts.base import media_files
from sslkit.demos import arrow as arrow_demo
from sslkit.demos import embed as embedding
from sslkit.demos.embed import Embedder
from sslkit.demos.vectors import Vectors
from sslkit.engine import export as exporting
from sslkit.engine.device import pick, place
from sslkit.engine.run import Run
from sslkit.errors import SslkitError, UserError, WorkError
from sslkit.jobs.data import Progress
from sslkit.jobs.runs import loaded
from sslkit.models import trunk as trunks
from sslkit.models.trunk import Trunk
from sslkit.tasks import base as tasks
from sslkit.types import Result

Format = Literal["safetensors", "onnx", "both"]


def arrow(
    videos: Sequence[Path], weights: Path, out: Path | None = None, overlay: bool = True, device: str = "auto"
) -> Iterator[Result]:
    """Forwards or backwards? One result a video; one that cannot be judged gives a result with an error.

    With `overlay`, a page with stills of them, arrow.html, is written when the last video is done, or work is stopped;
    UserError is raised where there is one already.
    """
    learner, run, match = loaded(weights)
    if run.recipe.task != "arrow_of_time":
        raise UserError(f"{weights} learnt {run.recipe.task}; sslkit arrow needs a run of arrow_of_time.")
    chosen, settings = pick(device), _arrow_settings(run, learner)
    folder = out or Path("runs") / "arrow"
    if overlay:
        pages.free(folder, "arrow.html")
    done: list[Result] = []
    try:
        for video in videos:
            try:
                found = arrow_demo.arrow(Path(video), learner, chosen, settings, folder if overlay else None, overlay)  # type: ignore[arg-type]
                found.notes.append(f"{weights}: {match.told()}.")
            except SslkitError as error:
                found = Result(name="arrow", fields={"input": str(video), "error": str(error), "kind": error.kind})
            done.append(found)
            yield found
    finally:
        if overlay and folder.is_dir():
            pages.of_arrow(done, weights, folder)


def _arrow_settings(run: Run, learner: tasks.Task) -> arrow_demo.ArrowSettings:
    try:
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
    except (KeyError, IndexError, TypeError) as error:
        raise UserError(
            f"{run.folder / 'data.json'} does not say how the data were prepared ({error!r}): copy it again."
        ) from error


def embed(
    run: Path,
    files: Sequence[Path],
    layer: str | None = None,
    out: Path = Path("features.npz"),
    every_s: float | None = None,
    pool_dims: int = 9000,
    batch: int = 32,
    device: str = "auto",
    told: Callable[[Result], None] | None = None,
    progress: Progress | None = None,
) -> Result:
    """Features of files by the trunk of a run (a folder, or a trunk's file); see `sslkit.demos.embed`.

    files: pictures and videos; all of those in a folder. layer: None takes the last. out: .npz, .csv or .parquet.
    pool_dims: a map is averaged to the largest square that keeps at most so many numbers; 1 keeps one a channel.
    told: called with the result of each file as it is done, {"input", "windows"} or {"input", "error", "kind"}.
    """
    began = time.perf_counter()
    trunk, about = trunks.load(_files(Path(run))[0])
    settings = embedding.settings_of(trunk, about.get("data") or {}, every_s)
    chosen, layer = pick(device), layer or list(trunk.widths)[-1]
    inputs, results = _expanded(files), []
    with Vectors(out) as vectors:
        embedder = Embedder(place(trunk, chosen), settings, layer, vectors, chosen, pool_dims, batch)
        for number, one in enumerate(inputs):
            results.append(embedder.add(one) if isinstance(one, Path) else one)
            if told is not None:
                told(results[-1])
            if progress is not None:
                progress(number + 1, len(inputs), str(one if isinstance(one, Path) else ""))
        embedder.flush()
        if len(vectors):
            vectors.write({"layer": layer, "run": str(run)})
    failed = sum("error" in result.fields for result in results)
    fields = {"run": str(run), "layer": layer, "dims": vectors.dims, "windows": len(vectors)}
    return Result(
        name="Features",
        fields={**fields, "inputs": len(results), "failed": failed},
        files={"features": str(out)} if len(vectors) else {},
        seconds=time.perf_counter() - began,
    )


def _expanded(files: Sequence[Path]) -> list[Path | Result]:
    """Files, and the media in folders; for a folder that cannot be walked or holds none, what is wrong."""
    found: dict[Path, Path | Result] = {}
    for path in map(Path, files):
        try:
            inside = list(media_files(path)) if path.is_dir() else [path]
            if not inside:
                raise UserError(f"{path} holds no picture and no video: name another folder.")
            found |= {one: one for one in inside}
        except OSError as error:
            found[path] = embedding.failed(path, WorkError(f"{path} cannot be read: {error.strerror}."))
        except UserError as error:
            found[path] = embedding.failed(path, error)
    return list(found.values())


def export(run: Path, out: Path | None = None, format: Format = "both") -> Result:
    """Write the trunks of a run (a folder, or a trunk's file) as `<trunk>-<network>.safetensors` and `.onnx`.

    out: the folder for them, `export` in the run's unless it is given. A row a file: "file", "network",
    "megabytes" and, of ONNX, how far its answers are from the trunk's: "max_difference" and "max_relative". Raises
    UserError for what is no run, for a file that is already there, and where the packages for ONNX are missing.
    """
    began = time.perf_counter()
    kinds = ("safetensors", "onnx") if format == "both" else (format,)
    if "onnx" in kinds:
        exporting.require_onnx()
    run = Path(run)
    folder = out or (run if run.is_dir() else run.parent) / "export"
    planned = [
        (trunk, about, folder / f"{about.get('trunk', file.stem)}-{trunk.torchvision or trunk.name}.{kind}")
        for file, (trunk, about) in [(file, trunks.load(file)) for file in _files(run)]
        for kind in kinds
    ]
    for _, _, target in planned:
        if target.exists():
            raise UserError(f"{target} is already there: move it away or give another --out.")
    folder.mkdir(parents=True, exist_ok=True)
    rows = [_written(trunk, about, target) for trunk, about, target in planned]
    return Result(
        name=f"{run} exported",
        fields={"run": str(run), "out": str(folder), "task": planned[0][1].get("task")},
        rows=rows,
        notes=list(_notes(rows)),
        seconds=time.perf_counter() - began,
    )


def _files(run: Path) -> list[Path]:
    if not run.is_dir():
        return [run]
    return [run / "trunk.safetensors", *sorted(run.glob("trunk-*.safetensors"))]


def _written(trunk: Trunk, about: dict[str, Any], target: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"file": str(target), "network": trunk.torchvision or trunk.name}
    if target.suffix == ".onnx":
        found = exporting.as_onnx(trunk, about, target)
        row |= {"max_difference": found.largest, "max_relative": found.relative}
    else:
        exporting.as_safetensors(trunk, about, target)
    return {**row, "megabytes": round(target.stat().st_size / 1e6, 3)}


def _notes(rows: list[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        if "max_difference" in row:
            yield (
                f"{row['file']} takes raw uint8 media and gives every layer and `{exporting.VECTOR}`; onnxruntime's "
                f"answers differ from torch's by at most {row['max_difference']:.2g}."
            )
