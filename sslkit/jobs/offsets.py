"""How well offsets of sound are found, and voices of others told."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from sslkit.data.layouts.base import media_files
from sslkit.demos import sync as demo
from sslkit.demos.sync import SyncSettings
from sslkit.demos.watchers import Opening, Trained, Watcher
from sslkit.engine.device import place
from sslkit.errors import UserError
from sslkit.evals import sync as evaluation
from sslkit.jobs.data import Progress
from sslkit.jobs.watchers import shipped, sure_from, trained
from sslkit.media import detectors
from sslkit.tasks import base as tasks
from sslkit.tasks.lip_sync import LipSync
from sslkit.types import Result

_UNTRAINED, _CCA = "untrained", "cca"
_SEED = 0


def offsets_measured(
    runs: Sequence[Path],
    on: Sequence[Path],
    device: str = "auto",
    progress: Progress | None = None,
    dubbed: str = "",
) -> Result:
    """How often known offsets of sound are found in the videos below some folders, by runs of lip_sync and by controls.

    A run may also be the file of the released SyncNet. Without a run by the weights that come with the package. Beside
    them stand the same networks with random weights, and cca. Groups are the folders of the files. dubbed: name of one
    of the folders `on`, in whose videos another voice is heard.
    """
    began = time.perf_counter()
    videos = [(folder, path) for folder in map(Path, on) for path in media_files(folder)]
    if not videos:
        raise UserError(f"There are no videos in {', '.join(map(str, on))}: name a folder of people who talk.")
    if dubbed and not {dubbed} < {Path(folder).name for folder in on}:
        raise UserError(f"The folder dubbed={dubbed} is to be named with --on, beside one of people's own voices.")
    networks = {Path(run).resolve().name: trained(Path(run), device) for run in runs}
    networks = networks or {"lip_sync (shipped)": shipped(device)}
    watchers: dict[str, Watcher] = {**networks, **_untrained(networks), _CCA: Opening()}
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
        sure = sure_from(watcher, "cca" if init == _CCA else "lip-sync")
        own = [clip for clip in clips[init] if clip.group != dubbed]
        rows += evaluation.evaluate(init, own, sure, [clip for clip in clips[init] if clip.group == dubbed])
    groups = dict.fromkeys(row["group"] for row in rows if row["metric"] == "near_accuracy")
    rows += evaluation.always_zero(list(groups))
    return Result(
        name=f"offsets of sound in {', '.join(path.name for path in map(Path, on))}",
        fields={
            "protocol": "sync",
            "data": [str(folder) for folder in on],
            "shifts": evaluation.SHIFTS,
            "seed": _SEED,
        },
        rows=rows,
        shown=evaluation.in_short(rows),
        notes=[f"No face could be followed in {name}." for name in without],
        chance=300 / (2 * evaluation.SHIFTS + 1),
        seconds=time.perf_counter() - began,
    )


def _untrained(networks: Mapping[str, Trained]) -> dict[str, Watcher]:
    """What each kind of network finds before it has learnt anything."""
    kinds = {json.dumps(one.task.settings.model_dump(), sort_keys=True): one for one in networks.values()}
    names = [_UNTRAINED] if len(kinds) == 1 else [f"{_UNTRAINED} {number + 1}" for number in range(len(kinds))]
    return {name: _blank(one) for name, one in zip(names, kinds.values(), strict=True)}


def _blank(one: Trained) -> Trained:
    """The same networks with random weights, which are those of the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        task = tasks.build("lip_sync", one.task.settings.model_dump())
    assert isinstance(task, LipSync)
    place(task.eval(), one.device)
    return replace(one, task=task)
