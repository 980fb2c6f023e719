"""Sound for silent pictures."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from sslkit import pages
from sslkit.data.dataset import Dataset
from sslkit.demos.dub import Examples, dubbed
from sslkit.engine import feed
from sslkit.engine.device import pick, place
from sslkit.errors import UserError
from sslkit.jobs.data import Progress
from sslkit.jobs.runs import loaded
from sslkit.media import write
from sslkit.ops.onset import matches, onsets, peaks, separate
from sslkit.ops.sound import level_db
from sslkit.tasks.indicated_sound import IndicatedSound
from sslkit.types import Reads, Result

_EXAMPLES = 2000
_ONSET_HZ, _WITHIN_S = 50.0, 0.1
# On toybox sounds themselves this finds 81 % of the impacts, and 71 % of what it finds are some.
_HEARD = 0.2
_BLOWS, _LEAST_LEVEL = {"impact", "step", "thud"}, 0.1


def dub(
    weights: Path,
    on: Sequence[Path],
    out: Path | None = None,
    method: Literal["example", "noise"] = "example",
    samples: int = 8,
    device: str = "auto",
    workers: int = 0,
    progress: Progress | None = None,
) -> Result:
    """Foretell the sound of held-out samples of prepared data: a WAV file, and a video with that sound, for each.

    weights: a run of indicated_sound. The samples are spread over the test split; with "example", what is heard comes
    from the train split. Its onsets are compared with the impacts of a toybox or, of other data, with the onsets of the
    sample's own sound; and, as the control, with those of the next sample, where there is one. Raises UserError where a
    file to be written is there already.
    """
    began = time.perf_counter()
    task, run, match = loaded(weights)
    if not isinstance(task, IndicatedSound):
        raise UserError(f"{weights} learnt {run.recipe.task}; sslkit dub needs a run of indicated_sound.")
    chosen, folder = pick(device), out or Path("runs") / "dub"
    test = Dataset(on, "test")
    asked = feed.evenly(test.usable(task.reads().but(sound_s=0.0)), samples)
    names = _names(test)
    pages.free(folder, *(f"{names[index]}{ending}" for index in asked for ending in (".wav", ".mp4")))
    place(task, chosen)
    examples = None
    if method == "example":
        train, reads = Dataset(on, "train"), task.reads()
        indices = feed.evenly(train.usable(reads), _EXAMPLES)
        examples = Examples.of(task, feed.once(train, reads, 16, chosen, workers, indices=indices))
    folder.mkdir(parents=True, exist_ok=True)
    rows, said = [], []
    for done, index in enumerate(asked):
        if progress:
            progress(done, len(asked), "dub: sounds")
        row, sound = _written(task, test, index, examples, folder / names[index])
        rows.append(row)
        said.append(_onsets_s(sound, task.settings.rate_hz))
    true = [_impacts_s(test, index, task.settings.rate_hz) for index in asked]
    counts = [
        {"onsets": len(ours), "own_onsets": len(own), "found": matches(ours, own, _WITHIN_S)}
        for ours, own in zip(said, true, strict=True)
    ]
    metrics = _agreement(said, true)
    if len(asked) > 1:
        metrics |= {f"control_{name}": value for name, value in _agreement(said, true[1:] + true[:1]).items()}
    return Result(
        name=f"dub by {method}",
        fields={"run": str(weights), "method": method},
        metrics=metrics,
        rows=[row | count for row, count in zip(rows, counts, strict=True)],
        files={"folder": str(folder)},
        notes=[f"{weights}: {match.told()}."],
        seconds=time.perf_counter() - began,
    )


def _agreement(said: Sequence[Sequence[float]], true: Sequence[Sequence[float]]) -> dict[str, float]:
    """Percent of the onsets that are right, of those that there are that were found, and the harmonic mean of both."""
    found = sum(matches(ours, own, _WITHIN_S) for ours, own in zip(said, true, strict=True))
    ours, own = (sum(len(onsets) for onsets in some) for some in (said, true))
    shares = {"onset_precision": found / max(1, ours), "onset_recall": found / max(1, own)}
    shares["onset_f1"] = 2 * found / max(1, ours + own)
    return {name: round(100 * share, 2) for name, share in shares.items()}


def _onsets_s(sound: Tensor, rate_hz: int) -> list[float]:
    """When something begins in a sound (N,): where it becomes louder by enough to be heard."""
    return peaks(onsets(sound, rate_hz, _ONSET_HZ), _ONSET_HZ, _HEARD)


def _impacts_s(data: Dataset, index: int, rate_hz: int) -> list[float]:
    """When something hits something in a sample, if that is known, else the onsets of its own sound."""
    truth = data.meta(index)["truth"] or {}
    if "sounds" in truth:
        heard = [one for one in truth["sounds"] if one["kind"] in _BLOWS and one["level"] >= _LEAST_LEVEL]
        return separate(sorted(one["time_s"] for one in heard))
    entry = data.entries[index]
    if not entry.has("sound"):
        return []
    sound = data.read(index, [0.0], Reads(sound_s=entry.sound_s, rate_hz=rate_hz)).sound
    assert sound is not None
    return _onsets_s(torch.from_numpy(sound[0]), rate_hz)


def _names(data: Dataset) -> list[str]:
    """What the files of each sample are called: its key; where several have that, its folder too, then its number."""
    folders = [entry.shard.parent.resolve().name for entry in data.entries]
    names = [Path(entry.key).name for entry in data.entries]
    counts = Counter(names)
    names = [f"{folder}-{name}" if counts[name] > 1 else name for folder, name in zip(folders, names, strict=True)]
    counts = Counter(names)
    return [f"{number}-{name}" if counts[name] > 1 else name for number, name in enumerate(names)]


def _written(
    task: IndicatedSound, data: Dataset, index: int, examples: Examples | None, path: Path
) -> tuple[dict[str, str | float], Tensor]:
    """Dub a sample into `path`.wav and .mp4, name these files, and return its sound (N,)."""
    entry, fps, rate_hz = data.entries[index], float(task.settings.fps), task.settings.rate_hz
    reads = Reads(frames=int(entry.seconds * fps + 1e-6), fps=fps)
    frames = data.read(index, [0.0], reads).frames
    assert frames is not None
    pictures = frames[0][:, : entry.height // 2 * 2, : entry.width // 2 * 2]
    sound = dubbed(task, torch.from_numpy(frames[0]).permute(0, 3, 1, 2), examples)
    files = {"sample": entry.key, "sound": f"{path.name}.wav", "video": f"{path.name}.mp4"}
    write.wav(path.with_name(files["sound"]), sound.numpy(), rate_hz)
    write.video(path.with_name(files["video"]), pictures, fps, sound.numpy(), rate_hz)
    return files | {"seconds": len(sound) / rate_hz, "level_db": round(float(level_db(sound)), 1)}, sound
