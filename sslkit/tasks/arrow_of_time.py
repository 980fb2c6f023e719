"""Arrow of time: the optical flow of a clip is played forwards or backwards, and the network says which.

Cut: the same window of flow twice, once as computed on the frames, once as computed on the reversed frames (it is not
the negated forward flow). Asked: does time run forwards? Answered by T-CAM, whose last maps show where the evidence is.

Source: Wei, Lim, Freeman, Zisserman, "Learning and Using the Arrow of Time", CVPR 2018; code donglaiw/AoT_TCAM.
Departures: both directions of a window are in the same batch (a batch of 48 samples is the paper's 96 clips); flow is
read from JPEG planes with 128 as exact zero; TV-L1 is our own or DIS is used in its place, as the data were prepared.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslkit.models import trunk as trunks
from sslkit.ops import cues
from sslkit.ops.colour import flow_to_rgb, heat_to_rgb, moving_field
from sslkit.ops.crop import corner_boxes, cut
from sslkit.ops.flow import flip_horizontal
from sslkit.tasks.base import Cheat, Look, Shortcut, Task, TaskSettings, Views, rows_of, sight, verdicts
from sslkit.types import Answer, Batch, Draw, Panel, Reads

_FLOW = Reads(flow=1)


class ArrowSettings(TaskSettings):
    """trunk_settings: arguments of the T-CAM network. flip: mirror at random. start: how windows are drawn."""

    trunk_settings: dict[str, int | float | bool] = {}
    flip: bool = True
    moving: bool = True


def _bars(batch: Batch, draw: Draw, look: Look) -> Views:
    """x (N, T, 16): the motion in the four bars, field by field."""
    views = look(batch, draw)
    flow, size_px = sight(batch, _FLOW)
    bars = batch.extra["bars"].repeat_interleave(len(flow) // len(batch), 0)
    motion, there = cues.bar_motion(flow, size_px, bars)
    return {**views, "x": motion.flatten(2), "target": views["target"].where(there, -1)}


def _camera(batch: Batch, draw: Draw, look: Look) -> Views:
    """x (N, T, 8): the eight parameters of each field's homography."""
    return {**look(batch, draw), "x": cues.camera_motion(*sight(batch, _FLOW))}


def _negated(task: "ArrowOfTime", batch: Batch, draw: Draw) -> Views:
    """The views of data that hold no flow of the reversed frames, so that it is made from the other one."""
    assert batch.flow is not None
    forwards = batch.flow[:, 0::2]
    both = torch.stack([forwards, cues.negated(forwards.flip(2))], 2).flatten(1, 2)
    return task.views(replace(batch, flow=both), draw)


def _one_field(batch: Batch, draw: Draw, look: Look) -> Views:
    """x (N, 2, S, S) uint8: a single field, turned at random so that it does not matter what falls or rises."""
    views = look(batch, draw)
    middle = views["x"][:, views["x"].shape[1] // 2]
    return {**views, "x": cues.turned_field(middle, draw.integers(len(middle), high=4))}


class ArrowOfTime(Task):
    """Forwards or backwards, from flow; see the module's docstring."""

    Settings = ArrowSettings
    short_name = "aot"
    classes = ("backwards", "forwards")
    shortcuts = (
        Shortcut(
            "black borders",
            "noise of the encoder in the black bars, which depends on the direction of time",
            "prepare-data finds and removes borders (remove_borders) or paints them black (zero_borders)",
            "Wei 2018; 46 % of UCF101 clips have bars",
            Cheat(
                _bars,
                lambda x: flow_to_rgb(cues.bar_field(x[:, x.shape[1] // 2].reshape(-1, 4, 4), 48), 6),
                prepared=("zero_borders", "remove_borders"),
                toybox={"border_share": 1.0, "encoder_noise": True, "remove_borders": False},
            ),
            published={("original", "original"): 98.1, ("original", "cleaned"): 87.9},
        ),
        Shortcut(
            "camera motion",
            "film makers zoom in and tilt down",
            "prepare-data stabilises every clip by homographies (stabilise)",
            "Wei 2018, after the bars were removed; 73 % of UCF101 clips have it",
            Cheat(
                _camera,
                lambda x: flow_to_rgb(cues.camera_field(x[:, x.shape[1] // 2], 48), 12),
                prepared=("stabilise",),
                toybox={"camera_share": 1.0, "camera_habit": True},
            ),
            published={("original", "original"): 88.3, ("original", "cleaned"): 75.2},
        ),
        Shortcut(
            "negated flow",
            "flow of a reversed clip that was made by negating the forward flow",
            "flow is computed again on the reversed frames",
            "donglaiw/AoT_TCAM keeps it in a folder of its own",
            Cheat(_one_field, flow_to_rgb, off=_negated),
        ),
        Shortcut(
            "encoder order",
            "predicted frames of a video codec differ from the frames that they were predicted from",
            "all frames are decoded, cleaned and scaled before flow is computed, alike in both directions",
            "Wei 2018 collected Motion-JPEG clips for this reason",
            "It would need every source encoded forwards and backwards; prepared data hold flow of decoded frames.",
        ),
    )

    def __init__(self, settings: ArrowSettings) -> None:
        super().__init__()
        self.settings = settings
        self.trunk = trunks.build("tcam", settings.trunk_settings)
        self.head = nn.Linear(self.trunk.widths["fuse2"], 1)
        self.trunks = {"sight": self.trunk}

    def reads(self) -> Reads:
        start = "spread" if not self.training else "moving" if self.settings.moving else "any"
        return self.trunk.takes.but(backward=True, start=start)

    @torch.no_grad()
    def views(self, batch: Batch, draw: Draw) -> Views:
        """x (2 * B * clips, T, 2, S, S) uint8; target is 1 where time runs forwards; sample is the row of the batch."""
        flow, size_px = sight(batch, self.trunk.takes)
        target = torch.tensor([1, 0], device=flow.device).repeat(len(flow) // 2)
        boxes = corner_boxes(size_px, self.trunk.crop_px, draw if self.training else None)
        x = cut(flow, boxes, self.trunk.crop_px)
        if self.training and self.settings.flip:
            chosen = (draw.uniform(len(x)) < 0.5).to(x.device)
            x = torch.where(chosen[:, None, None, None, None], flip_horizontal(x), x)
        return {"x": x, "target": target, "sample": rows_of(x, batch)}

    def forward(self, views: Views) -> Answer:
        logit, heat = self.score(views["x"])
        target = views["target"]
        accuracy = ((logit > 0) == (target == 1)).float().mean() * 100
        return Answer(
            loss=F.binary_cross_entropy_with_logits(logit, target.float()),
            logs={"accuracy": accuracy.detach()},
            scores=torch.stack([-logit / 2, logit / 2], 1).detach(),
            target=target,
            sample=views["sample"],
            pictures={"heat": heat.detach()},
        )

    def score(self, flow: Tensor) -> tuple[Tensor, Tensor]:
        """Logit (N,) that time runs forwards, and the map (N, h, w) of evidence whose mean it is, bias included.

        flow: packed (N, T, 2, H, W), of any height and width.
        """
        maps = self.trunk(flow)["fuse2"]
        heat = torch.einsum("nchw,c->nhw", maps.float(), self.head.weight[0].float()) + self.head.bias.float()
        return heat.mean((1, 2)), heat

    def show(self, views: Views, answer: Answer | None = None, samples: int = 8) -> list[Panel]:
        n = int((views["sample"] < samples).sum())
        pictures = flow_to_rgb(moving_field(views["x"][:n]))
        target = views["target"][:n]
        captions, right = verdicts(self.classes, target, None)
        note = "The most lively flow of each window (hue: direction, strength: speed, each in its own scale), "
        note += "as filmed and reversed."
        if answer is not None and answer.scores is not None:
            note += " Beside it the evidence, red for forwards, blue for backwards."
            pictures = torch.cat([pictures, _evidence(answer.pictures["heat"][:n], pictures)], 2)
            sure = answer.scores[:n].softmax(1).gather(1, target[:, None])[:, 0].tolist()
            captions = [f"{true}: {p:.0%} sure" for true, p in zip(captions, sure, strict=True)]
            right = [p > 0.5 for p in sure]
        columns = 8 if answer is None else 4
        return [Panel("Forwards or backwards?", list(pictures.cpu().numpy()), captions, right, note, columns)]


def _evidence(heat: Tensor, beside: Tensor) -> Tensor:
    """Maps (N, h, w) in colours, as large as the pictures (N, H, W, 3) `beside`, in one scale for all."""
    scale = heat.abs().flatten().float().quantile(0.98).clamp(min=1e-6)
    return heat_to_rgb(F.interpolate((heat / scale)[:, None].float(), beside.shape[1:3], mode="bilinear")[:, 0])


TASK = ArrowOfTime
