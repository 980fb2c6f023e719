"""Near-duplicates whose truth is known: re-encoded, resized, brightened; and what only looks alike."""

import io
import json
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from sslkit import cli, jobs
from sslkit.data import duplicates, samples, shards
from sslkit.data.dataset import Dataset
from sslkit.errors import UserError
from sslkit.media import read, write

FPS = 10.0
Named = Iterable[tuple[str, str, np.ndarray]]


def picture(seed: int, height: int = 72, width: int = 96) -> np.ndarray:
    """Soft shapes, as photographs have them: noise at a coarse and a finer scale."""
    random = np.random.default_rng(seed)
    coarse, fine = (random.integers(0, 256, (n, n, 3)).astype(np.float32) for n in (5, 12))
    sizes = [cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) for noise in (coarse, fine)]
    return np.clip(0.7 * sizes[0] + 0.3 * sizes[1], 0, 255).astype(np.uint8)


def film(seed: int, scene: np.ndarray, frames: int = 20) -> np.ndarray:
    """A still scene in which a small square goes its own way."""
    random = np.random.default_rng(seed)
    height, width = scene.shape[:2]
    path = np.array([height / 2, width / 2]) + np.cumsum(random.normal(0, 6, (frames, 2)), axis=0)
    shot = np.repeat(scene[None], frames, axis=0)
    for frame, (y, x) in zip(shot, path, strict=True):
        top, left = int(np.clip(y, 0, height - 10)), int(np.clip(x, 0, width - 10))
        frame[top : top + 10, left : left + 10] = 255 - frame[top : top + 10, left : left + 10]
    return shot


def encoded(shown: np.ndarray, quality: int = 30) -> np.ndarray:
    data = io.BytesIO()
    Image.fromarray(shown).save(data, "JPEG", quality=quality)
    return read.image(data.getvalue())


def resized(shown: np.ndarray, share: float = 0.6) -> np.ndarray:
    return cv2.resize(shown, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)


def brighter(shown: np.ndarray) -> np.ndarray:
    return np.clip(shown * 1.15 + 12, 0, 255).astype(np.uint8)


def prepared(folder: Path, named: Named) -> Path:
    """A dataset of (split, name, picture or clip)."""
    runs = []
    for split, name, shown in named:
        meta = {"key": f"{split}-{name}", "source": name, "group": f"{split}/{name}"}
        stored = samples.still(meta, shown) if shown.ndim == 3 else samples.clip(meta, shown, FPS)
        runs.append((split, shards.pack(stored)))
    shards.write(folder, runs, {"layout": "folder", "settings": {}, "classes": [], "source_hash": "0"})
    return folder


def found(folder: Path, held_out: str = "val") -> dict[str, str]:
    """Held-out source -> source in train that shows the same."""
    train, held = (duplicates.hashed(Dataset(folder, split)) for split in ("train", held_out))
    return {
        held.dataset.entries[pair.held_out].source: train.dataset.entries[pair.learnt].source
        for pair in duplicates.pairs(train, held)
    }


def test_copies_of_pictures_are_found_and_nothing_else(tmp_path: Path) -> None:
    learnt = {str(seed): picture(seed) for seed in range(60)}
    copies = {
        "3 encoded": encoded(learnt["3"]),
        "14 smaller": resized(learnt["14"]),
        "15 brighter": brighter(learnt["15"]),
        "9 all": encoded(brighter(resized(learnt["9"]))),
        "26 cut a little": learnt["26"][1:-1, 1:-1],
    }
    others = {f"{seed} mirrored": learnt[str(seed)][:, ::-1].copy() for seed in range(5)}
    others |= {f"{seed} upside down": learnt[str(seed)][::-1].copy() for seed in range(5)}
    others |= {f"new {seed}": picture(seed) for seed in range(1000, 1040)}
    named = [("train", name, shown) for name, shown in learnt.items()]
    folder = prepared(tmp_path / "d", [*named, *(("val", name, shown) for name, shown in (copies | others).items())])
    assert found(folder) == {name: name.split()[0] for name in copies}


def test_copies_of_clips_are_found_among_others_of_the_same_scene(tmp_path: Path) -> None:
    scene = picture(0)
    learnt = {str(seed): film(seed, scene) for seed in range(12)}
    coarse = write.video(None, learnt["7"], FPS, crf=35)
    copies = {
        "7 encoded": read.frames(coarse, range(20)),
        "3 smaller": np.stack([resized(frame, 0.75) for frame in learnt["3"]])[:, :54, :72],
        "5 brighter": np.stack([brighter(frame) for frame in learnt["5"]]),
    }
    others = {f"new {seed}": film(seed, scene) for seed in range(100, 106)}
    others |= {"mirrored": film(1, scene)[:, :, ::-1].copy(), "still": np.repeat(scene[None], 20, axis=0)}
    named = [("train", name, shown) for name, shown in learnt.items()]
    folder = prepared(tmp_path / "d", [*named, *(("val", name, shown) for name, shown in (copies | others).items())])
    close = duplicates.hashed(Dataset(folder, "train"))
    assert len(set(close.codes[:, 0].tolist())) < 12  # hashes alone would take many of them for the same
    assert found(folder) == {name: name.split()[0] for name in copies}


def test_a_picture_is_no_copy_of_a_clip_and_flat_ones_are_all_the_same(tmp_path: Path) -> None:
    shown, black = picture(1), np.zeros((64, 64, 3), np.uint8)
    still = np.repeat(shown[None], 5, axis=0)
    learnt = [("train", "clip", still), ("train", "black", black)]
    held_out = [("val", "picture", shown), ("val", "grey", black + 90), ("val", "same clip", still)]
    folder = prepared(tmp_path / "d", [*learnt, *held_out])
    assert found(folder) == {"grey": "black", "same clip": "clip"}


def test_distance_is_counted_in_bits_of_the_worst_frame() -> None:
    codes = np.array([[0b1111, 0, 0], [0b11, 0b1, 0b111], [0, 0, 0xFF], [0, 0, 2**63]], np.uint64)
    learnt = duplicates.Hashed(None, np.arange(4), codes, np.array([True, True, True, False]))  # type: ignore[arg-type]
    near = list(duplicates._candidates(learnt, np.zeros(3, np.uint64), np.True_, 4))
    assert near == [(1, 3), (0, 4)]
    assert list(duplicates._candidates(learnt, np.zeros(3, np.uint64), np.False_, 1)) == [(3, 1)]


def test_only_what_matters_is_compared_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = [picture(seed) for seed in range(6)]
    first = prepared(tmp_path / "first", [("train", "a", shown[0]), ("train", "b", shown[1]), ("val", "c", shown[2])])
    second = prepared(
        tmp_path / "second",
        [("train", "d", shown[2]), ("val", "e", encoded(shown[1])), ("val", "f", shown[3]), ("test", "g", shown[3])],
    )
    result = jobs.duplicates([first, second], tmp_path / "page")
    # The second's train shows what the first holds out, which nobody measures after learning from the second.
    assert {
        (Path(row["learnt"]).parts[-2:], Path(row["held_out"]).parts[-2:]): row["duplicates"] for row in result.rows
    } == {
        (("first", "train"), ("first", "val")): 0,
        (("first", "train"), ("second", "val")): 1,
        (("first", "train"), ("second", "test")): 0,
        (("second", "train"), ("second", "val")): 0,
        (("second", "train"), ("second", "test")): 0,
        (("second", "val"), ("second", "test")): 1,
    }
    assert result.rows[1]["share"] == 50 and result.fields["duplicates"] == 2
    sides = [(pair["held_out"]["source"], pair["learnt"]["source"]) for pair in result.fields["pairs"]]
    assert sides == [("e", "b"), ("g", "f")] and result.fields["pairs"][1]["bits"] == 0
    assert json.loads((tmp_path / "page" / "result.json").read_text())["pairs"] == result.fields["pairs"]
    assert (tmp_path / "page" / "duplicates.html").read_text().count("<img") == 4
    line = ["duplicates", str(first), str(second), "--out", str(tmp_path / "page"), "--json"]
    assert cli.run(line) == 0 and cli.run([*line, "--strict"]) == 1
    assert cli.run(["duplicates", str(first), "--out", str(tmp_path / "page"), "--strict"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 2


def test_nothing_to_compare_is_one_sentence(tmp_path: Path) -> None:
    only = prepared(tmp_path / "only", [("train", "a", picture(0))])
    with pytest.raises(UserError, match="no train split with a val or test split"):
        jobs.duplicates([only], tmp_path / "page")
    with pytest.raises(UserError, match="no train split"):
        jobs.duplicates([tmp_path / "nowhere"], tmp_path / "page")
    assert not (tmp_path / "page").exists()


@pytest.mark.realdata
def test_photographs_are_told_apart_and_their_copies_found(media_root: Path, tmp_path: Path) -> None:
    files = sorted((media_root / "images" / "caltech" / "train").glob("*/*.jpg"))[::12]
    learnt = {str(number): read.image(file) for number, file in enumerate(files)}
    changes = [encoded, resized, brighter, lambda shown: shown[:, ::-1].copy()]
    changed = {f"{name} {number % 4}": changes[number % 4](learnt[name]) for number, name in enumerate(learnt)}
    named = [("train", name, shown) for name, shown in learnt.items()]
    folder = prepared(tmp_path / "d", [*named, *(("val", name, shown) for name, shown in changed.items())])
    assert found(folder) == {name: name.split()[0] for name in changed if not name.endswith("3")}
