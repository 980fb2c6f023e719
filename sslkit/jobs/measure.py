"""How fast sslkit is on this machine."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from sslkit import catalog, pages
from sslkit.bench.base import Bench, Row, one_thread
from sslkit.data import toybox
from sslkit.data.layouts.base import media_files
from sslkit.data.prepare import prepare
from sslkit.data.settings import PrepareSettings
from sslkit.engine.device import pick
from sslkit.errors import UserError
from sslkit.jobs.data import Progress
from sslkit.media import write
from sslkit.types import Result

_OF_DATA, _OF_MEDIA = {"decode", "memory", "waiting"}, {"prepare"}
_CONTENT = {"clips": 24, "stills": 32, "seconds": 2.0, "short_side_px": 128, "flow": "dis"}
_VIDEOS, _VIDEO_S, _VIDEO_PX = 8, 8.0, (384, 288)
_FULL = {"windows": 20_000, "longer": 60}
_TALK_S, _TALK_PX = 10.0, (640, 480)


def bench(
    rows: Sequence[str] = (),
    data: Sequence[Path] = (),
    media: Path | None = None,
    task: str | None = None,
    out: Path | None = None,
    full: bool = False,
    device: str = "auto",
    workers: int = 1,
    progress: Progress | None = None,
    **amounts: float,
) -> Result:
    """Measure speed, each figure a ratio within this run; see `sslkit.bench.base` for how, and its files for what.

    rows: names of measurements, all by default. data: prepared folders; media: a folder of videos to prepare; without
    them toybox scenes are made. task: measure this one. full: memory is watched over 20,000 windows, not 2,000, and
    over an hour of somebody who talks (the first of `media`), not 5 minutes. out: folder for a page. amounts: of
    `Bench`, for a quick look. Raises UserError for a name that is not known, and when
    the data lack what a row that was named needs.
    """
    began = time.perf_counter()
    names = [catalog.load("sslkit.bench", row).__name__.rpartition(".")[2] for row in rows]
    names = names or catalog.names("sslkit.bench")
    task = None if task is None else catalog.task_name(task)
    lengths = {**(_FULL if full else {}), **amounts}
    with tempfile.TemporaryDirectory(prefix="sslkit-bench-") as folder, one_thread():
        scratch = Path(folder)
        asked = Bench(
            data=tuple(data) or (_toybox(scratch, workers, progress) if _OF_DATA & {*names} else ()),
            media=media or (_videos(scratch / "videos") if _OF_MEDIA & {*names} else scratch),
            talk=_talk(media, scratch) if "sync" in names else scratch,
            scratch=scratch,
            task=task,
            device=str(pick(device)),
            workers=workers,
            **lengths,  # type: ignore[arg-type]
        )
        found = list(_measured(names, asked, bool(rows), progress))
    result = Result(
        name="Speed of sslkit",
        fields={"device": asked.device, "workers": workers, "task": task},
        rows=[row.record() for row in found],
        shown=[row.shown() for row in found],
        notes=[] if data else ["No --data was given: read from toybox scenes of 128 px."],
        seconds=time.perf_counter() - began,
    )
    return result if out is None else pages.of_bench(result, out)


def _measured(names: Sequence[str], asked: Bench, named: bool, progress: Progress | None) -> Iterator[Row]:
    for number, name in enumerate(names):
        if progress:
            progress(number, len(names), f"measuring: {name}")
        try:
            yield from catalog.load("sslkit.bench", name).rows(asked)
        except UserError as error:
            if named:
                raise
            yield Row(name, "", note=f"not measured: {error}")


def _toybox(scratch: Path, workers: int, progress: Progress | None) -> tuple[Path]:
    out = scratch / "toybox"
    prepare("toybox", "", out, PrepareSettings.model_validate(_CONTENT), workers, progress)
    return (out,)


def _talk(media: Path | None, scratch: Path) -> Path:
    """The first video that is given, or a face of the toybox that talks."""
    if media is not None:
        return next(iter(media_files(media)), media)
    width, height = _TALK_PX
    (scene,) = toybox.scenes(0, clips=1, types=("face",), seconds=_TALK_S, width_px=width, height_px=height)
    clip, path = toybox.render(scene), scratch / "talk.mp4"
    write.video(path, clip.frames, toybox.FPS, clip.sound, toybox.RATE_HZ)
    return path


def _videos(folder: Path) -> Path:
    """Toybox scenes as video files with sound."""
    folder.mkdir()
    width, height = _VIDEO_PX
    for scene in toybox.scenes(0, clips=_VIDEOS, seconds=_VIDEO_S, width_px=width, height_px=height):
        clip = toybox.render(scene)
        write.video(folder / f"{scene.key}.mp4", clip.frames, toybox.FPS, clip.sound, toybox.RATE_HZ)
    return folder
