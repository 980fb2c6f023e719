"""Embedding of sight and sound: a picture and a second of sound: how far apart are they?

Cut: one frame, and the sound around it, as for av_correspondence. Asked: does the sound belong to the frame? Answered
by nothing but the distance of two vectors of length 1, so that afterwards a sound finds pictures, and a picture sounds.

Source: Arandjelovic and Zisserman, "Objects that Sound", ECCV 2018 (AVE-Net); layout as rohitrango/objects-that-sound.
Departures: those of av_correspondence; that code's softmax before its softmax loss, and its batch norm in place of the
vectors' length, are mistakes and are left out.
"""

from sslkit.models.correspondence import Distance, Head
from sslkit.tasks.base import Shortcut, Views
from sslkit.tasks.correspondence import CARDS, GRID, LOUDNESS, SAME_VIDEO, Correspondence, spread
from sslkit.types import Answer


class AvEmbedding(Correspondence):
    """Near or far? See the module's docstring."""

    short_name = "ave"
    shortcuts = (
        Shortcut("the grid of the negatives", *GRID),
        Shortcut("loudness", *LOUDNESS),
        Shortcut("black and silent", *CARDS),
        Shortcut("clips of one video", *SAME_VIDEO),
    )

    def build_head(self, sight: int, sound: int) -> Head:
        return Distance(sight, sound, self.settings.dimensions)

    def forward(self, views: Views) -> Answer:
        looked, heard = self.described(views)
        logits = self.head.score(looked[views["sight_row"]], heard[views["sound_row"]])
        answer = self.answered(logits, views, {})
        answer.logs["embedding_std"] = spread(looked)
        return answer


TASK = AvEmbedding
