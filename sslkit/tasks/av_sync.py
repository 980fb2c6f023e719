"""Misalignment: a clip and a sound of the same video: are they from the same time, or is the sound shifted?

Cut: two windows of one clip, a few seconds apart, with their sounds. Asked: each window with its own sound, and with
that of the other. All four go into one batch, so that neither a window nor a sound tells the answer alone. Answered by
a network that joins sight and sound early; where in the picture its last maps see the answer is what makes the sound.

Source: Owens and Efros, "Audio-visual scene analysis with self-supervised multisensory features", ECCV 2018; code
andrewowens/multisensory.
Departures: both windows are shown, there only one of them; windows are taken where there is sound, if there is any,
though a hum without an onset is asked about, too; what the network learns first, at a lower rate of pictures, is part
of one training (`slow_steps`), with one size of batch.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslkit.errors import UserError
from sslkit.models import trunk as trunks
from sslkit.models.multisensory import Multisensory
from sslkit.ops.colour import heat_to_rgb
from sslkit.ops.crop import centre_boxes, crop, mirror, resized_boxes
from sslkit.ops.precision import in_float32
from sslkit.ops.sound import level_db
from sslkit.tasks.base import Cheat, Look, Shortcut, Task, TaskSettings, Views, verdicts
from sslkit.types import Answer, Batch, Draw, Panel, Reads, Start

_SLICES = 16


class SyncSettings(TaskSettings):
    """trunk_settings: of the network. rate_hz: of the sound. clip_frames: pictures that a clip must have.

    overlap: pictures that two windows may share at most. slow_steps, every: for so many steps, in which nothing else
    changes, only every so many-th picture is seen. scale: share of the area that a training crop covers. flip: mirror.
    centre_share: side of the crop in evaluation. silent_db: level below which a sound is silence, under full scale.
    tries: so many pairs of windows of a clip are listened to for one with sound in both: silence is never out of time.
    """

    trunk_settings: dict[str, int | float | bool] = {}
    rate_hz: int = 21_000
    clip_frames: int = 302
    overlap: int = 60
    slow_steps: int = 0
    every: int = 4
    scale: tuple[float, float] = (0.4, 0.75)
    flip: bool = True
    centre_share: float = 0.875
    silent_db: float = -70.0
    tries: int = 8


def _levels(batch: Batch, draw: Draw, look: Look) -> Views:
    """x (Q, 16): how loud the sound of each question is over its time, on the scale of its own loudest moment."""
    views = look(batch, draw)
    sound = views["sound"][views["sound_row"]]
    sound = sound if sound.dim() == 2 else sound.float().mean(1)
    parts = sound[:, : sound.shape[1] // _SLICES * _SLICES].reshape(len(sound), _SLICES, -1)
    return {**views, "x": level_db(parts) / 20}


def _bars(x: Tensor) -> Tensor:
    """Levels (Q, 16) as bars, (Q, 32, 64, 3) uint8."""
    low, high = x.amin(1, keepdim=True), x.amax(1, keepdim=True)
    height = ((x - low) / (high - low).clamp(min=1e-6) * 31).repeat_interleave(4, 1)
    filled = torch.arange(31, -1, -1, device=x.device)[:, None] <= height[:, None]
    return torch.where(filled[..., None], 70, 235).to(torch.uint8).expand(-1, -1, -1, 3)


def _first_only(task: AvSync, batch: Batch, draw: Draw) -> Views:
    """Only the earlier window of a clip is shown: the shifted sounds are all late in their clips."""
    views = task.views(batch, draw)
    first = views["sight_row"] % 2 == 0
    rows = {name: views[name][first] for name in ("sight_row", "sound_row", "target", "sample")}
    return {**views, **rows}


class AvSync(Task):
    """In time or shifted? See the module's docstring."""

    Settings = SyncSettings
    short_name = "multisensory"
    classes = ("shifted", "in time")
    shortcuts = (
        Shortcut(
            "the sound alone",
            "clips begin or end quietly, so that a shifted sound is softer than one from the middle",
            "every sound is asked about with its own window and with the other one",
            "the order of events in staged clips; the toybox, in which things first fall and then hit",
            Cheat(_levels, _bars, off=_first_only),
        ),
        Shortcut(
            "the grid of the negatives",
            "sound that is cut at other times, or by other code, than the positives",
            "both windows begin on frames, and their sounds are slices of one decoded sound",
            "Objects that Sound, ECCV 2018",
            "Nothing is left to measure: every sound is in time once and shifted once.",
        ),
    )
    stage_steps: Tensor

    def __init__(self, settings: SyncSettings) -> None:
        super().__init__()
        self.settings = settings
        self.network = cast(Multisensory, trunks.build("multisensory", settings.trunk_settings))
        if self._room < self._least:
            raise UserError(
                f"settings.clip_frames {settings.clip_frames} leaves no two windows of {self.frames} frames that share "
                f"at most {settings.overlap}: set it to {self.frames + self._least} or more."
            )
        self.head = nn.Linear(self.network.vector_width, 1)
        self.register_buffer("stage_steps", torch.zeros((), dtype=torch.int64))
        self.trunks = {"sight": self.network}

    @property
    def frames(self) -> int:
        """Pictures in a window."""
        return self.network.takes.frames

    @property
    def _room(self) -> int:
        """By how many frames two windows of a clip can lie apart,"""
        return self.settings.clip_frames - self.frames

    @property
    def _least(self) -> int:
        """and must."""
        return max(1, self.frames - self.settings.overlap)

    @property
    def fps(self) -> float:
        """Their rate."""
        return float(self.network.settings["fps"])

    @property
    def samples(self) -> int:
        """Of the sound of a window."""
        return round(self.frames / self.fps * self.settings.rate_hz)

    def reads(self) -> Reads:
        count = self.settings.clip_frames
        start: Start = "any" if self.training else "spread"
        return Reads(
            frames=count,
            fps=self.fps,
            sound_s=count / self.fps,
            rate_hz=self.settings.rate_hz,
            channels=int(self.network.settings["channels"]),
            start=start,
        )

    def after_step(self) -> None:
        """The first stage is counted with the weights, so that a resumed run knows where it is."""
        self.stage_steps += 1

    @torch.no_grad()
    def views(self, batch: Batch, draw: Draw) -> Views:
        """frames (2 N, T, 3, S, S) float and sound (2 N, M), or (2 N, 2, M), int16, two windows a clip; and Q
        questions: sight_row and sound_row (Q,) int64 are rows of these, target (Q,) is 1 where they are of the same
        window, sample (Q,).
        """
        assert batch.frames is not None and batch.sound is not None
        frames, sound = batch.frames.flatten(0, 1), batch.sound.flatten(0, 1)
        starts = self._starts(sound, draw)
        size_px = batch.size_px.repeat_interleave(len(frames) // len(batch), 0)
        seen, heard = self._cropped(frames, starts, size_px, draw), self._slices(sound, starts)
        flip = draw.uniform(len(frames)) < (0.5 if self.training and self.settings.flip else 0)
        seen = mirror(seen, flip)
        if heard.dim() > 3:  # what is on the left in a mirror is heard on the left
            heard = torch.where(flip.to(heard.device)[:, None, None, None], heard.flip(2), heard)
        audible = self._audible(heard).nonzero()[:, 0]
        pair = 2 * audible[:, None] + torch.tensor([0, 0, 1, 1], device=sound.device)
        other = 2 * audible[:, None] + torch.tensor([0, 1, 1, 0], device=sound.device)
        return {
            "frames": seen.flatten(0, 1),
            "sound": heard.flatten(0, 1),
            "sight_row": pair.flatten(),
            "sound_row": other.flatten(),
            "target": (pair == other).long().flatten(),
            "sample": (audible // (len(frames) // len(batch))).repeat_interleave(4),
        }

    def _starts(self, sound: Tensor, draw: Draw) -> Tensor:
        """The first frames of two windows of each clip, (clips, 2) int64: of its first pair with sound in both."""
        pairs = self._pairs(len(sound), draw)
        audible = torch.stack([self._audible(self._slices(sound, one)) for one in pairs.unbind(1)], 1)
        return pairs[torch.arange(len(pairs)), audible.byte().argmax(1).cpu()]

    def _pairs(self, clips: int, draw: Draw) -> Tensor:
        """Pairs of windows that overlap little enough, (clips, tries, 2) int64: in training all are equally likely, so
        that small shifts are more frequent than large ones; in evaluation from the furthest apart to the nearest.
        """
        room, least, tries = self._room, self._least, self.settings.tries
        if self.training:
            places = room + 1.0 - torch.arange(least, room + 1)
            apart = least + draw.choice(places, clips * tries).reshape(clips, tries)
            first = (draw.uniform(clips, tries) * (room - apart + 1)).long()
        else:
            apart = torch.linspace(room, least, tries).long().expand(clips, -1)
            first = (room - apart) // 2
        return torch.stack([first, first + apart], 2)

    def _audible(self, heard: Tensor) -> Tensor:
        """Of which clips (N, 2, ..., M) both sounds can be heard on some side, (N,) bool."""
        return (level_db(heard).reshape(*heard.shape[:2], -1) >= self.settings.silent_db).any(2).all(1)

    def _cropped(self, frames: Tensor, starts: Tensor, size_px: Tensor, draw: Draw) -> Tensor:
        """(N, 2, T, 3, S, S): the same crop of all pictures of a clip."""
        if self.training:
            boxes = resized_boxes(size_px, draw, self.settings.scale, (1.0, 1.0))
        else:
            boxes = centre_boxes(size_px, self.settings.centre_share)
        every = self.settings.every if int(self.stage_steps) < self.settings.slow_steps else 1
        wanted = starts[..., None] + torch.arange(0, self.frames, every)
        rows = torch.arange(len(frames))[:, None, None]
        windows = frames[rows.to(frames.device), wanted.to(frames.device)]
        small = crop(windows.flatten(1, 2), boxes, self.network.crop_px)
        return small.reshape(*wanted.shape, *small.shape[2:])

    def _slices(self, sound: Tensor, starts: Tensor) -> Tensor:
        """The sound of each window, (N, 2, M) of sound (N, L), (N, 2, 2, M) of (N, 2, L)."""
        begin = (starts / self.fps * self.settings.rate_hz).round().long().clamp(max=sound.shape[-1] - self.samples)
        index = (begin[..., None] + torch.arange(self.samples)).to(sound.device)
        rows = torch.arange(len(sound), device=sound.device)[:, None, None]
        return sound[rows, index] if sound.dim() == 2 else sound.movedim(1, 2)[rows, index].movedim(3, 2)

    @property
    def window(self) -> Reads:
        """What `localise` takes, whole pictures in the size in which the task is evaluated."""
        side_px = round(self.network.crop_px / self.settings.centre_share / 2) * 2
        seconds = self.frames / self.fps
        return self.network.takes.but(sound_s=seconds, rate_hz=self.settings.rate_hz, side_px=side_px)

    def evidence(self, frames: Tensor, sound: Tensor) -> Tensor:
        """How far each place of windows (N, T, 3, H, W) is in time with their sounds (N, M): logits (N, t, h, w)."""
        seen = self.network.seen(frames)
        return self._evidence(seen, self.network.heard(sound, seen.shape[2]))

    def localise(self, frames: Tensor, sound: Tensor) -> Tensor:
        """How much each place of windows (N, T, 3, H, W) decides about their sounds (N, M), either way: (N, h, w)."""
        return self.evidence(frames, sound).abs().mean(1)

    def _evidence(self, seen: Tensor, heard: Tensor) -> Tensor:
        maps = self.network.joined(seen, heard)["res5"].float()
        with in_float32(maps):
            return torch.einsum("ncthw,c->nthw", maps, self.head.weight[0].float()) + self.head.bias.float()

    def forward(self, views: Views) -> Answer:
        seen = self.network.seen(views["frames"])
        heard = self.network.heard(views["sound"], seen.shape[2])
        heat = self._evidence(seen[views["sight_row"]], heard[views["sound_row"]])
        logits, target = heat.mean((1, 2, 3)), views["target"]
        each = F.binary_cross_entropy_with_logits(logits, target.float(), reduction="none")
        right = ((logits > 0) == (target == 1)).float()
        return Answer(
            loss=self.mean_of_all(each),
            logs={"accuracy": right.mean() * 100} if len(target) else {},
            scores=torch.stack([-logits / 2, logits / 2], 1).detach(),
            target=target,
            sample=views["sample"],
            pictures={"heat": heat.detach().mean(1)},
        )

    def show(self, views: Views, answer: Answer | None = None, samples: int = 8) -> list[Panel]:
        n = int((views["sample"] < samples).sum())
        rows = views["sight_row"][:n]
        middle = views["frames"][rows, views["frames"].shape[1] // 2]
        pictures = middle.clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8)
        note = "The middle picture of a window, with its own sound and with the sound of another time."
        if answer is not None and n:
            heat = answer.pictures["heat"][:n].float()
            scale = heat.abs().flatten().quantile(0.98).clamp(min=1e-6)
            large = F.interpolate((heat / scale)[:, None], pictures.shape[1:3], mode="bilinear")[:, 0]
            pictures = torch.cat([pictures, heat_to_rgb(large)], 2)
            note += " Beside it the evidence, red for in time, blue for shifted."
        captions, right = verdicts(self.classes, views["target"][:n], answer)
        return [Panel("In time or shifted?", list(pictures.cpu().numpy()), captions, right, note, 4)]


TASK = AvSync
