"""What was learnt, put to use on files and in other programs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from sslkit.demos import arrow as arrow_demo
from sslkit.engine import export as exporting
from sslkit.engine.device import pick
from sslkit.engine.run import Run
from sslkit.errors import SslkitError, UserError
from sslkit.jobs.learn import loaded
from sslkit.models import trunk as trunks
from sslkit.models.trunk import Trunk
from sslkit.tasks import base as tasks
from sslkit.types import Result

Format = Literal["safetensors", "onnx", "both"]


def arrow(
    videos: Sequence[Path], weights: Path, out: Path | None = None, overlay: bool = True, device: str = "auto"
) -> Iterator[Result]:
    """Forwards or backwards? One result a video; one that cannot be judged gives a result with an error."""
    learner, run, match = loaded(weights)
    if run.recipe.task != "arrow_of_time":
        raise UserError(f"{weights} learnt {run.recipe.task}; sslkit arrow needs a run of arrow_of_time.")
    chosen, settings = pick(device), _arrow_settings(run, learner)
    folder = out or Path("runs") / "arrow"
    for video in videos:
        try:
            found = arrow_demo.arrow(Path(video), learner, chosen, settings, folder if overlay else None, overlay)  # type: ignore[arg-type]
            found.notes.append(f"{weights}: {match.told()}.")
            yield found
        except SslkitError as error:
            yield Result(name="arrow", fields={"input": str(video), "error": str(error), "kind": error.kind})


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
