"""Features of a frozen trunk for a whole split: one forward pass a sample serves every layer and every evaluation.

Protocol: the central square (0.875 of the short side, as 224 of 256) scaled to the trunk's own input size, no
augmentation, evaluation mode; optical flow is cut at its prepared size, because its values depend on it. Each map is
pooled to the largest square that keeps at most `pool_dims` numbers. The windows of a video are averaged.
Source: layer-wise probes of Zhang et al. (ECCV 2016; richzhang/colorization) and Goyal et al. (ICCV 2019;
facebookresearch/fair_self_supervision_benchmark), which pool each layer to about 9000 numbers.
Departures: the pooled side is floor(sqrt(9000 / C)), clamped to the map, for every trunk, instead of a kernel and a
stride chosen by hand for each layer; features are cached, so that there is no augmentation.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.data.dataset import Dataset
from sslkit.data.windows import spread
from sslkit.engine import feed
from sslkit.errors import WorkError
from sslkit.models.trunk import Trunk
from sslkit.tasks.base import sight
from sslkit.tasks.labels import plain_crop
from sslkit.types import Batch, Reads

Pool = Literal["avg", "max"]


@dataclass(frozen=True)
class Features:
    """What a frozen trunk makes of the samples of a split, in the dataset's order.

    layers: (N, D) float32 (or float16) on the CPU by layer name. label: (N,) int64, -1 where there is none.
    index: (N,) int64, positions in the split. source, group: where each sample was cut from, and what may not be
    divided between train and held-out. shapes: what each layer's map was pooled to, (C, side, side) or (C,).
    seconds: time that reading and the forward passes took.
    """

    layers: dict[str, Tensor]
    label: Tensor
    index: Tensor
    source: list[str]
    group: list[str]
    shapes: dict[str, tuple[int, ...]]
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.label)

    def labelled(self) -> Features:
        """The samples that have a label."""
        keep = (self.label >= 0).nonzero()[:, 0]
        if len(keep) == len(self):
            return self
        return replace(
            self,
            layers={name: values[keep] for name, values in self.layers.items()},
            label=self.label[keep],
            index=self.index[keep],
            source=[self.source[i] for i in keep.tolist()],
            group=[self.group[i] for i in keep.tolist()],
        )


def reads(trunk: Trunk, clips: int = 1) -> Reads:
    """What a sample must hold for `clips` evenly spread inputs of a trunk."""
    return trunk.takes.but(clips=clips, start="spread")


def windows(dataset: Dataset, clips: int) -> int:
    """Windows worth reading of each sample: one where all are stills."""
    return 1 if all(entry.kind == "image" for entry in dataset.entries) else clips


def inputs(batch: Batch, trunk: Trunk) -> Tensor:
    """Raw inputs of a trunk from a batch, clips unfolded, (B * clips, ...): central crops, or sound as it is."""
    if not trunk.takes.frames and not trunk.takes.flow:
        if batch.sound is None:
            raise ValueError("the batch holds no sound: reads() did not ask for it")
        return batch.sound.flatten(0, 1)
    raw, size_px = sight(batch, trunk.takes)
    return plain_crop(trunk, raw, size_px)


def pool_map(values: Tensor, dims: int = 9000, pool: Pool = "avg") -> Tensor:
    """A map (B, C, H, W) pooled to side floor(sqrt(dims / C)), at least 1 and at most its own; (B, C) is kept."""
    if values.dim() != 4:
        return values
    side = max(1, math.isqrt(dims // values.shape[1]))
    wanted = (min(side, values.shape[2]), min(side, values.shape[3]))
    pooled: Tensor = (F.adaptive_avg_pool2d if pool == "avg" else F.adaptive_max_pool2d)(values, wanted)
    return pooled


def state_hash(module: nn.Module) -> str:
    """Hash of all weights and buffers: equal before and after means that nothing was trained, batch norm included."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def extract(
    trunk: Trunk,
    dataset: Dataset,
    layers: tuple[str, ...] | None = None,
    *,
    clips: int = 1,
    pool_dims: int = 9000,
    pool: Pool = "avg",
    batch: int = 64,
    device: torch.device | str = "cpu",
    workers: int = 0,
    half: bool = False,
    most: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Features of every usable sample of a dataset split, all layers (or those named) from one forward pass each.

    clips: evenly spread windows of a video, averaged. half: keep float16, half the memory. most: read no more samples,
    spread evenly over the split. progress(done, of): called after each batch. The trunk is moved to `device` and left
    in the mode it came in.
    Raises WorkError if the trunk's weights or statistics changed on the way or its answers are not finite, UserError
    (from the dataset) when it lacks what the trunk takes.
    """
    started, was_training, before = time.perf_counter(), trunk.training, state_hash(trunk)
    trunk.to(device).eval()
    wanted = reads(trunk, clips)
    dataset.require(wanted)
    usable = dataset.usable(wanted)
    chosen = usable if most is None or most >= len(usable) else [usable[i] for i in spread(len(usable), most)]
    parts: dict[str, list[Tensor]] = {}
    labels, places = [], []
    shapes: dict[str, tuple[int, ...]] = {}
    for raw in feed.once(dataset, wanted, batch, torch.device(device), workers, indices=chosen):
        for name, values in trunk(inputs(raw, trunk)).items():
            if layers is not None and name not in layers:
                continue
            pooled = pool_map(values.float(), pool_dims, pool)
            shapes[name] = tuple(pooled.shape[1:])
            averaged = pooled.flatten(1).reshape(len(raw), clips, -1).mean(1)
            parts.setdefault(name, []).append(averaged.to(torch.float16 if half else torch.float32).cpu())
        labels.append(raw.label.cpu())
        places.append(raw.index.cpu())
        if progress is not None:
            progress(sum(map(len, labels)), len(chosen))
    trunk.train(was_training)
    if state_hash(trunk) != before:
        raise WorkError(
            f"Trunk {trunk.name}: its weights or statistics changed while features were read: it is not frozen."
        )
    found = {name: torch.cat(values) for name, values in parts.items()}
    _check(trunk, found, layers)
    index = torch.cat(places)
    entries = [dataset.entries[i] for i in index.tolist()]
    return Features(
        found,
        torch.cat(labels),
        index,
        [entry.source for entry in entries],
        [entry.group for entry in entries],
        shapes,
        time.perf_counter() - started,
    )


def _check(trunk: Trunk, found: dict[str, Tensor], layers: tuple[str, ...] | None) -> None:
    for name in layers or ():
        if name not in found:
            raise WorkError(f"Trunk {trunk.name} has no layer {name!r}: it has {', '.join(found)}.")
    for name, values in found.items():
        if not bool(values.isfinite().all()):
            raise WorkError(f"Trunk {trunk.name}, layer {name}: features are not finite, so the run has diverged.")
