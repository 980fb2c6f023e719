"""Cut a video where the camera's view changes, so that no clip crosses a cut.

The detector is PySceneDetect's AdaptiveDetector: a frame starts a shot if it differs from the one before several times
as much as its neighbours do, which fast motion and flashes do not.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from scenedetect.detectors import AdaptiveDetector, ContentDetector

from sslkit.media.picture import fitted

_SHORTEST_S = 0.3
# Differences of saturation and brightness, 0 to 255. Hue is noise where a picture has hardly any colour.
_WEIGHTS = ContentDetector.Components(delta_hue=0.0, delta_sat=1.0, delta_lum=1.0, delta_edges=0.0)
_LEAST_CHANGE = 20.0
# Doubled and tripled frames, mean difference of gray values: beside them any motion looks like a jump.
_SAME = 1.0
_SKIPPED = 2
_LONG_SIDE_PX = 160


class Cuts:
    """Cuts of a video that arrives piece by piece.

    `add` takes (T, H, W, 3) uint8 frames in order and returns the numbers of frames, counted from the first ever added,
    that are the first of a new shot. A cut is told two frames late (six where frames are repeated), so one at the end
    of a piece comes with the next, and one at the very end of the video never.
    """

    def __init__(self, fps: float = 25.0) -> None:
        """fps: of the frames; shots shorter than 0.3 s are not split off."""
        self._detector = AdaptiveDetector(
            min_scene_len=max(2, round(_SHORTEST_S * fps)), min_content_val=_LEAST_CHANGE, weights=_WEIGHTS
        )
        self._last: np.ndarray | None = None
        self._skipped = 0
        self.seen = 0

    def add(self, frames: np.ndarray) -> list[int]:
        """Look at the next frames; the cuts that are certain now."""
        found: list[int] = []
        for frame in frames:
            small = _small(frame)
            if not self._repeats(small):
                # The detector only compares and subtracts its time stamps: frame numbers do.
                found += [int(cut) for cut in self._detector.process_frame(self.seen, small[..., ::-1])]
                self._last = small
            self.seen += 1
        return found

    def _repeats(self, small: np.ndarray) -> bool:
        """Whether a frame only repeats the last one. A longer standstill is not left out, or its end would not show."""
        same = self._last is not None and float(cv2.absdiff(small, self._last).mean()) < _SAME
        self._skipped = self._skipped + 1 if same and self._skipped < _SKIPPED else 0
        return self._skipped > 0


def _small(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    shrink = min(1.0, _LONG_SIDE_PX / max(height, width))
    return fitted(np.ascontiguousarray(frame), max(1, round(height * shrink)), max(1, round(width * shrink)))


def shots(frames: np.ndarray, fps: float = 25.0) -> list[tuple[int, int]]:
    """Shots of a clip, (T, H, W, 3) uint8, as (first, last exclusive): they follow each other and cover the clip."""
    edges = [0, *Cuts(fps).add(frames), len(frames)]
    return list(pairwise(edges))
