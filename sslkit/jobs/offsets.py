"""How well offsets of sound are found, and voices of others told."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from sslkit.data.layouts.base import VIDEOS, media_files
from sslkit.demos import sync as demo
from sslkit.demos.sync import SyncSettings
from sslkit.demos.watchers import Opening, Watcher
from sslkit.errors import SslkitError, UserError, WorkError
from sslkit.evals import sync as evaluation
from sslkit.jobs import moved as files
from sslkit.jobs.data import Progress
from sslkit.jobs.moved import Asked
from sslkit.jobs.runs import named
from sslkit.jobs.watchers import Method, blanks, shipped, sure_from, trained
from sslkit.jobs.watchers import used as told
from sslkit.media import detectors, read
from sslkit.types import Result

_UNTRAINED, _CCA = "untrained", "cca"
_REASONS = 3
"""Why nothing was measured is told by so many files."""


def offsets_measured(
    runs: Sequence[Path],
    on: Sequence[Path],
    device: str = "auto",
    progress: Progress | None = None,
    dubbed: str = "",
    moved: Sequence[int] = (),
    seeds: int = 1,
) -> Result:
    """How often known offsets of sound are found in the videos below some folders, by runs of lip_sync and by controls.

    A run may also be the file of the released SyncNet. Without a run by the weights that come with the package. Beside
    them stand the same networks with random weights, and cca. Groups are the folders of the files. dubbed: name of one
    of the folders `on`, in whose videos another voice is heard. moved: frames by which the sound of the other files is
    moved as well, to ask `sslkit sync` from end to end, see `sslkit.jobs.moved`. seeds: of the random weights; with
    more than one their rows tell which. Videos that cannot be read, or in which nobody is seen and heard, are skipped,
    and the result tells which. Raises WorkError when nothing is left.
    """
    began = time.perf_counter()
    videos = [(folder, path) for folder in map(Path, on) for path in media_files(folder) if _is_video(path)]
    if not videos:
        raise UserError(f"There are no videos in {', '.join(map(str, on))}: name a folder of people who talk.")
    if dubbed and not {dubbed} < {Path(folder).name for folder in on}:
        raise UserError(f"The folder dubbed={dubbed} is to be named with --on, beside one of people's own voices.")
    if far := [shift for shift in moved if abs(shift) >= evaluation.SHIFTS]:
        raise UserError(
            f"moved={far[0]} is beyond what can be found, {evaluation.SHIFTS - 1} frames to either side: leave it out."
        )
    sources: dict[str, Path | None] = {**named(runs)} or {"lip_sync (shipped)": None}
    networks = {init: shipped(device) if run is None else trained(run, device) for init, run in sources.items()}
    untrained: dict[str, Watcher] = {
        init if seeds == 1 else f"{init}, seed {seed}": one
        for init, seed, one in blanks(networks.values(), _UNTRAINED, seeds)
    }
    watchers: dict[str, Watcher] = {**networks, **untrained, _CCA: Opening()}
    weights = {**sources, **dict.fromkeys(untrained, Path(_UNTRAINED))}
    clips: dict[str, list[evaluation.Clip]] = {init: [] for init in watchers}
    used, skipped, find = [], [], detectors.finder()
    answers: dict[str, list[Asked]] = {init: [] for init in sources}
    for number, (folder, path) in enumerate(videos):
        if progress:
            progress(number, len(videos), path.name)
        group = str(Path(folder.name) / path.parent.relative_to(folder))
        try:
            found = _clips(path, group, watchers, find)
            shifts = moved if group != dubbed else ()
            said = {init: list(files.asked(path, group, shifts, run, device)) for init, run in sources.items()}
        except SslkitError as error:
            skipped.append({"input": str(path), "error": str(error)})
            continue
        used.append({"input": str(path), "frames": len(found[_CCA].sight)})
        for init, clip in found.items():
            clips[init].append(clip)
        for init, some in said.items():
            answers[init] += some
    if all(clip.group == dubbed for clip in clips[_CCA]):
        reasons = dict.fromkeys(one["error"] for one in skipped)
        raise WorkError(f"None of the {len(videos)} videos can be measured. {' '.join(list(reasons)[:_REASONS])}")
    rows = []
    for init, watcher in watchers.items():
        sure = _surely(watcher, init)
        own = [clip for clip in clips[init] if clip.group != dubbed]
        rows += evaluation.evaluate(init, own, sure, [clip for clip in clips[init] if clip.group == dubbed])
    groups = dict.fromkeys(row["group"] for row in rows if row["metric"] == "near_accuracy")
    figures = evaluation.main_figures(next(iter(networks)), rows)
    rows += [row for init, said in answers.items() for row in files.rows(init, said)]
    rows += [*evaluation.always_zero(list(groups)), *evaluation.published()]
    return Result(
        name=f"offsets of sound in {', '.join(path.name for path in map(Path, on))}",
        fields={
            "protocol": "sync",
            "run": ", ".join(map(str, runs)) or "shipped",
            "data": [str(folder) for folder in on],
            "shifts": evaluation.SHIFTS,
            "seed": 0,
            "networks": [
                {"init": init, **told(watcher, _method(init), weights.get(init))} for init, watcher in watchers.items()
            ],
            "moved": {init: files.told(said) for init, said in answers.items() if said},
            "used": len(used),
            "skipped": skipped,
            "clips": used,
        },
        metrics=figures,
        paper=evaluation.PAPER if evaluation.PAPER.metric in figures else None,
        rows=rows,
        shown=evaluation.in_short(rows),
        notes=_notes(skipped, len(videos)),
        chance=300 / (2 * evaluation.SHIFTS + 1),
        seconds=time.perf_counter() - began,
    )


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEOS


def _method(init: str) -> Method:
    return "cca" if init == _CCA else "lip-sync"


def _surely(watcher: Watcher, init: str) -> evaluation.Sure:
    """The confidences by which `sslkit sync` answers and denies."""
    answer = sure_from(watcher, _method(init))
    return evaluation.Sure(answer, SyncSettings().unsure * answer)


def _clips(
    path: Path, group: str, watchers: Mapping[str, Watcher], find: detectors.Finder
) -> dict[str, evaluation.Clip]:
    """What each sees and hears of a video. Raises WorkError for a file that cannot be read or has nobody who talks."""
    about = read.probe(path)
    if not about.has_video or not about.has_sound:
        raise WorkError(f"{path} has no {'pictures' if about.has_sound else 'sound'}: there is nothing to compare.")
    found = demo.vectors(path, list(watchers.values()), find, SyncSettings())
    if not found:
        raise WorkError(f"{path}: no face could be followed.")
    named = zip(watchers.items(), found, strict=True)
    clips = {init: evaluation.Clip(path.name, group, *pair, watcher.squared) for (init, watcher), pair in named}
    if not all(map(evaluation.measurable, clips.values())):
        raise WorkError(f"{path}: no face is seen while it is heard for more than {evaluation.LEAST_FRAMES} frames.")
    return clips


def _notes(skipped: Sequence[Mapping[str, str]], videos: int) -> list[str]:
    """How many videos were left out, and why each of them."""
    left_out = [f"{len(skipped)} of {videos} videos were skipped."] if skipped else []
    return left_out + [one["error"] for one in skipped]
