from pathlib import Path

import pytest
import torch

from sslkit.errors import UserError
from sslkit.evals import inits
from sslkit.evals.features import state_hash
from sslkit.models import trunk as trunks
from sslkit.models.trunk import Trunk

SETTINGS = {"side_px": 16, "width": 0.25}


def saved(folder: Path, recipe: dict[str, object] | None = None, seed: int = 0) -> Path:
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    trunks.save(trunks.build("nin", SETTINGS), folder / "trunk.safetensors", {"recipe": recipe} if recipe else {})
    return folder


def test_random_weights_depend_on_the_seed_alone() -> None:
    like = trunks.build("nin", SETTINGS)
    one, again, other = (state_hash(inits.randomly(like, seed)) for seed in (3, 3, 4))
    assert one == again != other
    state = torch.random.get_rng_state()
    assert not inits.randomly(like, 0).training and torch.equal(torch.random.get_rng_state(), state)


def test_a_run_gets_every_seed_and_a_control_is_made_for_each(tmp_path: Path) -> None:
    run = saved(tmp_path / "rotation", seed=7)
    found = inits.resolve([run], ["random"], 2)
    assert [(i.name, i.seeds) for i in found] == [("rotation", (0, 1)), ("random", (0,)), ("random", (1,))]
    hashes = [state_hash(i.make()) for i in found]
    assert hashes[0] == state_hash(trunks.load(run / "trunk.safetensors")[0]) and len(set(hashes)) == 3


def test_a_file_may_be_given_as_run_or_control(tmp_path: Path) -> None:
    one, two = saved(tmp_path / "a"), saved(tmp_path / "b")
    (two / "trunk.safetensors").rename(two / "trunk-sight.safetensors")
    found = inits.resolve([one / "trunk.safetensors"], [str(two / "trunk-sight.safetensors")], 1)
    assert [i.name for i in found] == ["a", "trunk-sight"]


def test_runs_that_differ_in_their_seed_share_a_name(tmp_path: Path) -> None:
    def recipe(seed: int, lr: float = 0.1) -> dict[str, object]:
        return {"name": "rotation_small", "task": "rotation", "train": {"lr": lr, "seed": seed}}

    runs = [saved(tmp_path / f"r{seed}", recipe(seed), seed) for seed in (0, 1)]
    runs.append(saved(tmp_path / "fast", recipe(0, 0.5)))
    assert [i.name for i in inits.resolve(runs, [], 1)] == ["rotation_small", "rotation_small", "fast"]


def test_folders_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    runs = [saved(tmp_path / "x" / "run"), saved(tmp_path / "y" / "run")]
    assert [i.name for i in inits.resolve(runs, [], 1)] == [str(run) for run in runs]


def test_supervised_is_made_by_the_evaluation(tmp_path: Path) -> None:
    run = saved(tmp_path / "run")

    def supervise(like: Trunk, seed: int) -> Trunk:
        return inits.randomly(like, 100 + seed)

    found = inits.resolve([run], ["supervised", "random"], 1, supervise)
    assert [i.name for i in found] == ["run", "random", "supervised"]
    assert state_hash(found[2].make()) == state_hash(inits.randomly(found[0].make(), 100))
    with pytest.raises(UserError, match="--init supervised"):
        inits.resolve([run], ["supervised"], 1)


def test_mistakes_are_told_in_a_sentence(tmp_path: Path, colours: Path) -> None:
    with pytest.raises(UserError, match="No run is given"):
        inits.resolve([], ["random"], 1)
    with pytest.raises(UserError, match="does not exist"):
        inits.resolve([tmp_path / "nothing"], [], 1)
    with pytest.raises(UserError, match="does not exist"):
        inits.resolve([saved(tmp_path / "run")], ["randm"], 1)
    train, test = inits.splits([colours])
    assert (train.split, test.split) == ("train", "test")
