import json
from pathlib import Path

import pytest
import torch

from sslkit.data.dataset import Dataset
from sslkit.engine.run import Run
from sslkit.errors import UserError
from sslkit.evals import finetune, inits
from sslkit.evals.features import state_hash
from sslkit.evals.finetune import Judged
from sslkit.evals.inits import Init
from sslkit.models import trunk as trunks
from sslkit.models.trunk import Trunk
from sslkit.recipe import FinetuneRecipe, Train
from sslkit.tasks.base import Task
from sslkit.types import Answer, Batch

CPU = torch.device("cpu")
RECIPE = FinetuneRecipe(
    name="quick",
    dropout=0.0,
    settings={"scale": [0.5, 1.0]},
    train=Train(optimizer="adam", lr=3e-3, batch=12, epochs=15),
)


def nin(seed: int = 0) -> Trunk:
    return inits.randomly(trunks.build("nin", {"side_px": 16, "width": 0.25}), seed)


def test_softmax_is_averaged_before_the_class_is_taken() -> None:
    # Two windows lean to class 1, one is sure of class 0: the mean says 0, a majority of the windows would say 1.
    probability = torch.tensor([[[0.98, 0.02], [0.45, 0.55], [0.45, 0.55]], [[0.1, 0.9], [0.2, 0.8], [0.6, 0.4]]])
    judged = Judged(probability, torch.tensor([0, 1]), torch.arange(2))
    assert judged.predicted.tolist() == [0, 1]
    assert judged.metrics() == {"top1": 100.0, "mean_class": 100.0, "clip_top1": pytest.approx(50.0)}


def test_mean_class_accuracy_and_confusion_of_an_unbalanced_set() -> None:
    probability = torch.tensor([[[0.9, 0.1, 0.0]]]).expand(10, 1, 3)
    judged = Judged(probability, torch.tensor([0] * 9 + [1]), torch.arange(10))
    assert judged.metrics()["top1"] == 90.0 and judged.metrics()["mean_class"] == 50.0
    assert judged.confusion().tolist() == [[9, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert judged.per_class() == [100.0, 0.0, None]


def test_windows_stay_with_their_sample(monkeypatch: pytest.MonkeyPatch, test_set: Dataset) -> None:
    class Echo(Task):
        """Scores are the values of each window."""

        def reads(self):  # type: ignore[no-untyped-def]
            return nin().takes

        def views(self, batch, draw):  # type: ignore[no-untyped-def]
            return {"x": batch.frames.flatten(0, 1)[:, 0, 0, 0, :3].float()}

        def forward(self, views):  # type: ignore[no-untyped-def]
            return Answer(loss=torch.tensor(0.0), scores=views["x"])

    frames = torch.zeros(2, 2, 1, 3, 4, 4, dtype=torch.uint8)
    for sample in range(2):
        for clip in range(2):
            frames[sample, clip, 0, 0, 0, sample + clip] = 9
    batch = Batch(torch.tensor([0, 1]), torch.tensor([4, 7]), torch.zeros(2, 2), torch.full((2, 2), 4), frames)
    monkeypatch.setattr(finetune.feed, "once", lambda *_, **__: iter([batch]))
    judged = finetune.judge(Echo(), test_set, clips=2)
    assert judged.probability.argmax(2).tolist() == [[0, 1], [1, 2]]
    assert judged.target.tolist() == [0, 1] and judged.index.tolist() == [4, 7]


def test_finetuning_learns_the_colours(tmp_path: Path, train_set: Dataset, test_set: Dataset) -> None:
    beginning = nin()
    before = state_hash(beginning)
    listed = [Init("nin", "file", (0,), lambda: beginning)]
    result = finetune.compare(listed, train_set, test_set, RECIPE, tmp_path, device=CPU)
    found = {row["metric"]: row["value"] for row in result.rows if row["init"] == "nin" and row["seed"] == 0}
    assert found["top1"] == found["mean_class"] == found["clip_top1"] == 100.0
    assert state_hash(beginning) == before
    assert result.fields["confusion"]["nin-0"] == [[5, 0, 0], [0, 5, 0], [0, 0, 5]]
    assert result.fields["per_class"]["nin-0"] == {"red": 100.0, "green": 100.0, "blue": 100.0}
    assert result.fields["preprocessing"]["clips"] == 1  # stills have one window
    assert result.fields["split"] == {"train": 24, "test": 15, "test_split": "test"}
    assert result.chance == pytest.approx(100 / 3) and result.metrics["nin_mean_class"] == 100.0
    assert {row["init"] for row in result.rows} == {"nin", "chance", "majority"}
    assert Run.read(tmp_path / "nin-0").finished
    json.dumps(result.record())


def test_training_begins_with_the_weights_given_and_ends_with_others(tmp_path: Path, train_set: Dataset) -> None:
    # A learning rate too small to move a float32 weight by much: what comes out is what went in.
    still = RECIPE.model_copy(update={"train": Train(optimizer="sgd", lr=1e-12, batch=12, steps=1, weight_decay=0)})
    beginning = nin(5)
    task, _ = finetune.train_from(beginning, train_set, still, tmp_path / "a", 0, CPU)
    for name, weight in beginning.named_parameters():
        assert torch.allclose(task.trunks["sight"].get_parameter(name).detach(), weight.detach(), atol=1e-6)
    moved, _ = finetune.train_from(beginning, train_set, RECIPE, tmp_path / "b", 0, CPU)
    assert state_hash(moved.trunks["sight"]) != state_hash(beginning)


def test_a_finished_training_is_not_repeated_and_other_weights_are_refused(tmp_path: Path, train_set: Dataset) -> None:
    short = RECIPE.model_copy(update={"train": Train(optimizer="adam", lr=1e-3, batch=12, steps=2)})
    once, _ = finetune.train_from(nin(0), train_set, short, tmp_path / "run", 0, CPU)
    again, _ = finetune.train_from(nin(0), train_set, short, tmp_path / "run", 0, CPU)
    assert state_hash(once) == state_hash(again)
    with pytest.raises(UserError, match="holds another run"):
        finetune.train_from(nin(1), train_set, short, tmp_path / "run", 0, CPU)
    with pytest.raises(UserError, match="seed"):
        finetune.train_from(nin(0), train_set, short, tmp_path / "run", 1, CPU)


def test_what_does_not_fit_is_told(tmp_path: Path, train_set: Dataset, test_set: Dataset) -> None:
    with pytest.raises(UserError, match="1 samples without a label"):
        finetune.train_from(nin(), test_set, RECIPE, tmp_path / "a", 0, CPU)
    test_set.entries = test_set.entries[-1:]
    with pytest.raises(UserError, match="no labelled sample to test on"):
        finetune.judge(finetune._classifier(nin(), train_set.info.classes, RECIPE, 0), test_set)


def test_supervised_trunk_learns_from_labels_alone(train_set: Dataset) -> None:
    like, short = nin(), RECIPE.model_copy(update={"train": Train(optimizer="adam", lr=1e-3, batch=12, steps=2)})
    trunk = finetune.supervised_trunk(like, train_set, short, 3, device=CPU)
    again = finetune.supervised_trunk(like, train_set, short, 3, device=CPU)
    assert trunk.name == "nin" and not trunk.training
    assert state_hash(trunk) == state_hash(again) != state_hash(nin(3))


def test_random_beginnings_differ_by_seed(tmp_path: Path, colours: Path) -> None:
    (tmp_path / "run").mkdir()
    trunks.save(nin(9), tmp_path / "run" / "trunk.safetensors", {})
    short = RECIPE.model_copy(update={"train": Train(optimizer="adam", lr=1e-3, batch=12, steps=2)})
    told: list[str] = []
    result = finetune.finetune(
        [tmp_path / "run"], ["random"], [colours], short, out=tmp_path / "out", seeds=2, device=CPU,
        progress=lambda done, of, text: told.append(text),
    )  # fmt: skip
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["random-0", "random-1", "run-0", "run-1"]
    total = [r for r in result.rows if r["init"] == "random" and r["metric"] == "mean_class" and r["seed"] is None]
    assert total[0]["runs"] == 2 and total[0]["spread"] >= 0
    assert told and told[0].startswith("run-0 loss")
