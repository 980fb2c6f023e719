"""Rotation: a picture is turned by 0, 90, 180 or 270 degrees, and the network says by how much.

Cut: one square crop of each picture. Asked: which of the four turns. All four copies of a picture go into one batch.
To answer, the network must know how things stand and which parts they have.

Source: Gidaris, Singh, Komodakis, "Unsupervised Representation Learning by Predicting Image Rotations", ICLR 2018;
code gidariss/FeatureLearningRotNet.
Departures: a random crop is scaled by area-averaged bilinear sampling in batch on the device instead of PIL's.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslkit.models import trunk as trunks
from sslkit.ops import cues
from sslkit.ops.crop import centre_boxes, crop, cropped, mirror, resized_boxes
from sslkit.tasks.base import Cheat, Look, Shortcut, Task, TaskSettings, Views, rows_of, sight, verdicts
from sslkit.types import Answer, Batch, Draw, Panel, Reads

TURNS = ("0", "90", "180", "270")
_TEXTURE_PX, _TILE_PX = 128, 16


class RotationSettings(TaskSettings):
    """trunk: network and its arguments. scale: share of the area that a training crop covers. flip: mirror."""

    trunk: str = "alexnet_bn"
    trunk_settings: dict[str, int | float | bool] = {}
    scale: tuple[float, float] = (0.08, 1.0)
    flip: bool = True
    centre_share: float = 0.875


def _turned_whole(task: "Rotation", batch: Batch, draw: Draw) -> Views:
    """Whole pictures are turned within their own frame, with interpolation, and cropped afterwards."""
    pictures, size_px = sight(batch, task.trunk.takes)
    copies = []
    for quarter in range(len(TURNS)):
        turned = cues.turned_within(pictures, size_px, 90.0 * quarter)
        copies.append(crop(turned, resized_boxes(size_px, draw, task.settings.scale), task.trunk.crop_px))
    return _questions(torch.stack(copies, 1), batch)


def _mirrored_after(task: "Rotation", batch: Batch, draw: Draw) -> Views:
    """Pictures are mirrored when they have been turned."""
    views = task.views(batch, draw)
    return {**views, "x": mirror(views["x"], draw.uniform(len(views["x"])) < 0.5)}


def _textures(task: "Rotation", batch: Batch, draw: Draw) -> Views:
    """The task on textures that have no right way up: tiles of the pictures, shuffled, each turned at random."""
    pictures, size_px = sight(batch, task.trunk.takes)
    square = crop(pictures, centre_boxes(size_px, 1.0), _TEXTURE_PX)
    places = (_TEXTURE_PX // _TILE_PX) ** 2
    quarters = draw.integers(len(square), places, high=len(TURNS))
    laid = cues.tiled(square, _TILE_PX, draw.shuffle(places), quarters).round().to(torch.uint8)
    frames = laid.reshape(len(batch), -1, 1, *laid.shape[1:])
    size = torch.full_like(batch.size_px, _TEXTURE_PX)
    return task.views(replace(batch, frames=frames, size_px=size), draw)


def _corners(batch: Batch, draw: Draw, look: Look) -> Views:
    """x (4B, 3, 8, 8): the four corners, after one more exact turn at random: the way up of the world is lost."""
    views = look(batch, draw)
    again = cues.turned_each(views["x"], draw.integers(len(views["x"]), high=len(TURNS)))
    return {**views, "x": cues.corners(again, 4)}


def _upright_mark(batch: Batch, draw: Draw, look: Look) -> Views:
    """x (4B, 3, 8, 8): in place of every picture one that is bright above and dark below."""
    assert batch.frames is not None
    ramp = torch.linspace(255, 0, batch.frames.shape[-2], device=batch.frames.device)[:, None]
    views = look(replace(batch, frames=ramp.to(torch.uint8).expand_as(batch.frames)), draw)
    return {**views, "x": F.adaptive_avg_pool2d(views["x"], 8)}


def _middle(batch: Batch, draw: Draw, look: Look) -> Views:
    """x (4B, 3, 16, 16): a small piece of the middle: strokes, shading, rows of a sensor, but no sky above a ground."""
    views = look(batch, draw)
    first = (views["x"].shape[-1] - _TILE_PX) // 2
    return {**views, "x": views["x"][..., first : first + _TILE_PX, first : first + _TILE_PX]}


def _questions(copies: Tensor, batch: Batch) -> Views:
    """The four copies (B, 4, 3, S, S) of each picture as questions."""
    x = copies.flatten(0, 1)
    target = torch.arange(len(TURNS), device=x.device).repeat(len(copies))
    return {"x": x, "target": target, "sample": rows_of(x, batch)}


def _as_pictures(x: Tensor) -> Tensor:
    return x.clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


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
            Cheat(_corners, _as_pictures, off=_turned_whole),
        ),
        Shortcut(
            "mirror after turning",
            "a mirrored 90 is a 270: labels contradict and accuracy is capped at 75 %",
            "pictures are mirrored before they are turned",
            "hflip(rot90(x)) = rot270(hflip(x))",
            Cheat(_upright_mark, _as_pictures, off=_mirrored_after, contradicts=True),
        ),
        Shortcut(
            "upright marks",
            "text, watermarks, shading and sensor rows that stand upright in every photograph",
            "textures without a right way up must be at chance; accuracy is reported for each turn",
            "gidariss/FeatureLearningRotNet threads",
            Cheat(_middle, _as_pictures, on=_textures),
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
        square = cropped(pictures, size_px, self.trunk.crop_px, self.settings, draw if self.training else None)
        return _questions(torch.stack([torch.rot90(square, k, (-2, -1)) for k in range(len(TURNS))], 1), batch)

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

    def show(self, views: Views, answer: Answer | None = None, samples: int = 8) -> list[Panel]:
        n = int((views["sample"] < samples).sum())
        captions, right = verdicts([f"{turn}°" for turn in TURNS], views["target"][:n], answer)
        return [
            Panel(
                title="By how much is it turned?",
                pictures=list(_as_pictures(views["x"][:n]).cpu().numpy()),
                captions=captions,
                right=right,
                note="Each picture is shown in its four quarter turns, counter-clockwise, as the network sees them.",
                columns=8,
            )
        ]


TASK = Rotation
