import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sslkit.demos import arrow as demo
from sslkit.demos.arrow import ArrowSettings, arrow
from sslkit.errors import UserError, WorkError
from sslkit.media import read, write
from sslkit.tasks import base as tasks

_FPS, _SIDE_PX = 10.0, 64
_CPU = torch.device("cpu")
_SETTINGS = ArrowSettings(fps=_FPS, short_side_px=_SIDE_PX, fields=6, remove_borders=False)


class Falling(nn.Module):
    """Says forwards where things move downwards, and leans towards an answer by `lean`."""

    def __init__(self, lean: float = 0.0) -> None:
        super().__init__()
        self.lean = nn.Parameter(torch.tensor(lean))
        self.shapes: list[tuple[int, ...]] = []

    def score(self, flow: Tensor) -> tuple[Tensor, Tensor]:
        self.shapes.append(tuple(flow.shape))
        assert flow.dtype == torch.uint8 and not self.training
        down = (flow[:, :, 1].float() - 128).mean(1)
        heat = nn.functional.avg_pool2d(down[:, None], 8)[:, 0] + self.lean
        return heat.mean((1, 2)), heat


def _falling(frames: int, height: int = 64, width: int = 80, seed: int = 0, step_px: int = 2) -> np.ndarray:
    """A textured dot that falls through a still textured scene, again and again."""
    rng = np.random.default_rng(seed)
    scene = np.kron(rng.integers(60, 110, (height // 4 + 1, width // 4 + 1, 3)), np.ones((4, 4, 1)))[:height, :width]
    dot = np.kron(rng.integers(120, 250, (6, 6, 3)), np.ones((4, 4, 1)))
    film = np.repeat(scene[None], frames, axis=0).astype(np.uint8)
    for number, frame in enumerate(film):
        top = number * step_px % (height - 24)
        frame[top : top + 24, width // 2 - 12 : width // 2 + 12] = dot
    return film


def _file(
    folder: Path, frames: np.ndarray, fps: float = _FPS, sound: np.ndarray | None = None, name: str = "v"
) -> Path:
    path = folder / f"{name}.mp4"
    write.video(path, frames, fps, sound=sound, rate_hz=16_000)
    return path


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize("both_ways", [True, False])
def test_falling_is_forwards_and_its_reversal_backwards(tmp_path, both_ways):
    film = _falling(19)
    settings = ArrowSettings(_FPS, _SIDE_PX, fields=6, remove_borders=False, both_ways=both_ways)
    forwards = arrow(_file(tmp_path, film, name="f"), Falling(), _CPU, settings)
    backwards = arrow(_file(tmp_path, film[::-1], name="b"), Falling(), _CPU, settings)
    assert forwards.fields["verdict"] == "forwards" and forwards.fields["p_forward"] > 0.5
    assert backwards.fields["verdict"] == "backwards" and backwards.fields["p_forward"] < 0.5


def test_a_leaning_network_is_balanced_by_judging_both_ways(tmp_path):
    path = _file(tmp_path, _falling(13)[::-1])
    assert arrow(path, Falling(lean=50.0), _CPU, _SETTINGS).fields["verdict"] == "backwards"
    one_way = ArrowSettings(_FPS, _SIDE_PX, fields=6, remove_borders=False, both_ways=False)
    assert arrow(path, Falling(lean=50.0), _CPU, one_way).fields["verdict"] == "forwards"


def test_judging_both_ways_changes_sides_exactly_with_the_clip():
    clip = _falling(7)
    logits, maps = demo._scored([clip, clip[::-1]], Falling(lean=3.0).eval(), _CPU, _SETTINGS)
    assert logits[0] == -logits[1] != 0
    torch.testing.assert_close(maps[0], -maps[1])
    torch.testing.assert_close(maps.mean((1, 2)), logits)


def test_a_still_video_is_called_a_guess(tmp_path):
    still = np.repeat(_falling(1), 8, axis=0)
    result = arrow(_file(tmp_path, still), Falling(), _CPU, _SETTINGS)
    assert abs(result.fields["p_forward"] - 0.5) < 0.025 and "a guess" in result.notes[0]
    assert not arrow(_file(tmp_path, _falling(8), name="w"), Falling(), _CPU, _SETTINGS).notes


def test_the_task_itself_judges_whole_rectangles(tmp_path):
    task = tasks.build("arrow_of_time", {"trunk_settings": {"fields": 6, "width": 0.02, "side_px": 32}})
    result = arrow(_file(tmp_path, _falling(14)), task, _CPU, _SETTINGS, out=tmp_path, overlay=True)
    assert len(result.fields["clips"]) == 3 and Path(result.fields["overlay"]).stat().st_size > 0
    assert not task.training


def test_fields_that_scripts_rely_on(tmp_path):
    path = _file(tmp_path, _falling(16))
    result = arrow(path, Falling(), _CPU, _SETTINGS)
    record = json.loads(json.dumps(result.record()))
    assert record["input"] == str(path) and record["overlay"] is None
    assert [(c["start_s"], c["end_s"]) for c in record["clips"]] == [(0.0, 0.7), (0.6, 1.3), (0.9, 1.6)]
    assert all(0 <= c["p_forward"] <= 1 for c in record["clips"])


def test_video_is_brought_to_the_rate_and_size_of_the_training_data(tmp_path):
    task = Falling()
    result = arrow(_file(tmp_path, _falling(39, 128, 160), fps=30.0), task, _CPU, _SETTINGS)
    assert {shape[1:] for shape in task.shapes} == {(6, 2, _SIDE_PX, 80)}
    assert [c["start_s"] for c in result.fields["clips"]] == [0.0, 0.6]


def test_clips_never_cross_a_cut(tmp_path):
    film = np.concatenate([_falling(20, seed=1), 255 - _falling(22, seed=2) // 2])
    clips = arrow(_file(tmp_path, film), Falling(), _CPU, _SETTINGS).fields["clips"]
    assert any(c["end_s"] == 2.0 for c in clips) and any(c["start_s"] == 2.0 for c in clips)
    assert not [c for c in clips if c["start_s"] < 2.0 < c["end_s"]]
    assert clips[-1]["end_s"] == 4.2


def test_a_video_too_short_for_one_clip_is_an_error(tmp_path):
    path = _file(tmp_path, _falling(6))
    with pytest.raises(WorkError, match=r"v\.mp4 has no shot of 7 pictures at 10 per second \(0\.7 s\)"):
        arrow(path, Falling(), _CPU, _SETTINGS)
    assert len(arrow(_file(tmp_path, _falling(7), name="w"), Falling(), _CPU, _SETTINGS).fields["clips"]) == 1


def test_overlay_keeps_frames_size_rate_and_sound(tmp_path):
    sound = (8000 * np.sin(np.arange(16_000 * 2) / 10)).astype(np.int16)
    path = _file(tmp_path, _falling(50, 96, 128), fps=25.0, sound=sound)
    result = arrow(path, Falling(), _CPU, _SETTINGS, out=tmp_path / "new" / "out", overlay=True)
    shown = Path(result.fields["overlay"])
    assert shown == tmp_path / "new" / "out" / "v-arrow.mp4" and result.files == {"overlay": str(shown)}
    assert [p.name for p in shown.parent.iterdir()] == ["v-arrow.mp4"]
    before, after = read.video(path), read.video(shown)
    assert after.frames.shape == before.frames.shape and after.fps == before.fps
    heard = read.sound(shown, 16_000).astype(float)[: len(sound)]
    assert np.corrcoef(heard, sound[: len(heard)])[0, 1] > 0.95
    dot, corner = (np.abs(after.frames[:, a:b, c:d].astype(int) - before.frames[:, a:b, c:d]).mean() for a, b, c, d in
                   ((10, 70, 55, 75), (0, 40, 0, 20)))  # fmt: skip
    assert dot > 3 * corner


def test_overlay_of_a_silent_video_with_odd_sides(tmp_path, monkeypatch):
    path = _file(tmp_path, _falling(8))
    odd = [_falling(8)[:, :63, :79]]
    monkeypatch.setattr(read, "video_chunks", lambda *_, **__: iter(odd))
    result = arrow(path, Falling(), _CPU, _SETTINGS, out=tmp_path, overlay=True)
    about = read.probe(Path(result.fields["overlay"]))
    assert (about.height, about.width, about.has_sound) == (62, 78, False)


def test_one_scale_for_the_whole_video(tmp_path, monkeypatch):
    scales = []
    original = demo.picture.overlay
    monkeypatch.setattr(
        demo.picture, "overlay", lambda frames, maps, scale: scales.append(scale) or original(frames, maps, scale)
    )
    arrow(_file(tmp_path, _falling(80)), Falling(), _CPU, _SETTINGS, out=tmp_path, overlay=True)
    assert len(scales) > 1 and len(set(scales)) == 1


def test_shots_too_short_to_judge_stay_without_colour():
    clips = [demo._Clip(1.0, 1.7, 2.0, np.ones((2, 2))), demo._Clip(1.6, 2.3, 2.0, np.ones((2, 2)))]
    times = np.array([0.0, 0.96, 1.0, 1.55, 1.6, 2.2, 2.3, 4.0])
    assert demo._clips_at(times, clips).tolist() == [-1, -1, 0, 0, 1, 1, -1, -1]


def test_bars_are_cut_off_before_and_left_alone_in_the_overlay(tmp_path):
    film = np.zeros((40, 96, 96, 3), dtype=np.uint8)
    film[:, 16:80] = _falling(40, 64, 96)
    task = Falling()
    settings = ArrowSettings(_FPS, _SIDE_PX, fields=6, remove_borders=True)
    result = arrow(_file(tmp_path, film), task, _CPU, settings, out=tmp_path, overlay=True)
    height, width = task.shapes[0][3:]
    assert abs(height - _SIDE_PX) <= 4 and abs(width / height - 1.5) < 0.1
    assert read.video(Path(result.fields["overlay"])).frames[:, :12].max() < 40


def test_an_overlay_is_never_written_over_another_nor_nowhere(tmp_path):
    path = _file(tmp_path, _falling(8))
    with pytest.raises(UserError, match="give --out"):
        arrow(path, Falling(), _CPU, _SETTINGS, overlay=True)
    (tmp_path / "v-arrow.mp4").write_bytes(b"mine")
    with pytest.raises(UserError, match="already there"):
        arrow(path, Falling(), _CPU, _SETTINGS, out=tmp_path, overlay=True)
    assert (tmp_path / "v-arrow.mp4").read_bytes() == b"mine"


def test_an_unreadable_video_is_one_sentence(tmp_path):
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"not a video")
    with pytest.raises(WorkError, match=r"broken\.mp4"):
        arrow(path, Falling(), _CPU, _SETTINGS)


def test_a_camera_that_moves_decides_nothing_where_the_data_were_stabilised(tmp_path):
    rng = np.random.default_rng(0)
    tall = np.kron(rng.integers(0, 255, (30, 10, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    film = np.stack([tall[100 - 2 * i : 164 - 2 * i] for i in range(21)])  # the camera rises: all seems to fall
    path = _file(tmp_path, film)
    moving, steady = (
        arrow(path, Falling(), _CPU, replace(_SETTINGS, stabilise=on), out=tmp_path / str(on), overlay=True)
        for on in (False, True)
    )
    assert moving.fields["p_forward"] > 0.6 and abs(steady.fields["p_forward"] - 0.5) < 0.05
    assert read.video(Path(steady.fields["overlay"])).frames.shape[1:3] == film.shape[1:3]
