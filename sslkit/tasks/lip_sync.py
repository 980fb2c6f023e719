"""Lip sync: which moment of the sound belongs to what a mouth does?

Cut: a clip of a mouth (or face) and its sound, 25 windows a second of five frames and of 0.2 s. Asked: for each window
of pictures, which of the clip's own windows of sound was heard then, and the other way round. Answered by two networks
whose vectors are compared: the cosine of a pair, scaled, is its score ("matching"), or pairs in time shall be near and
pairs out of time far ("contrastive").

Source: Chung and Zisserman, "Out of time: automated lip sync in the wild", ACCV workshops 2016 (windows, contrastive
loss with margin 20); Chung, Chung, Kang, "Perfect match", ICASSP 2019, and joonson/syncnet_trainer (matching loss,
scale 10 and bias -5 at the start).
Departures: matching is the default, because the contrastive loss is known to stay where it began; both directions of
matching are asked, of all windows, where the code takes every second one; nobody is told apart by face and voice, which
the code does in a second loss; one clip plays at one speed, drawn at random; of the contrastive loss all pairs of a
clip that are out of time by `least_shift` to `most_shift` windows are negatives, and vectors have length 1 times the
margin unless they are compared by distance, as published. All negatives are from the same clip, so that nobody is
recognised by face or voice. Where few people are to learn from, linear networks can begin as canonical correlations of
the training clips; their score is minus half the squared distance, which then is the logarithm of a likelihood.
"""

from __future__ import annotations

import math
from typing import Literal, cast

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from sslkit.errors import UserError
from sslkit.models import lip_fit
from sslkit.models import trunk as trunks
from sslkit.models.lip_motion import LipMotion, SpeechBands
from sslkit.models.lips import FPS, HOP, RATE_HZ, WINDOW, WINDOW_FRAMES, Lips, Speech
from sslkit.models.syncnet import SyncNetSight, SyncNetSound
from sslkit.ops.jitter import ClipRanges, draw_clip_jitter, jitter_clips
from sslkit.ops.precision import in_float32
from sslkit.ops.sound_jitter import SoundRanges, draw_sound_jitter, jitter_sound
from sslkit.ops.spectrum import MATCHING, log_spectrogram
from sslkit.ops.tempo import Tempo, draw_tempo, played
from sslkit.tasks.base import Shortcut, Sweep, Task, TaskSettings, Views
from sslkit.types import Answer, Batch, Draw, Panel, Reads

_NEAR = 1
"""Windows by which an answer may be wrong and still be in time for people."""
_LEAST_SCALE = 1e-3
_PICTURE = ClipRanges(erase_chance=0.25, gray_chance=0.2)
_SOUND = SoundRanges()


class LipSyncSettings(TaskSettings):
    """sight_trunk, sound_trunk: the two networks; sight, sound: their settings. windows: how many of each a clip holds.

    slack: windows at either end of a clip that are cut but not asked about, for networks that look around.
    compare: by the "cosine" of vectors, or by their "distance": with the matching loss minus half its square, whose
        size then says how sure, with the contrastive loss as published.
    start: "correlated" begins linear networks as canonical correlations of at most `fitted_samples` training samples,
        of which each class (a person) counts by its length to the power of `balance`; in `timing_rounds` rounds the
        lateness of each person's sound is estimated by filters of all others, and taken out.

    loss: "matching" or "contrastive"; margin, in units of the vectors, and least_shift and most_shift, in windows, are
    of the latter.
    speeds: range of the factor by which a training clip is played faster. distort: pictures and sound of training
    clips, as `sslkit.ops.jitter` and `sslkit.ops.sound_jitter` do. crop_share: side of the central square that is used.
    """

    sight_trunk: Literal["lips", "lip_motion", "syncnet_sight"] = "lips"
    sound_trunk: Literal["speech", "speech_bands", "syncnet_sound"] = "speech"
    sight: dict[str, int | float | bool] = {}
    sound: dict[str, int | float | bool] = {}
    windows: int = 40
    slack: int = Field(default=0, ge=0)
    compare: Literal["cosine", "distance"] = "cosine"
    start: Literal["random", "correlated"] = "random"
    fitted_samples: int = 2000
    balance: float = 0.5
    timing_rounds: int = Field(default=0, ge=0)
    loss: Literal["matching", "contrastive"] = "matching"
    margin: float = 20.0
    least_shift: int = Field(default=3, ge=1)
    most_shift: int = 50
    speeds: tuple[float, float] = (0.9, 1.1)
    distort: bool = True
    flip: bool = True
    crop_share: float = 0.85

    @model_validator(mode="after")
    def _go_together(self) -> LipSyncSettings:
        if self.loss == "contrastive" and not self.least_shift <= min(self.most_shift, self.windows - 1):
            raise ValueError("no two windows are so far apart: set least_shift below windows, and up to most_shift")
        if self.start == "correlated" and (self.sight_trunk, self.sound_trunk) != ("lip_motion", "speech_bands"):
            raise ValueError("only linear networks begin correlated: lip_motion and speech_bands")
        return self


class LipSync(Task):
    """Windows of pictures and of sound of one clip are put together; see the module's docstring."""

    Settings = LipSyncSettings
    short_name = "sync"
    shortcuts = (
        Shortcut(
            "the grid of the negatives",
            "sound that is cut at other times, or by other code, than the positives",
            "positives and negatives are the same windows of one decoded sound; only their pairing differs",
            "Objects that Sound, ECCV 2018: negatives off the grid of 0.04 s were recognised",
            "Nothing is left to measure: every window is a positive once and a negative otherwise.",
        ),
        Shortcut(
            "the person",
            "face and voice tell who speaks, not when",
            "all negatives are from the same clip",
            "joonson/syncnet_trainer trains an identity loss beside it",
            "Nothing is left to measure: within a clip the person is always the same.",
        ),
        Shortcut(
            "the edges of a clip",
            "padding at its two ends says how far from them a window lies",
            "the picture network has no padding in time; the sound network pads 0.1 s, in both directions of matching",
            "zero padding biases the first and last 15 windows of joonson/syncnet_python",
            "Measured by sslkit sync, which uses only windows whose whole range of offsets exists.",
        ),
    )

    def __init__(self, settings: LipSyncSettings) -> None:
        super().__init__()
        self.settings = settings
        self.classes = tuple(f"window {number}" for number in range(settings.windows))
        self.sight = cast(Lips | LipMotion | SyncNetSight, trunks.build(settings.sight_trunk, settings.sight))
        self.sound = cast(Speech | SpeechBands | SyncNetSound, trunks.build(settings.sound_trunk, settings.sound))
        if self.sight.vector_width != self.sound.vector_width:
            raise UserError(
                f"{settings.sight_trunk} gives vectors of {self.sight.vector_width} numbers, {settings.sound_trunk} of "
                f"{self.sound.vector_width}, which cannot be compared: change settings.sight or settings.sound."
            )
        scale, bias = (10.0, -5.0) if settings.compare == "cosine" else (1.0, 0.0)
        self.scale, self.bias = nn.Parameter(torch.tensor(scale)), nn.Parameter(torch.tensor(bias))
        self.trunks = {"sight": self.sight, "sound": self.sound}

    @property
    def frames(self) -> int:
        """Pictures that the windows of a clip span."""
        return self._cut_windows + WINDOW_FRAMES - 1

    @property
    def _cut_windows(self) -> int:
        return self.settings.windows + 2 * self.settings.slack

    def reads(self) -> Reads:
        frames = self.frames
        if self._plays:  # what the fastest needs, and a frame to lie between
            frames = math.ceil(frames * self.settings.speeds[1]) + 1
        return Reads(frames=frames, fps=FPS, sound_s=self._sound_s(frames), rate_hz=RATE_HZ, synced=True)

    @property
    def _plays(self) -> bool:
        """Whether clips are played at other speeds: at their own, frames and samples stay as they are."""
        return self.training and self.settings.speeds != (1.0, 1.0)

    @staticmethod
    def _sound_s(frames: int) -> float:
        return (frames - WINDOW_FRAMES) / FPS + WINDOW / RATE_HZ

    @torch.no_grad()
    def views(self, batch: Batch, draw: Draw) -> Views:
        """frames (B, T, 3, S, S) float 0..255; sound (B, N) float on the scale of int16; sample (B,)."""
        assert batch.frames is not None and batch.sound is not None
        frames, sound = batch.frames.flatten(0, 1), batch.sound.flatten(0, 1)
        if self._plays:
            frames, sound = self._at_a_speed(frames, sound, draw)
        frames = self._cropped(frames.float())
        if self.training and self.settings.distort:
            frames = jitter_clips(frames, draw_clip_jitter(tuple(frames.shape), _PICTURE, draw))
            sound = jitter_sound(sound, draw_sound_jitter(tuple(sound.shape), RATE_HZ, _SOUND, draw), RATE_HZ)
        if self.training and self.settings.flip:
            mirrored = (draw.uniform(len(frames)) < 0.5).to(frames.device)
            frames = torch.where(mirrored[:, None, None, None, None], frames.flip(-1), frames)
        return {"frames": frames, "sound": sound.float(), "sample": torch.arange(len(frames), device=frames.device)}

    def _at_a_speed(self, frames: Tensor, sound: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """The windows of each clip, played at one speed from one moment on."""
        given_s, wanted_s = (frames.shape[1] - 1) / FPS, (self.frames - 1) / FPS
        tempo = draw_tempo(len(frames), given_s, wanted_s, self.settings.speeds, draw)
        place = (tempo.source_s(torch.arange(self.frames, dtype=torch.float64) / FPS) * FPS).clamp(0)
        first = place.floor().long().clamp(max=frames.shape[1] - 2)
        share = (place - first).float().to(frames.device)[..., None, None, None]
        rows = torch.arange(len(frames))[:, None]
        between = frames[rows, first].float() * (1 - share) + frames[rows, first + 1].float() * share
        # Frames stand for their middle; sound begins a little before its frames, as its windows are a little longer.
        early_s = (WINDOW / RATE_HZ - WINDOW_FRAMES / FPS) / 2
        same = Tempo(tempo.factor, tempo.start_s - (tempo.factor - 1) * (early_s + 0.5 / FPS))
        samples = (self._cut_windows - 1) * HOP + WINDOW
        return between, played(sound, same, RATE_HZ, samples)

    def _cropped(self, frames: Tensor) -> Tensor:
        height, width = frames.shape[-2:]
        side = round(min(height, width) * self.settings.crop_share)
        top, left = (height - side) // 2, (width - side) // 2
        inner = frames[..., top : top + side, left : left + side].flatten(0, 1)
        wanted = self.sight.crop_px
        scaled = F.interpolate(inner, (wanted, wanted), mode="bilinear", antialias=True, align_corners=False)
        return scaled.reshape(*frames.shape[:3], wanted, wanted)

    def embedded(self, views: Views) -> tuple[Tensor, Tensor]:
        """Vectors (B, windows, D) of pictures and of sound, one for every window; of length 1 for the cosine."""
        asked = slice(self.settings.slack, self.settings.slack + self.settings.windows)
        sight = self._compared(self.sight.dense(views["frames"]))
        return sight[:, asked], self.heard(views["sound"])[:, asked]

    @property
    def squared(self) -> bool:
        """Whether halves of squared distances are what is averaged over windows: they are logarithms of likelihoods."""
        return self.settings.compare == "distance" and self.settings.loss == "matching"

    def seen(self, frames: Tensor) -> Tensor:
        """Vectors (B, T - 4, D) of pictures (B, T, 3, S, S) as they were prepared."""
        return self._compared(self.sight.dense(self._cropped(frames.float())))

    def heard(self, sound: Tensor) -> Tensor:
        """Vectors (B, windows, D) of sound (B, N) on the scale of int16."""
        return self._compared(self.sound.dense(sound))

    def _compared(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors.float(), dim=-1) if self.settings.compare == "cosine" else vectors.float()

    @torch.no_grad()
    def before_training(self, sweep: Sweep) -> None:
        if self.settings.start == "random":
            return
        looks, hears = self._linear()
        reads = Reads(frames=self.frames, fps=FPS, sound_s=self._sound_s(self.frames), rate_hz=RATE_HZ, synced=True)
        sight, sound, label = [], [], []
        for batch in sweep(reads.but(clips=3, start="spread"), self.settings.fitted_samples):
            assert batch.frames is not None and batch.sound is not None
            sight.append(looks.features(self._cropped(batch.frames.flatten(0, 1).float())).cpu())
            sound.append(hears.features(batch.sound.flatten(0, 1).float()).cpu())
            label.append(batch.label.repeat_interleave(batch.frames.shape[1]).cpu())
        self._correlate(torch.cat(sight), torch.cat(sound), torch.cat(label))

    def _linear(self) -> tuple[LipMotion, SpeechBands]:
        assert isinstance(self.sight, LipMotion) and isinstance(self.sound, SpeechBands)  # as the settings require
        return self.sight, self.sound

    @torch.no_grad()
    def _correlate(self, sight: Tensor, sound: Tensor, label: Tensor) -> None:
        """Filters of both networks such that minus half the squared distance is the log of how likely a pair is."""
        looks, hears = self._linear()
        people = torch.unique(label, return_inverse=True)[1]
        clips = lip_fit.Clips(sight, sound, people, (looks.context, hears.context), self.settings.balance)
        found, _ = lip_fit.fitted(clips, len(looks.gain), self.settings.timing_rounds)
        gains = lip_fit.gains(found)
        looks.set(found.one, gains[0])
        hears.set(found.other, gains[1])

    def forward(self, views: Views) -> Answer:
        sight, sound = self.embedded(views)
        similar = self._similar(sight, sound)
        windows = similar.shape[1]
        truth = torch.arange(windows, device=similar.device).expand(len(similar), windows)
        loss = self._matching(similar, truth) if self.settings.loss == "matching" else self._contrastive(similar)
        said = similar.detach().argmax(2)
        logs = {
            "accuracy": (said == truth).float().mean() * 100,
            "near_accuracy": ((said - truth).abs() <= _NEAR).float().mean() * 100,
            "embedding_std": F.normalize(sight.detach(), dim=-1).flatten(0, 1).std(0).mean()
            * math.sqrt(sight.shape[-1]),
        }
        return Answer(
            loss=loss,
            logs=logs,
            scores=similar.detach().flatten(0, 1),
            target=truth.flatten(),
            sample=views["sample"].repeat_interleave(windows),
            pictures={"similar": similar.detach()},
        )

    def _similar(self, sight: Tensor, sound: Tensor) -> Tensor:
        """Of every window of pictures to every one of sound of its clip, (B, windows, windows); see the settings."""
        with in_float32(sight):
            similar = torch.einsum("btd,bsd->bts", sight, sound)
        if self.settings.compare == "cosine":
            return similar
        lengths = [vectors.square().sum(-1) / 2 for vectors in (sight, sound)]
        return similar - lengths[0][:, :, None] - lengths[1][:, None]

    def _matching(self, similar: Tensor, truth: Tensor) -> Tensor:
        """Cross-entropy over the clip's windows of sound for each of pictures, and the other way round."""
        scores = similar * self.scale.clamp(min=_LEAST_SCALE) + self.bias
        both = [F.cross_entropy(s.flatten(0, 1), truth.flatten()) for s in (scores, scores.transpose(1, 2))]
        return (both[0] + both[1]) / 2

    def _contrastive(self, similar: Tensor) -> Tensor:
        """1/2N sum y d^2 + (1 - y) max(margin - d, 0)^2 over the pairs in time and as many out of time."""
        margin, windows = self.settings.margin, similar.shape[1]
        squared = -2 * similar
        if self.settings.compare == "cosine":  # vectors of length `margin`: so far apart can two of them well be
            squared = margin**2 * (2 + squared)
        distance = squared.clamp(min=1e-9).sqrt()
        apart = torch.arange(windows, device=similar.device)
        apart = (apart[:, None] - apart).abs()
        out = (apart >= self.settings.least_shift) & (apart <= self.settings.most_shift)
        near = distance.diagonal(dim1=1, dim2=2).square().mean()
        far = (margin - distance[:, out]).clamp(min=0).square().mean()
        return (near + far) / 4

    def show(self, views: Views, answer: Answer | None = None, samples: int = 8) -> list[Panel]:
        pictures, captions, right = [], [], []
        for row in range(min(samples, len(views["frames"]))):
            said = answer.pictures["similar"][row].argmax(1).tolist() if answer else None
            for window in np.linspace(0, self.settings.windows - 1, 4).round().astype(int).tolist():
                pictures.append(_picture(views["frames"][row], views["sound"][row], window + self.settings.slack))
                captions.append(f"window {window}" + (f", said {said[window]}" if said else ""))
                right.append(abs(said[window] - window) <= _NEAR if said else None)
        return [
            Panel(
                title="Which sound belongs to this mouth?",
                pictures=pictures,
                captions=captions,
                right=right,
                note="Five frames of a mouth, and the mel spectrogram of that time. Right is within one window.",
                columns=4,
            )
        ]


def _picture(frames: Tensor, sound: Tensor, window: int) -> np.ndarray:
    """Five frames side by side over the sound of their time."""
    strip = frames[window : window + WINDOW_FRAMES].clamp(0, 255).permute(2, 0, 3, 1).flatten(1, 2)
    level = log_spectrogram(sound[window * HOP : window * HOP + WINDOW], MATCHING).flip(0)
    level = (level - level.amin()) / (level.amax() - level.amin()).clamp(min=1e-6) * 255
    heard = F.interpolate(level[None, None], (40, strip.shape[1]))[0, 0]
    both = torch.cat([strip, heard[..., None].expand(-1, -1, 3)])
    return both.to(torch.uint8).cpu().numpy()


TASK = LipSync
