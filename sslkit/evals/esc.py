"""How well frozen layers tell sounds apart: the protocol of ESC-50, in which every fold is tested in turn.

Protocol: of each sample `clips` windows, evenly spread, as long as the network takes them; those under `silence_db` are
passed over, since many short sounds end in silence. Maps are pooled by maximum to the places that leave about
`pool_dims` numbers: 4 x 3 of 512 channels. Features are standardised by the training folds; a linear support vector
machine a class; the scores of a sample's windows are averaged. The cost is chosen by training on all but two of the
folds and testing on the next fold; then all but one are trained on. The figure is the mean over the folds.
Controls: the same networks with random weights, and statistics of MFCC, which need no network.
Source: Piczak, ACM Multimedia 2015 (folds, MFCC as baseline); Arandjelovic and Zisserman, ICCV 2017 (windows, maximum,
standardised, linear machines), with the 4 x 3 places of marl/l3embedding.
Departures: machines are those of `svm`, whose positives count twice; costs are for features divided by the root of
their number, so that they mean the same for every layer; Piczak's baseline is a random forest, ours the same machines.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.data.dataset import Dataset
from sslkit.engine import feed
from sslkit.errors import UserError
from sslkit.evals import base, features, inits, svm
from sslkit.evals.base import Row
from sslkit.evals.inits import Init
from sslkit.evals.linear import ROUGH, rotate
from sslkit.models.trunk import Trunk
from sslkit.ops import measures
from sslkit.ops.sound import level_db
from sslkit.ops.spectrum import mfcc
from sslkit.recipe import ProbeRecipe
from sslkit.types import Batch, Published, Reads, Result

Progress = Callable[[int, int, str], None]
METRIC = "fold_top1"
_FINE = 1e-5


class Cepstra(Trunk):
    """statistics: mean and deviation over a window of 13 MFCC and of their differences, (B, 52), of sound (B, N)."""

    name = "mfcc"

    def __init__(self, sound_s: float = 1.0) -> None:
        super().__init__()
        self.settings = {"sound_s": sound_s}
        self.takes = Reads(sound_s=sound_s, rate_hz=16_000)
        self.crop_px = 0
        self.front_end = {"coefficients": 13}
        self.widths = {"statistics": 52}

    def forward(self, raw: Tensor) -> dict[str, Tensor]:
        """See `Trunk.forward`."""
        columns = mfcc(raw, self.takes.rate_hz)
        both = torch.cat([columns, torch.gradient(columns, dim=1)[0]], -1)
        return {"statistics": torch.cat([both.mean(1), both.std(1, correction=0)], 1)}


@dataclass(frozen=True)
class Windows:
    """What a trunk makes of the windows that sound, W in all, of N labelled samples.

    layers: (W, D) float32 by name. sample: (W,) int64, the sample of each window. label, fold: (N,) int64.
    """

    layers: dict[str, Tensor]
    sample: Tensor
    label: Tensor
    fold: Tensor


def evaluate(
    listed: Sequence[Init],
    datasets: Sequence[Dataset],
    recipe: ProbeRecipe,
    *,
    device: torch.device | str = "cpu",
    workers: int = 0,
    progress: Progress | None = None,
) -> Result:
    """Every network on every fold of a dataset, given as all of its splits.

    Rows: {"init", "layer", "metric", "value", "fold", "seed", "run", "held_out", "cost"} for each fold, then the means
    {"init", "layer", "metric", "value", "spread", "runs", "best"} over folds and seeds. Raises UserError for samples
    without labels or folds, and for a recipe that pools otherwise than the protocol.
    """
    began, classes = time.perf_counter(), datasets[0].info.classes
    if recipe.pool != "max":
        raise UserError(f"pool is {recipe.pool}, but this protocol pools by maximum, as published: set pool to max.")
    if len(classes) < 2:
        raise UserError(f"{datasets[0]!r} has fewer than two classes: prepare sounds with labels.")
    rows: list[Row] = []
    samples = 0
    for init in listed:
        found = windows(init.make(), datasets, recipe, init.name, device, workers, progress)
        samples = len(found.label)
        for layer, values in found.layers.items():
            rows += [
                {"init": init.name, "layer": layer, "metric": METRIC, **row, "seed": init.seeds[0], "run": init.run}
                for row in _folds(values, found, len(classes), recipe.svm_costs, device)
            ]
    total = _means(rows)
    guess = {"init": "chance", "layer": "", "metric": METRIC, "value": 100 / len(classes), "seed": None}
    total.append({**guess, "spread": 0.0, "runs": 0, "best": False})
    return Result(
        name=f"{len(classes)} classes of sounds in {', '.join(folder.name for folder in datasets[0].info.folders)}",
        fields=_fields(listed, datasets, recipe, samples),
        metrics={f"{row['init']}_{METRIC}": row["value"] for row in total if row["best"]},
        chance=100 / len(classes),
        paper=Published(recipe.paper.value, recipe.paper.where, recipe.paper.metric) if recipe.paper else None,
        rows=[*rows, *total],
        shown=[{key: value for key, value in row.items() if key != "seed"} for row in total],
        notes=inits.notes(listed),
        seconds=time.perf_counter() - began,
    )


@torch.no_grad()
def windows(
    trunk: Trunk,
    datasets: Sequence[Dataset],
    recipe: ProbeRecipe,
    name: str = "",
    device: torch.device | str = "cpu",
    workers: int = 0,
    progress: Progress | None = None,
) -> Windows:
    """Features of the windows of all samples. Raises UserError for a trunk that sees, and for samples without folds."""
    if trunk.takes.frames or trunk.takes.flow or not trunk.takes.sound_s:
        raise UserError(f"{trunk.name} takes pictures; this protocol needs a network that hears: name another run.")
    trunk.to(device).eval()
    wanted = () if isinstance(trunk, Cepstra) else recipe.layers  # which names layers of networks
    layers: dict[str, list[Tensor]] = {}
    samples: list[Tensor] = []
    labels: list[Tensor] = []
    folds: list[Tensor] = []
    for dataset, raw, sounding in _read(trunk, datasets, recipe, device, workers):
        maps = trunk(features.inputs(raw, trunk))
        for layer in wanted or maps:
            if layer not in maps:
                raise UserError(f"{trunk.name} has no layer {layer!r}: it has {', '.join(maps)}.")
            pooled = pooled_places(maps[layer].float(), recipe.pool_dims)
            layers.setdefault(layer, []).append(pooled[sounding.flatten()].cpu())
        samples.append(sounding.nonzero()[:, 0].cpu() + sum(len(part) for part in labels))
        labels.append(raw.label.cpu())
        folds.append(torch.tensor([dataset.entries[i].fold or 0 for i in raw.index.tolist()]))
        if progress is not None:
            progress(
                sum(len(part) for part in labels),
                sum(len(one) for one in datasets),
                f"features of {name or trunk.name}",
            )
    label, fold = torch.cat(labels), torch.cat(folds)
    if int(label.min()) < 0 or int(fold.min()) < 1:
        raise UserError("Not every sample has a label and a fold: prepare esc50, or a folder with --set folds=5.")
    return Windows({name: torch.cat(parts) for name, parts in layers.items()}, torch.cat(samples), label, fold)


def _read(
    trunk: Trunk, datasets: Sequence[Dataset], recipe: ProbeRecipe, device: torch.device | str, workers: int
) -> Iterator[tuple[Dataset, Batch, Tensor]]:
    """Batches, and which of their windows are heard, (B, clips) bool: at least one of each sample."""
    for dataset in datasets:
        reads = features.reads(trunk, recipe.clips)
        dataset.require(reads)
        for raw in feed.once(dataset, reads, recipe.batch, torch.device(device), workers):
            assert raw.sound is not None
            level = level_db(raw.sound)
            yield dataset, raw, level >= level.amax(1, keepdim=True).clamp(max=recipe.silence_db)


def pooled_places(values: Tensor, dims: int) -> Tensor:
    """Maps (B, C, F, T) as (B, D), the maximum of each of about dims / C places, a few more of them in F than in T."""
    if values.dim() < 3:
        return values
    maps = values[:, :, None] if values.dim() == 3 else values
    places = max(1, dims // maps.shape[1])
    along = min(maps.shape[3], max(1, math.isqrt(places)) if maps.shape[2] > 1 else places)
    across = min(maps.shape[2], max(1, places // along))
    return F.adaptive_max_pool2d(maps, (across, along)).flatten(1)


def _folds(
    values: Tensor, found: Windows, classes: int, costs: Sequence[float], device: torch.device | str
) -> Iterator[Row]:
    """The accuracy of one layer on each fold in turn."""
    numbers = found.fold.unique().tolist()  # type: ignore[no-untyped-call]
    if len(numbers) < 3:
        raise UserError(f"There are {len(numbers)} folds, but at least three are needed: to train, to choose, to test.")
    for place, tested in enumerate(numbers):
        chosen_on = numbers[(place + 1) % len(numbers)]
        right = {}
        for cost, scores in _scored(values, found, (tested, chosen_on), chosen_on, classes, costs, device):
            right[cost] = measures.top_k_accuracy(scores, found.label[found.fold == chosen_on])
        cost = max(right, key=lambda cost: (right[cost], -cost))
        ((_, scores),) = _scored(values, found, (tested,), tested, classes, [cost], device)
        value = measures.top_k_accuracy(scores, found.label[found.fold == tested])
        yield {"value": value, "fold": tested, "held_out": right[cost], "cost": cost}


def _scored(
    values: Tensor,
    found: Windows,
    left_out: Sequence[int],
    asked: int,
    classes: int,
    costs: Sequence[float],
    device: torch.device | str,
) -> Iterator[tuple[float, Tensor]]:
    """For each cost the scores (n, classes) of the samples of fold `asked`, trained on all folds not left out."""
    fold = found.fold[found.sample]
    trained = torch.stack([fold != number for number in left_out]).all(0)
    rows, queries = (x.to(device) for x in _standardised(values[trained], values[fold == asked]))
    rows, queries = rotate(rows, queries)
    label = found.label[found.sample[trained]].to(device)
    members = found.sample[fold == asked]
    machines, tolerance = None, ROUGH if len(costs) > 1 else _FINE
    for cost in sorted(costs):
        machines = svm.fit(rows, label, classes, cost, machines, tolerance)
        scores = svm.decide(machines, queries).cpu()
        yield cost, _averaged(scores, members, len(found.label))[found.fold == asked]


def _standardised(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Both by the mean and deviation of train, divided by the root of the number of columns."""
    mean, deviation = train.mean(0), train.std(0, correction=0)
    scale = (deviation + 1e-6 * deviation.mean().clamp(min=1e-12)) * math.sqrt(train.shape[1])
    return (train - mean) / scale, (test - mean) / scale


def _averaged(scores: Tensor, sample: Tensor, samples: int) -> Tensor:
    """Means (samples, classes) of the scores (W, classes) of each sample's windows; 0 for samples without any."""
    total = torch.zeros(samples, scores.shape[1], dtype=scores.dtype).index_add_(0, sample, scores)
    return total / torch.bincount(sample, minlength=samples).clamp(min=1)[:, None]


def _means(rows: Sequence[Row]) -> list[Row]:
    """Means over folds and seeds; the best layer of each network by what was held out of training."""
    total = base.summary(rows)
    held: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        held.setdefault((row["init"], row["layer"]), []).append(row["held_out"])
    sure = {key: sum(values) / len(values) for key, values in held.items()}
    best = {init: max((key for key in sure if key[0] == init), key=lambda key: sure[key])[1] for init, _ in sure}
    return [{**row, "best": best[row["init"]] == row["layer"]} for row in total]


def _fields(
    listed: Sequence[Init], datasets: Sequence[Dataset], recipe: ProbeRecipe, samples: int
) -> dict[str, object]:
    return {
        "run": ", ".join(dict.fromkeys(init.run for init in listed if init.name not in ("random", "mfcc"))),
        "protocol": f"frozen, folds ({recipe.name or 'esc'})",
        "data": ", ".join(map(str, datasets[0].info.folders)),
        "prepared": datasets[0].info.records,
        "classes": list(datasets[0].info.classes),
        "split": {"samples": samples, "of": sum(map(len, datasets)), "held_out_by": "fold"},
        "preprocessing": {
            "clips": recipe.clips,
            "silence_db": recipe.silence_db,
            "pool": recipe.pool,
            "pool_dims": recipe.pool_dims,
        },
    }
