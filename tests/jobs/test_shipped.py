import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from sslkit import jobs
from sslkit.errors import UserError, WorkError
from sslkit.jobs import shipped
from sslkit.models import weights

NAMES = sorted(path.stem for path in shipped.FOLDER.glob("*.safetensors"))


@pytest.mark.parametrize("name", NAMES)
def test_what_ships_is_small_says_how_it_was_made_and_loads(name: str) -> None:
    assert sum(path.stat().st_size for path in shipped.FOLDER.glob(f"{name}.*")) < 6e6
    learner, about = shipped.packaged(name, "cpu")
    assert not learner.training and about["task"] in type(learner).__module__
    provenance = about["provenance"]
    assert provenance["recipe"] and provenance["commands"] and provenance["commit"]
    assert all(one["set"] and one["from"] and one["licence"] for one in provenance["data"])


def test_half_precision_is_only_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, tensors = weights.read(shipped.FOLDER / "localize_sound.safetensors")
    half = {name: one.half() if one.is_floating_point() else one for name, one in tensors.items()}
    safetensors.torch.save_file(half, tmp_path / "localize_sound.safetensors")
    text = (shipped.FOLDER / "localize_sound.json").read_text()
    (tmp_path / "localize_sound.json").write_text(text)
    whole, _ = shipped.packaged("localize_sound", "cpu")
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    found, _ = shipped.packaged("localize_sound", "cpu")
    for name, one in found.state_dict().items():
        assert one.dtype == whole.state_dict()[name].dtype
        torch.testing.assert_close(one, whole.state_dict()[name], rtol=1e-2, atol=1e-3)
    other = json.loads(text)
    other["settings"]["dimensions"] = 32
    (tmp_path / "localize_sound.json").write_text(json.dumps(other))
    with pytest.raises(WorkError, match="are of another version of it"):
        shipped.packaged("localize_sound", "cpu")


def test_weights_of_a_run_are_put_into_the_package(
    toybox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = ["train.steps=1", "train.batch=4", "train.epoch_steps=1"]
    jobs.pretrain("av_object", data=[toybox], out=tmp_path / "run", tiny=True, overrides=short, device="cpu", workers=0)
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setattr(shipped, "FOLDER", folder)
    with pytest.raises(UserError, match=r"new\.json does not say commands, commit, data in its provenance"):
        shipped.ship(tmp_path / "run", "new")
    given = {"commands": ["sslkit ..."], "commit": "abc", "data": [{"set": "toybox"}], "recipe": "another"}
    (folder / "new.json").write_text(json.dumps({"provenance": given}))
    assert shipped.ship(tmp_path / "run", "new") == folder / "new.safetensors"
    learner, about = shipped.packaged("new", "cpu")
    own, run = jobs.load_task(tmp_path / "run")
    assert all(torch.equal(one, own.state_dict()[name]) for name, one in learner.state_dict().items())
    assert about["provenance"] == {**given, "recipe": "av_object", "seed": run.recipe.train.seed}
    assert about["task"] == "av_object" and about["data"]["short_side_px"] == run.data[0]["settings"]["short_side_px"]
    assert sorted(path.name for path in folder.iterdir()) == ["new.json", "new.safetensors"]
    monkeypatch.setattr(shipped, "_MOST_BYTES", 1000)
    with pytest.raises(UserError, match=r"MB of weights, more than 0\.001 MB"):
        shipped.ship(tmp_path / "run", "new")
