"""Objects that sound: a picture and a second of sound: does anything in the picture make that sound, and where?

Cut: one frame, and the sound around it, as for av_correspondence. Asked: does the sound belong to the frame? Answered
by the place of the picture that is most like the sound; the map of all places shows what makes it.

Source: Arandjelovic and Zisserman, "Objects that Sound", ECCV 2018 (AVOL-Net): 14 x 14 places, the largest decides.
Departures: those of av_correspondence; similarities are divided by the root of the vectors' width at first.
"""

from torch import Tensor
from torch.nn import functional as F

from sslkit.models.correspondence import Head, Places
from sslkit.ops.colour import heat_to_rgb
from sslkit.tasks.base import Shortcut, Views
from sslkit.tasks.correspondence import CARDS, GRID, LOUDNESS, SAME_VIDEO, Correspondence, spread
from sslkit.types import Answer, Reads


class AvObject(Correspondence):
    """Is it in the picture, and where? See the module's docstring."""

    short_name = "avol"
    shortcuts = (
        Shortcut("the grid of the negatives", *GRID),
        Shortcut("loudness", *LOUDNESS),
        Shortcut("black and silent", *CARDS),
        Shortcut("clips of one video", *SAME_VIDEO),
    )
    head: Places

    def build_head(self, sight: int, sound: int) -> Head:
        return Places(sight, sound, self.settings.dimensions)

    def forward(self, views: Views) -> Answer:
        looked, heard = self.described(views)
        similar = self.head.similar(looked[views["sight_row"]], heard[views["sound_row"]])
        evidence = self.head.evidence(similar)
        answer = self.answered(evidence.amax((1, 2)), views, {"evidence": evidence.detach()})
        answer.logs["embedding_std"] = spread(F.normalize(heard, dim=1))
        return answer

    @property
    def window(self) -> Reads:
        """What `localise` takes, whole pictures in the size in which the task is evaluated."""
        side_px = round(self.sight.crop_px / self.settings.centre_share / 2) * 2
        return self.sound.takes.but(frames=1, side_px=side_px)

    def localise(self, frames: Tensor, sound: Tensor) -> Tensor:
        """The raw similarity (N, h, w) of the places of frames (N, 1, 3, H, W), of any size, to sounds (N, M)."""
        looked = self.head.look(self.sight(frames[:, 0])["conv4"])
        return self.head.similar(looked, self.head.hear(self.sound(sound)["conv4"]))

    def evidence(self, answer: Answer, questions: int, frames: Tensor) -> Tensor | None:
        """Logits of each place in colours, red for and blue against, in one scale for all."""
        found = answer.pictures["evidence"][:questions].float()
        scale = found.abs().flatten().quantile(0.98).clamp(min=1e-6)
        return heat_to_rgb(F.interpolate((found / scale)[:, None], frames.shape[1:3], mode="bilinear")[:, 0])


TASK = AvObject
