"""Ways to find what makes a sound: each looks at windows of a video with their sound, and gives maps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from sslkit.evals import following
from sslkit.tasks.av_object import AvObject
from sslkit.tasks.av_sync import AvSync
from sslkit.types import Reads

_LEAST = 1e-9
_FRAME_S = 0.04


@dataclass(frozen=True)
class Cut:
    """How windows of pictures and sound are cut.

    fps: rate of the pictures. frames, stride: in a window, and from one to the next. least: frames of a shot that is
    one window, where it is shorter than others; seen_s and sound_s are then shorter, too. seen_s: how long pictures of
    a window are shown, as in training. sound_s, rate_hz: of the sound of a window, around the middle of its pictures.
    short_side_px: of the pictures. stills: whether a single picture is enough. judges: whether the evidence says how
    probable it is that a place makes the sound, and not only which place is likelier.
    """

    fps: float
    frames: int
    stride: int
    seen_s: float
    sound_s: float
    rate_hz: int
    short_side_px: int
    stills: bool
    judges: bool
    least: int

    def of(self, frames: int) -> Cut:
        """That of a window of so many frames."""
        share = frames / self.frames
        return replace(self, frames=frames, seen_s=share * self.seen_s, sound_s=share * self.sound_s)


class Finder(Protocol):
    """What finds the places of a sound."""

    @property
    def cut(self) -> Cut:
        """The windows that it wants."""

    def find(self, frames: Tensor, sound: Tensor) -> tuple[Tensor, Tensor]:
        """Windows (B, T, H, W, 3) uint8 and their sound (B, N) int16 to maps (B, t, h, w) on the CPU.

        First the raw similarity, on a scale of the method's own, then the evidence, 0 to 1.
        """


@dataclass(frozen=True)
class Still:
    """AVOL-Net: every place of single pictures against the sound around them; no motion is needed."""

    task: AvObject
    device: torch.device

    @property
    def cut(self) -> Cut:
        """Five pictures a second, in the size in which the task is evaluated."""
        return _cut(self.task.window, 5.0, 1, _FRAME_S, stills=True)

    @torch.inference_mode()
    def find(self, frames: Tensor, sound: Tensor) -> tuple[Tensor, Tensor]:
        """Similarity of places and sound, and the probability that the place makes it."""
        similar = self.task.localise(frames.permute(0, 1, 4, 2, 3).to(self.device), sound.to(self.device))
        evidence = self.task.head.evidence(similar).sigmoid()
        return similar[:, None].float().cpu(), evidence[:, None].float().cpu()


@dataclass(frozen=True)
class Aligned:
    """The multisensory network: where in a moving picture it sees that the sound is in time, or that it is not."""

    task: AvSync
    device: torch.device

    @property
    def cut(self) -> Cut:
        """Windows as in training, each half over the next."""
        frames, fps = self.task.frames, self.task.fps
        return _cut(self.task.window, fps, max(1, frames // 2), frames / fps, stills=False)

    @torch.inference_mode()
    def find(self, frames: Tensor, sound: Tensor) -> tuple[Tensor, Tensor]:
        """How much a place decides, either way, and how probable it makes it that the sound is in time."""
        logits = self.task.evidence(frames.permute(0, 1, 4, 2, 3).to(self.device), sound.to(self.device)).float().cpu()
        return logits.abs(), logits.sigmoid()


def _cut(window: Reads, fps: float, stride: int, seen_s: float, stills: bool) -> Cut:
    side_px = window.side_px or 0
    sound_s, rate_hz, least = window.sound_s, window.rate_hz, window.frames
    return Cut(fps, window.frames, stride, seen_s, sound_s, rate_hz, side_px, stills, judges=True, least=least)


class Moving:
    """Pixels that sound: places whose motion, without the camera's, follows the sound; nothing is trained.

    The evidence is the similarity over its largest value in the window: it says where, but not whether.
    """

    LEAST_S = 2.0
    """In shorter windows too much moves as the sound goes by chance."""

    @property
    def cut(self) -> Cut:
        """A window a second."""
        fps, frames, seen_s = following.FPS, following.FRAMES, following.FRAMES / following.FPS
        rate_hz, side_px, least = following.RATE_HZ, following.SIDE_PX, int(self.LEAST_S * fps)
        return Cut(fps, frames, 12, seen_s, seen_s, rate_hz, side_px, stills=False, judges=False, least=least)

    def find(self, frames: Tensor, sound: Tensor) -> tuple[Tensor, Tensor]:
        """Weights of places in what follows the sound, a map for the middle picture of each window."""
        windows, middle = zip(frames.numpy(), sound, strict=True), frames.shape[1] // 2
        heat = torch.stack([following.followed(clip, heard, following.FPS, middle) for clip, heard in windows])
        return heat[:, None], (heat / heat.amax((1, 2), keepdim=True).clamp(min=_LEAST))[:, None]
