"""Objects that sound: a picture and a second of sound: does anything in the picture make that sound, and where?

Cut: one frame, and the sound around it, as for av_correspondence. Asked: does the sound belong to the frame? Answered
by the place of the picture that is most like the sound; the map of all places shows what makes it.

With the objective "moving" the training also sees a second picture, a moment later: only places that move may decide,
and a sound should fit its own picture better there than where nothing moves. And a frame must find its own sound among
those of all other recordings of the batch, and a sound its frame, instead of answering yes or no to one pair. What has
been learnt looks at single pictures all the same.

Source: Arandjelovic and Zisserman, "Objects that Sound", ECCV 2018 (AVOL-Net): 14 x 14 places, the largest decides.
The contrast over a batch: Chen et al., "Localizing Visual Sounds the Hard Way", CVPR 2021. Motion that teaches what a
thing is to a network that sees none: Pathak et al., "Learning Features by Watching Objects Move", CVPR 2017.
Departures: those of av_correspondence; similarities are divided by the root of the vectors' width at first. "moving" is
not in the papers: it joins their means.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from sslkit.models.correspondence import Directions, Head, Places
from sslkit.ops.colour import heat_to_rgb
from sslkit.tasks.base import Shortcut, Views
from sslkit.tasks.correspondence import (
    CARDS,
    GRID,
    LOUDNESS,
    SAME_VIDEO,
    Correspondence,
    CorrespondenceSettings,
    spread,
)
from sslkit.types import Answer, Reads

_STILL = 1.5
"""Mean change in levels of gray below which a place does not move: noise of camera and codec."""
_MOVING = 0.25
"""Share of the largest change in a picture from which a place counts as moving."""


class ObjectSettings(CorrespondenceSettings):
    """objective: "match", yes or no to pairs as published, or "moving", which of all sounds of a batch, by what moves.

    moment_s: time from a picture to the one that shows what moves.
    """

    objective: Literal["match", "moving"] = "match"
    moment_s: float = 0.08


class AvObject(Correspondence):
    """Is it in the picture, and where? See the module's docstring."""

    Settings = ObjectSettings
    settings: ObjectSettings
    short_name = "avol"
    shortcuts = (
        Shortcut("the grid of the negatives", *GRID),
        Shortcut("loudness", *LOUDNESS),
        Shortcut("black and silent", *CARDS),
        Shortcut("clips of one video", *SAME_VIDEO),
    )
    head: Places

    def build_head(self, sight: int, sound: int) -> Head:
        made_by = Places if self.settings.objective == "match" else Directions
        return made_by(sight, sound, self.settings.dimensions)

    def reads(self) -> Reads:
        reads = super().reads()
        pair = self.training and self.settings.objective == "moving"
        return reads.but(frames=2, fps=1 / self.settings.moment_s) if pair else reads

    def forward(self, views: Views) -> Answer:
        looked, heard = self.described(views)
        similar = self.head.similar(looked[views["sight_row"]], heard[views["sound_row"]])
        # By the other objective, pairs only bring the evidence to a scale.
        evidence = self.head.evidence(similar.detach() if isinstance(self.head, Directions) else similar)
        answer = self.answered(evidence.amax((1, 2)), views, {"evidence": evidence.detach()})
        answer.logs["embedding_std"] = spread(F.normalize(heard, dim=1))
        if isinstance(self.head, Directions):
            moves = moving(views["moved"], looked.shape[2:]) if "moved" in views else None
            among = None if moves is None else self.gather(moves.long()).bool()
            answer.loss = answer.loss + self._found(self.head, looked, heard, views, among)
        return answer

    def _found(self, head: Directions, looked: Tensor, heard: Tensor, views: Views, among: Tensor | None) -> Tensor:
        """The loss of frames that look for their sounds, and of places that look for what moves."""
        own = views["sight_row"][views["target"] == 1]
        looked, heard = looked[own], heard[own]
        among = looked.new_ones(looked[:, 0].shape, dtype=torch.bool) if among is None else among[own]
        where = head.sharp(head.similar(looked, heard)).flatten(1)
        inside = where.masked_fill(~among.flatten(1), -torch.inf)
        apart = (where.logsumexp(1) - inside.logsumexp(1)).sum() / max(1, len(own))
        return apart + contrast(head.against(looked, heard, among), views["source"][own])

    @property
    def window(self) -> Reads:
        """What `localise` takes, whole pictures in the size in which the task is evaluated."""
        side_px = round(self.sight.crop_px / self.settings.centre_share / 2) * 2
        return self.sound.takes.but(frames=1, side_px=side_px)

    def localise(self, frames: Tensor, sound: Tensor) -> Tensor:
        """The raw similarity (N, h, w) of the places of frames (N, 1, 3, H, W), of any size, to sounds (N, M)."""
        looked = self.head.look(self.sight(frames[:, 0])[self.sight.last])
        return self.head.similar(looked, self.head.hear(self.sound(sound)[self.sound.last]))

    def evidence(self, answer: Answer, questions: int, frames: Tensor) -> Tensor | None:
        """Logits of each place in colours, red for and blue against, in one scale for all."""
        found = answer.pictures["evidence"][:questions].float()
        scale = found.abs().flatten().quantile(0.98).clamp(min=1e-6)
        return heat_to_rgb(F.interpolate((found / scale)[:, None], frames.shape[1:3], mode="bilinear")[:, 0])


def moving(moved: Tensor, size: Sequence[int]) -> Tensor:
    """Which places of maps of a size (h, w) move, (N, h, w) bool: moved (N, S, S). All of them, where none does."""
    change = F.adaptive_avg_pool2d(moved[:, None], (size[0], size[1]))[:, 0]
    largest = change.amax((1, 2), keepdim=True)
    return (change >= _MOVING * largest) & (change >= _STILL) | (largest < _STILL)


def contrast(logits: Tensor, source: Tensor) -> Tensor:
    """Cross-entropy of N frames that look for their own sound among N, and of sounds that look for their frame.

    logits: (N, N), row i for frame i. source: (N,), equal for clips of one recording, which are no negatives of each
    other. 0 for no frames.
    """
    same = source[:, None] == source
    same.fill_diagonal_(False)
    logits = logits.masked_fill(same, -torch.inf)
    own = torch.arange(len(logits), device=logits.device)
    both = F.cross_entropy(logits, own, reduction="sum") + F.cross_entropy(logits.T, own, reduction="sum")
    return both / (2 * max(1, len(own)))


TASK = AvObject
