"""What the evaluation moves as vectors is what a user's file has whose sound is late: the same answers."""

from pathlib import Path

import pytest

from sslkit.demos import sync as demo
from sslkit.demos.sync import SyncSettings
from sslkit.evals import sync
from sslkit.jobs.watchers import shipped, sure_from
from sslkit.media import detectors, remux
from sslkit.models.lips import FPS
from sslkit.ops.offsets import best_offset


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["grid_lrwp9a.mpg", "real_8.mp4"])
def test_sound_that_is_moved_in_a_file_gives_what_moved_vectors_give(
    media_root: Path, tmp_path: Path, name: str
) -> None:
    source, watcher, find = media_root / "speech/others/test" / name, shipped("cpu"), detectors.finder()
    settings = SyncSettings(sure=sure_from(watcher, "lip-sync"))
    ((sight, sound),) = demo.vectors(source, [watcher], find, settings)
    for late in (7, -11):
        curves = sync._curves(sight, sound, late, watcher.squared)
        moved = best_offset(curves.mean(0))
        target = tmp_path / f"{late}.mkv"
        remux.with_sound_moved(source, target, late / FPS)
        told = demo.sync(target, watcher, settings, find).fields
        assert bool(moved.found) and told["offset_frames"] == int(moved.frames)
        assert abs(told["offset_frames"] - late) <= 1  # and both clips are in time as they are
