"""Validation weighs every question alike and leaves the task as it was."""

import math

import pytest
import torch
from torch.nn import functional as F

from sslkit.engine.validate import validate
from sslkit.errors import UserError, WorkError
from sslkit.types import Answer


@pytest.mark.parametrize("batch", [5, 8, 19, 64])
def test_the_last_batch_counts_by_its_size(tiny, batch):
    torch.manual_seed(0)
    task, dataset = tiny.Brighter(), tiny.Blobs(20)
    result = validate(task, dataset, batch, tiny.CPU)
    usable = dataset.usable(tiny.READS)
    x = torch.cat([torch.from_numpy(dataset.read(i, [0.0], tiny.READS).frames[:, 0]) for i in usable])
    target = torch.tensor([i % 2 for i in usable])
    with torch.no_grad():
        answer = task.eval()({"x": x.permute(0, 3, 1, 2).float(), "target": target})
    assert result.metrics["loss"] == pytest.approx(F.cross_entropy(answer.scores, target).item(), rel=1e-5)
    assert result.metrics["accuracy"] == pytest.approx(answer.logs["accuracy"].item(), rel=1e-5)
    assert result.samples == 19 and result.chance == 50
    torch.testing.assert_close(result.scores, answer.scores)
    assert result.target.tolist() == target.tolist() and result.sample.tolist() == usable
    counted = torch.zeros(2, 2, dtype=torch.int64)
    for true, said in zip(target.tolist(), answer.scores.argmax(1).tolist(), strict=True):
        counted[true, said] += 1
    assert torch.equal(result.confusion, counted)
    assert len(result.views["x"]) == len(result.answer.scores) == min(batch, 19)


def test_modes_come_back_and_nothing_is_learnt(tiny):
    task = tiny.Brighter().train()
    task.trunk.norm.eval()
    before = {name: value.clone() for name, value in task.state_dict().items()}
    result = validate(task, tiny.Blobs(), 8, tiny.CPU)
    assert task.training and task.dropout.training and not task.trunk.norm.training
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())
    assert not result.answer.loss.requires_grad
    assert validate(task, tiny.Blobs(), 8, tiny.CPU, workers=2).metrics == result.metrics


def test_modes_come_back_after_an_error(tiny):
    task = tiny.Brighter().train()
    with pytest.raises(WorkError, match="blob-5"):
        validate(task, tiny.Blobs(broken={5: KeyError("x")}), 8, tiny.CPU)
    assert task.training


def test_some_samples_are_spread_over_the_split(tiny):
    result = validate(tiny.Brighter(), tiny.Blobs(41), 8, tiny.CPU, max_samples=4)
    assert result.samples == 4 and result.sample.tolist() == [0, 11, 21, 31]


def test_several_questions_a_sample(tiny):
    class Twice(tiny.Brighter):
        def views(self, batch, draw):
            views = super().views(batch, draw)
            return {"x": torch.cat([views["x"]] * 2), "target": torch.cat([views["target"], -1 - 0 * views["target"]])}

        def forward(self, views):
            scores = self.head(self.trunk(views["x"])["conv1"].mean((2, 3)))
            sample = torch.arange(len(scores)) % (len(scores) // 2)
            return Answer(scores.sum(), {}, scores, views["target"], sample)

    result = validate(Twice(), tiny.Blobs(8), 4, tiny.CPU)
    assert result.sample.tolist() == [i for i in (0, 1, 2, 4, 5, 6, 7) for _ in range(2)]
    assert result.target.tolist() == [x for i in (0, 1, 2, 4, 5, 6, 7) for x in (i % 2, -1)]
    assert result.confusion.sum() == 7, "questions without an answer do not count"


def test_batches_hold_samples_from_all_over_the_split(tiny):
    """Four sources of ten samples each: in the order of the data, half of the batches would be of one source."""

    class OfSeveral(tiny.Brighter):
        def views(self, batch, draw):
            source = batch.index // 10
            (rows,) = (source[:, None] != source).any(1).nonzero(as_tuple=True)
            return {**super().views(batch, draw), "rows": rows}

        def forward(self, views):
            rows = views["rows"]
            if not len(rows):
                return Answer(torch.zeros(()), {}, torch.zeros(0, 2), rows, rows)
            answer = super().forward({name: views[name][rows] for name in ("x", "target")})
            answer.sample = rows
            return answer

    torch.manual_seed(0)
    task, dataset = OfSeveral(), tiny.Blobs(40)
    result = validate(task, dataset, 8, tiny.CPU)
    assert result.sample.tolist() == dataset.usable(tiny.READS) and result.samples == 39
    plain = validate(task, dataset, 39, tiny.CPU)
    torch.testing.assert_close(result.scores, plain.scores)
    assert result.metrics == pytest.approx(plain.metrics)


def test_a_batch_that_asks_nothing_does_not_count(tiny):
    class Some(tiny.Brighter):
        asks = 2

        def forward(self, views):
            target = views["target"].clone()
            target[self.asks :] = -1
            self.asks = 0
            answer = super().forward(views)
            known = target >= 0
            loss = F.cross_entropy(answer.scores[known], target[known], reduction="sum")
            return Answer(loss / max(1, int(known.sum())), {}, answer.scores, target)

    result = validate(Some(), tiny.Blobs(), 8, tiny.CPU)
    asked = result.target >= 0
    assert asked.sum() == 2 and len(asked) == 19
    loss = F.cross_entropy(result.scores[asked], result.target[asked])
    assert result.metrics == {"loss": pytest.approx(loss.item())}

    class Nothing(Some):
        asks = 0

    nothing = validate(Nothing(), tiny.Blobs(), 8, tiny.CPU)
    assert math.isnan(nothing.metrics["loss"]) and not nothing.confusion.any()


def test_a_task_without_classes_has_no_confusion(tiny):
    class Regress(tiny.Brighter):
        classes = ()

        def forward(self, views):
            return Answer(super().forward(views).loss)

    result = validate(Regress(), tiny.Blobs(), 8, tiny.CPU)
    assert result.scores is None and result.confusion is None and result.chance is None
    assert set(result.metrics) == {"loss"}


def test_a_task_in_evaluation_may_read_otherwise(tiny):
    seen = []

    class Clips(tiny.Brighter):
        def reads(self):
            return tiny.READS.but(clips=1 if self.training else 3, start="any" if self.training else "spread")

        def views(self, batch, draw):
            seen.append((batch.start_s.shape[1], draw.stream, draw.step))
            return super().views(batch, draw)

    class Repeating(tiny.Blobs):
        def read(self, index, starts, reads):
            sample = super().read(index, starts, reads)
            sample.frames = sample.frames.repeat(len(starts), 0)
            return sample

    validate(Clips().train(), Repeating(8), 4, tiny.CPU)
    assert seen == [(3, "validate", 0), (3, "validate", 1)]


def test_an_empty_split_is_told(tiny):
    with pytest.raises(UserError, match="no sample"):
        validate(tiny.Brighter(), tiny.Blobs(0), 4, tiny.CPU)
