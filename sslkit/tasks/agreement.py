"""Agreement: two classifiers without a teacher, one that sees and one that hears, which learn to say the same.

Cut: a few frames and their sound, around the strongest onset of a longer clip: an impact, a step, a syllable. Asked:
which class it is of. Nobody knows; the right answer of each classifier is what the other one says. Each is a codebook:
the class of the nearest of its vectors. Where a sample lies between two vectors of different classes, the one whose
class the other sense names is drawn to the sample, and the other vector is pushed away, each by the same length. In
this way the share of samples on which they disagree becomes smaller; the loss is the one whose gradient that rule is.

Source: de Sa, "Learning classification with unlabeled data", NIPS 1994: the minimising-disagreement algorithm, which is
LVQ2.1 with the labels of the other modality.
Departures: the vectors' classes are found once, before training, as spectral co-clusters (Dhillon, KDD 2001) of which
vectors win together, and are kept; there they are learnt by competition. Vectors begin as centres of k-means, not as
samples. The rule is averaged over a batch.
"""

from typing import Self, cast

import numpy as np
import torch
from pydantic import Field, model_validator
from sklearn.cluster import KMeans, SpectralCoclustering
from torch import Tensor

from sslkit.errors import UserError
from sslkit.models import trunk as trunks
from sslkit.models.codebook import FPS, RATE_HZ, Codebook
from sslkit.ops.crop import centre_boxes, crop
from sslkit.ops.onset import onsets
from sslkit.tasks.base import Shortcut, Sweep, Task, TaskSettings, Views, verdicts
from sslkit.types import Answer, Batch, Draw, Panel, Reads

_PER_FRAME = round(RATE_HZ / FPS)
_MEMORY = 0.99


class AgreementSettings(TaskSettings):
    """kinds: how many classes. vectors: of each codebook. frames: in a window.

    read_s: the clip in which the onset is looked for. shift_frames: how far a training window may lie from its onset.
    border: width of the zone between two vectors where samples count, w of LVQ2.1: the nearer of them is at least
    (1 - w) / (1 + w) times as far away as the other. flip: mirror training pictures at random. fitted_samples: training
    samples, at most, from which the codebooks begin.
    """

    kinds: int = 5
    vectors: int = 30
    frames: int = Field(default=6, ge=1)
    side_px: int = 60
    read_s: float = 1.0
    shift_frames: int = 1
    border: float = 0.3
    flip: bool = True
    fitted_samples: int = 2000

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if round(self.read_s * FPS) < self.frames:
            raise ValueError(f"a clip of read_s {self.read_s:g} s has no {self.frames} frames: lengthen it")
        return self


class Agreement(Task):
    """Two codebooks learn to name the same class; see the module's docstring."""

    Settings = AgreementSettings
    shortcuts = (
        Shortcut(
            "one class for all",
            "two classifiers that always say the same thing never disagree",
            "chance is how often they would agree if neither knew of the other; kinds_used tells how many are used",
            "de Sa 1994: such a border is a minimum of the disagreement too",
            "Reported: chance and kinds_used stand beside every agreement.",
        ),
        Shortcut(
            "loudness",
            "what is near the camera is large and loud, whatever it is",
            "every sound is set to one level",
            "levels differ between the clips of any collection",
            "Nothing is left to measure: a codebook's entries do not change with the gain, which the test holds.",
        ),
        Shortcut(
            "shared recordings",
            "a room and its hum agree as well as an object and its sound",
            "prepare-data keeps all clips of a recording in one split; the eye sees changes only",
            "a room is a class on which two senses agree",
            "Prepare-data refuses splits that share a recording, so there are no data without the control.",
        ),
    )

    common: Tensor

    def __init__(self, settings: AgreementSettings) -> None:
        super().__init__()
        self.settings = settings
        self.classes = tuple(f"kind {number}" for number in range(settings.kinds))
        frames, vectors = settings.frames, settings.vectors
        sight = trunks.build("codebook_sight", {"vectors": vectors, "frames": frames, "side_px": settings.side_px})
        sound = trunks.build("codebook_sound", {"vectors": vectors, "sound_s": frames / FPS})
        self.sight, self.sound = cast(Codebook, sight), cast(Codebook, sound)
        for codebook in (self.sight, self.sound):
            codebook.label.copy_(torch.arange(vectors) % settings.kinds)
        self.trunks = {"sight": self.sight, "sound": self.sound}
        # How often each of the two says each class, forgotten slowly.
        self.register_buffer("common", torch.full((2, settings.kinds), 1 / settings.kinds))

    @property
    def chance(self) -> float:
        return 100.0 * float(self.common.prod(0).sum())

    def reads(self) -> Reads:
        frames = round(self.settings.read_s * FPS)
        reads = Reads(frames=frames, fps=FPS, sound_s=frames / FPS, rate_hz=RATE_HZ)
        return reads if self.training else reads.but(start="spread")

    @torch.no_grad()
    def before_training(self, sweep: Sweep) -> None:
        found = [self._cut(batch, None) for batch in sweep(self.reads(), self.settings.fitted_samples)]
        if sum(len(frames) for frames, _ in found) <= self.settings.vectors:
            raise UserError(
                f"settings.vectors is {self.settings.vectors}, more than there are training samples: lower it."
            )
        winners = []
        for codebook, raw in zip((self.sight, self.sound), zip(*found, strict=True), strict=True):
            measured = torch.cat([codebook.measured(some) for some in raw])
            codebook.standardise(measured)
            entries = codebook.entries(measured)
            means = KMeans(self.settings.vectors, n_init=2, random_state=0).fit(entries.double().cpu().numpy())
            codebook.vectors.copy_(torch.from_numpy(means.cluster_centers_))
            winners.append(means.labels_)
        self._label(*winners)
        for common, codebook, won in zip(self.common, (self.sight, self.sound), winners, strict=True):
            said = codebook.label[torch.from_numpy(won)]
            common.copy_(said.bincount(minlength=self.settings.kinds) / len(said))

    def _label(self, seen: np.ndarray, heard: np.ndarray) -> None:
        """Give vectors that win together, by which of them (N,) won for each sample, the same class."""
        together = np.zeros((self.settings.vectors, self.settings.vectors))
        np.add.at(together, (seen, heard), 1.0)
        # A little everywhere: a vector that never wins would make a row of zeros.
        found = SpectralCoclustering(self.settings.kinds, random_state=0).fit(together + 0.01)
        self.sight.label.copy_(torch.from_numpy(found.row_labels_))
        self.sound.label.copy_(torch.from_numpy(found.column_labels_))

    def _cut(self, batch: Batch, draw: Draw | None) -> tuple[Tensor, Tensor]:
        """Frames (B, T, 3, S, S) and sound (B, N) of the window around the strongest onset of each clip."""
        assert batch.frames is not None and batch.sound is not None
        frames, sound = batch.frames.flatten(0, 1), batch.sound.flatten(0, 1)
        length, window = frames.shape[1], self.settings.frames
        inside = onsets(sound, RATE_HZ, FPS, length)[:, window // 2 : length - (window - 1) // 2]
        start = inside.argmax(1).cpu()
        if draw is not None:
            reach = self.settings.shift_frames
            start = (start + draw.integers(len(start), low=-reach, high=reach + 1)).clamp(0, length - window)
        rows = torch.arange(len(frames))[:, None]
        seen = frames[rows, start[:, None] + torch.arange(window)].flatten(0, 1)
        boxes = centre_boxes(batch.size_px.repeat_interleave(window, 0), 1.0)
        side_px = self.settings.side_px
        heard = sound[rows, _PER_FRAME * start[:, None] + torch.arange(_PER_FRAME * window)]
        return crop(seen, boxes, side_px).reshape(len(frames), window, 3, side_px, side_px), heard.float()

    @torch.no_grad()
    def views(self, batch: Batch, draw: Draw) -> Views:
        """frames (B, T, 3, S, S), 0..255; sound (B, N) on the scale of int16; sample (B,)."""
        frames, sound = self._cut(batch, draw if self.training else None)
        if self.training and self.settings.flip:
            mirrored = (draw.uniform(len(frames)) < 0.5).to(frames.device)
            frames = torch.where(mirrored[:, None, None, None, None], frames.flip(-1), frames)
        return {"frames": frames, "sound": sound, "sample": torch.arange(len(frames), device=frames.device)}

    def forward(self, views: Views) -> Answer:
        seen = -self.sight(views["frames"])["nearness"].float()
        heard = -self.sound(views["sound"])["nearness"].float()
        by_eye, by_ear = self.sight.label[seen.argmin(1)], self.sound.label[heard.argmin(1)]
        loss = self._disagreement(seen, self.sight.label, by_ear) + self._disagreement(heard, self.sound.label, by_eye)
        if self.training:
            self._remember(by_eye, by_ear)
        share = by_ear.bincount(minlength=self.settings.kinds) / len(by_ear)
        used = torch.special.entr(share).sum().exp()
        scores = torch.full((len(seen), self.settings.kinds), -torch.inf, device=seen.device)
        scores = scores.scatter_reduce(1, self.sight.label.expand(len(seen), -1), -seen.detach(), "amax")
        logs = {"accuracy": (by_eye == by_ear).float().mean() * 100, "kinds_used": used}
        return Answer(loss, logs, scores, by_ear, views["sample"])

    def _disagreement(self, distance: Tensor, label: Tensor, other: Tensor) -> Tensor:
        """The loss of one sense, whose gradient is the rule: (B, M) distances, (M,) classes, (B,) what the other says.

        Of a sample in the zone between its two nearest vectors, of different classes, one of them what the other sense
        says: the distance to that one, minus the distance to the one that is wrong.
        """
        two, which = distance.topk(2, dim=1, largest=False)
        classes = label[which]
        agrees = classes == other[:, None]
        least = (1 - self.settings.border) / (1 + self.settings.border)
        counts = agrees.any(1) & (classes[:, 0] != classes[:, 1]) & (two[:, 0] > least * two[:, 1])
        pull = torch.where(agrees[:, 0], two[:, 0] - two[:, 1], two[:, 1] - two[:, 0])
        return (pull * counts).mean()

    @torch.no_grad()
    def _remember(self, *said: Tensor) -> None:
        for common, one in zip(self.common, said, strict=True):
            everyone = self.gather(one)
            share = everyone.bincount(minlength=self.settings.kinds) / len(everyone)
            common.lerp_(share, 1 - _MEMORY)

    def show(self, views: Views, answer: Answer | None = None, samples: int = 8) -> list[Panel]:
        middle = views["frames"][:samples, self.settings.frames // 2]
        pictures = list(middle.clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())
        captions: list[str] = ["?"] * len(pictures)
        right: list[bool | None] = [None] * len(pictures)
        if answer is not None and answer.target is not None:
            captions, right = verdicts(self.classes, answer.target[:samples], answer)
        note = "The moment of an onset: the class by ear, and by eye where it is another. Classes have no names."
        return [Panel("Do eye and ear agree?", pictures, captions, right, note)]


TASK = Agreement
