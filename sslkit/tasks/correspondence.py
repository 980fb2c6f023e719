"""What the tasks of correspondence share: a picture and a sound, and whether they are from the same moment of a video.

Each batch asks about every frame with its own sound and with those of other recordings; a task adds what
answers. All sounds are cut alike and used both ways, so that only their pairing tells matches from mismatches.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from sslkit.models import trunk as trunks
from sslkit.models.correspondence import Head
from sslkit.models.l3 import FRONTS
from sslkit.ops.crop import centre_boxes, crop, mirror, resized_boxes
from sslkit.ops.jitter import ClipRanges, coloured, draw_clip_jitter
from sslkit.ops.pairs import partners
from sslkit.ops.sound import level_db
from sslkit.ops.spectrum import log_spectrogram
from sslkit.tasks.base import Cheat, Look, Task, TaskSettings, Views, verdicts
from sslkit.types import Answer, Batch, Draw, Panel, Reads

_COLOURS = ClipRanges(brightness=(0.875, 1.125), contrast=(1, 1), saturation=(0.5, 1.5), hue_turns=(0, 0))
_FLAT = 4.0
"""Deviation of gray below which a frame is black, white or a fade: nothing can be seen in it."""


class CorrespondenceSettings(TaskSettings):
    """sight, sound: settings of the two networks. dimensions: width of what stands between them and the answer.

    scale: share of the area that a training crop covers; it is square. flip: mirror. distort: colours of training
    frames. centre_share: side of the crop in evaluation. silent_db: level below which a sound is silence, under full
    scale. negatives: sounds of other recordings that a training frame is asked about. windows: of each sample in a
    training batch, which costs little more than one to decode.
    """

    sight: dict[str, int | float | bool] = {}
    sound: dict[str, int | float | str] = {}
    dimensions: int = Field(default=128, ge=1)
    scale: tuple[float, float] = (0.4, 0.75)
    flip: bool = True
    distort: bool = True
    centre_share: float = 0.875
    silent_db: float = -70.0
    negatives: int = Field(default=1, ge=1)
    windows: int = Field(default=1, ge=1)


def _title_cards(batch: Batch, draw: Draw) -> Batch:
    """The batch, of which every second sample, by the toss of a coin, is a title card: black and without a sound."""
    assert batch.frames is not None and batch.sound is not None
    card = (draw.uniform(len(batch)) < 0.5).to(batch.sound.device)
    frames, sound = batch.frames.clone(), batch.sound.clone()
    frames[card], sound[card] = 0, 0
    return replace(batch, frames=frames, sound=sound)


def _emptiness(batch: Batch, draw: Draw, look: Look) -> Views:
    """x (Q, 2): is it black, is it silent?"""
    views = look(batch, draw)
    black, silent = ~_seen(views["frames"]), ~_heard(views["sound"], CorrespondenceSettings().silent_db)
    x = torch.stack([black[views["sight_row"]], silent[views["sound_row"]]], 1).float()
    return {**views, "x": x}


def _flags(x: Tensor) -> Tensor:
    """Two fields, light or dark, (Q, 32, 64, 3) uint8."""
    field = (235 - 200 * x).to(torch.uint8)
    return field[:, None, :, None].expand(-1, 32, -1, 32).flatten(2)[..., None].expand(-1, -1, -1, 3)


def _cards_asked(task: Correspondence, batch: Batch, draw: Draw) -> Views:
    """Black frames and silence ask and are asked about like all others."""
    return task.asked(_title_cards(batch, draw), draw, everything=True)


def _cards_dropped(task: Correspondence, batch: Batch, draw: Draw) -> Views:
    """The same batch, in which they ask nothing."""
    return task.views(_title_cards(batch, draw), draw)


GRID = (
    "sound that is cut at other times, or by other code, than the positives",
    "the negatives are the positives of other recordings: only the pairing differs",
    "Objects that Sound, ECCV 2018: positives lay on multiples of 0.04 s and negatives did not",
    "Nothing is left to measure: every sound that is asked about is the positive of its own frame.",
)
LOUDNESS = (
    "loud films are lively and quiet ones dim, whatever is seen in them",
    "the sound network brings every sound to one level before anything else",
    "marl/l3embedding varies the volume by a tenth",
    "The network cannot be told: its answers are the same at any volume, which a test holds.",
)
CARDS = (
    "title cards and fades are black and silent together",
    "a frame without contrast or a sound without a level asks nothing and is nobody's negative",
    "marl/l3embedding and issue threads of its users: silent clips",
    Cheat(_emptiness, _flags, off=_cards_asked, on=_cards_dropped),
)
SAME_VIDEO = (
    "two clips of one video are cut from the same scene and recording, though they count as different",
    "negatives are from other recordings, whatever clips a batch holds",
    "rohitrango/objects-that-sound draws negatives by label, which is an easier question",
    "It would make right answers wrong, not give them away: a test holds that no negative is from the same file.",
)


class Correspondence(Task):
    """Do this frame and this sound belong together? A task says which head answers."""

    Settings = CorrespondenceSettings
    settings: CorrespondenceSettings
    classes = ("another video", "same video")

    def __init__(self, settings: CorrespondenceSettings) -> None:
        super().__init__()
        self.settings = settings
        self.sight = trunks.build("l3_sight", settings.sight)
        self.sound = trunks.build("l3_sound", settings.sound)
        self.head = self.build_head(self.sight.vector_width, self.sound.vector_width)
        self.trunks = {"sight": self.sight, "sound": self.sound}

    def build_head(self, sight: int, sound: int) -> Head:
        """What scores pairs of maps with so many channels."""
        raise NotImplementedError

    def reads(self) -> Reads:
        heard = self.sound.takes.but(frames=1)
        return heard.but(clips=self.settings.windows, start="any") if self.training else heard.but(start="spread")

    @torch.no_grad()
    def views(self, batch: Batch, draw: Draw) -> Views:
        """frames (N, 3, S, S) float; sound (N, M) int16; source (N,) of the whole batch, of each recording its own.

        And Q questions: sight_row, sound_row (Q,) int64 rows of the whole batch, target (Q,) 1 where they belong
        together, sample (Q,). Where a second picture is read, moved (N, S, S): how far it differs, in levels of gray.

        Each frame's own sound comes first, then the others that it is asked about.
        """
        return self.asked(batch, draw)

    def asked(self, batch: Batch, draw: Draw, everything: bool = False) -> Views:
        """The views; with `everything` also of frames and sounds in which there is nothing."""
        assert batch.sound is not None
        seen, sound = self._pictures(batch, draw), batch.sound.flatten(0, 1)
        frames = seen[:, 0]
        usable = _seen(frames) & _heard(sound, self.settings.silent_db)
        source = self.gather(batch.extra.get("source", batch.index).repeat_interleave(len(sound) // len(batch)))
        count = self.settings.negatives if self.training else 1
        place = draw.uniform(len(sound), count) if self.training else torch.full((len(sound), 1), 0.5)
        others = partners(source, self.gather((usable | everything).long()).bool(), self.gather(place.to(sound.device)))
        rows = torch.arange(len(others), device=sound.device)
        known = others[:, 0] >= 0
        heard = torch.cat([rows[:, None], others], 1)[known]
        target = torch.zeros_like(heard)
        target[:, 0] = 1
        shown = rows[known, None].expand_as(heard)
        views = {
            "frames": frames,
            "sound": sound,
            "source": source,
            "sight_row": shown.flatten(),
            "sound_row": heard.flatten(),
            "target": target.flatten(),
            "sample": shown.flatten() // (len(sound) // len(batch)),
        }
        return views if seen.shape[1] == 1 else {**views, "moved": (seen[:, 1] - frames).abs().mean(1)}

    def _pictures(self, batch: Batch, draw: Draw) -> Tensor:
        """All pictures of the windows, (N, T, 3, S, S), those of a window cut and coloured alike."""
        assert batch.frames is not None
        pictures = batch.frames.flatten(0, 1)
        size_px, side = batch.size_px.repeat_interleave(len(pictures) // len(batch), 0), self.sight.crop_px
        if not self.training:
            return crop(pictures, centre_boxes(size_px, self.settings.centre_share), side)
        frames = crop(pictures, resized_boxes(size_px, draw, self.settings.scale, (1.0, 1.0)), side)
        if self.settings.distort:
            frames = coloured(frames, draw_clip_jitter(tuple(frames.shape), _COLOURS, draw))
        return mirror(frames, draw.uniform(len(frames)) < 0.5) if self.settings.flip else frames

    def described(self, views: Views) -> tuple[Tensor, Tensor]:
        """What the head makes of the frames and of the sounds of the whole batch."""
        looked = self.head.look(self.sight(views["frames"])[self.sight.last])
        heard = self.head.hear(self.sound(views["sound"])[self.sound.last])
        return self.gather(looked), self.gather(heard)

    def forward(self, views: Views) -> Answer:
        looked, heard = self.described(views)
        logits = self.head.score(looked[views["sight_row"]], heard[views["sound_row"]])
        return self.answered(logits, views, {})

    def answered(self, logits: Tensor, views: Views, pictures: dict[str, Tensor]) -> Answer:
        """The answer to questions (Q,): matches and mismatches weigh the same, however many there are of each."""
        target = views["target"]
        right = (logits > 0) == (target == 1)
        share = torch.stack([target == kind for kind in (0, 1)]).float()
        share = share / share.sum(1, keepdim=True).clamp(min=1) / 2
        each = F.binary_cross_entropy_with_logits(logits.float(), target.float(), reduction="none")
        # A batch of one video asks nothing, and says nothing about the accuracy.
        logs = {"accuracy": (share.sum(0) * right).sum() * 100} if len(target) else {}
        return Answer(
            loss=(share.sum(0) * each).sum(),
            logs=logs,
            scores=torch.stack([-logits / 2, logits / 2], 1).detach(),
            target=target,
            sample=views["sample"],
            pictures=pictures,
        )

    def show(self, views: Views, answer: Answer | None = None, samples: int = 8) -> list[Panel]:
        title, n = "Does this sound belong to this picture?", int((views["sample"] < samples).sum())
        if not n:
            return [
                Panel(title, [], note="These frames and sounds are of one video, black or silent: nothing is asked.")
            ]
        frames = views["frames"][views["sight_row"][:n]].clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        heard = self._spectra(views["sound"][views["sound_row"][:n]], frames.shape[2])
        captions, right = verdicts(self.classes, views["target"][:n], answer)
        evidence = self.evidence(answer, n, frames) if answer is not None else None
        shown = [frames, heard] if evidence is None else [frames, evidence, heard]
        return [
            Panel(
                title=title,
                pictures=list(torch.cat(shown, 1).cpu().numpy()),
                captions=captions,
                right=right,
                note="A frame, and below it the spectrogram of the sound that is asked about: its own, then another's.",
                columns=8,
            )
        ]

    def evidence(self, answer: Answer, questions: int, frames: Tensor) -> Tensor | None:
        """Pictures beside the frames (questions, H, W, 3) uint8 of where the answers come from, if that is known."""
        return None

    def _spectra(self, sound: Tensor, width_px: int) -> Tensor:
        level = log_spectrogram(sound, FRONTS[str(self.sound.settings["front"])]).flip(1)
        low, high = level.amin((1, 2), keepdim=True), level.amax((1, 2), keepdim=True)
        gray = F.interpolate(((level - low) / (high - low).clamp(min=1e-6) * 255)[:, None], (width_px // 2, width_px))
        return gray[:, 0, :, :, None].expand(-1, -1, -1, 3).to(torch.uint8)


def _seen(frames: Tensor) -> Tensor:
    """Whether there is anything in frames (N, 3, H, W), (N,) bool."""
    return frames.mean(1).flatten(1).std(1) >= _FLAT


def _heard(sound: Tensor, silent_db: float) -> Tensor:
    """Whether there is anything in sounds (N, M), (N,) bool."""
    return level_db(sound) >= silent_db


def spread(vectors: Tensor) -> Tensor:
    """The `embedding_std` of a task: about 1 for vectors (N, D) of length 1 that differ, 0 where all are alike."""
    return vectors.detach().std(0, correction=0).mean() * math.sqrt(vectors.shape[1])
