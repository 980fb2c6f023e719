"""Sounds that a page plays."""

from __future__ import annotations

import base64

import numpy as np

from sslkit.media import write
from sslkit.report import page
from sslkit.types import Panel

PICTURE = np.full((40, 40, 3), 90, np.uint8)


def test_a_sound_stands_below_its_picture() -> None:
    sound = write.flac(np.arange(800, dtype=np.int16), 8000)
    panel = Panel("Found", [PICTURE] * 3, ["a", 'b "', "c"], sounds=[sound, None, sound])
    text = page.render(page.Page("t", panels=[panel, Panel("Silent", [PICTURE])]))
    assert text.count("<audio controls") == 2
    assert f'src="data:audio/flac;base64,{base64.b64encode(sound).decode()}"' in text
    assert 'aria-label="Sound of a"' in text


def test_sounds_take_half_of_a_page_at_most() -> None:
    noise = write.flac(np.random.default_rng(0).integers(-9000, 9000, 200_000, dtype=np.int16), 16_000)
    panel = Panel("Found", [PICTURE] * 30, sounds=[noise] * 30)
    text = page.render(page.Page("t", panels=[panel]))
    assert len(text) < page.MOST_BYTES and 3 < text.count("<audio") < 30
