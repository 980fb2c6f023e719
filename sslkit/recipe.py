"""Recipes: YAML in, typed frozen settings out, and the plan that says what they mean on this machine and data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, create_model

from sslkit import catalog, strict_yaml
from sslkit.catalog import nearest
from sslkit.errors import UserError
from sslkit.strict_yaml import Block, Leaf, Mistakes, Place, Tree


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Train(_Block):
    """How the engine trains. Epoch counts may be fractions; a batch is counted in samples of the dataset."""

    optimizer: Literal["sgd", "adam", "adamw", "lars"] = "sgd"
    lr: float = Field(gt=0)
    lr_batch: int | None = Field(None, gt=0)
    """Batch size for which `lr` is meant: the plan scales it linearly to the real batch. None: used as it stands."""
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(5e-4, ge=0)
    decay_norms_and_biases: bool = True
    schedule: Literal["constant", "step", "multistep", "cosine", "poly"] = "constant"
    step_epochs: float | None = Field(None, gt=0)
    milestones: tuple[float, ...] = ()
    gamma: float = Field(0.1, gt=0)
    power: float = Field(1.0, gt=0)
    warmup_epochs: float = Field(0, ge=0)
    batch: int = Field(gt=0)
    accumulate: int = Field(1, gt=0)
    """The batch is cut into this many parts, one after the other, to fit memory; the same step but for batch norm."""
    epochs: float | None = Field(None, gt=0)
    steps: int | None = Field(None, gt=0)
    epoch_steps: int | None = Field(None, gt=0)
    """Steps that count as one epoch; None: as many as it takes to see every sample once."""
    clip_norm: float | None = Field(None, gt=0)
    seed: int = Field(0, ge=0)
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    compile: bool = False
    validate_epochs: float = Field(1, gt=0)
    """Validate, and save a checkpoint, every so many epochs."""


class Data(_Block):
    """What the recipe asks of a prepared dataset. A key that is set must equal what the data were prepared with."""

    short_side_px: int | None = None
    fps: float | None = None
    flow: Literal["dis", "tvl1"] | None = None
    stabilise: bool | None = None
    remove_borders: bool | None = None
    faces: Literal["face", "mouth"] | None = None


class Alarm(_Block):
    """When to notice that a run does not learn; it changes nothing that is computed."""

    normal_until_step: int | None = Field(default=None, ge=0)
    """Up to here it is normal that the network only guesses; None: for a third of the run, at least 100."""
    stop: bool = False
    """Stop the run then, instead of warning once."""


class Paper(_Block):
    """The published figure that a run is shown beside."""

    value: float
    metric: str = "pretext_accuracy"
    where: str


class Recipe(_Block):
    """One experiment, as its YAML file states it; never edited after loading.

    name: the file's stem. settings: the task's own block, checked against `Task.Settings`.
    """

    name: str = ""
    task: str
    about: str = ""
    paper: Paper | None = None
    data: Data = Data()
    settings: dict[str, Any] = {}
    train: Train
    alarm: Alarm = Alarm()


class ProbeRecipe(_Block):
    """How frozen features are measured, one layer at a time.

    protocol: "probe" is all measurements of frozen features, the next four are one of them, "pretext" asks the pretext
    task's own question on other data, "esc" tests sounds fold by fold, "senses" finds sounds by pictures and the other
    way round, "speakers" says who of several people talks, "duets" the same in films composed for it, "localise" what
    makes a sound, "sync" how late it is.
    layers: which; none named means all. pool: how a feature map is reduced to at most `pool_dims` numbers. svm_costs,
    weight_decays: the settings that are tried on the held-out `val_share` of train. clips: windows averaged over a
    sample. silence_db: level under full scale below which a window of sound is passed over. first: how many of the
    nearest count, for "senses". For "sync", dubbed: name of the folder in whose videos another voice is heard; moved:
    frames by which the sound of each file is moved, too, to ask `sslkit sync` from end to end.
    """

    name: str = ""
    about: str = ""
    protocol: Literal[
        "probe",
        "linear",
        "svm",
        "knn",
        "retrieval",
        "pretext",
        "esc",
        "senses",
        "speakers",
        "duets",
        "localise",
        "sync",
    ] = "probe"
    paper: Paper | None = None
    layers: tuple[str, ...] = ()
    pool: Literal["avg", "max"] = "avg"
    pool_dims: int = Field(9000, gt=0)
    svm_costs: tuple[float, ...] = tuple(10.0 ** (half / 2) for half in range(-4, 6))
    weight_decays: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
    knn_k: int = Field(20, gt=0)
    knn_temperature: float = Field(0.07, gt=0)
    val_share: float = Field(0.2, gt=0, lt=1)
    clips: int = Field(1, gt=0)
    batch: int = Field(64, gt=0)
    silence_db: float = -60.0
    first: int = Field(30, gt=0)
    dubbed: str = ""
    moved: tuple[int, ...] = ()


class FinetuneRecipe(_Block):
    """How a trunk is trained on with labels.

    clips: windows whose scores are averaged over a test sample. settings: augmentation, those settings of the `labels`
    task that the run does not decide.
    """

    name: str = ""
    about: str = ""
    protocol: Literal["finetune"] = "finetune"
    paper: Paper | None = None
    clips: int = Field(10, gt=0)
    crops: Literal["centre"] = "centre"
    dropout: float = Field(0.5, ge=0, lt=1)
    settings: dict[str, Any] = {}
    train: Train


class Plan(_Block):
    """What a recipe means on this data and machine: derived, printed, saved beside the recipe as plan.json.

    batch: samples of a step over all `world` processes, of which each takes `rank_batch`, in `accumulate` parts.
    """

    samples: int
    batch: int
    rank_batch: int
    world: int
    accumulate: int = 1
    epoch_steps: int
    steps: int
    lr: float
    warmup_steps: int
    milestone_steps: tuple[int, ...]
    step_steps: int | None
    validate_steps: int
    device: str
    dtype: Literal["bfloat16", "float32"]
    seed: int


_Kind = TypeVar("_Kind", Recipe, ProbeRecipe, FinetuneRecipe)
_LENGTHS = {"epochs", "steps"}
_RESOLVED_BYTES = 1_000_000  # it may list many thousand classes
_FROM_THE_RUN = {"trunk", "trunk_settings", "classes", "dropout"}


def load(name_or_path: str, *, set: Sequence[str] = (), tiny: bool = False) -> Recipe:
    """The pretraining recipe of a packaged name (`arrow-of-time`, `aot`, `aot-small`) or of the user's file.

    set: assignments such as "train.lr=0.01", typed like the file. tiny: lay the file's `tiny:` block over the rest; it
    is checked in any case. Raises one UserError with every mistake, a line each, as `file:line: key: what is wrong`.
    """
    return _load(Recipe, "pretrain", name_or_path, set, tiny)


def load_probe(name_or_path: str, *, set: Sequence[str] = (), tiny: bool = False) -> ProbeRecipe:
    """The recipe of a probe; see `load`."""
    return _load(ProbeRecipe, "probe", name_or_path, set, tiny)


def load_finetune(name_or_path: str, *, set: Sequence[str] = (), tiny: bool = False) -> FinetuneRecipe:
    """The recipe of a finetuning protocol; see `load`."""
    return _load(FinetuneRecipe, "finetune", name_or_path, set, tiny)


def _load(model: type[_Kind], kind: str, name_or_path: str, flags: Sequence[str], tiny: bool) -> _Kind:
    path, mistakes = find(kind, name_or_path), Mistakes()
    base = _parsed(path, mistakes)
    small = _overlaid(base, base.items.pop("tiny", None), mistakes)
    if tiny and small is base:
        mistakes.add(base.place, "tiny", "missing block; without it the recipe has no tiny form")
    wanted = small if tiny else base
    for assignment in flags:
        wanted = _overlaid(wanted, strict_yaml.flag(assignment, mistakes), mistakes)
    # All three, so that a mistake is told whether or not today's run would meet it; what is told twice is kept once.
    recipe = [_checked(model, tree, mistakes) for tree in (base, small, wanted)][-1]
    if len(mistakes) or recipe is None:
        raise mistakes.error()
    return recipe


def _parsed(path: Path, mistakes: Mistakes, most_bytes: int = strict_yaml.MAX_BYTES) -> Block:
    """The file as a tree, with its stem as `name`. What keeps it from being a tree at all is raised here and now."""
    file = _shown(path)
    try:
        with path.open("rb") as opened:
            content = opened.read(most_bytes + 1)
        text = content.decode("utf-8-sig") if len(content) <= most_bytes else ""
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}): give a recipe or a readable file.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 text: save the recipe as UTF-8.") from error
    if len(content) > most_bytes:
        raise UserError(f"{file} is larger than {most_bytes // 1000} kB: that is no recipe.")
    tree = strict_yaml.parse(text, file, mistakes)
    if tree is None:
        raise mistakes.error()
    if not isinstance(tree, Block):
        raise UserError(f"{tree.place}: should be settings, one `key: value` a line.")
    tree.items.setdefault("name", Leaf(tree.place, "name", path.stem, quoted=True))
    return tree


def _shown(path: Path) -> str:
    relative = os.path.relpath(path)
    return str(path) if relative.startswith(os.pardir) else relative


def _overlaid(base: Block, over: Tree | None, mistakes: Mistakes) -> Block:
    """`over` merged over `base`; a length in steps takes the place of one in epochs, and the reverse."""
    if over is None:
        return base
    if not isinstance(over, Block):
        mistakes.add(over.place, over.path, "should be a block of settings")
        return base
    train, new = base.items.get("train"), over.items.get("train")
    if isinstance(train, Block) and isinstance(new, Block) and len(_LENGTHS & new.items.keys()) == 1:
        kept = {key: tree for key, tree in train.items.items() if key not in _LENGTHS}
        base = replace(base, items=base.items | {"train": replace(train, items=kept)})
    return strict_yaml.overlaid(base, over)


def _checked(model: type[_Kind], tree: Block, mistakes: Mistakes) -> _Kind | None:
    """The recipe that a tree states, its settings as they were written; None if anything is wrong."""
    if "settings" in model.model_fields and "settings" not in tree.items:  # so that a setting it lacks has a place
        tree = replace(tree, items=tree.items | {"settings": Block(tree.place, "settings")})
    block = tree.items.get("train")
    if isinstance(block, Block):
        for key, what in _unfit({key: strict_yaml.written(below) for key, below in block.items.items()}):
            at = block.items.get(key, block)
            mistakes.add(at.place, at.path, what)
    found = strict_yaml.typed(tree, _with_settings(model, tree, mistakes), mistakes)
    if found is None:
        return None
    values = {name: getattr(found, name) for name in model.model_fields}
    if isinstance(settings := values.get("settings"), BaseModel):
        values["settings"] = settings.model_dump(mode="json", exclude_unset=True)
    return model.model_validate(values)


def _with_settings(model: type[_Kind], tree: Block, mistakes: Mistakes) -> type[_Kind]:
    """`model` with its free `settings` replaced by those that the task declares."""
    named = tree.items.get("task") if model is Recipe else Leaf(tree.place, "", "labels")
    if "settings" not in model.model_fields or not isinstance(named, Leaf):
        return model
    from sslkit.tasks import base  # imports torch, which `sslkit --help` and the list of recipes do without

    try:
        declared: type[BaseModel] = base.load(named.text).Settings
    except UserError as error:
        mistakes.add(named.place, named.path, str(error).rstrip("."))
        return model
    if model is FinetuneRecipe:
        free = {n: (f.annotation, f) for n, f in declared.model_fields.items() if n not in _FROM_THE_RUN}
        declared = create_model("Augmentation", __config__=_Block.model_config, **free)  # type: ignore[call-overload]
    return create_model(model.__name__, __base__=model, settings=(declared, ...))


def _unfit(train: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What does not go together in a train block: the key to blame, and why."""
    given = {key for key, value in train.items() if value}
    found = []
    if not given & _LENGTHS:
        found.append(("", "needs either 'epochs' or 'steps'"))
    if given >= _LENGTHS:
        found.append(("steps", "'epochs' is set too; keep one of the two"))
    for schedule, needs in (("step", "step_epochs"), ("multistep", "milestones")):
        if train.get("schedule") == schedule and needs not in given:
            found.append(("schedule", f"{schedule!r} needs {needs!r}"))
    return found


def find(kind: str | None, name_or_path: str) -> Path:
    """The file of a recipe of one of RECIPE_KINDS (None: of any). Raises UserError naming the nearest recipe."""
    if "/" in name_or_path or os.sep in name_or_path or name_or_path.endswith((".yaml", ".yml")):
        if not Path(name_or_path).is_file():
            raise UserError(f"{name_or_path} does not exist: give a file, or one of the names `sslkit recipes` lists.")
        return Path(name_or_path)
    wanted = name_or_path.replace("-", "_")
    kinds = (kind,) if kind else catalog.RECIPE_KINDS
    known = {name: path for each in kinds for name, path in catalog.recipes(each).items()}
    if wanted not in known and kind in (None, "pretrain"):
        wanted = _long_name(wanted)
    if wanted not in known:
        what = f"{kind} recipe" if kind else "recipe"
        hint = nearest(wanted, list(known)) if known else "none is installed"
        raise UserError(f"No {what} is called {name_or_path!r}; {hint}.".replace("?.", "?"))
    return known[wanted]


def _long_name(wanted: str) -> str:
    """`aot_small` as `arrow_of_time_small`: a task's short name may open a recipe's."""
    short, _, rest = wanted.partition("_")
    long = {row["short"]: row["task"] for row in catalog.tasks()}.get(short)
    return f"{long}_{rest}".rstrip("_") if long else wanted


def listing() -> list[dict[str, str]]:
    """One row a packaged recipe: name, kind, task (of a probe or finetuning recipe: its protocol), about."""
    rows = []
    for kind in catalog.RECIPE_KINDS:
        for name, path in catalog.recipes(kind).items():
            items = _parsed(path, Mistakes()).items
            said = {key: tree.text for key, tree in items.items() if isinstance(tree, Leaf)}
            task = said.get("task", said.get("protocol", kind))
            rows.append({"name": name, "kind": kind, "task": task, "about": said.get("about", "")})
    return rows


class _Dumper(yaml.SafeDumper):
    """Quotes text that would be read as something else where no type is declared."""

    def text(self, value: str) -> yaml.ScalarNode:
        plain = strict_yaml.scalar(Leaf(Place(""), "", value)) == value
        return self.represent_scalar("tag:yaml.org,2002:str", value, style=None if plain else '"')


_Dumper.add_representer(str, _Dumper.text)


def dump(recipe: Recipe | ProbeRecipe | FinetuneRecipe) -> str:
    """YAML text that loads again to an equal recipe; defaults are written out: later ones change nothing."""
    values = _without_unset(recipe)
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _without_unset(block: BaseModel) -> dict[str, Any]:
    """Plain values of a block without its Nones, which are defaults (inside `settings` they may not be)."""
    values = block.model_dump(mode="json")
    for name in type(block).model_fields:
        below = getattr(block, name)
        if below is None:
            del values[name]
        elif isinstance(below, BaseModel):
            values[name] = _without_unset(below)
    return values


def resolved(path: Path) -> Recipe:
    """A recipe that `dump` wrote, checked for its form, not against its task: what a run keeps.

    Raises UserError for a file that is missing, damaged, or of another version.
    """
    mistakes = Mistakes()
    try:
        found = strict_yaml.typed(_parsed(path, mistakes, _RESOLVED_BYTES), Recipe, mistakes)
        if found is None or mistakes:
            raise mistakes.error()
    except UserError as error:
        first = str(error).splitlines()[0].rstrip(".")
        raise UserError(
            f"{first}; the file is damaged or of another version of sslkit: choose another --out."
        ) from error
    return found


def plan(recipe: Recipe | FinetuneRecipe, samples: int, world: int, device: str) -> Plan:
    """What a recipe means for `samples` training samples, `world` processes and a device such as "cuda:0".

    An epoch is as many whole batches as the data give. Raises UserError for a batch that does not fit.
    """
    train = recipe.train
    for key, what in _unfit(train.model_dump()):
        raise UserError(f"{f'train.{key}'.rstrip('.')}: {what}.")
    if train.batch > samples:
        raise UserError(f"train.batch is {train.batch} but the data have {samples} samples: lower train.batch.")
    if train.batch % (world * train.accumulate):
        raise UserError(
            f"train.batch {train.batch} cannot be divided by {world} processes x train.accumulate {train.accumulate}: "
            f"take a multiple of {world * train.accumulate}."
        )
    epoch_steps = train.epoch_steps or samples // train.batch
    steps = train.steps or max(1, round((train.epochs or 0) * epoch_steps))
    brain_float = train.precision == "bf16" or (train.precision == "auto" and device.startswith("cuda"))
    return Plan(
        samples=samples,
        batch=train.batch,
        rank_batch=train.batch // world,
        world=world,
        accumulate=train.accumulate,
        epoch_steps=epoch_steps,
        steps=steps,
        lr=train.lr * train.batch / train.lr_batch if train.lr_batch else train.lr,
        warmup_steps=round(train.warmup_epochs * epoch_steps),
        milestone_steps=tuple(round(epochs * epoch_steps) for epochs in train.milestones),
        step_steps=max(1, round(train.step_epochs * epoch_steps)) if train.step_epochs else None,
        validate_steps=min(steps, max(1, round(train.validate_epochs * epoch_steps))),
        device=device,
        dtype="bfloat16" if brain_float else "float32",
        seed=train.seed,
    )
