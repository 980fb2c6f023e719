"""Indicated sound: what does this sound like, when only the picture is seen?

Cut: a short clip, and its sound as a cochleagram, the envelopes of the ear's bands. Asked: the cochleagram. Answered by
a picture network on each frame, which sees the frames before and after as channels too, and on the first frame in
colour; a recurrent network puts these together and says the strongest components of the cochleagram at each moment.
How near is near: of two clips and their two sounds, the answers shall tell which belongs to which.

Source: Owens, Isola, McDermott, Torralba, Adelson and Freeman, "Visually indicated sounds", CVPR 2016: 42 bands at 90
Hz, 10 principal components, an LSTM at that rate, loss log(e + r^2) with e = 1 / 25^2 of the length r of the error.
Departures: hits are not annotated: clips are cut around onsets of the sound (`read_s`) or anywhere; silent ones are
left out; one network sees both gray and colour; at 16 kHz, the rate that prepare-data stores by default, the highest
band ends at 8 kHz, not at 10 kHz.
"""

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from sslkit.models import trunk as trunks
from sslkit.ops.crop import centre_boxes, crop, resized_boxes
from sslkit.ops.onset import onsets
from sslkit.ops.sound import level_db
from sslkit.ops.texture import INDICATED, Cochlea, cochleagram
from sslkit.tasks.base import Shortcut, Sweep, Task, TaskSettings, Views, verdicts
from sslkit.types import Answer, Batch, Draw, Panel, Reads

_MIDDLE = 128.0
_SOUNDS = 32


class IndicatedSoundSettings(TaskSettings):
    """frames, fps: of a clip. steps: moments of sound for each frame; fps times steps is the rate of the cochleagram.

    read_s: seconds that are read. Where they are longer than a clip, it is cut around an onset of the sound, the
    strongest in evaluation, which lies anywhere in its middle half. silent_db: clips below this level are left out.
    changes: of the gray pictures only differences are seen, to the one before, the one after and the first; of that, in
    colour, everything. epsilon: of the loss; errors below its root hardly count, and with small ones silence is all.
    components: of the sound, found in at most fitted_samples training samples before the first step. hidden: width of
    the recurrent network. scale, flip, centre_share: crops of the pictures, as in the task `rotation`; all frames of a
    clip share one.
    """

    trunk: str = "alexnet_bn"
    trunk_settings: dict[str, int | float | bool] = {}
    frames: int = 15
    fps: int = 30
    steps: int = 3
    rate_hz: int = 16_000
    read_s: float = 0.0
    silent_db: float = -70.0
    changes: bool = False
    epsilon: float = 1 / 25**2
    components: int = Field(default=10, ge=1, le=INDICATED.bands)
    hidden: int = 256
    fitted_samples: int = 2000
    scale: tuple[float, float] = (0.5, 1.0)
    flip: bool = True
    centre_share: float = 0.875


class IndicatedSound(Task):
    """A sound is foretold from pictures; see the module's docstring."""

    Settings = IndicatedSoundSettings
    classes = ("its own", "another's")
    shortcuts = (
        Shortcut(
            "the average sound",
            "a constant answer is at a moderate distance from every sound, and a quiet one near to most",
            "the answers to two clips must tell which of their two sounds is whose",
            "Owens 2016 asks people for the real one of two sounds",
            "Reported: a constant answer tells no two sounds apart, and its loudness_r is 0.",
        ),
        Shortcut(
            "a hit in the middle",
            "clips that are cut around a hit sound alike at the same moment, whatever is seen",
            "a hit lies anywhere in the middle half of its clip, in evaluation too",
            "the annotated hits of Owens 2016",
            "Not measured: an answer that is the same for all clips has an accuracy of chance.",
        ),
        Shortcut(
            "shared recordings",
            "a place is known by its walls, and its sounds are alike",
            "prepare-data keeps all clips of a recording in one split",
            "Owens 2016 split by video",
            "Prepare-data refuses splits that share a recording, so there are no data without the control.",
        ),
    )

    mean: Tensor
    axes: Tensor

    def __init__(self, settings: IndicatedSoundSettings) -> None:
        super().__init__()
        self.settings = settings
        highest_hz = min(INDICATED.high_hz, settings.rate_hz / 2)
        frame_hz = settings.fps * settings.steps
        self.ear = Cochlea(INDICATED.bands, frame_hz, settings.rate_hz, high_hz=highest_hz)
        self.trunk = trunks.build(settings.trunk, settings.trunk_settings)
        self.recurrent = nn.LSTM(2 * self.trunk.vector_width, settings.hidden, batch_first=True)
        self.head = nn.Linear(settings.hidden, settings.components)
        self.trunks = {"sight": self.trunk}
        self.register_buffer("mean", torch.zeros(self.ear.bands))
        self.register_buffer("axes", torch.eye(self.ear.bands)[: settings.components].clone())

    @property
    def moments(self) -> int:
        """Columns of a clip's cochleagram."""
        return self.settings.frames * self.settings.steps

    def reads(self) -> Reads:
        settings = self.settings
        frames = max(settings.frames, round(settings.read_s * settings.fps))
        return Reads(
            frames=frames,
            fps=float(settings.fps),
            sound_s=frames / settings.fps,
            rate_hz=settings.rate_hz,
            start="any" if self.training else "spread",
        )

    @torch.no_grad()
    def before_training(self, sweep: Sweep) -> None:
        found = [self.heard(self.cut(batch)[1]) for batch in sweep(self.reads(), self.settings.fitted_samples)]
        columns = torch.cat(found).transpose(1, 2).flatten(0, 1).double()
        self.mean.copy_(columns.mean(0))
        spread = (columns - columns.mean(0)).cpu()
        self.axes.copy_(torch.linalg.eigh(spread.T @ spread).eigenvectors.T.flip(0)[: self.settings.components])

    def heard(self, sound: Tensor) -> Tensor:
        """Cochleagrams (B, bands, moments) of sounds (B, N)."""
        return torch.cat([cochleagram(some, self.ear)[..., : self.moments] for some in torch.split(sound, _SOUNDS)])

    def cut(self, batch: Batch, draw: Draw | None = None) -> tuple[Tensor, Tensor]:
        """Frames (B, T, 3, H, W) and sound (B, N) of a clip each: what is read, or a part of it around an onset.

        Without `draw` that onset is in the middle.
        """
        assert batch.frames is not None and batch.sound is not None
        frames, sound = batch.frames.flatten(0, 1), batch.sound.flatten(0, 1)
        settings, count, length = self.settings, len(frames), frames.shape[1]
        if length == settings.frames:
            return frames, sound
        strength = onsets(sound, settings.rate_hz, settings.fps, length).cpu()
        place = torch.full((count,), 0.5) if draw is None else draw.uniform(count, low=0.25, high=0.75)
        if draw is not None and self.training:
            # The first of events that happen at these rates: each is chosen in proportion to its square.
            chosen = (strength.square() / draw.uniform(count, length).log().neg().clamp(min=1e-9)).argmax(1)
        else:
            chosen = strength.argmax(1)
        start = (chosen - (place * settings.frames).long()).clamp(0, length - settings.frames)
        rows = torch.arange(count, device=frames.device)[:, None]
        samples = round(settings.frames * settings.rate_hz / settings.fps)
        first = (start * settings.rate_hz / settings.fps).round().long()
        # Where a frame has no whole number of samples, the two roundings may add up to one sample too many.
        heard = first.clamp(max=sound.shape[1] - samples)[:, None] + torch.arange(samples)
        seen = start[:, None] + torch.arange(settings.frames)
        return frames[rows, seen.to(frames.device)], sound[rows, heard.to(sound.device)]

    @torch.no_grad()
    def views(self, batch: Batch, draw: Draw) -> Views:
        """frames (B, T, 3, S, S) float, 0..255; heard (B, bands, moments); sample (B,); asked (B,) bool."""
        frames, sound = self.cut(batch, draw)
        if self.training:
            flip = draw.uniform(len(frames)) < 0.5 if self.settings.flip else None
            looks = self._cropped(frames, resized_boxes(batch.size_px, draw, self.settings.scale), flip)
        else:
            looks = self.plain(frames, batch.size_px)
        audible = level_db(sound) >= self.settings.silent_db
        # Silent clips are not asked about, but where there are no others, in whatever process.
        anywhere = self.gather(audible.any().long().reshape(1)).bool().any()
        sample = (audible if audible.any() else ~audible).nonzero()[:, 0]
        asked = audible[sample] | ~anywhere
        return {"frames": looks[sample], "heard": self.heard(sound[sample]), "sample": sample, "asked": asked}

    def plain(self, frames: Tensor, size_px: Tensor) -> Tensor:
        """The central crop of clips (B, T, 3, H, W), as `components` takes it."""
        return self._cropped(frames, centre_boxes(size_px, self.settings.centre_share), None)

    def _cropped(self, frames: Tensor, boxes: Tensor, flip: Tensor | None) -> Tensor:
        count, side = frames.shape[1], self.trunk.crop_px
        all_flips = None if flip is None else flip.repeat_interleave(count)
        pictures = crop(frames.flatten(0, 1), boxes.repeat_interleave(count, 0), side, all_flips)
        return pictures.reshape(len(frames), count, 3, side, side)

    def components(self, frames: Tensor) -> Tensor:
        """What is foretold of clips (B, T, 3, S, S), as components (B, moments, components)."""
        gray = frames.mean(2)
        before, after = torch.cat([gray[:, :1], gray[:, :-1]], 1), torch.cat([gray[:, 1:], gray[:, -1:]], 1)
        moving = torch.stack([before, gray, after], 2)
        if self.settings.changes:
            moving = _MIDDLE + torch.stack([before - gray, gray - gray[:, :1], after - gray], 2)
        both = torch.cat([moving, frames[:, :1]], 1)
        seen = self.trunk.vector(self.trunk(both.flatten(0, 1))).reshape(*both.shape[:2], -1)
        each = torch.cat([seen[:, :-1], seen[:, -1:].expand(-1, frames.shape[1], -1)], 2)
        out: Tensor = self.recurrent(each.repeat_interleave(self.settings.steps, 1))[0]
        said: Tensor = self.head(out)
        return said

    def foretold(self, frames: Tensor) -> Tensor:
        """The cochleagram (B, bands, moments) of clips (B, T, 3, S, S)."""
        return self.rebuilt(self.components(frames).float())

    def known(self, heard: Tensor) -> Tensor:
        """The components (B, moments, components) of cochleagrams (B, bands, moments)."""
        return (heard.transpose(1, 2) - self.mean) @ self.axes.T

    def rebuilt(self, components: Tensor) -> Tensor:
        """The cochleagrams (B, bands, moments) that components (B, moments, components) stand for."""
        return (components @ self.axes + self.mean).clamp(min=0).transpose(1, 2)

    def forward(self, views: Views) -> Answer:
        said = self.components(views["frames"]).float()
        true = self.known(views["heard"])
        each = ((said - true).square().sum(2) + self.settings.epsilon).log().mean(1)
        loss = self.mean_of_all(each, views["asked"])
        with torch.no_grad():
            near = _matched(said, true)
            foretold = self.rebuilt(said)
            logs: dict[str, Tensor] = {}
            for name, measure in {"loudness": _loudness, "centroid": self._centroid}.items():
                logs |= _compared(name, measure(foretold), measure(views["heard"]))
        answer = Answer(loss, logs, pictures={"foretold": foretold})
        if len(said) > 1:  # there is no other sound that one clip alone could be told apart from
            answer.logs = {"accuracy": (near[:, 0] < near[:, 1]).float().mean() * 100, **logs}
            answer.scores, answer.sample = -near, views["sample"]
            answer.target = torch.zeros(len(said), dtype=torch.int64, device=said.device)
        return answer

    def _centroid(self, found: Tensor) -> Tensor:
        """Where the energy of each clip lies, in bands, (B,)."""
        power = found.square().sum(2)
        band = torch.arange(self.ear.bands, device=found.device)
        return (power * band).sum(1) / power.sum(1).clamp(min=1e-9)

    def show(self, views: Views, answer: Answer | None = None, samples: int = 8) -> list[Panel]:
        frames, heard = views["frames"][:samples], views["heard"][:samples]
        said = answer.pictures["foretold"][:samples] if answer is not None else [None] * len(frames)
        pictures = [_picture(*one) for one in zip(frames, heard, said, strict=True)]
        target = torch.zeros(len(frames), dtype=torch.int64)
        captions, right = verdicts(self.classes, target, answer)
        note = "Frames of a clip over its cochleagram, low bands below, and under that the one that was foretold."
        return [Panel("Which sound does this make?", pictures, captions, right, note, columns=4)]


def _matched(said: Tensor, true: Tensor) -> Tensor:
    """How far what was said (B, ...) of each clip and of the one before is from their sounds, and from these exchanged:
    (B, 2). A quiet answer is near to quiet sounds, but not nearer if they are exchanged.
    """
    own, other = (_distance(said, sounds) for sounds in (true, true.roll(1, 0)))
    return torch.stack([own + own.roll(1, 0), other + _distance(said.roll(1, 0), true)], 1)


def _distance(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).square().sum((1, 2))


def _loudness(found: Tensor) -> Tensor:
    """Of each moment, (B, moments)."""
    return found.mean(1)


def _compared(name: str, said: Tensor, true: Tensor) -> dict[str, Tensor]:
    """How something that was foretold correlates with the truth; its mean squared error, and that of a constant."""
    constant = (true - true.mean()).square().mean()
    return {
        f"{name}_r": _correlation(said, true),
        f"{name}_error": (said - true).square().mean(),
        f"{name}_constant_error": constant,
    }


def _correlation(one: Tensor, other: Tensor) -> Tensor:
    """Pearson's, over all entries of two tensors; 0 where one of them is constant."""
    one, other = (x.flatten() - x.mean() for x in (one, other))
    return F.cosine_similarity(one, other, dim=0, eps=1e-9)


def _picture(frames: Tensor, heard: Tensor, said: Tensor | None) -> np.ndarray:
    """Four frames side by side over one or two cochleagrams."""
    chosen = frames[torch.linspace(0, len(frames) - 1, 4).round().long()]
    strip = chosen.clamp(0, 255).permute(2, 0, 3, 1).flatten(1, 2)
    rows = [strip]
    for found in (heard, said):
        if found is not None:
            level = (found.flip(0) / heard.max().clamp(min=1e-6)).clamp(0, 1) * 255
            rows.append(F.interpolate(level[None, None], (48, strip.shape[1]))[0, 0, ..., None].expand(-1, -1, 3))
    return torch.cat(rows).to(torch.uint8).cpu().numpy()


TASK = IndicatedSound
