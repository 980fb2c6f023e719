"""SoundNet: what does somebody who only hears believe that there is to see?

Cut: seconds of sound in equal parts, and a few pictures from each part. Asked: what a teacher, a network that has
learnt to see, says of the pictures of each part: the mean of its posteriors. Answered by a network that hears the
waveform alone; the loss is the Kullback-Leibler divergence between the two.

Source: Aytar, Vondrick and Torralba, "SoundNet: learning sound representations from unlabeled video", NIPS 2016; code
cvondrick/soundnet.
Departures: one teacher, where the paper has two (objects and places) and a head for each; several pictures a part; the
gain is drawn at random. A teacher that has layers but no classes is made to choose: its channels are standardised over
the training data and go through a softmax. Where the sound is too short for the head it is narrower, so that every part
has steps of its own.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslkit.errors import UserError
from sslkit.models import teacher as teachers
from sslkit.models import trunk as trunks
from sslkit.models.soundnet import SoundNet as Student
from sslkit.ops.crop import centre_boxes, crop
from sslkit.tasks.base import Shortcut, Sweep, Task, TaskSettings, Views, verdicts
from sslkit.types import Answer, Batch, Draw, Panel, Reads

_HEAD, _HEAD_STRIDE = 8, 2
# How sure a teacher without classes is of its strongest channel; with 1 its answers are nearly uniform.
_SHARPNESS = 2.0
_SHOWN_PX = 96


class SoundNetSettings(TaskSettings):
    """trunk_settings: of the network that hears; it gets `sound_s` seconds, in so many `parts`.

    teacher: file or folder of the network that sees; network: its name in torchvision, if it is from there; classes:
    how many it has; side_px: of the pictures for it. See `sslkit.models.teacher.load`. Without a teacher a network of
    random weights is taken, which is for trying things out.
    part_frames: pictures from each part. gain_db: range of the gain in training. fitted_samples: training samples, at
    most, over which a teacher without classes is standardised, and the most common answer is counted.
    """

    trunk_settings: dict[str, int | float | bool] = {}
    teacher: str = ""
    network: str = ""
    classes: int = 1000
    side_px: int = 224
    sound_s: float = 20.0
    parts: int = 4
    part_frames: int = 2
    gain_db: tuple[float, float] = (-6.0, 6.0)
    fitted_samples: int = 2000


class SoundNet(Task):
    """The sound's network learns what the picture's network says; see the module's docstring."""

    Settings = SoundNetSettings
    shortcuts = (
        Shortcut(
            "loudness",
            "how far a recording was turned up tells who recorded it, and so what there is to see",
            "the gain of every training sound is drawn at random",
            "SoundNet takes raw waveforms of any level",
            "Not measured: what is left of the level once it is multiplied at random is small beside that.",
        ),
        Shortcut(
            "shared recordings",
            "a room is known by its hum, and pictures of one recording get one answer",
            "prepare-data keeps all clips of a recording in one split",
            "the held-out videos of SoundNet",
            "Prepare-data refuses splits that share a recording, so there are no data without the control.",
        ),
        Shortcut(
            "a common answer",
            "a teacher that says the same of most pictures is easily followed",
            "chance is the share of the teacher's most common answer to the parts of the training sounds",
            "posteriors over a thousand classes are far from even on any data",
            "Reported: chance stands beside every accuracy.",
        ),
    )

    mean: Tensor
    scale: Tensor
    common: Tensor

    def __init__(self, settings: SoundNetSettings) -> None:
        super().__init__()
        self.settings = settings
        self.classes = tuple(f"class {number}" for number in range(settings.classes))
        self.trunk = cast(Student, trunks.build("soundnet", settings.trunk_settings))
        self.rate_hz = self.trunk.takes.rate_hz
        steps = self.trunk.steps(round(settings.sound_s * self.rate_hz))
        if steps < settings.parts:
            raise UserError(
                f"settings.sound_s {settings.sound_s:g} gives {steps} steps, too few for {settings.parts} parts: "
                "lengthen it, or lower settings.parts."
            )
        # Rather a narrow head than a dense one: its steps lie nearer to their parts.
        between = settings.parts - 1
        stride = _HEAD_STRIDE if steps > _HEAD_STRIDE * between else 1
        kernel = min(_HEAD, steps - stride * between)
        self.head = nn.Conv1d(self.trunk.vector_width, settings.classes, kernel, stride)
        self.trunks = {"sound": self.trunk}
        self.register_buffer("mean", torch.zeros(settings.classes))
        self.register_buffer("scale", torch.ones(settings.classes))
        self.register_buffer("common", torch.tensor(1 / settings.classes))
        # In a list, so that it is no part of the network: it does not learn and is not stored with the run.
        self._teacher: list[teachers.Teacher] = []

    @property
    def chance(self) -> float:
        return 100.0 * float(self.common)

    def teacher(self) -> teachers.Teacher:
        """The network that sees, read when it is first asked. Raises UserError where it does not fit the settings."""
        if not self._teacher:
            settings = self.settings
            found = teachers.load(settings.teacher, settings.network, settings.side_px)
            if found.outputs != settings.classes:
                who = settings.teacher or "the network of random weights"
                raise UserError(
                    f"settings.classes is {settings.classes}, but {who} says {found.outputs} numbers: set it to that."
                )
            self._teacher.append(found)
        self._teacher[0].to(self.mean.device)
        return self._teacher[0]

    def reads(self) -> Reads:
        # The first of each two lies at the beginning of what it stands for, the second in its middle.
        frames = 2 * self.settings.parts * self.settings.part_frames
        return Reads(
            frames=frames,
            fps=frames / self.settings.sound_s,
            sound_s=self.settings.sound_s,
            rate_hz=self.rate_hz,
            start="any" if self.training else "spread",
        )

    @torch.no_grad()
    def before_training(self, sweep: Sweep) -> None:
        reads = self.reads()
        said = torch.cat([self._said(batch) for batch in sweep(reads, self.settings.fitted_samples)])
        if not self.teacher().classifies:
            self.mean.copy_(said.mean((0, 1, 2)))
            self.scale.copy_(said.std((0, 1, 2), correction=0).clamp(min=1e-6) / _SHARPNESS)
        answers = self._posterior(said).argmax(-1).flatten()
        self.common.copy_(answers.bincount(minlength=self.settings.classes).max() / len(answers))

    def _said(self, batch: Batch) -> Tensor:
        """What the teacher says of each picture, (B, parts, part_frames, classes)."""
        teacher = self.teacher()
        said: Tensor = teacher(self._pictures(batch, teacher.side_px).flatten(0, 1))
        return said.reshape(len(batch), self.settings.parts, self.settings.part_frames, -1)

    def _pictures(self, batch: Batch, side_px: int) -> Tensor:
        """Central squares (B, parts * part_frames, 3, side_px, side_px) of the pictures."""
        assert batch.frames is not None
        pictures = batch.frames[:, :, 1::2].flatten(0, 2)
        boxes = centre_boxes(batch.size_px.repeat_interleave(len(pictures) // len(batch), 0))
        return crop(pictures, boxes, side_px).reshape(len(batch), -1, 3, side_px, side_px)

    def _posterior(self, said: Tensor) -> Tensor:
        """The mean posterior of each part, (B, parts, classes), of what is said of its pictures."""
        return ((said - self.mean) / self.scale).softmax(-1).mean(2)

    @torch.no_grad()
    def views(self, batch: Batch, draw: Draw) -> Views:
        """sound (B, N) float on the scale of int16; posterior (B, parts, classes); seen (B, parts, 3, 96, 96) uint8."""
        assert batch.sound is not None
        sound = batch.sound.flatten(0, 1).float()
        if self.training:
            low, high = self.settings.gain_db
            gain_db = draw.uniform(len(sound), low=low, high=high).to(sound.device)
            sound = sound * (10 ** (gain_db / 20))[:, None]
        posterior = self._posterior(self._said(batch))
        seen = self._pictures(batch, _SHOWN_PX)[:, :: self.settings.part_frames].clamp(0, 255).to(torch.uint8)
        sample = torch.arange(len(sound), device=sound.device).repeat_interleave(self.settings.parts)
        return {"sound": sound, "posterior": posterior, "seen": seen, "sample": sample}

    def forward(self, views: Views) -> Answer:
        heard = self.trunk(views["sound"])["conv7"][:, :, 0]
        # Steps and parts need not go into each other: each part has the mean of the steps that lie in it.
        scores = F.adaptive_avg_pool1d(self.head(heard), self.settings.parts).transpose(1, 2)
        posterior = views["posterior"]
        loss = F.kl_div(scores.float().log_softmax(-1), posterior, reduction="none").sum(-1).mean()
        scores, target = scores.detach().flatten(0, 1), posterior.argmax(-1).flatten()
        accuracy = (scores.argmax(1) == target).float().mean() * 100
        return Answer(loss, {"accuracy": accuracy}, scores, target, views["sample"])

    def show(self, views: Views, answer: Answer | None = None, samples: int = 8) -> list[Panel]:
        pictures = views["seen"][:samples].flatten(0, 1).permute(0, 2, 3, 1)
        captions, right = verdicts(self.classes, views["posterior"][:samples].argmax(-1).flatten(), answer)
        note = (
            "The first picture of each part, and what the teacher finds most likely. The network hears the part only."
        )
        return [Panel("What is there to see, by ear?", list(pictures.cpu().numpy()), captions, right, note)]


TASK = SoundNet
