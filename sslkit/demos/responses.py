"""Which clips of a dataset respond most, class by class: where a network is surest that it sees what it hears."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import itemgetter

import torch
from torch import Tensor

from sslkit.data.dataset import Dataset
from sslkit.engine import feed
from sslkit.evals.localisation import Localiser
from sslkit.report import picture
from sslkit.types import Batch, Panel, Result

_WINDOWS = 3
_BATCH = 8
_SHOWN_PX = 160


@dataclass(frozen=True)
class _Response:
    """The window of a sample that responds most: how much, when, its middle picture (3, H, W) and its map (h, w)."""

    index: int
    strength: float
    start_s: float
    frame: Tensor
    heat: Tensor


@torch.inference_mode()
def top_responses(
    task: Localiser,
    dataset: Dataset,
    device: torch.device,
    per_class: int = 4,
    progress: Callable[[int, int, str], None] | None = None,
) -> Result:
    """Rows of the `per_class` clips of each class whose largest similarity is highest, and a panel a class.

    Samples without a label make a class of their own. Raises UserError for data without pictures or sound.
    """
    began, kept = time.perf_counter(), dict[str, list[_Response]]()
    reads = task.window.but(clips=_WINDOWS, start="spread")
    count, done = len(dataset.usable(reads)), 0
    for batch in (part for whole in feed.once(dataset, reads, _BATCH, device) for part in _by_size(whole)):
        assert batch.frames is not None and batch.sound is not None
        maps = task.localise(batch.frames.flatten(0, 1), batch.sound.flatten(0, 1)).float().cpu()
        maps = maps.reshape(len(batch), _WINDOWS, *maps.shape[1:])
        for row, index in enumerate(batch.index.tolist()):
            best = int(maps[row].flatten(1).amax(1).argmax())
            frame = batch.frames[row, best, batch.frames.shape[2] // 2].cpu()
            strength = float(maps[row, best].max())
            response = _Response(index, strength, float(batch.start_s[row, best]), frame, maps[row, best])
            several = kept.setdefault(dataset.entries[index].label_name or "all", [])
            several.append(response)
            several.sort(key=lambda one: -one.strength)
            del several[per_class:]
        done += len(batch)
        if progress is not None:
            progress(done, count, "maps")
    rows = [
        {
            "class": name,
            "rank": rank,
            "sample": dataset.entries[one.index].key,
            "source": dataset.entries[one.index].source,
            "time_s": round(one.start_s, 2),
            "response": round(one.strength, 4),
        }
        for name, several in sorted(kept.items())
        for rank, one in enumerate(several, 1)
    ]
    return Result(
        name=f"top responses in the {dataset.split} split of {', '.join(str(f) for f in dataset.info.folders)}",
        fields={"data": [str(folder) for folder in dataset.info.folders], "split": dataset.split, "samples": count},
        rows=rows,
        panels=[_panel(name, several) for name, several in sorted(kept.items())],
        seconds=time.perf_counter() - began,
    )


def _by_size(batch: Batch) -> Iterator[Batch]:
    """The batch in parts of one size each, without padding: it would be seen, and the maps would cover it too."""
    for height, width in torch.unique(batch.size_px, dim=0).tolist():
        rows = (batch.size_px == batch.size_px.new_tensor([height, width])).all(1)
        part = batch.map(itemgetter(rows))
        assert part.frames is not None
        part.frames = part.frames[..., :height, :width]
        yield part


def _panel(name: str, several: list[_Response]) -> Panel:
    """Pictures beside their maps, in one scale for the class."""
    low = min(float(one.heat.median()) for one in several)
    high = max(one.strength for one in several)
    panel = Panel(name, [], columns=len(several), note="What responds most to its own sound; bright is where.")
    for one in several:
        plain = torch.nn.functional.interpolate(one.frame[None].float(), size=_size(one.frame), mode="bilinear")
        still = picture.to_uint8(plain.round().to(torch.uint8))
        both = [still[0], picture.overlay(still, one.heat[None], (low, high))[0]]
        panel.pictures.append(picture.grid(both, 1, gap_px=2))
        panel.captions.append(f"{one.strength:.2f} at {one.start_s:.1f} s")
        panel.right.append(None)
    return panel


def _size(frame: Tensor) -> tuple[int, int]:
    height, width = frame.shape[1:]
    return round(height * _SHOWN_PX / width), _SHOWN_PX
