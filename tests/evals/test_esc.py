"""The protocol of ESC-50 on sounds whose class is their pitch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit import cli
from sslkit.data.dataset import Dataset
from sslkit.data.prepare import prepare
from sslkit.data.settings import PrepareSettings
from sslkit.errors import UserError
from sslkit.evals import esc
from sslkit.evals.inits import Init
from sslkit.models import trunk as trunks
from sslkit.models.trunk import Trunk
from sslkit.recipe import ProbeRecipe
from sslkit.types import Reads

RATE_HZ = 16_000
RECIPE = ProbeRecipe(protocol="esc", clips=3, svm_costs=(1.0,), batch=5, pool="max", pool_dims=12)


class Pitch(Trunk):
    """`loudest` tells which half of the spectrum is loud; `constant` tells nothing."""

    name = "pitch"

    def __init__(self) -> None:
        super().__init__()
        self.settings, self.takes, self.crop_px = {}, Reads(sound_s=0.25, rate_hz=RATE_HZ), 0
        self.widths = {"constant": 2, "loudest": 8}

    def forward(self, raw: Tensor) -> dict[str, Tensor]:
        bands = torch.fft.rfft(raw.float()).abs()[:, :2000].reshape(len(raw), 8, 250).amax(2)
        return {"constant": torch.ones(len(raw), 2), "loudest": (bands + 1).log()}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of ten tones in five folds, 0.8 s each, the last half second of every second one silent."""
    root = tmp_path_factory.mktemp("tones")
    random = np.random.default_rng(0)
    for kind, hz in (("deep", 300), ("middle", 1500), ("high", 5000)):
        (root / "in" / kind).mkdir(parents=True)
        for number in range(10):
            wave = np.sin(np.arange(0.8 * RATE_HZ) * 2 * np.pi * hz * random.uniform(0.9, 1.1) / RATE_HZ)
            wave[round(0.26 * RATE_HZ) :] *= number % 2
            sound = (8000 * wave + random.normal(0, 1, len(wave)) * (number % 2)).astype(np.int16)
            soundfile.write(root / "in" / kind / f"{number}.wav", sound, RATE_HZ, subtype="PCM_16")
    prepare("folder", str(root / "in"), root / "out", PrepareSettings(rate_hz=RATE_HZ, folds=5))
    return root / "out"


def every(folder: Path) -> list[Dataset]:
    return [Dataset(folder, split) for split in ("train", "test")]


def rows(found: Any, **wanted: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in found.rows if all(row.get(key) == value for key, value in wanted.items())]


def test_every_fold_is_tested_once(tones: Path) -> None:
    found = esc.evaluate([Init("pitch", "file", (0,), Pitch)], every(tones), RECIPE)
    folds = rows(found, init="pitch", layer="loudest", seed=0)
    assert [row["fold"] for row in folds] == [1, 2, 3, 4, 5] and all(row["value"] == 100 for row in folds)
    (mean,) = rows(found, init="pitch", layer="loudest", seed=None)
    assert (mean["value"], mean["spread"], mean["runs"], mean["best"]) == (100, 0, 5, True)
    (nothing,) = rows(found, init="pitch", layer="constant", seed=None)
    assert nothing["value"] == pytest.approx(100 / 3) and not nothing["best"]
    assert found.metrics == {"pitch_fold_top1": 100.0} and found.chance == pytest.approx(100 / 3)
    assert rows(found, init="chance")[0]["value"] == pytest.approx(100 / 3)
    json.dumps(found.record())


def test_windows_of_silence_are_passed_over(tones: Path) -> None:
    found = esc.windows(Pitch(), every(tones), RECIPE)
    counts = torch.bincount(found.sample)
    assert len(found.label) == 30 and sorted(counts.unique().tolist()) == [1, 3]
    quiet = RECIPE.model_copy(update={"silence_db": 0.0})  # all are: each keeps its loudest
    assert torch.bincount(esc.windows(Pitch(), every(tones), quiet).sample).min() == 1
    heard = RECIPE.model_copy(update={"silence_db": -1000.0})
    assert len(esc.windows(Pitch(), every(tones), heard).sample) == 90


def test_what_a_fold_alone_knows_is_not_learnt_from_it() -> None:
    """A class that only the tested fold has cannot be told, though features tell it."""
    label = torch.tensor([0, 1, 0, 1, 0, 1, 2, 2])
    fold = torch.tensor([1, 1, 2, 2, 3, 3, 3, 3])
    found = esc.Windows({}, torch.arange(8), label, fold)
    values = F.one_hot(label, 3).float()
    by_fold = {row["fold"]: row["value"] for row in esc._folds(values, found, 3, (1.0,), "cpu")}
    assert by_fold == {1: 100.0, 2: 100.0, 3: 50.0}


def test_layers_are_those_of_networks_and_mfcc_have_their_own(tones: Path) -> None:
    both = [Init("pitch", "file", (0,), Pitch), Init("mfcc", "no network", (0,), lambda: esc.Cepstra(0.25))]
    found = esc.evaluate(both, every(tones), RECIPE.model_copy(update={"layers": ("loudest",)}))
    means = [(row["init"], row["layer"]) for row in rows(found, seed=None)]
    assert means == [("pitch", "loudest"), ("mfcc", "statistics"), ("chance", "")]
    assert found.fields["preprocessing"]["pool"] == "max"


def test_scores_of_a_samples_windows_are_averaged() -> None:
    """One window of three is wrong, but less sure than the others together."""
    scores = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.5], [0.0, 2.0]])
    averaged = esc._averaged(scores, torch.tensor([0, 0, 0, 2]), 3)
    assert torch.allclose(averaged, torch.tensor([[2 / 3, 0.5], [0, 0], [0, 2]]))


def test_maps_are_pooled_to_the_published_places() -> None:
    maps = torch.randn(2, 512, 16, 12)
    pooled = esc.pooled_places(maps, 6144)
    assert torch.equal(pooled, F.max_pool2d(maps, 4).flatten(1)) and pooled.shape == (2, 6144)
    assert esc.pooled_places(torch.randn(2, 64, 128, 99), 6144).shape == (2, 64 * 10 * 9)
    assert esc.pooled_places(torch.randn(2, 64, 5, 3), 6144).shape == (2, 64 * 15)
    assert esc.pooled_places(torch.randn(2, 100, 40), 1000).shape == (2, 1000)  # a map over time alone
    assert esc.pooled_places(torch.randn(2, 9000), 10).shape == (2, 9000)


def test_costs_mean_the_same_for_wide_layers() -> None:
    train, test = torch.randn(50, 6) * 7 + 3, torch.randn(20, 6)
    once, asked = esc._standardised(train, test)
    wide, _ = esc._standardised(train.repeat(1, 4), test.repeat(1, 4))
    assert torch.allclose(once @ once.T, wide @ wide.T, atol=1e-5)
    assert torch.allclose(once.mean(0), torch.zeros(6), atol=1e-5) and not torch.allclose(asked.mean(0), torch.zeros(6))


def test_mfcc_are_the_same_at_any_level_but_for_their_energy() -> None:
    sound = torch.randn(2, 8000) * 1000
    one, half = (esc.Cepstra(0.5)(x)["statistics"] for x in (sound, sound / 2))
    assert one.shape == (2, 52) and torch.allclose(one[:, 1:], half[:, 1:], atol=1e-2)
    assert torch.allclose(one[:, 0] - half[:, 0], torch.full((2,), 2 * np.log(2)), atol=1e-3)


def test_the_command_takes_the_network_that_hears(
    tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    torch.manual_seed(0)
    trunks.save(trunks.build("l3_sight", {"side_px": 32, "width": 0.125}), run / "trunk.safetensors", {})
    sound = trunks.build("l3_sound", {"front": "mel", "width": 0.125, "sound_s": 0.5})
    trunks.save(sound, run / "trunk-sound.safetensors", {})
    options = ["--set", "clips=2", "--set", "svm_costs=[1.0]", "--set", "layers=[]", "--workers", "0", "--json"]
    assert cli.run(["probe", str(run), "--recipe", "esc", "--on", str(tones), *options]) == 0
    record = json.loads(capsys.readouterr().out)
    means = {(row["init"], row["layer"]) for row in record["rows"] if row["seed"] is None}
    assert {("run", "conv4"), ("random", "conv4"), ("mfcc", "statistics"), ("chance", "")} <= means
    assert record["protocol"] == "frozen, folds (esc)" and Path(record["files"]["report"]).is_file()
    (mfcc,) = [row for row in record["rows"] if row["init"] == "mfcc" and row["seed"] is None]
    assert mfcc["value"] > 90
    assert cli.run(["compare", str(run / f"esc-{tones.name}"), "--json"]) == 0


def test_wrong_requests(tones: Path, toybox: Path) -> None:
    with pytest.raises(UserError, match="Not every sample has a label and a fold"):
        esc.evaluate([Init("pitch", "file", (0,), Pitch)], [Dataset(toybox, "train")], RECIPE)
    with pytest.raises(UserError, match="pool is avg, but this protocol pools by maximum, as published: set pool to"):
        esc.evaluate([Init("pitch", "file", (0,), Pitch)], every(tones), RECIPE.model_copy(update={"pool": "avg"}))
    with pytest.raises(UserError, match="takes pictures"):
        esc.windows(trunks.build("nin", {"side_px": 16, "width": 0.1}), every(tones), RECIPE)
    with pytest.raises(UserError, match="no layer 'conv9'"):
        esc.windows(Pitch(), every(tones), RECIPE.model_copy(update={"layers": ("conv9",)}))
    with pytest.raises(UserError, match="at least three"):
        two = esc.Windows({}, torch.arange(4), torch.tensor([0, 1, 0, 1]), torch.tensor([1, 1, 2, 2]))
        list(esc._folds(torch.randn(4, 2), two, 2, (1.0,), "cpu"))
