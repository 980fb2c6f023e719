"""Sound and picture of videos of people who talk: measured and mended; and how well that is done."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from sslkit.data.layouts.base import media_files
from sslkit.demos import speakers as who
from sslkit.demos import sync as demo
from sslkit.demos.stages import Stages
from sslkit.demos.sync import SyncSettings
from sslkit.demos.watchers import Opening, Trained, Watcher, released
from sslkit.engine.device import pick, place
from sslkit.errors import SslkitError, UserError
from sslkit.evals import sync as evaluation
from sslkit.jobs.data import Progress
from sslkit.jobs.learn import loaded
from sslkit.jobs.shipped import packaged
from sslkit.media import detectors, faces, remux
from sslkit.report import chart, page
from sslkit.tasks.lip_sync import LipSync
from sslkit.types import Result

Method = Literal["lip-sync", "cca"]

# For cca from training clips of 15 people: 8 of 10 answers that it gives are right, and 2 of 10 voices of somebody else
# get one.
_SURE = {"lip-sync": 0.05, "cca": 0.3}
# The released SyncNet's author says 3 to 4 (joonson/syncnet_python, thread 17); users see less than 2 to 3 where nobody
# is heard who is seen, and 6 to 10 else (threads 12 and 65).
_SURE_RELEASED = 3.0
# Of distances that are likelihoods, from people left out of the fit: 8 of 10 clips of speech get an answer (of single
# syllables 4), all of these are right (of syllables 8 of 10), and no voice of somebody else gets one; but 7 of 10 do
# where another sentence of the same grammar is heard (GRID).
_SURE_SQUARED = 28.0
_LEAST_FPS = 10.0
"""Below it, pictures of a mouth are further apart than syllables."""


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
    in which the sound is in time, measured again as `fixed_offset_s`. reach_frames: the largest offset that is looked
    for, in frames of 1/25 s. detector: a YuNet face detector, .onnx. plot: a page with the distance of each face at
    every offset, written after the last video. stream: which sound of a file that holds several, from 1. features: a
    file (of one video) or a folder for what was seen and heard, as vectors: see `demos.sync.keep_vectors`. speakers: an
    .mp4 (of one video) or a folder for videos that show who speaks when, each with an .rttm file beside it.
    """
    watcher = _watcher(weights, method, device)
    settings, find = (
        SyncSettings(reach_frames=reach_frames, sure=sure_from(watcher, method)),
        detectors.finder(detector),
    )
    targets, kept, charts = _targets(videos, fix), _targets(videos, features, ".npz"), []
    shown = _overlays(videos, speakers)
    for video in map(Path, videos):
        try:
            stages = Stages(progress)
            observed = demo.observe(video, watcher, settings, find, stream - 1, stages)
            result = demo.measured(observed, settings, stages)
            result.fields |= _used(watcher, method, weights)
            if features is not None:
                demo.keep_vectors(observed, kept[video])
                result.files["features"] = str(kept[video])
            if speakers is not None:
                _speakers_shown(result, observed, settings, shown[video], stages)
            if fix is not None:
                _fixed(result, observed, targets[video], watcher, settings, find)
            charts += _charts(result)
            yield result
        except SslkitError as error:
            yield Result(name="sync", fields={"input": str(video), "error": str(error), "kind": error.kind})
    if plot is not None:
        page.write(plot, page.Page(f"How far sound and picture are apart, by {_name(watcher, method)}", charts=charts))


def _charts(result: Result) -> list[page.Chart]:
    """The curve of each face: deep where it speaks what is heard, flat where it does not."""
    faces_seen = [track for track in result.fields["tracks"] if track["curve"]]
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


def _watcher(weights: Path | None, method: Method, device: str) -> Watcher:
    if method == "cca":
        if weights is not None:
            raise UserError("The method cca learns nothing: leave --weights out, or --method.")
        return Opening()
    return trained(weights, device)


def trained(weights: Path | None, device: str = "auto") -> Trained:
    """The networks of a run of lip_sync or of the file of the released SyncNet; without either, those that ship."""
    if weights is None:
        return shipped(device)
    if weights.is_file():
        return released(weights, pick(device))
    learner, run, _ = loaded(weights)
    if not isinstance(learner, LipSync):
        raise UserError(f"{weights} learnt {run.recipe.task}; a run of lip_sync is needed.")
    chosen, prepared = pick(device), run.data[0]["settings"]
    part: faces.Part = "face" if prepared.get("faces") == "face" else "mouth"
    place(learner, chosen)
    return Trained(learner, chosen, int(prepared["short_side_px"]), part)


def _is_released(watcher: Watcher) -> bool:
    return watcher.part == "syncnet"


def sure_from(watcher: Watcher, method: Method) -> float:
    """Confidence from which an answer is given."""
    if _is_released(watcher):
        return _SURE_RELEASED
    return _SURE_SQUARED if watcher.squared else _SURE[method]


def _name(watcher: Watcher, method: Method) -> str:
    return "syncnet_v2" if _is_released(watcher) else method


def _used(watcher: Watcher, method: Method, weights: Path | None) -> dict[str, Any]:
    """What an answer was found with, for its record."""
    used: dict[str, Any] = {"method": _name(watcher, method)}
    if isinstance(watcher, Trained):
        used |= {"weights": str(weights or "shipped"), "front_end": watcher.front_end}
    return used


def shipped(device: str = "auto") -> Trained:
    """The networks that come with the package."""
    learner, about = packaged("lip_sync", device)
    assert isinstance(learner, LipSync)
    return Trained(learner, pick(device), about["data"]["short_side_px"], about["data"]["faces"])


def offsets_measured(
    runs: Sequence[Path],
    on: Sequence[Path],
    device: str = "auto",
    progress: Progress | None = None,
    dubbed: str = "",
) -> Result:
    """How often known offsets of sound are found in the videos below some folders, by runs of lip_sync and by cca.

    A run may also be the file of the released SyncNet. Without a run by the weights that come with the package. Groups
    are the folders of the files. dubbed: name of one of the folders `on`, in whose videos another voice is heard.
    """
    began = time.perf_counter()
    videos = [(folder, path) for folder in map(Path, on) for path in media_files(folder)]
    if not videos:
        raise UserError(f"There are no videos in {', '.join(map(str, on))}: name a folder of people who talk.")
    if dubbed and not {dubbed} < {Path(folder).name for folder in on}:
        raise UserError(f"The folder dubbed={dubbed} is to be named with --on, beside one of people's own voices.")
    networks: dict[str, Watcher] = {Path(run).resolve().name: _watcher(run, "lip-sync", device) for run in runs}
    watchers = (networks or {"lip_sync (shipped)": shipped(device)}) | {"cca": Opening()}
    clips: dict[str, list[evaluation.Clip]] = {init: [] for init in watchers}
    settings, find, without = SyncSettings(), detectors.finder(), []
    for number, (folder, path) in enumerate(videos):
        if progress:
            progress(number, len(videos), path.name)
        group = str(Path(folder.name) / path.parent.relative_to(folder))
        found = demo.vectors(path, list(watchers.values()), find, settings)
        for (init, watcher), pair in zip(watchers.items(), found, strict=False):
            clips[init].append(evaluation.Clip(path.name, group, *pair, watcher.squared))
        without += [] if found else [path.name]
    rows = []
    for init, watcher in watchers.items():
        sure = sure_from(watcher, "cca" if init == "cca" else "lip-sync")
        own = [clip for clip in clips[init] if clip.group != dubbed]
        rows += evaluation.evaluate(init, own, sure, [clip for clip in clips[init] if clip.group == dubbed])
    groups = dict.fromkeys(row["group"] for row in rows if row["metric"] == "near_accuracy")
    rows += evaluation.always_zero(list(groups))
    return Result(
        name=f"offsets of sound in {', '.join(path.name for path in map(Path, on))}",
        fields={"protocol": "sync", "data": [str(folder) for folder in on], "shifts": evaluation.SHIFTS},
        rows=rows,
        shown=[row for row in rows if row["metric"] != "own_offset"],
        notes=[f"No face could be followed in {name}." for name in without],
        chance=300 / (2 * evaluation.SHIFTS + 1),
        seconds=time.perf_counter() - began,
    )


def _targets(videos: Sequence[Path], out: Path | None, suffix: str | None = None) -> dict[Path, Path]:
    """The file for each video: `out`, or one in the folder `out`, by the name of the video with another suffix.

    Raises UserError before anything is measured.
    """
    if out is None:
        return {}
    folder = out.is_dir() or len(videos) > 1 or not out.suffix
    names = {Path(video): Path(video).with_suffix(suffix).name if suffix else Path(video).name for video in videos}
    targets = {video: out / name if folder else out for video, name in names.items()}
    if len(set(targets.values())) < len(targets):
        raise UserError(f"Two of the videos would be written to one file in {out}, by their names: do them apart.")
    there = next((path for path in targets.values() if path.exists()), None)
    if there is not None:
        raise UserError(f"{there} is already there: move it away or name another.")
    try:
        (out if folder else out.parent).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out} cannot be made ({error.strerror}): name another.") from error
    return targets


def _overlays(videos: Sequence[Path], out: Path | None) -> dict[Path, Path]:
    """Where the video of each video's speakers goes; the .rttm beside it is new as well."""
    if out is not None and out.suffix not in ("", ".mp4"):
        raise UserError(f"{out} would be an MP4: name a file that ends in .mp4, or a folder.")
    targets = _targets(videos, out, ".mp4")
    beside = [target.with_suffix(".rttm") for target in targets.values()]
    there = next((path for path in beside if path.exists()), None)
    if there is not None:
        raise UserError(f"{there} is already there: move it away or name another.")
    return targets


def _speakers_shown(
    result: Result, observed: demo.Observed, settings: SyncSettings, target: Path, stages: Stages
) -> None:
    """Write who speaks when, as a video and as RTTM; both are told in the result."""
    video, found = observed.video, observed.found
    result.fields["speakers"] = []
    why = "no face could be judged" if not found.tracks else ""
    if observed.about.fps < _LEAST_FPS:
        why = f"{observed.about.fps:g} pictures a second are too few to see who speaks"
    if why:
        result.notes.append(f"{video}: {why}, so no video of who speaks was written.")
        return
    offset = result.fields["offset_frames"]
    with stages.stage("speakers"):
        spoken = who.spoken(observed, offset, settings.reach_frames)
        segments = spoken.segments(found.tracks)
        who.write_overlay(target, observed, spoken, stages)
        who.write_rttm(target.with_suffix(".rttm"), video, segments)
    result.fields |= {"speakers": [one.told() for one in segments], "overlay": str(target)}
    result.fields["spent_s"]["speakers"] = round(stages.seconds["speakers"], 3)
    result.seconds += stages.seconds["speakers"]
    result.files |= {"speakers": str(target), "rttm": str(target.with_suffix(".rttm"))}
    if offset is None:
        result.notes.append(f"{video}: who speaks was judged as if the sound were in time.")
    result.notes += who.notes(video, segments, len(found.tracks))


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
    if not offset_s:
        why = "the sound is in time" if offset_s == 0 else "the offset was not found"
        result.notes.append(f"{video}: {why}, so nothing was written.")
        return
    remux.with_sound_moved(video, target, -offset_s, observed.stream)
    again = demo.sync(target, watcher, settings, find, observed.stream)
    result.fields |= {"fixed": str(target), "fixed_offset_s": again.fields["offset_s"]}
    result.files["fixed"] = str(target)
    measured = again.fields["offset_s"]
    said = "not found any more" if measured is None else f"{measured:.2f} s"
    result.notes.append(f"{target}: the sound was moved by {-offset_s:+.2f} s; measured again it is {said}.")
