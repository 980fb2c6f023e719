"""Sound and picture of videos of people who talk: measured and mended."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sslkit.demos import speakers as who
from sslkit.demos import sync as demo
from sslkit.demos.stages import Stages
from sslkit.demos.sync import Heard, SyncSettings
from sslkit.demos.watchers import Watcher
from sslkit.errors import SslkitError, UserError, WorkError
from sslkit.jobs import watchers
from sslkit.jobs.data import Progress
from sslkit.jobs.watchers import Method
from sslkit.media import detectors, remux
from sslkit.report import chart, page
from sslkit.types import Result


def sync(
    videos: Sequence[Path],
    weights: Path | None = None,
    method: Method = "lip-sync",
    fix: Path | None = None,
    reach_frames: int = 15,
    detector: Path | None = None,
    device: str = "auto",
    plot: Path | None = None,
    stream: int = 1,
    features: Path | None = None,
    speakers: Path | None = None,
    progress: Progress | None = None,
) -> Iterator[Result]:
    """By how much the sound of each video is late; one that cannot be measured gives a result with an error.

    weights: a run of lip_sync, or the file syncnet_v2.model of joonson/syncnet_python, for the method "lip-sync";
    without them, those that come with the package. "cca" needs none. fix: a file (of one video) or a folder for copies
    in which the sound is in time, measured again as `fixed_offset_s`; none is written of a video that is in sync, or
    whose offset is not found. reach_frames: the largest offset that is looked for, in frames of 1/25 s. detector: a
    YuNet face detector, .onnx. plot: a page with the distance of each face at every offset, written when the last video
    is done, or work is stopped; those without a face are told in it. stream: which sound of a file that holds several,
    from 1. features: a file (of one video) or a folder for what was seen and heard, as vectors: see
    `demos.sync.keep_vectors`. speakers: an .mp4 (of one video) or a folder for videos that show who speaks when, each
    with an .rttm file and a .csv of scores beside it.
    """
    watcher = watchers.watcher(weights, method, device)
    settings, find = (
        SyncSettings(reach_frames=reach_frames, sure=watchers.sure_from(watcher, method)),
        detectors.finder(detector),
    )
    targets, kept, shown = _targets(videos, fix), _targets(videos, features, ".npz"), _overlays(videos, speakers)
    for video, target in targets.items():
        # A video that cannot be read is told in its turn; so is one of many that does not fit its target.
        with contextlib.suppress(SslkitError if len(targets) > 1 else WorkError):
            remux.require_room(video, target)
    if plot is not None:
        _new_page(plot)
    charts: list[page.Chart] = []
    undrawn: list[str] = []
    try:
        for video in map(Path, videos):
            result = Result(name="sync", fields={"input": str(video)})
            try:
                stages = Stages(progress)
                observed = demo.observe(video, watcher, settings, find, stream - 1, stages)
                heard = demo.searched(observed, settings, stages)
                spoken = None if speakers is None else _spoken(observed, heard, settings, stages)
                if spoken is not None:
                    heard = who.reconciled(heard, spoken)
                result = demo.measured(observed, heard, settings, stages)
                result.fields |= watchers.used(watcher, method, weights)
                if features is not None:
                    demo.keep_vectors(observed, kept[video])
                    result.files["features"] = str(kept[video])
                if speakers is not None:
                    _speakers_shown(result, observed, heard, spoken, shown[video], stages)
                if fix is not None:
                    _fixed(result, observed, targets[video], watcher, settings, find)
            except SslkitError as error:  # what was measured before is not lost
                result.fields |= {"error": str(error), "kind": error.kind}
            drawn = _charts(result)
            charts += drawn
            if not drawn:
                why = result.fields.get("error") or " ".join(result.notes)
                undrawn.append(f"There is no curve for {video.name}. {why}")
            yield result
    finally:
        if plot is not None and (charts or undrawn):
            title = f"How far sound and picture are apart, by {watchers.name(watcher, method)}"
            page.write(plot, page.Page(title, notes=undrawn, charts=charts))


def _charts(result: Result) -> list[page.Chart]:
    """The curve of each face: deep where it speaks what is heard, flat where it does not."""
    faces_seen = [track for track in result.fields.get("tracks", []) if track["curve"]]
    if not faces_seen:
        return []
    reach = len(faces_seen[0]["curve"]) // 2
    names = [f"{t['start_s']:.1f} to {t['end_s']:.1f} s: {t['verdict']}" for t in faces_seen]
    rows = [
        {"frames by which sound is late": place - reach} | {str(n): t["curve"][place] for n, t in enumerate(faces_seen)}
        for place in range(2 * reach + 1)
    ]
    lines = {name: str(number) for number, name in enumerate(names)}
    drawn = chart.curves(rows, lines, "mean distance", "frames by which sound is late")
    said = f"Faces, and what each says: {'; '.join(names)}."
    return [page.Chart(Path(result.fields["input"]).name, drawn, " ".join([*result.notes, said]))]


def _targets(videos: Sequence[Path], out: Path | None, suffix: str | None = None) -> dict[Path, Path]:
    """The file for each video: `out`, or one in the folder `out`, by the name of the video with another suffix.

    Raises UserError before anything is measured.
    """
    if out is None:
        return {}
    folder = out.is_dir() or not out.suffix
    if len(videos) > 1 and not folder:
        raise UserError(f"{out} would be one file for {len(videos)} videos: name a folder, or make it first.")
    names = {Path(video): Path(video).with_suffix(suffix).name if suffix else Path(video).name for video in videos}
    targets = {video: out / name if folder else out for video, name in names.items()}
    if len(set(targets.values())) < len(targets):
        raise UserError(f"Two of the videos would be written to one file in {out}, by their names: do them apart.")
    _all_new(targets.values())
    _made(out if folder else out.parent, out)
    return targets


def _new_page(plot: Path) -> None:
    """Raises UserError for a page that is already there or cannot be written, before anything is measured."""
    if plot.is_dir():
        raise UserError(f"{plot} is a folder: name the page to write, such as {plot / 'sync.html'}.")
    _all_new([plot])
    _made(plot.parent, plot)


def _all_new(paths: Iterable[Path]) -> None:
    there = next((path for path in paths if path.exists()), None)
    if there is not None:
        raise UserError(f"{there} is already there: move it away or name another.")


def _made(folder: Path, out: Path) -> None:
    """Make a folder that `out` needs."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out} cannot be made ({error.strerror}): name another.") from error
    if not os.access(folder, os.W_OK):
        raise UserError(f"{out} cannot be made (nothing may be written there): name another.")


def _overlays(videos: Sequence[Path], out: Path | None) -> dict[Path, Path]:
    """Where the video of each video's speakers goes; what is written beside it is new as well."""
    if out is not None and out.suffix not in ("", ".mp4"):
        raise UserError(f"{out} would be an MP4: name a file that ends in .mp4, or a folder.")
    targets = _targets(videos, out, ".mp4")
    _all_new(target.with_suffix(suffix) for target in targets.values() for suffix in (".rttm", ".csv"))
    return targets


def _spoken(
    observed: demo.Observed, heard: Sequence[Heard], settings: SyncSettings, stages: Stages
) -> who.Spoken | None:
    """Who speaks when, where that can be told."""
    if not heard or demo.too_few(observed.about):
        return None
    with stages.stage("speakers"):
        return who.spoken(observed, who.offsets(heard, settings), settings.reach_frames)


def _speakers_shown(
    result: Result,
    observed: demo.Observed,
    heard: Sequence[Heard],
    spoken: who.Spoken | None,
    target: Path,
    stages: Stages,
) -> None:
    """Write who speaks when, as a video, as RTTM and as scores; all are told in the result."""
    video, tracks = observed.video, observed.found.tracks
    result.fields["speakers"] = []
    if spoken is None:
        why = demo.too_few(observed.about) or "no face could be judged"
        result.notes.append(f"{video}: {why}, so no video of who speaks was written.")
        return
    beside = {"rttm": target.with_suffix(".rttm"), "scores": target.with_suffix(".csv")}
    with stages.stage("speakers"):
        segments = spoken.segments(tracks)
        who.write_overlay(target, observed, spoken, stages)
        who.write_rttm(beside["rttm"], video, segments)
        who.write_scores(beside["scores"], tracks, spoken)
    result.fields |= {"speakers": [one.told() for one in segments], "overlay": str(target)}
    result.fields["spent_s"]["speakers"] = round(stages.seconds["speakers"], 3)
    result.seconds = sum(stages.seconds.values())
    result.files |= {"speakers": str(target)} | {name: str(path) for name, path in beside.items()}
    if not any(one.said == "speaks" for one in heard):
        result.notes.append(f"{video}: who speaks was judged as if the sound were in time.")
    result.notes += who.notes(video, segments, heard)


def _fixed(
    result: Result,
    observed: demo.Observed,
    target: Path,
    watcher: Watcher,
    settings: SyncSettings,
    find: detectors.Finder,
) -> None:
    """Write the copy, and measure it again; both are told in the result."""
    offset_s, video = result.fields["offset_s"], observed.video
    if result.fields["agree"] is False:
        result.notes.append(f"{video}: faces disagree, so no one shift mends it and nothing was written (see --plot).")
        return
    in_time = result.fields["verdict"] == "in sync"
    if in_time or offset_s is None:
        why = "the sound is in time" if in_time else "the offset was not found"
        result.notes.append(f"{video}: {why}, so nothing was written.")
        return
    _all_new([target])
    remux.require_room(video, target)
    with tempfile.TemporaryDirectory(prefix=f".{target.stem}-", dir=target.parent) as folder:
        copy = Path(folder) / target.name
        remux.with_sound_moved(video, copy, -offset_s, observed.stream)
        again = demo.sync(copy, watcher, settings, find, observed.stream)
        measured = again.fields["offset_s"]
        if measured is not None and again.fields["verdict"] != "in sync":
            raise WorkError(
                f"{target} is not written: with the sound moved by {-offset_s:+.2f} s it would be late by "
                f"{measured:+.2f} s, so one of the two measurements is wrong (see --plot)."
            )
        copy.replace(target)
    result.fields |= {"fixed": str(target), "fixed_offset_s": measured}
    result.files["fixed"] = str(target)
    result.shown = [{**row, "fixed_offset_s": measured} for row in result.shown or ()]
    said = "not found any more" if measured is None else f"{measured:.2f} s"
    result.notes.append(f"{target}: the sound was moved by {-offset_s:+.2f} s; measured again it is {said}.")
