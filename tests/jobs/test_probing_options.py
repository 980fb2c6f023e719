"""What is asked of a probe is used, or refused by name: nothing is dropped without a word."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch
import yaml

from sslkit import catalog, cli, jobs
from sslkit.errors import UserError
from sslkit.jobs import offsets, probing
from sslkit.models import trunk as trunks
from sslkit.recipe import ProbeRecipe
from sslkit.types import Result


def test_every_protocol_says_what_it_uses() -> None:
    assert set(probing._PROTOCOLS) == set(get_args(ProbeRecipe.model_fields["protocol"].annotation))
    known = {"--init", "--seeds", *ProbeRecipe.model_fields} - set(probing._DESCRIBING)
    assert all(set(used) <= known for _, used in probing._PROTOCOLS.values())


@pytest.mark.parametrize("name", sorted(catalog.recipes("probe")))
def test_recipes_that_ship_set_only_what_their_protocol_uses(name: str) -> None:
    stated = yaml.safe_load(catalog.recipes("probe")[name].read_text())
    settings = {**stated, **stated.get("tiny", {})}.keys() - {"tiny", "paper", *probing._DESCRIBING}
    assert settings <= set(probing._PROTOCOLS[stated["protocol"]][1])


@pytest.mark.parametrize(
    ("recipe", "inits", "seeds", "changes", "told"),
    [
        ("sync", ["nonsense"], 7, ["pool=max", "clips=9"], "sync protocol does not use --init, pool, clips: leave that "
         "out; it uses --seeds, dubbed, moved."),
        ("speakers", ["random"], 1, [], "does not use --init: leave that out; it uses --seeds, paper."),
        ("duets", [], 1, ["dubbed=people"], "does not use dubbed: leave that out; it uses --seeds, paper."),
        ("localise", [], 3, ["pool_dims=9"], "does not use --seeds, pool_dims: leave that out; it uses clips."),
        ("localise", [], 1, ["paper.value=9"], "does not use paper: leave that out; it uses clips."),
        ("pretext", ["random"], 2, ["clips=3", "clips=4"], "does not use --init, --seeds, clips: leave"),
        ("senses", [], 1, ["silence_db=-9"], "does not use silence_db: leave that out; it uses --init, --seeds, first"),
        ("esc", [], 1, ["moved=[1]", "val_share=0.5"], "does not use moved, val_share: leave"),
        ("linear", [], 1, ["first=3"], "linear protocol does not use first: leave"),
        ("linear", [], 1, ["protocol=sync", "weight_decays=[1.0]"], "sync protocol does not use weight_decays: leave"),
    ],
)  # fmt: skip
def test_what_changes_nothing_is_refused(
    recipe: str, inits: list[str], seeds: int, changes: list[str], told: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        jobs.probe([], [tmp_path], inits, recipe, seeds, changes, tmp_path / "out")
    assert told in str(error.value) and not (tmp_path / "out").exists()


def test_the_command_calls_it_a_wrong_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["probe", "--recipe", "sync", "--on", str(tmp_path), "--init", "supervised"]) == 2
    assert "The sync protocol does not use --init: leave that out" in capsys.readouterr().err


def test_seeds_and_controls_of_sounds_in_folds_need_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="MFCC alone have no seeds: name a run, or leave --seeds out"):
        jobs.probe([], [tmp_path], recipe="esc", seeds=2, out=tmp_path / "out", device="cpu")
    with pytest.raises(UserError, match="No run is given"):
        jobs.probe([], [tmp_path], ["random"], "esc", out=tmp_path / "out", device="cpu")
    trunks.save(
        trunks.build("l3_sound", {"front": "mel", "width": 0.125, "sound_s": 0.5}), tmp_path / "a.safetensors", {}
    )
    monkeypatch.setattr(probing, "Dataset", lambda *_: None)
    monkeypatch.setattr(
        probing.esc, "evaluate", lambda listed, *_, **__: Result("esc", {"asked": [one.name for one in listed]})
    )
    given = [str(tmp_path / "a.safetensors")]
    result = jobs.probe([], [tmp_path], given, "esc", 2, out=tmp_path / "out", device="cpu")
    assert result.fields["asked"] == ["a", "random", "random", "mfcc"]


def test_offsets_are_asked_of_untrained_networks_of_each_seed(
    clip_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = torch.rand(80, 4, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(offsets.demo, "vectors", lambda path, watchers, *_: [(heard, heard)] * len(watchers))
    result = jobs.probe([], [clip_file.parent], recipe="sync", seeds=3, out=tmp_path / "out", device="cpu")
    asked = [one["init"] for one in result.fields["networks"]]
    assert asked == ["lip_sync (shipped)", *(f"untrained, seed {seed}" for seed in range(3)), "cca"]
    assert {row["init"] for row in result.rows} == {*asked, "always zero", "SyncNet (paper)"}
