"""The embedded synthetic dataset: moving, sounding scenes with full ground truth, offline, from a seed.

    from sslkit.data import toybox

    for scene in toybox.scenes(seed=0, clips=500):   # plans: cheap, picklable, class balanced in every split
        clip = toybox.render(scene)                  # frames, sound, masks, truth: the same arrays every time

Three types of scene: rigid "objects" that fall, bounce, tumble and roll (the label is the kind of the largest),
an articulated "figure" that acts (the label is the action), and a talking "face" (its mouth follows its voice).
What `Rendered.truth` holds is listed there.
"""

from sslkit.data.toybox.render import Rendered, render
from sslkit.data.toybox.scene import (
    ACTIONS,
    CLASSES,
    FPS,
    KEYPOINTS,
    KINDS,
    RATE_HZ,
    SPLITS,
    TYPES,
    Scene,
    scenes,
)

__all__ = [
    "ACTIONS",
    "CLASSES",
    "FPS",
    "KEYPOINTS",
    "KINDS",
    "RATE_HZ",
    "SPLITS",
    "TYPES",
    "Rendered",
    "Scene",
    "render",
    "scenes",
]
