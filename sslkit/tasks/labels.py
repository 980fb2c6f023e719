"""Labels: plain supervised classification on any trunk. Not a pretext task, but the one that finetuning and supervised
controls train with the same engine.

Cut: one crop of a picture, or of a window of flow. Asked: the class. Answered by one linear layer on the pooled last
maps of the trunk.

Source: the usual practice; for flow windows Wei et al. 2018 (T-CAM with its last layer replaced).
Departures: none.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslkit.models import trunk as trunks
from sslkit.ops.colour import flow_to_rgb, moving_field
from sslkit.ops.crop import centre_boxes, corner_boxes, crop, cut, mirror, resized_boxes
from sslkit.ops.flow import flip_horizontal
from sslkit.tasks.base import Shortcut, Task, TaskSettings, Views, rows_of, sight, verdicts
from sslkit.types import Answer, Batch, Draw, Panel, Reads


class LabelsSettings(TaskSettings):
    """classes: names, in the order of the dataset's labels. scale: share of the area of a training crop of a picture.

    flip: mirror at random; switch it off where left and right are classes. dropout: of the head and of every dropout
    layer of the trunk.
    """

    trunk: str
    trunk_settings: dict[str, int | float | bool] = {}
    classes: tuple[str, ...]
    dropout: float = 0.5
    scale: tuple[float, float] = (0.3, 1.0)
    flip: bool = True
    centre_share: float = 0.875


class Labels(Task):
    """Supervised classification; see the module's docstring."""

    Settings = LabelsSettings
    shortcuts = (
        Shortcut(
            "shared recordings",
            "clips of one recording look alike, so that a test clip is known by its neighbour in training",
            "prepare-data keeps all clips of a recording in one split",
            "the groups of UCF101 (Soomro 2012) and the splits that its authors give",
            "Prepare-data refuses splits that share a recording, so there are no data without the control.",
        ),
    )

    def __init__(self, settings: LabelsSettings) -> None:
        super().__init__()
        self.settings = settings
        self.classes = settings.classes
        self.trunk = trunks.build(settings.trunk, settings.trunk_settings)
        self.dropout = nn.Dropout(settings.dropout)
        for layer in self.trunk.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = settings.dropout
        self.head = nn.Linear(self.trunk.vector_width, len(settings.classes))
        self.trunks = {"sight": self.trunk}

    def reads(self) -> Reads:
        return self.trunk.takes.but(start="any" if self.training else "spread")

    @torch.no_grad()
    def views(self, batch: Batch, draw: Draw) -> Views:
        """x (N, ..., S, S), raw values; target (N,), one a window."""
        raw, size_px = sight(batch, self.trunk.takes)
        target = batch.label.repeat_interleave(len(raw) // len(batch))
        x = self.augmented(raw, size_px, draw) if self.training else self.plain(raw, size_px)
        return {"x": x, "target": target, "sample": rows_of(x, batch)}

    def plain(self, raw: Tensor, size_px: Tensor) -> Tensor:
        """The central crop, as evaluations see it."""
        return plain_crop(self.trunk, raw, size_px, self.settings.centre_share)

    def augmented(self, raw: Tensor, size_px: Tensor, draw: Draw) -> Tensor:
        """A random crop, mirrored at random; flow is cut at one of five places, without scaling."""
        flip = (draw.uniform(len(raw)) < 0.5) & self.settings.flip
        if self.trunk.takes.flow:
            x = cut(raw, corner_boxes(size_px, self.trunk.crop_px, draw), self.trunk.crop_px)
            return torch.where(flip.to(x.device)[:, None, None, None, None], flip_horizontal(x), x)
        return mirror(crop(raw, resized_boxes(size_px, draw, self.settings.scale), self.trunk.crop_px), flip)

    def forward(self, views: Views) -> Answer:
        scores: Tensor = self.head(self.dropout(self.trunk.vector(self.trunk(views["x"]))))
        target = views["target"]
        accuracy = (scores.argmax(1) == target).float().mean() * 100
        return Answer(
            loss=F.cross_entropy(scores, target),
            logs={"accuracy": accuracy.detach()},
            scores=scores.detach(),
            target=target,
            sample=views["sample"],
        )

    def show(self, views: Views, answer: Answer | None = None, samples: int = 24) -> list[Panel]:
        x = views["x"][: int((views["sample"] < samples).sum())]
        if self.trunk.takes.flow:
            pictures = flow_to_rgb(moving_field(x))
        else:
            pictures = x.clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        captions, right = verdicts(self.classes, views["target"][: len(x)], answer)
        return [Panel("Which class is it?", list(pictures.cpu().numpy()), captions, right)]


def plain_crop(trunk: trunks.Trunk, raw: Tensor, size_px: Tensor, centre_share: float = 0.875) -> Tensor:
    """The central crop of raw media that an evaluation feeds to a trunk: flow as it is, pictures scaled."""
    if trunk.takes.flow:
        return cut(raw, corner_boxes(size_px, trunk.crop_px, None), trunk.crop_px)
    return crop(raw, centre_boxes(size_px, centre_share), trunk.crop_px)


TASK = Labels
