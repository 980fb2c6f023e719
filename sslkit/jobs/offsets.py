"""How well offsets of sound are found, and voices of others told."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from sslkit.data.layouts.base import media_files
from sslkit.demos import sync as demo
from sslkit.demos.sync import SyncSettings
from sslkit.demos.watchers import Opening, Watcher
from sslkit.errors import UserError
from sslkit.evals import sync as evaluation
from sslkit.jobs.data import Progress
from sslkit.jobs.watchers import shipped, sure_from, trained
from sslkit.media import detectors
from sslkit.types import Result


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
    networks: dict[str, Watcher] = {Path(run).resolve().name: trained(Path(run), device) for run in runs}
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
        shown=evaluation.in_short(rows),
        notes=[f"No face could be followed in {name}." for name in without],
        chance=300 / (2 * evaluation.SHIFTS + 1),
        seconds=time.perf_counter() - began,
    )
