import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sslkit import recipe as recipes
from sslkit.data.dataset import Dataset
from sslkit.errors import UserError
from sslkit.evals import probe
from sslkit.evals.features import state_hash
from sslkit.evals.inits import Init
from sslkit.models import trunk as trunks
from sslkit.models.trunk import Trunk
from sslkit.recipe import ProbeRecipe
from sslkit.types import Reads

RECIPE = ProbeRecipe(weight_decays=(0.01, 1.0), svm_costs=(1.0,), batch=12)


class Known(Trunk):
    """`colour` tells the class; `constant` tells nothing."""

    name = "known"

    def __init__(self) -> None:
        super().__init__()
        self.settings, self.takes, self.crop_px = {}, Reads(frames=1), 16
        self.widths = {"constant": 2, "colour": 3}
        self.register_buffer("two", torch.ones(2))

    def forward(self, raw: Tensor) -> dict[str, Tensor]:
        return {"constant": self.get_buffer("two").expand(len(raw), 2), "colour": raw.mean((2, 3))}


def rows(result: Any, **wanted: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in result.rows if all(row.get(k) == v for k, v in wanted.items())]


def test_every_method_reads_the_known_layer(train_set: Dataset, test_set: Dataset) -> None:
    trunk = Known()
    before = state_hash(trunk)
    init = Init("known", "file", (0, 1), lambda: trunk)
    result = probe.compare([init], train_set, test_set, RECIPE, probe.METHODS)
    assert state_hash(trunk) == before
    for metric in ("top1", "mean_class", "svm_top1", "knn_top1", "knn_nearest", "precision@1"):
        known = rows(result, init="known", layer="colour", metric=metric)
        assert [row["seed"] for row in known] == [0, 1, None] and all(row["value"] == 100.0 for row in known)
        assert known[2]["best"] and known[2]["spread"] == 0.0 and known[2]["runs"] == 2
        assert not rows(result, init="known", layer="constant", metric=metric, seed=None)[0]["best"]
    assert rows(result, layer="constant", metric="top1", seed=0)[0]["value"] == pytest.approx(100 / 3)
    assert result.metrics == {f"known_{m}": 100.0 for m in ("top1", "svm_top1", "knn_top1", "precision@1")}
    assert result.chance == pytest.approx(100 / 3)
    assert rows(result, init="chance", metric="top1")[0]["value"] == pytest.approx(100 / 3)
    assert rows(result, init="majority", metric="top1")[0]["value"] == pytest.approx(100 / 3)
    assert [panel.title for panel in result.panels] == ["Nearest neighbours: known"]
    assert result.notes == ["1 of 16 test samples were too short or unlabelled."]
    assert result.fields["split"]["test"] == 15 and result.fields["classes"] == ["red", "green", "blue"]
    assert result.fields["preprocessing"]["pooled"] == {"constant": [2], "colour": [3]}
    json.dumps(result.record())


def test_protocol_of_the_recipe_names_the_method(train_set: Dataset, test_set: Dataset) -> None:
    init = Init("known", "file", (0,), Known)
    result = probe.compare([init], train_set, test_set, RECIPE.model_copy(update={"protocol": "knn"}))
    assert {row["metric"] for row in rows(result, init="known")} == {"knn_top1", "knn_mean_class", "knn_nearest"}
    with pytest.raises(UserError, match="No probe is called 'svn'"):
        probe.compare([init], train_set, test_set, RECIPE, ["svn"])


def test_networks_of_one_name_are_averaged(train_set: Dataset, test_set: Dataset) -> None:
    class Blind(Known):
        def forward(self, raw: Tensor) -> dict[str, Tensor]:
            return {name: 0 * values for name, values in super().forward(raw).items()}

    pair = [Init("pair", "a", (0,), Known), Init("pair", "b", (1,), Blind)]
    result = probe.compare(pair, train_set, test_set, RECIPE, ["linear"])
    mean = rows(result, init="pair", layer="colour", metric="top1", seed=None)[0]
    assert mean["value"] == pytest.approx((100 + 100 / 3) / 2)
    assert mean["spread"] == pytest.approx((100 - 100 / 3) / 2**0.5) and mean["runs"] == 2


def test_a_group_on_both_sides_is_told(train_set: Dataset) -> None:
    result = probe.compare([Init("known", "f", (0,), Known)], train_set, train_set, RECIPE, ["linear"])
    assert result.notes[0].startswith("24 groups, such as 'train/0', are in train and in test")


def test_runs_and_controls_of_a_folder(tmp_path: Path, colours: Path) -> None:
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "trunk.safetensors"
    trunks.save(trunks.build("nin", {"side_px": 16, "width": 0.25}), path, {})
    told: list[str] = []
    result = probe.probe(
        [tmp_path / "run"], ["random", "supervised"], [colours], RECIPE, seeds=2, device=torch.device("cpu"),
        methods=["linear"], supervised=recipes.load_finetune("clips", tiny=True),
        progress=lambda done, of, text: told.append(text),
    )  # fmt: skip
    assert list(dict.fromkeys(row["init"] for row in result.rows)) == [
        "run", "random", "supervised", "chance", "majority",
    ]  # fmt: skip
    assert all({"init", "layer", "metric", "value", "seed"} <= row.keys() for row in result.rows)
    assert result.fields["run"] == str(path)
    assert len(rows(result, init="random", metric="top1")) == 3 * len(trunks.load(path)[0].widths)
    assert {"features of run, train", "features of random, test"} <= set(told)
