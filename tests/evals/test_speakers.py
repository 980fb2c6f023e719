"""Active speakers, in films where what speaks flickers as loud as the sound is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torch import Tensor

from sslkit.errors import UserError, WorkError
from sslkit.evals import speakers
from sslkit.evals.speakers import Watched
from sslkit.media import write
from sslkit.models.lips import HOP, WINDOW, WINDOW_FRAMES

SECONDS = 16
FRAMES = 25 * SECONDS


class Flicker:
    """In place of networks: how bright five frames are, and how loud a window is, as single numbers."""

    def see(self, frames: Tensor) -> Tensor:
        light = frames.float().mean((0, 2, 3, 4)).unfold(0, WINDOW_FRAMES, 1).mean(1)
        return ((light - 20) / 160)[:, None]

    def hear(self, sound: Tensor) -> Tensor:
        level = sound.float().unfold(1, WINDOW, HOP).square().mean(2).sqrt()
        return (level / 8000)[0, :, None]


class Blind(Flicker):
    def see(self, frames: Tensor) -> Tensor:
        return super().see(frames) * 0 + 0.5


def watched(task: Any) -> Watched:
    return Watched(task.see, task.hear, 32, "face", squared=False, sure=0.05)


def flicker(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.convolve(random.uniform(0, 1, FRAMES + 4), np.ones(5) / 5, "valid")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two heads of 40 px: the left one is heard in the first half, the right one in the second."""
    folder = tmp_path_factory.mktemp("panel")
    left, right = flicker(0), flicker(1)
    frames = np.full((FRAMES, 96, 192, 3), 40, np.uint8)
    for values, x in ((left, 20), (right, 130)):
        frames[:, 10:90, x - 20 : x + 60] = (20 + 160 * values)[:, None, None, None].astype(np.uint8)
    loud = np.where(np.arange(FRAMES) < FRAMES // 2, left, right)
    samples = np.repeat(loud, 640) * 8000 * np.sqrt(2) * np.sin(np.arange(FRAMES * 640) * 0.3)
    write.video(folder / "film.mkv", frames, 25, samples.astype(np.int16), 16_000)
    return folder / "film.mkv"


def columbia(root: Path, film: Path) -> Path:
    (root / "fusion").mkdir(parents=True)
    (root / "film.mkv").symlink_to(film)
    times = [(n, n / 29.97) for n in range(round(29.97 * (SECONDS - 0.2)))]
    for name, x, first in (("bell", 20, True), ("boll", 130, False)):
        lines = [f"{n}\t{x}\t30\t40\t{int((at_s < SECONDS / 2) == first)}" for n, at_s in times]
        (root / "fusion" / f"{name}.txt").write_text("\n".join(lines))
    return root


def ava(root: Path, film: Path) -> Path:
    (root / "val").mkdir(parents=True)
    lines = []
    for video in ("one", "two"):
        (root / f"{video}.mkv").symlink_to(film)
        for k in range(0, FRAMES - 5, 2):
            for face, x, first in (("l", 20, True), ("r", 130, False)):
                label = "SPEAKING_AUDIBLE" if (k < FRAMES // 2) == first else "NOT_SPEAKING"
                box = f"{x / 192:.3f},{30 / 96:.3f},{(x + 40) / 192:.3f},{70 / 96:.3f}"
                lines.append(f"{video},{k / 25:.2f},{box},{label},{video}_{face}")
    (root / "val" / "v-activespeaker.csv").write_text("\n".join(lines))
    return root


@pytest.mark.parametrize(("made", "metric"), [(columbia, "columbia"), (ava, "ava_activespeaker")])
def test_who_is_heard_scores_higher(made: Any, metric: str, film: Path, tmp_path: Path) -> None:
    told: list[str] = []
    named = [("seen", 0, watched(Flicker())), ("blind", 0, watched(Blind()))]
    found = speakers.evaluate(named, made(tmp_path / "set", film), progress=lambda done, of, text: told.append(text))
    means = {(r["init"], r["metric"], r.get("frames")): r["value"] for r in found.rows if r["seed"] is None}
    assert means["seen", "ap", 25] > 95 and means["seen", "auc", 25] > 95 and means["seen", "f1", 25] > 85
    assert means["blind", "ap", 25] < 75 and means["chance", "ap", None] == pytest.approx(50, abs=2)
    assert means["chance", "f1", None] == pytest.approx(200 / 3, abs=2)
    who = {row["who"] for row in found.rows if row.get("who")}
    assert who == ({"bell", "boll"} if metric == "columbia" else {"one", "two"}) and metric in found.name
    assert found.metrics["seen_ap_25"] == means["seen", "ap", 25] and "faces watched by seen" in told


def test_boxes_between_marks_and_squares() -> None:
    from sslkit.data.layouts.base import FaceTrack

    boxes = np.array([[0.0, 0, 10, 20], [10, 0, 20, 20]])
    track = FaceTrack(Path("x"), "a", "val", np.array([1.0, 2.0]), boxes, np.array([True, False]))
    # half the film's size: the box is 5, 0, 15, 20 in the film
    assert track.squares_at(np.array([1.5]), (50, 40), (100, 80))[0].tolist() == [1.25, 1.25, 8.75, 8.75]
    shares = replace(track, boxes=boxes / 100, relative=True)
    assert shares.squares_at(np.array([1.0]), (100, 100), (7, 7))[0] == pytest.approx([-2.5, 2.5, 12.5, 17.5])
    long = FaceTrack(Path("x"), "a", "val", np.arange(0, 25.01, 0.1), np.zeros((251, 4)), np.zeros(251, bool))
    assert [len(part.time_s) for part in speakers._cut(long)] == [84, 83, 84]


def test_best_threshold_is_that_of_trying_all() -> None:
    random = np.random.default_rng(0)
    score, truth = torch.from_numpy(random.integers(0, 12, 60) / 4.0), torch.from_numpy(random.random(60) < 0.4)
    tried = {t: f1_score(truth, (score >= t).numpy()) for t in score.unique().tolist()}
    found = speakers.best_threshold(score, truth)
    assert tried[found] == pytest.approx(max(tried.values()))


def test_f1_of_one_is_measured_at_the_threshold_of_the_others() -> None:
    score = torch.tensor([0.9, 0.8, 0.1, 0.2, 0.6, 0.4])
    speaks = torch.tensor([True, True, False, False, True, False])
    who = ["a", "a", "a", "a", "b", "b"]
    # For a the threshold is 0.6, which is right; for b it is 0.8, which misses 0.6.
    assert speakers.held_out_f1(score, speaks, who) == {"a": 100.0, "b": 0.0}
    assert speakers.held_out_f1(score, speaks, ["a"] * 6) == {}


def test_abbas_is_left_out_of_the_average() -> None:
    score, speaks = torch.tensor([1.0, 0, 1, 0, 0, 1]), torch.tensor([True, False, True, False, True, False])
    found = speakers.measures_of(score, speaks, ["bell", "bell", "boll", "boll", "abbas", "abbas"])
    averaged = [found["f1", "bell"], found["f1", "boll"]]
    assert found["f1", ""] == pytest.approx(np.mean(averaged)) and ("f1", "abbas") in found


def test_wrong_requests(film: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Nobody's speech is marked"):
        speakers.marked(tmp_path)
    (tmp_path / "val").mkdir()
    (tmp_path / "film.mkv").symlink_to(film)
    (tmp_path / "val/v-activespeaker.csv").write_text(
        "film,1.0,0,0,1,1,NOT_SPEAKING,a\nfilm,1.04,0,0,1,1,NOT_SPEAKING,a\n"
    )
    with pytest.raises(WorkError, match="No marked face"):
        speakers.evaluate([("x", 0, watched(Flicker()))], tmp_path)
