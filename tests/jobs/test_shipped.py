import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from sslkit.errors import WorkError
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
