"""Ambient sound: what does a place sound like that looks like this?

Cut: one picture, and the seconds of sound around it. Asked: of which kind that sound is. Kinds are found in the
training data before the first step: clusters of sound textures ("clusters"), or on which side of their mean sounds lie
along each of the directions in which they differ most ("codes"). Answered by a network that sees the picture alone.

Source: Owens, Wu, McDermott, Freeman and Torralba, "Ambient sound provides supervision for visual learning", ECCV 2016;
textures as in McDermott and Simoncelli, Neuron 2011.
Departures: sounds are set to one loudness first; those that are nearly silent are not asked about; statistics that
hardly vary count less than their deviation says; clusters are asked about as often as they are heard, and the largest
is printed as chance. AlexNet with batch norm in place of CaffeNet; at 16 kHz, the rate that prepare-data stores by
default, the highest band ends at 8 kHz, not at 10 kHz.
"""

from typing import Literal

import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.nn import functional as F

from sslkit.errors import UserError
from sslkit.models import trunk as trunks
from sslkit.ops.crop import cropped
from sslkit.ops.sound import level_db, levelled
from sslkit.ops.texture import AMBIENT, Cochlea, cochleagram, texture_statistics
from sslkit.tasks.base import Shortcut, Sweep, Task, TaskSettings, Views, rows_of, sight, verdicts
from sslkit.types import Answer, Batch, Draw, Panel, Reads

_RATES = 10
# A cochleagram is some ten times its sound on the way: so many sounds at a time.
_SOUNDS = 32
_LEAST_DEVIATION = 0.01


class AmbientSoundSettings(TaskSettings):
    """targets: "clusters" or "codes"; count: how many clusters, or bits of a code.

    sound_s, rate_hz: of the sound around a picture. least_db: sounds below this level, in dB under full scale, are left
    out. fitted_samples: training samples, at most, from which the kinds are found. scale, flip, centre_share: crops of
    the picture, as in the task `rotation`.
    """

    trunk: str = "alexnet_bn"
    trunk_settings: dict[str, int | float | bool] = {}
    targets: Literal["clusters", "codes"] = "clusters"
    count: int = 30
    sound_s: float = 3.75
    rate_hz: int = 16_000
    least_db: float = -60.0
    fitted_samples: int = 20_000
    scale: tuple[float, float] = (0.3, 1.0)
    flip: bool = True
    centre_share: float = 0.875


class Kinds(nn.Module):
    """Kinds of vectors, found by `fit` and kept in buffers: `anchors` are centres of clusters, or directions.

    Vectors are standardised first, and each entry is divided by the root of the size of its group, so that no group
    of statistics outweighs another by its number. common: share of the vectors that are of each cluster, or in which
    each bit is set. Before `fit` everything is of the first kind.
    """

    root: Tensor
    mean: Tensor
    scale: Tensor
    anchors: Tensor
    common: Tensor

    def __init__(self, groups: tuple[int, ...], targets: Literal["clusters", "codes"], count: int) -> None:
        super().__init__()
        self.targets = targets
        sizes = torch.tensor(groups)
        self.register_buffer("root", sizes.repeat_interleave(sizes).float().sqrt(), persistent=False)
        self.register_buffer("mean", torch.zeros(sum(groups)))
        self.register_buffer("scale", torch.ones(sum(groups)))
        self.register_buffer("anchors", torch.zeros(count, sum(groups)))
        self.register_buffer("common", torch.full((count,), 1 / count if targets == "clusters" else 0.5))

    def fit(self, vectors: Tensor) -> None:
        """Find the kinds of (N, F) vectors; the same ones for the same vectors. Raises UserError if N is too small."""
        count = len(self.anchors)
        if len(vectors) <= count:
            raise UserError(
                f"settings.count is {count}, but only {len(vectors)} training samples have sound to be heard: "
                "lower it, or prepare more."
            )
        self.mean.copy_(vectors.mean(0))
        self.scale.copy_((vectors.std(0, correction=0) + _LEAST_DEVIATION) * self.root)
        plain = self._plain(vectors).double().cpu()
        if self.targets == "clusters":
            found = KMeans(count, n_init=4, random_state=0).fit(plain.numpy())
            anchors = torch.from_numpy(found.cluster_centers_)
        else:
            anchors = torch.linalg.svd(plain, full_matrices=False).Vh[:count]
        self.anchors.copy_(anchors)
        said = self(vectors)
        self.common.copy_((F.one_hot(said, count) if self.targets == "clusters" else said).float().mean(0))

    def forward(self, vectors: Tensor) -> Tensor:
        """The cluster (N,) int64 or the code (N, count) float32 of 0 and 1 of each vector (N, F)."""
        plain = self._plain(vectors)
        if self.targets == "clusters":
            return torch.cdist(plain, self.anchors).argmin(1)
        return (plain @ self.anchors.T > 0).float()

    def guessed(self) -> float:
        """How often the most common answer is right, percent."""
        common = self.common.max() if self.targets == "clusters" else self.common.maximum(1 - self.common).mean()
        return 100.0 * float(common)

    def _plain(self, vectors: Tensor) -> Tensor:
        return (vectors - self.mean) / self.scale


class AmbientSound(Task):
    """The kind of sound is told from a picture; see the module's docstring."""

    Settings = AmbientSoundSettings
    shortcuts = (
        Shortcut(
            "loudness",
            "how near the microphone was, and how far it was turned up, decides on the cluster instead of the place",
            "every sound is set to one loudness before its statistics are taken",
            "McDermott and Simoncelli 2011 equalise the level of all sounds",
            "Nothing is left to measure: targets do not change with the gain, which the task's test holds.",
        ),
        Shortcut(
            "silence",
            "clips without sound make a cluster of their own, which still pictures and title cards give away",
            "what is below settings.least_db is neither clustered nor asked about",
            "many videos on the web have a silent track, or stills under music",
            "Nothing is left to measure: no question is asked about them.",
        ),
        Shortcut(
            "a common kind",
            "one cluster that holds most sounds makes a high accuracy out of a constant answer",
            "chance is the share of the most common kind among the training samples, not one over their number",
            "clusters of k-means differ in size",
            "Reported: chance stands beside every accuracy.",
        ),
        Shortcut(
            "shared recordings",
            "pictures of one recording share walls and hum, and are known by their neighbours in training",
            "prepare-data keeps all clips of a recording in one split",
            "Owens 2016 split by video",
            "Prepare-data refuses splits that share a recording, so there are no data without the control.",
        ),
    )

    def __init__(self, settings: AmbientSoundSettings) -> None:
        super().__init__()
        self.settings = settings
        if settings.targets == "clusters":
            self.classes = tuple(f"sound {number}" for number in range(settings.count))
        highest_hz = min(AMBIENT.high_hz, settings.rate_hz / 2)
        self.ear = Cochlea(AMBIENT.bands, AMBIENT.frame_hz, settings.rate_hz, high_hz=highest_hz)
        bands = self.ear.bands
        groups = (bands, bands, bands * _RATES, bands * (bands - 1) // 2)
        self.kinds = Kinds(groups, settings.targets, settings.count)
        self.trunk = trunks.build(settings.trunk, settings.trunk_settings)
        self.head = nn.Linear(self.trunk.vector_width, settings.count)
        self.trunks = {"sight": self.trunk}

    @property
    def chance(self) -> float:
        return self.kinds.guessed()

    def reads(self) -> Reads:
        return Reads(
            frames=1,
            sound_s=self.settings.sound_s,
            rate_hz=self.settings.rate_hz,
            start="any" if self.training else "spread",
        )

    @torch.no_grad()
    def before_training(self, sweep: Sweep) -> None:
        vectors = []
        for batch in sweep(self.reads(), self.settings.fitted_samples):
            sound = _sound(batch)
            vectors.append(self.textures(sound[self._heard(sound)]))
        self.kinds.fit(torch.cat(vectors))

    def textures(self, sound: Tensor) -> Tensor:
        """Statistics (N, F) of sounds (N, samples) on the scale of int16."""
        found = [sound.new_zeros(0, len(self.kinds.mean), dtype=torch.float32)]
        for some in torch.split(sound, _SOUNDS):
            heard = cochleagram(levelled(some), self.ear)
            found.append(texture_statistics(heard, self.ear.frame_hz).vector())
        return torch.cat(found)

    def _heard(self, sound: Tensor) -> Tensor:
        return level_db(sound) >= self.settings.least_db

    @torch.no_grad()
    def views(self, batch: Batch, draw: Draw) -> Views:
        """x (B, 3, S, S), values 0..255; target (B,) int64 or (B, count) float; -1 where nothing is heard."""
        pictures, size_px = sight(batch, self.trunk.takes)
        x = cropped(pictures, size_px, self.trunk.crop_px, self.settings, draw if self.training else None)
        sound = _sound(batch)
        heard, target = self._heard(sound), self.kinds(self.textures(sound))
        target[~heard] = -1
        return {"x": x, "target": target, "sample": rows_of(x, batch)}

    def forward(self, views: Views) -> Answer:
        scores: Tensor = self.head(self.trunk.vector(self.trunk(views["x"])))
        target = views["target"]
        if self.settings.targets == "clusters":
            loss = F.cross_entropy(scores.float(), target, ignore_index=-1, reduction="none")
            right = (scores.argmax(1) == target).float()
        else:
            loss = F.binary_cross_entropy_with_logits(scores.float(), target.clamp(min=0), reduction="none").mean(1)
            right = ((scores > 0) == (target > 0)).float().mean(1)
        heard = (target.reshape(len(target), -1)[:, 0] >= 0).float()
        answer = Answer(loss=self.mean_of_all(loss, heard))
        if bool(heard.any()):
            answer.logs = {"accuracy": 100 * (right * heard).sum() / heard.sum()}
        if self.settings.targets == "clusters":
            answer.scores, answer.target, answer.sample = scores.detach(), target, views["sample"]
        answer.pictures["scores"] = scores.detach()
        return answer

    def show(self, views: Views, answer: Answer | None = None, samples: int = 8) -> list[Panel]:
        target = views["target"][:samples]
        pictures = views["x"][:samples].clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        right: list[bool | None]
        if self.settings.targets == "clusters":
            captions, right = verdicts((*self.classes, "silent"), target, answer)
        else:
            captions, right = self._bits(target, answer)
        note = "One picture each. The kinds of sound were found in the training data, and have no names."
        return [Panel("What does it sound like?", list(pictures.cpu().numpy()), captions, right, note)]

    def _bits(self, target: Tensor, answer: Answer | None) -> tuple[list[str], list[bool | None]]:
        """Each code in hexadecimal digits, or how many of its bits were right: more than half are."""
        if answer is None:
            digits = ["".join(str(int(bit)) for bit in code) for code in target.clamp(min=0).tolist()]
            return [f"{int(code, 2):x}" for code in digits], [None] * len(target)
        same = ((answer.pictures["scores"][: len(target)] > 0) == (target > 0)).sum(1).tolist()
        return [f"{one} of {target.shape[1]} bits" for one in same], [2 * one > target.shape[1] for one in same]


def _sound(batch: Batch) -> Tensor:
    """The sounds of a batch, one a row."""
    if batch.sound is None:
        raise ValueError("the batch holds no sound: reads() did not ask for it")
    return batch.sound.flatten(0, 1)


TASK = AmbientSound
