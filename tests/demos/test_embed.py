"""Features of files: those of a dataset's own media, of every kind of file, and of files that are broken."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sslkit import cli, jobs
from sslkit.data import samples, shards
from sslkit.data.dataset import Dataset
from sslkit.data.prepare import prepare
from sslkit.data.settings import PrepareSettings
from sslkit.demos import embed
from sslkit.errors import UserError
from sslkit.evals import features
from sslkit.media import write
from sslkit.models import trunk as trunks

PICTURES = {"short_side_px": 40, "remove_borders": False}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def a_run(folder: Path, name: str = "nin", prepared: dict[str, Any] = PICTURES, **settings: Any) -> Path:
    torch.manual_seed(0)
    trunk = trunks.build(name, settings or {"side_px": 16, "width": 0.1})
    for module in trunk.modules():  # so that deep layers say something before any training
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    folder.mkdir(parents=True, exist_ok=True)
    trunks.save(trunk, folder / "trunk.safetensors", {"task": "rotation", "data": prepared})
    return folder


def noise(seed: int, height: int, width: int) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return np.kron(small, np.ones((8, 8, 1), np.uint8))[:height, :width]


def film(path: Path, seconds: float = 4.0, fps: float = 10.0, side_px: int = 48) -> Path:
    """A texture that moves by one pixel a frame."""
    scene = noise(1, side_px, side_px + 200)
    frames = np.stack([scene[:, i : i + side_px + 16] for i in range(round(seconds * fps))])
    write.video(path, frames, fps)
    return path


def found(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def test_a_datasets_own_pictures_get_the_vectors_of_its_evaluations(tmp_path: Path) -> None:
    runs = []
    for number, size in enumerate([(40, 60), (72, 40), (40, 40), (40, 130)]):
        stored = samples.still({"key": f"k{number}", "source": str(number)}, noise(number, *size))
        (tmp_path / f"{number}.jpg").write_bytes(stored.members["jpg"])
        runs.append(("train", shards.pack(stored)))
    shards.write(tmp_path / "d", runs, {"layout": "folder", "settings": PICTURES, "classes": [], "source_hash": "0"})
    run = a_run(tmp_path / "run")
    trunk, _ = trunks.load(run / "trunk.safetensors")
    wanted = features.extract(trunk, Dataset(tmp_path / "d", "train"), pool_dims=50)
    files = [tmp_path / f"{number}.jpg" for number in range(4)]
    for layer in ("block1", "block4"):
        out = tmp_path / f"{layer}.npz"
        result = jobs.embed(run, files, layer, out, pool_dims=50, batch=3, device="cpu")
        arrays = found(out)
        assert np.allclose(arrays["features"], wanted.layers[layer].numpy(), rtol=1e-4, atol=1e-5)
        assert arrays["features"].std(0).max() > 0.01
        assert arrays["path"].tolist() == [str(file) for file in files]
        assert not arrays["start_s"].any() and str(arrays["layer"]) == layer and str(arrays["run"]) == str(run)
        assert result.fields["dims"] == wanted.layers[layer].shape[1] and result.fields["windows"] == 4


def test_pictures_are_prepared_in_the_size_that_the_run_learnt_from(tmp_path: Path) -> None:
    """A picture of three times the size gives nearly the vector of the prepared one, and not that of another."""
    from sslkit.media import picture

    large = np.kron(noise(0, 60, 80), np.ones((3, 3, 1), np.uint8))
    for name, shown in (("large", large), ("prepared", picture.scaled(large, 40)), ("other", noise(5, 60, 80))):
        Image.fromarray(shown).save(tmp_path / f"{name}.png")
    run = a_run(tmp_path / "run")
    jobs.embed(run, [tmp_path / f"{name}.png" for name in ("large", "prepared", "other")], out=tmp_path / "v.npz")
    large_one, prepared_one, other = found(tmp_path / "v.npz")["features"]
    assert np.allclose(large_one, prepared_one, atol=1e-5) and not np.allclose(large_one, other, atol=1e-2)


def test_pictures_of_a_video_come_with_their_times(tmp_path: Path) -> None:
    path, run = film(tmp_path / "v.mp4"), a_run(tmp_path / "run")
    for every_s, times in ((None, [0, 1, 2, 3]), (0.5, np.arange(8) * 0.5), (3.0, [0, 3])):
        out = tmp_path / f"{every_s}.csv"
        jobs.embed(run, [path], out=out, every_s=every_s, pool_dims=1, batch=3)
        rows = np.loadtxt(out, delimiter=",", skiprows=1, usecols=range(1, 22))
        assert rows[:, 0].tolist() == rows[:, 1].tolist() == list(times)
    assert np.abs(np.diff(rows[:, 2:], axis=0)).max() > 1e-3


def test_flow_is_cut_and_computed_as_in_prepared_data(tmp_path: Path) -> None:
    """Against the same video, prepared: stored flow has been through JPEG once more, so the vectors nearly agree."""
    source = tmp_path / "videos"
    source.mkdir()
    film(source / "a.mp4", seconds=3.2)
    film(source / "b.mp4", seconds=3.2, side_px=64)
    settings = PrepareSettings(short_side_px=48, fps=10, flow="dis", shots=False, remove_borders=False, val_share=0.5)
    prepare("folder", str(source), tmp_path / "d", settings)
    info = Dataset(tmp_path / "d", "train").info
    run = a_run(tmp_path / "run", "tcam", dict(info.settings), fields=6, side_px=32, width=0.0625)
    result = jobs.embed(run, [source], "conv2", tmp_path / "v.npz", every_s=0.6, batch=2, device="cpu")
    arrays = found(tmp_path / "v.npz")
    assert result.fields["windows"] == 10
    assert np.allclose(arrays["start_s"], np.tile(np.arange(5) * 0.6, 2))
    assert np.allclose(arrays["end_s"] - arrays["start_s"], 0.7)
    trunk, _ = trunks.load(run / "trunk.safetensors")
    for split in ("train", "val"):
        dataset = Dataset(tmp_path / "d", split)
        stored = features.extract(trunk, dataset, ("conv2",), clips=1).layers["conv2"].numpy()[0]
        middle_s = dataset.windows(0, features.reads(trunk), None)[0]  # 1.2 s: one of those that were embedded
        of_this = [Path(path).name == dataset.entries[0].source for path in arrays["path"]]
        ours = arrays["features"][of_this & np.isclose(arrays["start_s"], middle_s)]
        assert len(ours) == 1
        others = [row for row in arrays["features"][np.logical_not(of_this)]]
        near, far = np.abs(ours[0] - stored).mean(), min(np.abs(other - stored).mean() for other in others)
        assert near < 0.3 * far


def test_bad_files_are_told_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    media = tmp_path / "media"
    (media / "deep").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    Image.fromarray(noise(0, 48, 48)).save(media / "a.jpg")
    Image.fromarray(noise(1, 48, 48)).save(media / "deep" / "b.png")
    (media / "broken.jpg").write_bytes((media / "a.jpg").read_bytes()[:300])
    (media / "empty.mp4").write_bytes(b"")
    (media / "notes.txt").write_text("not media")
    film(media / "good.mp4", 2.0)
    run, out = a_run(tmp_path / "run"), tmp_path / "v.npz"
    inputs = [str(media), str(tmp_path / "empty"), str(tmp_path / "nowhere.png")]
    assert cli.run(["embed", str(run), *inputs, "--out", str(out), "--json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    told = {Path(line["input"]).name: line for line in lines[:-1]}
    assert {name for name, line in told.items() if "error" in line} == {
        "broken.jpg", "empty.mp4", "empty", "nowhere.png"
    }  # fmt: skip
    assert all({"input", "error", "kind"} <= set(line) for line in told.values() if "error" in line)
    assert told["good.mp4"]["windows"] == 2 and told["a.jpg"]["windows"] == 1 and "notes.txt" not in told
    summary = lines[-1]
    assert (summary["inputs"], summary["failed"], summary["windows"]) == (7, 4, 4)
    assert [Path(path).name for path in found(out)["path"]] == ["a.jpg", "b.png", "good.mp4", "good.mp4"]


def test_a_video_that_breaks_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sslkit.errors import WorkError
    from sslkit.media import read

    good, bad = film(tmp_path / "a.mp4"), film(tmp_path / "b.mp4")
    original = read.video_chunks

    def breaking(path: Path, *arguments: Any, **more: Any) -> Any:
        for number, chunk in enumerate(original(path, *arguments, **{**more, "chunk_frames": 1})):
            if path == bad and number == 3:
                raise WorkError(f"{path} is damaged.")
            yield chunk

    monkeypatch.setattr(embed.footage.read, "video_chunks", breaking)
    result = jobs.embed(a_run(tmp_path / "run"), [bad, good], out=tmp_path / "v.npz", batch=2)
    assert result.fields["failed"] == 1
    assert {Path(path).name for path in found(tmp_path / "v.npz")["path"]} == {"a.mp4"}
    assert len(found(tmp_path / "v.npz")["features"]) == 4


def test_nothing_readable_writes_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "v.npz"
    assert cli.run(["embed", str(a_run(tmp_path / "run")), str(tmp_path / "no.jpg"), "--out", str(out)]) == 1
    assert not out.exists()
    told = capsys.readouterr().err
    assert told.startswith(f"sslkit: {tmp_path / 'no.jpg'}") and told.count("no.jpg") == 1 and "not exist" in told


def test_list_on_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(noise(0, 48, 48)).save(tmp_path / "a.jpg")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"# mine\n{tmp_path / 'a.jpg'}\n\n"))
    assert cli.run(["embed", str(a_run(tmp_path / "run")), "-", "--out", str(tmp_path / "v.npz")]) == 0
    assert len(found(tmp_path / "v.npz")["features"]) == 1


def test_wrong_requests_are_one_sentence_and_write_nothing(tmp_path: Path) -> None:
    Image.fromarray(noise(0, 48, 48)).save(tmp_path / "a.jpg")
    run, files, out = a_run(tmp_path / "run"), [tmp_path / "a.jpg"], tmp_path / "v.npz"
    with pytest.raises(UserError, match=r"no layer 'conv9': it has block1"):
        jobs.embed(run, files, "conv9", out)
    with pytest.raises(UserError, match="more than 0"):
        jobs.embed(run, files, out=out, every_s=0)
    with pytest.raises(UserError, match="how their optical flow was made"):
        jobs.embed(a_run(tmp_path / "flow", "tcam", {}, fields=6, side_px=32, width=0.0625), files, out=out)
    prepared = {"short_side_px": 48, "fps": 10, "flow": "dis", "flow_bound_px": 20.0}
    clips = a_run(tmp_path / "clips", "tcam", prepared, fields=6, side_px=32, width=0.0625)
    told: list[Any] = []
    jobs.embed(clips, [*files, film(tmp_path / "s.mp4", 0.5)], out=out, told=told.append)
    assert ["is a single picture" in told[0].fields["error"], "has no shot of 7" in told[1].fields["error"]] == [
        True,
        True,
    ]
    assert not out.exists()


def test_a_folder_that_cannot_be_walked_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("sslkit.jobs.use.media_files", refused)
    told: list[Any] = []
    jobs.embed(a_run(tmp_path / "run"), [tmp_path], out=tmp_path / "v.npz", told=told.append)
    assert told[0].fields["error"] == f"{tmp_path} cannot be read: Permission denied."


@pytest.mark.realdata
def test_real_media_of_all_kinds(media_root: Path, tmp_path: Path) -> None:
    for number, file in enumerate(sorted((media_root / "images" / "natural").iterdir())[:5]):
        shutil.copy(file, tmp_path / f"{number}{file.suffix}")
    files = [tmp_path, *sorted((media_root / "video" / "scenes").iterdir())[:4]]
    run = a_run(tmp_path / "run", prepared={"short_side_px": 128, "remove_borders": True}, side_px=32, width=0.1)
    result = jobs.embed(run, files, out=tmp_path / "v.npz", pool_dims=1)
    arrays = found(tmp_path / "v.npz")
    assert result.fields["failed"] == 0 and result.fields["inputs"] == 9 and np.isfinite(arrays["features"]).all()
