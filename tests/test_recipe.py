"""Recipes: what YAML gets wrong is read right, and what people get wrong is told all at once, with its line."""

from pathlib import Path

import pytest
import yaml
from pydantic import Field, model_validator

from sslkit import catalog, recipe, strict_yaml
from sslkit.errors import UserError
from sslkit.recipe import FinetuneRecipe, ProbeRecipe, Recipe, Train
from sslkit.tasks import base

ROOT = Path(__file__).parents[1]
GOOD = """\
task: turns
about: no
paper: {value: 8e1, where: 010}
settings:
  scale: [0.5, 1]
  trunk_settings: {width: 1e-1, fc: 64, bias: true}
train:
  lr: 1e-3
  batch: 010
  epochs: 20
"""


class TurnsSettings(base.TaskSettings):
    """Settings with a type of each kind."""

    trunk: str = "alexnet_bn"
    trunk_settings: dict[str, int | float | bool] = {}
    scale: tuple[float, float] = (0.1, 1.0)
    flip: bool = True
    parts: list[str] = []
    share: float = Field(0.5, gt=0, le=1)
    side_px: int | None = None

    @model_validator(mode="after")
    def _rising(self) -> "TurnsSettings":
        if self.scale[0] > self.scale[1]:
            raise ValueError("scale should rise")
        return self


class LabelsSettings(base.TaskSettings):
    """As those of the labels task: what the run decides, and augmentation."""

    trunk: str
    classes: tuple[str, ...]
    dropout: float = 0.5
    flip: bool = True


class Turns:
    Settings = TurnsSettings


class Labels:
    Settings = LabelsSettings


@pytest.fixture(autouse=True)
def tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tasks of this test's own, so that it does not depend on those of the package."""

    def load(name: str) -> type:
        if name not in ("turns", "labels"):
            raise UserError(f"No task is called {name!r}; did you mean 'turns'?")
        return Turns if name == "turns" else Labels

    monkeypatch.setattr(base, "load", load)
    monkeypatch.setattr(catalog, "tasks", lambda: [{"task": "labels", "short": None}, {"task": "turns", "short": "tt"}])


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a recipe and returns its path as the user would type it."""
    monkeypatch.chdir(tmp_path)

    def write(text: str | bytes) -> str:
        (tmp_path / "x.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return "x.yaml"

    return write


def with_line(key: str, value: str) -> str:
    """GOOD with a setting of its train block replaced or added."""
    lines = [line for line in GOOD.splitlines() if not line.startswith(f"  {key}:")]
    return "\n".join([*lines, f"  {key}: {value}"]) + "\n"


def mistakes(path: str, **options: object) -> list[str]:
    with pytest.raises(UserError) as caught:
        recipe.load(path, **options)  # type: ignore[arg-type]
    return str(caught.value).splitlines()


# Traps of PyYAML.


def test_pyyaml_still_has_the_traps_that_are_closed_here() -> None:
    read = yaml.safe_load("{a: 1e-3, b: no, c: 010, d: 12:30}")
    assert read == {"a": "1e-3", "b": False, "c": 8, "d": 750}


def test_a_number_without_a_dot_before_its_exponent_is_a_number(write) -> None:
    assert recipe.load(write(GOOD)).train.lr == 0.001


def test_no_is_text_where_text_is_wanted(write) -> None:
    assert recipe.load(write(GOOD)).about == "no"


def test_no_is_refused_where_true_or_false_is_wanted(write) -> None:
    assert mistakes(write(with_line("nesterov", "no"))) == [
        "x.yaml:11: train.nesterov: should be true or false, not 'no'"
    ]


def test_a_leading_zero_does_not_make_a_number_octal(write) -> None:
    loaded = recipe.load(write(GOOD))
    assert loaded.train.batch == 10
    assert loaded.paper is not None and loaded.paper.where == "010"


def test_a_time_of_day_is_no_number(write) -> None:
    assert mistakes(write(with_line("steps", "12:30").replace("  epochs: 20\n", ""))) == [
        "x.yaml:10: train.steps: should be a whole number, not '12:30'"
    ]
    assert recipe.load(write(GOOD.replace("about: no", "about: 12:30"))).about == "12:30"


def test_a_key_given_twice_is_told(write) -> None:
    text = GOOD + "  lr: 0.1\ntask: turns\n"
    assert mistakes(write(text)) == [
        "x.yaml:11: train.lr: given twice, first in line 8",
        "x.yaml:12: task: given twice, first in line 1",
    ]


def test_a_date_and_yes_are_text(write) -> None:
    loaded = recipe.load(write(GOOD.replace("scale: [0.5, 1]", "parts: [2020-01-01, yes, 1_000, 0x10]")))
    assert loaded.settings["parts"] == ["2020-01-01", "yes", "1_000", "0x10"]


def test_free_values_follow_the_same_rules(write) -> None:
    assert recipe.load(write(GOOD)).settings["trunk_settings"] == {"width": 0.1, "fc": 64, "bias": True}


@pytest.mark.parametrize("value", ["1e999", ".inf", "nan", "1,5", "0x10", "1_0", "'0.1'", "[1]", "{a: 1}", "", "null"])
def test_what_is_no_number_is_refused(write, value: str) -> None:
    (told,) = mistakes(write(with_line("weight_decay", value)))
    assert told.startswith("x.yaml:11: train.weight_decay: ") and "a number" in told


@pytest.mark.parametrize("value", ["8.0", "8e0", "'8'", "true", "9" * 5000])
def test_what_is_no_whole_number_is_refused(write, value: str) -> None:
    (told,) = mistakes(write(with_line("batch", value)))
    assert "train.batch: should be a whole number" in told and len(told) < 150


# Mistakes.


def test_every_mistake_is_told_at_once_in_the_order_of_the_file(write) -> None:
    text = """\
task: turns
abuot: x
settings:
  flipp: true
  scale: [0.5]
  share: 2
  trunk_settings: {width: wide}
train:
  lrr: 0.1
  batch: many
  momentum: 1.5
  schedule: cosin
  betas: [0.9, 0.99, 0.999]
  epochs: 3
  steps: 4
tiny:
  train: {batch: 0}
"""
    assert mistakes(write(text)) == [
        "x.yaml:2: abuot: unknown setting; did you mean 'about'?",
        "x.yaml:4: settings.flipp: unknown setting; did you mean 'flip'?",
        "x.yaml:5: settings.scale: too few values",
        "x.yaml:6: settings.share: should be less than or equal to 1, not '2'",
        "x.yaml:7: settings.trunk_settings.width: should be true or false or a whole number or a number, not 'wide'",
        "x.yaml:8: train.lr: missing setting",
        "x.yaml:9: train.lrr: unknown setting; did you mean 'lr'?",
        "x.yaml:10: train.batch: should be a whole number, not 'many'",
        "x.yaml:11: train.momentum: should be less than 1, not '1.5'",
        "x.yaml:12: train.schedule: should be one of 'constant', 'step', 'multistep', 'cosine', 'poly', not 'cosin'; "
        "did you mean 'cosine'?",
        "x.yaml:13: train.betas: too many values",
        "x.yaml:15: train.steps: 'epochs' is set too; keep one of the two",
        "x.yaml:17: tiny.train.batch: should be greater than 0, not '0'",
    ]


def test_missing_settings_are_told_where_they_belong(write) -> None:
    assert mistakes(write("about: x\n")) == ["x.yaml:1: task: missing setting", "x.yaml:1: train: missing setting"]
    assert mistakes(write("task: turns\ntrain:\n  lr: 1\n")) == [
        "x.yaml:2: train: needs either 'epochs' or 'steps'",
        "x.yaml:2: train.batch: missing setting",
    ]


def test_an_empty_file_lacks_everything(write) -> None:
    assert mistakes(write("# nothing\n")) == ["x.yaml:1: task: missing setting", "x.yaml:1: train: missing setting"]


def test_an_unknown_task_is_told_with_the_rest(write) -> None:
    assert mistakes(write(GOOD.replace("task: turns", "task: turn").replace("lr:", "lrr:"))) == [
        "x.yaml:1: task: No task is called 'turn'; did you mean 'turns'?",
        "x.yaml:7: train.lr: missing setting",
        "x.yaml:8: train.lrr: unknown setting; did you mean 'lr'?",
    ]


def test_a_check_across_settings_is_told_at_their_block(write) -> None:
    assert mistakes(write(GOOD.replace("[0.5, 1]", "[0.5, 0.1]"))) == ["x.yaml:4: settings: scale should rise"]


@pytest.mark.parametrize(("schedule", "needs"), [("step", "step_epochs"), ("multistep", "milestones")])
def test_a_schedule_says_what_it_needs(write, schedule: str, needs: str) -> None:
    assert mistakes(write(with_line("schedule", schedule))) == [
        f"x.yaml:11: train.schedule: {schedule!r} needs {needs!r}"
    ]


def test_a_block_where_a_value_belongs_and_the_reverse(write) -> None:
    assert mistakes(write("task: [turns]\ntrain: 3\n")) == [
        "x.yaml:1: task: should be text, not a list",
        "x.yaml:2: train: should be a block of settings, not '3'",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("task: &a turns\nabout: *a\n", "x.yaml:1: anchors and aliases"),
        ("task: !!python/name:os.system x\n", "x.yaml:1: tags such as"),
        ("a: " + "[" * 40_000, "x.yaml:1: nested deeper than 16 levels"),
        ("a: [1\nb: 2\n", "x.yaml:2: not valid YAML: "),
        ("a:\tb\n", "x.yaml:1: not valid YAML: "),
        ("a: 1\nb: \x07\n", "x.yaml:2: not valid YAML: it holds a character"),
        ("a: 1\n---\nb: 2\n", "x.yaml:2: not valid YAML: "),
        ("<<: {a: 1}\n", "x.yaml:1: <<: unknown setting"),
        ("? [a]\n: 1\n", "x.yaml:1: a key should be a name"),
        ("- 1\n", "x.yaml:1: should be settings"),
        (b"a: \xff\xfe\xfa\n", "x.yaml is not UTF-8 text"),
        (b"#" * 50_001, "x.yaml is larger than 50 kB"),
    ],
)
def test_what_is_no_plain_yaml_is_refused(write, text: str | bytes, told: str) -> None:
    assert mistakes(write(text))[0].startswith(told)


def test_of_thousands_of_mistakes_the_first_hundred_are_told(write) -> None:
    told = mistakes(write("".join(f"k{number}: 1\n" for number in range(3000))))
    assert len(told) == 101 and told[99].startswith("x.yaml:98: k97: ") and told[100] == "x.yaml: and 2902 more"


def test_many_aliases_cost_nothing(write) -> None:
    bomb = "a: &a [x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
    )
    assert len(mistakes(write(bomb))) == 21


def test_a_byte_order_mark_is_read_over(write) -> None:
    assert recipe.load(write(b"\xef\xbb\xbf" + GOOD.encode())).task == "turns"


# Names and paths.


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose recipes are in this test's folder."""
    monkeypatch.setattr(catalog, "__file__", str(tmp_path / "sslkit" / "catalog.py"))
    folder = tmp_path / "recipes" / "pretrain"
    folder.mkdir(parents=True)
    for name in ("turns", "turns_small"):
        (folder / f"{name}.yaml").write_text(GOOD)
    return tmp_path


def test_dashes_underscores_and_short_names_find_a_recipe(packaged: Path) -> None:
    for typed in ("turns-small", "turns_small", "tt-small", "tt_small"):
        assert recipe.load(typed).name == "turns_small"
    assert recipe.load("tt").name == "turns"


def test_an_unknown_recipe_names_the_nearest(packaged: Path) -> None:
    assert mistakes("turns-smal") == ["No pretrain recipe is called 'turns-smal'; did you mean 'turns_small'?"]
    with pytest.raises(UserError, match="none is installed"):
        recipe.load_probe("linear")


def test_a_file_that_is_not_there(packaged: Path) -> None:
    for typed in ("turns.yaml", "some/turns"):
        with pytest.raises(UserError, match=f"{typed} does not exist"):
            recipe.load(typed)


def test_an_installed_package_has_its_recipes_inside(packaged: Path) -> None:
    inside = packaged / "sslkit" / "recipes" / "pretrain"
    inside.mkdir(parents=True)
    (inside / "inner.yaml").write_text(GOOD)
    assert recipe.find("pretrain", "inner") == inside / "inner.yaml"
    with pytest.raises(UserError, match=r"known are inner\."):
        recipe.find("pretrain", "turns")


def test_the_listing_says_what_each_is(packaged: Path) -> None:
    probes = packaged / "recipes" / "probe"
    probes.mkdir()
    (probes / "linear.yaml").write_text("about: all layers\n")
    assert recipe.listing() == [
        {"name": "turns", "kind": "pretrain", "task": "turns", "about": "no"},
        {"name": "turns_small", "kind": "pretrain", "task": "turns", "about": "no"},
        {"name": "linear", "kind": "probe", "task": "probe", "about": "all layers"},
    ]


# --tiny and --set.

TINY = GOOD + "tiny:\n  settings: {trunk_settings: {fc: 8}}\n  train: {steps: 5, lr: 0.5}\n"


def test_tiny_is_laid_over_the_rest_only_when_asked_for(write) -> None:
    path = write(TINY)
    plain, small = recipe.load(path), recipe.load(path, tiny=True)
    assert (plain.train.epochs, plain.train.steps, plain.train.lr) == (20, None, 0.001)
    assert (small.train.epochs, small.train.steps, small.train.lr, small.train.batch) == (None, 5, 0.5, 10)
    assert small.settings["trunk_settings"] == {"width": 0.1, "fc": 8, "bias": True}
    assert small.settings["scale"] == [0.5, 1.0]


def test_tiny_is_checked_also_when_it_is_not_used(write) -> None:
    text = GOOD + "tiny:\n  settings: {flipp: true}\n  train: {lr: x}\n"
    told = [
        "x.yaml:12: tiny.settings.flipp: unknown setting; did you mean 'flip'?",
        "x.yaml:13: tiny.train.lr: should be a number, not 'x'",
    ]
    assert mistakes(write(text)) == told == mistakes(write(text), tiny=True)


def test_tiny_without_a_tiny_block(write) -> None:
    assert mistakes(write(GOOD), tiny=True) == ["x.yaml:1: tiny: missing block; without it the recipe has no tiny form"]


def test_an_empty_block_takes_away_what_was_there(write) -> None:
    assert recipe.load(write(TINY), set=["settings.trunk_settings={}"]).settings["trunk_settings"] == {}


def test_set_changes_one_setting_with_the_same_types(write) -> None:
    changed = recipe.load(
        write(TINY),
        set=["train.lr=1e-2", "settings.parts=[a, no]", "about=a: b # c", "data.flow=dis", "train.milestones=[1, 2]"],
    )
    assert (changed.train.lr, changed.about, changed.data.flow) == (0.01, "a: b # c", "dis")
    assert (changed.settings["parts"], changed.train.milestones) == (["a", "no"], (1.0, 2.0))


def test_set_comes_after_tiny_and_the_last_one_wins(write) -> None:
    changed = recipe.load(write(TINY), tiny=True, set=["train.lr=1", "train.lr=2", "train.epochs=3"])
    assert (changed.train.lr, changed.train.epochs, changed.train.steps) == (2, 3, None)


def test_mistakes_of_set_are_told_after_those_of_the_file(write) -> None:
    text = GOOD.replace("lr: 1e-3", "lr: -1")
    assignments = ["train.lrr=3", "train.lr=x", "train", "train..lr=1", "train.milestones=[1, 2", "traim.lr=1"]
    assert mistakes(write(text), set=assignments) == [
        "x.yaml:8: train.lr: should be greater than 0, not '-1'",
        "--set: 'train' should look like train.lr=0.01",
        "--set: 'train..lr=1' should look like train.lr=0.01",
        "--set: train.milestones: not valid YAML: expected ',' or ']', but got '<stream end>'",
        "--set: train.lr: should be a number, not 'x'",
        "--set: train.lrr: unknown setting; did you mean 'lr'?",
        "--set: traim: unknown setting; did you mean 'train'?",
    ]


# Probes and finetuning.


def test_a_probe_recipe_has_usable_defaults(write) -> None:
    probe = recipe.load_probe(write("protocol: svm\nsvm_costs: [1, 1e1]\nlayers: [conv1, no]\n"))
    assert (probe.name, probe.protocol, probe.svm_costs, probe.layers) == ("x", "svm", (1.0, 10.0), ("conv1", "no"))
    assert (probe.pool, probe.pool_dims, probe.knn_k, probe.knn_temperature) == ("avg", 9000, 20, 0.07)


def test_augmentation_of_finetuning_is_checked_and_the_run_decides_the_rest(write) -> None:
    text = "settings: {flip: false}\ntrain: {lr: 1e-2, batch: 8, epochs: 2}\n"
    finetune = recipe.load_finetune(write(text))
    assert (finetune.settings, finetune.clips, finetune.dropout) == ({"flip": False}, 10, 0.5)
    for key in ("trunk: x", "classes: [a]", "flop: true"):
        with pytest.raises(UserError, match=rf"x\.yaml:1: settings\.{key.split(':')[0]}: unknown setting"):
            recipe.load_finetune(write(text.replace("flip: false", key)))


# Writing.


def test_what_is_dumped_loads_again_to_an_equal_recipe(write) -> None:
    awkward = GOOD.replace(
        "scale: [0.5, 1]", 'parts: ["1e-3", no, "010", "", "a: b", "null", "ä\\n# b", 12:30]\n  side_px: null'
    )
    first = recipe.load(write(awkward), set=["train.lr=1e-7", "train.betas=[0.5, 0.75]"])
    again = recipe.load(write(recipe.dump(first)))
    assert again == first
    assert first.settings["parts"] == ["1e-3", "no", "010", "", "a: b", "null", "ä\n# b", "12:30"]
    assert first.settings["side_px"] is None and again.name == "x"


def test_text_that_looks_like_something_else_survives_where_no_type_is_declared(tmp_path: Path) -> None:
    values = {"a": "1e-3", "b": "true", "c": "null", "d": "", "e": "010", "f": "no", "g": ["12:30", 1.0, 1, True, None]}
    text = yaml.dump(values, Dumper=recipe._Dumper)
    found = strict_yaml.Mistakes()
    tree = strict_yaml.parse(text, "x.yaml", found)
    assert tree is not None and strict_yaml._read(tree, dict, found) == values


def test_probe_and_finetune_recipes_survive_too(write) -> None:
    for kind, load in ((ProbeRecipe(knn_k=5), recipe.load_probe), (finetune(), recipe.load_finetune)):
        written = kind.model_copy(update={"name": "x"})
        assert load(write(recipe.dump(written))) == written


def finetune() -> FinetuneRecipe:
    return FinetuneRecipe(train=Train(lr=0.01, batch=8, epochs=2.5), settings={"flip": False})


# The plan.


def made(**train: object) -> Recipe:
    return Recipe(task="turns", train=Train(**{"lr": 0.1, "batch": 32, "epochs": 10, **train}))  # type: ignore[arg-type]


def test_an_epoch_is_as_many_whole_batches_as_there_are() -> None:
    plan = recipe.plan(made(), 100, 1, "cpu")
    assert (plan.epoch_steps, plan.steps, plan.batch, plan.rank_batch, plan.samples) == (3, 30, 32, 32, 100)
    assert recipe.plan(made(), 32, 1, "cpu").epoch_steps == 1


def test_epochs_may_be_fractions_and_steps_stand_as_they_are() -> None:
    assert recipe.plan(made(epochs=0.5), 320, 1, "cpu").steps == 5
    assert recipe.plan(made(epochs=0.001), 320, 1, "cpu").steps == 1
    assert recipe.plan(made(epochs=None, steps=7), 320, 1, "cpu").steps == 7
    assert recipe.plan(made(epochs=2, epoch_steps=5000), 320, 1, "cpu").steps == 10_000


def test_the_learning_rate_follows_the_batch_only_when_told() -> None:
    assert recipe.plan(made(), 320, 1, "cpu").lr == 0.1
    assert recipe.plan(made(lr_batch=256), 320, 1, "cpu").lr == pytest.approx(0.0125)


def test_epochs_of_the_schedule_become_steps() -> None:
    plan = recipe.plan(
        made(schedule="multistep", milestones=(2, 4.5), warmup_epochs=0.5, step_epochs=0.01, validate_epochs=3),
        320,
        1,
        "cpu",
    )
    assert (plan.milestone_steps, plan.warmup_steps, plan.step_steps, plan.validate_steps) == ((20, 45), 5, 1, 30)
    assert recipe.plan(made(epochs=2, validate_epochs=50), 320, 1, "cpu").validate_steps == 20


@pytest.mark.parametrize(
    ("precision", "device", "dtype"),
    [
        ("auto", "cpu", "float32"),
        ("auto", "cuda:1", "bfloat16"),
        ("fp32", "cuda", "float32"),
        ("bf16", "cpu", "bfloat16"),
    ],
)
def test_precision(precision: str, device: str, dtype: str) -> None:
    assert recipe.plan(made(precision=precision), 320, 1, device).dtype == dtype


def test_a_batch_is_divided_among_processes_and_parts() -> None:
    assert recipe.plan(made(accumulate=4), 320, 2, "cpu").rank_batch == 16
    with pytest.raises(UserError, match="train.batch 32 cannot be divided by 3 processes x train.accumulate 4"):
        recipe.plan(made(accumulate=4), 320, 3, "cpu")


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(UserError, match="train.batch is 32 but the data have 31 samples: lower train.batch"):
        recipe.plan(made(), 31, 1, "cpu")


def test_a_plan_needs_one_length() -> None:
    for wrong in ({"epochs": None}, {"steps": 3}):
        with pytest.raises(UserError, match="epochs"):
            recipe.plan(made(**wrong), 320, 1, "cpu")


def test_a_plan_leaves_the_recipe_as_it_is() -> None:
    wanted = made(lr_batch=256)
    before = wanted.model_dump()
    recipe.plan(wanted, 320, 1, "cpu")
    assert wanted.model_dump() == before


@pytest.fixture
def real_tasks(monkeypatch: pytest.MonkeyPatch, tasks: None) -> None:
    monkeypatch.undo()


def test_every_packaged_recipe_loads_in_both_sizes(real_tasks: None) -> None:
    files = sorted((ROOT / "recipes").rglob("*.yaml"))
    assert len(files) == len(recipe.listing()) >= 6
    loaders = {"pretrain": recipe.load, "probe": recipe.load_probe, "finetune": recipe.load_finetune}
    for file in files:
        load = loaders[file.parent.name]
        assert load(file.stem).name == file.stem
        if file.parent.name == "pretrain":
            assert recipe.load(file.stem, tiny=True).train.batch <= recipe.load(file.stem).train.batch
