"""Gray pictures come back from memory as they were stored."""

from __future__ import annotations

import numpy as np
import pytest

from sslkit.errors import WorkError
from sslkit.media import read, write


def test_object_numbers_are_exact_and_flow_nearly() -> None:
    ids = np.random.default_rng(0).integers(0, 5, (40, 30)).astype(np.uint8)
    assert np.array_equal(read.plane(write.png(ids)), ids)
    ramp = np.tile(np.arange(100, 160, dtype=np.uint8), (40, 1))
    assert np.abs(read.plane(write.jpeg(ramp)).astype(int) - ramp).max() <= 2


@pytest.mark.parametrize("data", [b"", b"\0" * 100, write.jpeg(np.zeros((8, 8, 3), np.uint8))])
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(WorkError, match="gray picture"):
        read.plane(data)


def test_a_prepared_still_has_the_pixels_of_any_still() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    data = write.jpeg(picture)
    assert np.array_equal(read.prepared(data), read.image(data))
    assert np.array_equal(read.prepared(write.png(picture)), picture)


@pytest.mark.parametrize("cut", [0, 1, 30, 400, -1, -2])
def test_a_truncated_still_is_refused(cut: int) -> None:
    data = write.jpeg(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    with pytest.raises(WorkError, match="cannot be read as a picture"):
        read.prepared(data[:cut])
