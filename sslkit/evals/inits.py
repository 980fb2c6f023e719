"""The networks that an evaluation compares: trained runs, and the controls beside them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sslkit.data.dataset import Dataset
from sslkit.errors import UserError
from sslkit.evals import foreign
from sslkit.models import trunk as trunks
from sslkit.models.trunk import Trunk
from sslkit.models.weights import Match, match

RANDOM, SUPERVISED = "random", "supervised"


@dataclass(frozen=True)
class Init:
    """One network to evaluate. name: rows with equal names are averaged. seeds: those it is evaluated with.

    run: the file or the seed that tells networks of the same name apart. make: builds it, on the CPU. match: how the
    weights of the file go with the network; None where there is no file.
    """

    name: str
    run: str
    seeds: tuple[int, ...]
    make: Callable[[], Trunk]
    match: Match | None = None


@dataclass(frozen=True)
class Loaded:
    """What a file holds: a trunk, what is known of it, and how its weights matched."""

    trunk: Trunk
    about: dict[str, Any]
    match: Match


def randomly(like: Trunk, seed: int) -> Trunk:
    """A trunk of the same architecture with random weights, a function of the seed alone, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return trunks.build(like.name, like.settings).eval()


def resolve(
    runs: Sequence[Path],
    controls: Sequence[str],
    seeds: int,
    supervise: Callable[[Trunk, int], Trunk] | None = None,
    hears: bool = False,
) -> list[Init]:
    """What is meant by run folders (or trunk files) and controls: "random", "supervised", or a further file.

    A file may also hold weights of another program; see `foreign.adopted`.
    A trained network is evaluated with every seed; a control is made anew for each, in the architecture of each trunk
    that is given. Runs of the same recipe that differ in their seed get one name. supervise: makes a trunk like another
    by training it with labels, from a seed; None where that is no control. hears: of runs with several trunks that one
    is meant which hears, instead of the one that sees.
    Raises UserError for a control that is unknown or has no trunk to be like, or for a file whose weights do not fit.
    """
    files = [*(_file(run, hears) for run in runs), *(Path(c) for c in controls if c not in (RANDOM, SUPERVISED))]
    if not files:
        raise UserError(
            "No run is given: name the folder of one, also for random weights, which take its architecture."
        )
    loaded = {file: _loaded(file) for file in files if trunks.is_ours(file)}
    likes = [one.trunk for one in loaded.values()]
    loaded |= {file: _loaded(file, likes) for file in files if file not in loaded}
    found = [
        Init(name, str(file), tuple(range(seeds)), lambda file=file: _loaded(file, likes).trunk, loaded[file].match)  # type: ignore[misc]
        for file, name in zip(files, _names(files, [loaded[file].about for file in files]), strict=True)
    ]
    kinds = {json.dumps([one.trunk.name, one.trunk.settings], sort_keys=True): one.trunk for one in loaded.values()}
    for control in [c for c in (RANDOM, SUPERVISED) if c in controls]:
        make = randomly if control == RANDOM else supervise
        if make is None:
            raise UserError(f"--init {control}: this evaluation trains with labels itself; use --init random.")
        for number, trunk in enumerate(kinds.values()):
            name = control if len(kinds) == 1 else f"{control} {trunk.name} {number + 1}"
            found += [
                Init(name, f"seed {seed}", (seed,), lambda make=make, like=trunk, seed=seed: make(like, seed))  # type: ignore[misc]
                for seed in range(seeds)
            ]
    return found


def notes(listed: Sequence[Init]) -> list[str]:
    """A sentence a file: how many of its weights went where."""
    told = {init.run: init.match.told() for init in listed if init.match is not None}
    return [f"{file}: {match}." for file, match in told.items()]


def _loaded(file: Path, likes: Sequence[Trunk] = ()) -> Loaded:
    if not trunks.is_ours(file):
        trunk, found = foreign.adopted(file, likes)
        return Loaded(trunk, {}, found)
    trunk, about = trunks.load(file)
    return Loaded(trunk, about, match(trunk.state_dict(), trunk.state_dict()))


def _file(run: Path, hears: bool) -> Path:
    """The file of a run's trunk: of several the one that hears, or the one that sees."""
    if not run.is_dir() and run.suffix:
        return run
    first, others = run / "trunk.safetensors", sorted(run.glob("trunk-*.safetensors"))
    fitting = (file for file in [first, *others] if file.is_file() and _hears(trunks.load(file)[0]) == hears)
    return next(fitting, first) if others else first


def _hears(trunk: Trunk) -> bool:
    return bool(trunk.takes.sound_s) and not trunk.takes.frames and not trunk.takes.flow


def _names(files: Sequence[Path], abouts: Sequence[dict[str, Any]]) -> list[str]:
    """The recipe's name for runs that differ in their seed alone, else the folder's (or the file's)."""
    recipes = [_without_seed(about.get("recipe")) for about in abouts]
    shared = {recipe for recipe, count in Counter(recipes).items() if recipe != "null" and count > 1}
    names = []
    for file, recipe, about in zip(files, recipes, abouts, strict=True):
        own = _own_name(file)
        names.append(str(about["recipe"].get("name") or own) if recipe in shared else own)
    meant = {
        (name, recipe if recipe in shared else str(file))
        for name, recipe, file in zip(names, recipes, files, strict=True)
    }
    clashing = {name for name, count in Counter(name for name, _ in meant).items() if count > 1}
    long = [str(file.parent if file.name == "trunk.safetensors" else file) for file in files]
    return [full if name in clashing else name for name, full in zip(names, long, strict=True)]


def _own_name(file: Path) -> str:
    """The folder's name for the trunks of a run, else the file's."""
    of_run = file.stem.startswith("trunk-") and file.with_name("trunk.safetensors").is_file()
    return file.parent.name if file.name == "trunk.safetensors" or of_run else file.stem


def _without_seed(recipe: Any) -> str:
    if not isinstance(recipe, dict):
        return "null"
    kept = {key: value for key, value in recipe.items() if key not in ("about", "paper", "alarm")}
    train = {key: value for key, value in kept.get("train", {}).items() if key != "seed"}
    return json.dumps({**kept, "train": train}, sort_keys=True)


def splits(folders: Sequence[Path]) -> tuple[Dataset, Dataset]:
    """Train and test of a labelled prepared dataset; val where it has no test. Only ever tested on, never chosen by.

    Raises UserError without labels, or when the two splits name different classes.
    """
    missing = [str(folder) for folder in folders if not (Path(folder) / "test-index.jsonl").is_file()]
    train, test = Dataset(list(folders), "train"), Dataset(list(folders), "val" if missing else "test")
    where = " + ".join(map(str, folders))
    if len(train.info.classes) < 2:
        raise UserError(f"{where} has fewer than two classes: an evaluation needs a dataset prepared with labels.")
    return train, test
