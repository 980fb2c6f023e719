"""Damaged media: handled or told in one sentence, never a crash, a hang or a trace."""

from __future__ import annotations

import fuzzing
import pytest

NAMES = ["mp4", "mkv", "webm", "avi", "gif", "jpg", "png", "webp", "tiff", "wav", "flac"]


@pytest.mark.parametrize("inputs", [220, pytest.param(3300, marks=pytest.mark.slow)])
def test_damaged_media(inputs: int) -> None:
    tally = fuzzing.run(NAMES, 0, inputs)
    print(tally.table())
    assert not tally.wrong
