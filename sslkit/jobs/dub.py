"""Sound for silent pictures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from sslkit.data.dataset import Dataset
from sslkit.demos.dub import Examples, dubbed
from sslkit.engine import feed
from sslkit.engine.device import pick, place
from sslkit.errors import UserError
from sslkit.jobs.data import Progress
from sslkit.jobs.learn import loaded
from sslkit.media import write
from sslkit.tasks.indicated_sound import IndicatedSound
from sslkit.types import Reads, Result

_EXAMPLES = 2000


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
    from the train split.
    """
    began = time.perf_counter()
    task, run, match = loaded(weights)
    if not isinstance(task, IndicatedSound):
        raise UserError(f"{weights} learnt {run.recipe.task}; sslkit dub needs a run of indicated_sound.")
    chosen, folder = pick(device), out or Path("runs") / "dub"
    place(task, chosen)
    examples = None
    if method == "example":
        train, reads = Dataset(on, "train"), task.reads()
        indices = feed.evenly(train.usable(reads), _EXAMPLES)
        examples = Examples.of(task, feed.once(train, reads, 16, chosen, workers, indices=indices))
    test = Dataset(on, "test")
    asked = feed.evenly(test.usable(task.reads().but(sound_s=0.0)), samples)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for done, index in enumerate(asked):
        if progress:
            progress(done, len(asked), "dub: sounds")
        rows.append(_written(task, test, index, examples, folder))
    return Result(
        name=f"dub by {method}",
        fields={"run": str(weights), "method": method},
        rows=rows,
        files={"folder": str(folder)},
        notes=[f"{weights}: {match.told()}."],
        seconds=time.perf_counter() - began,
    )


def _written(
    task: IndicatedSound, data: Dataset, index: int, examples: Examples | None, folder: Path
) -> dict[str, str | float]:
    """Dub a sample, and name its files."""
    entry, fps, rate_hz = data.entries[index], float(task.settings.fps), task.settings.rate_hz
    reads = Reads(frames=int(entry.seconds * fps + 1e-6), fps=fps)
    frames = data.read(index, [0.0], reads).frames
    assert frames is not None
    pictures = frames[0][:, : entry.height // 2 * 2, : entry.width // 2 * 2]
    sound = dubbed(task, torch.from_numpy(frames[0]).permute(0, 3, 1, 2), examples).numpy()
    name = Path(entry.key).name
    write.wav(folder / f"{name}.wav", sound, rate_hz)
    write.video(folder / f"{name}.mp4", pictures, fps, sound, rate_hz)
    return {"sample": entry.key, "seconds": len(sound) / rate_hz, "sound": f"{name}.wav", "video": f"{name}.mp4"}
