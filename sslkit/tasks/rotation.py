"""Rotation: a picture is turned by 0, 90, 180 or 270 degrees, and the network says by how much.

Cut: one square crop of each picture. Asked: which of the four turns. All four copies of a picture go into one batch.
To answer, the network must know how things stand and which parts they have.

Source: Gidaris, Singh, Komodakis, "Unsupervised Representation Learning by Predicting Image Rotations", ICLR 2018;
code gidariss/FeatureLearningRotNet.
Departures: a random crop is scaled by area-averaged bilinear sampling in batch on the device instead of PIL's.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslkit.models import trunk as trunks
from sslkit.ops.crop import centre_boxes, crop, resized_boxes
from sslkit.tasks.base import Shortcut, Task, TaskSettings, Views, rows_of, sight
from sslkit.types import Answer, Batch, Draw, Panel, Reads

TURNS = ("0", "90", "180", "270")


class RotationSettings(TaskSettings):
    """trunk: network and its arguments. scale: share of the area that a training crop covers. flip: mirror."""

    trunk: str = "alexnet_bn"
    trunk_settings: dict[str, int | float | bool] = {}
    scale: tuple[float, float] = (0.08, 1.0)
    flip: bool = True
    centre_share: float = 0.875


class Rotation(Task):
    """Four-way classification of quarter turns; see the module's docstring."""

    Settings = RotationSettings
    classes = TURNS
    shortcuts = (
        Shortcut(
            "turn artefacts",
            "corners, bars and interpolation that only turned copies have",
            "exact transposes of a square crop",
            "VISSL's rotnet configuration turns the whole picture first",
        ),
        Shortcut(
            "mirror after turning",
            "a mirrored 90 is a 270: labels contradict and accuracy is capped at 75 %",
            "pictures are mirrored before they are turned",
            "hflip(rot90(x)) = rot270(hflip(x))",
        ),
        Shortcut(
            "upright marks",
            "text, watermarks and sensor rows that stand upright in every photograph",
            "accuracy is reported for each turn",
            "gidariss/FeatureLearningRotNet threads",
        ),
    )

    def __init__(self, settings: RotationSettings) -> None:
        super().__init__()
        self.settings = settings
        self.trunk = trunks.build(settings.trunk, settings.trunk_settings)
        self.head = nn.Linear(self.trunk.vector_width, len(TURNS))
        self.trunks = {"sight": self.trunk}

    def reads(self) -> Reads:
        return Reads(frames=1, start="any" if self.training else "spread")

    @torch.no_grad()
    def views(self, batch: Batch, draw: Draw) -> Views:
        """x (4B, 3, S, S): the copies of one picture follow each other; target (4B,) counts quarter turns."""
        pictures, size_px = sight(batch, self.trunk.takes)
        if self.training:
            boxes = resized_boxes(size_px, draw, self.settings.scale)
            flip = draw.uniform(len(pictures)) < 0.5 if self.settings.flip else None
        else:
            boxes, flip = centre_boxes(size_px, self.settings.centre_share), None
        square = crop(pictures, boxes, self.trunk.crop_px, flip)
        turned = torch.stack([torch.rot90(square, k, (-2, -1)) for k in range(len(TURNS))], 1)
        target = torch.arange(len(TURNS), device=square.device).repeat(len(square))
        x = turned.flatten(0, 1)
        return {"x": x, "target": target, "sample": rows_of(x, batch)}

    def forward(self, views: Views) -> Answer:
        scores: Tensor = self.head(self.trunk.vector(self.trunk(views["x"])))
        target = views["target"]
        accuracy = (scores.argmax(1) == target).float().mean() * 100
        return Answer(
            loss=F.cross_entropy(scores, target),
            logs={"accuracy": accuracy.detach()},
            scores=scores.detach(),
            target=target,
            sample=views["sample"],
        )

    def show(self, views: Views, answer: Answer) -> list[Panel]:
        assert answer.scores is not None
        n = min(32, len(views["x"]))
        said = answer.scores[:n].argmax(1).tolist()
        true = views["target"][:n].tolist()
        pictures = views["x"][:n].clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return [
            Panel(
                title="By how much is it turned?",
                pictures=list(pictures),
                captions=[f"{TURNS[t]}°, said {TURNS[s]}°" for t, s in zip(true, said, strict=True)],
                right=[t == s for t, s in zip(true, said, strict=True)],
                note="Each picture is shown in its four quarter turns, counter-clockwise, as the network sees them.",
                columns=4,
            )
        ]


TASK = Rotation
