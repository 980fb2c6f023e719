"""Correspondence: a picture and a second of sound: are they from the same moment of the same video?

Cut: one frame, and the sound around it. Asked: for every frame, whether its own sound belongs to it, and whether the
sound of a sample from another video does. Answered by two networks whose vectors are fused side by side: to answer,
they must know what looks and what sounds like the same thing.

Source: Arandjelovic and Zisserman, "Look, Listen and Learn", ICCV 2017 (L3-Net); code marl/l3embedding.
Departures: the frame is from the middle of the sound, not from anywhere within; sounds have one level, in place of a
volume that varies by a tenth; brightness is a factor, where a number of levels is added; black frames and silence ask
nothing; the sound of every sample is used twice, as its own frame's and as another's, so that a batch of N samples asks
2 N questions. Still pictures under music are asked about: key frames of a still change more of a picture than a small
thing that moves, so that no floor of motion tells them apart.
"""

from sslkit.models.correspondence import Fusion, Head
from sslkit.tasks.base import Shortcut
from sslkit.tasks.correspondence import CARDS, GRID, LOUDNESS, SAME_VIDEO, Correspondence


class AvCorrespondence(Correspondence):
    """Do this frame and this sound belong together? See the module's docstring."""

    short_name = "avc"
    shortcuts = (
        Shortcut("the grid of the negatives", *GRID),
        Shortcut("loudness", *LOUDNESS),
        Shortcut("black and silent", *CARDS),
        Shortcut("clips of one video", *SAME_VIDEO),
    )

    def build_head(self, sight: int, sound: int) -> Head:
        return Fusion(sight, sound, self.settings.dimensions)


TASK = AvCorrespondence
