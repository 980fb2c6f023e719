import numpy as np
import pytest

from sslkit.demos import footage

_FPS = 10.0


class _Told:
    """Cuts at known frames, each told two frames late."""

    def __init__(self, fps: float) -> None:
        self.seen = 0

    def add(self, frames: np.ndarray) -> list[int]:
        before, self.seen = self.seen, self.seen + len(frames)
        return [cut for cut in (30, 34) if before <= cut + 2 < self.seen]


@pytest.fixture
def film(monkeypatch):
    """90 frames with cuts at 30 and 34; the value of a frame is its number."""
    monkeypatch.setattr(footage.shots, "Cuts", _Told)
    return np.zeros((90, 2, 2, 3), dtype=np.uint8) + np.arange(90, dtype=np.uint8)[:, None, None, None]


@pytest.mark.parametrize("least", [4, 5])
def test_a_short_shot_is_one_window_where_it_is_long_enough(film, least):
    for size in (90, 1, 13, 33):
        chunks = [film[i : i + size] for i in range(0, 90, size)]
        found = [(start, frames[:, 0, 0, 0].tolist()) for start, frames in footage.windows(chunks, 7, _FPS, 6, least)]
        short = [one for one in found if len(one[1]) < 7]
        assert short == ([(30, [30, 31, 32, 33])] if least == 4 else [])
        assert [start for start, _ in found if start not in (30,)] == [0, 6, 12, 18, *range(34, 84, 6)]


@pytest.mark.parametrize(
    ("stride", "starts"),
    [
        (None, [0, 6, 12, 18, 23, *range(34, 83, 6), 83]),
        (6, [0, 6, 12, 18, *range(34, 84, 6)]),
        (3, [*range(0, 24, 3), *range(34, 84, 3)]),
        (20, [0, 20, 34, 54, 74]),
        (200, [0, 34]),
    ],
)
def test_windows_are_the_same_however_the_video_arrives(film, stride, starts):
    for size in (90, 1, 7, 13, 32, 33, 40):
        chunks = [film[i : i + size] for i in range(0, 90, size)]
        found = [(start, frames[:, 0, 0, 0].tolist()) for start, frames in footage.windows(chunks, 7, _FPS, stride)]
        assert [start for start, _ in found] == starts
        assert all(frames == list(range(start, start + 7)) for start, frames in found)
