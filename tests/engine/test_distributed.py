"""Two processes over gloo do what one does; without a process group nothing happens."""

import os
import signal

import pytest
import torch

from sslkit.engine import distributed
from sslkit.engine.fit import fit
from sslkit.errors import FIRST, Elsewhere, UserError, WorkError
from sslkit.tasks.base import Task
from sslkit.types import Answer


def test_everything_works_alone():
    distributed.setup()
    tensor = torch.ones(2, requires_grad=True)
    assert (distributed.rank(), distributed.world(), distributed.is_main()) == (0, 1, True)
    assert distributed.gather(tensor) is tensor and distributed.mean({"a": 2.0}) == {"a": 2.0}
    assert distributed.anywhere(True) and not distributed.anywhere(False)
    distributed.barrier()
    distributed.teardown()


@pytest.mark.own_process
def test_two_processes_talk(tiny):
    def work(rank):
        assert (distributed.rank(), distributed.world()) == (rank, 2)
        assert distributed.mean({"b": float(rank), "a": 4.0}) == {"b": 0.5, "a": 4.0}
        # One that asked nothing has no accuracy, and does not keep the other waiting.
        some = {"loss": 1.0, "accuracy": 80.0} if rank else {"loss": 0.0}
        assert distributed.mean(some) == {"loss": 0.5, "accuracy": 80.0}
        task = Task()
        task.gather = distributed.gather
        asked = torch.tensor([5.0]) if rank == 0 else torch.tensor([1.0, 1.0, 7.0, 1.0])
        share = task.mean_of_all(asked, None if rank == 0 else asked < 7)
        assert distributed.mean({"loss": float(share)}) == {"loss": (5 + 3) / 4}
        fitted = torch.full((2,), float(rank))
        distributed.share([fitted])
        assert fitted.tolist() == [0, 0]
        assert distributed.anywhere(rank == 1)
        with distributed.alone():
            assert distributed.world() == 1 and distributed.is_main() and distributed.anywhere(False) is False
        mine = torch.full((2, 3), float(rank + 1), requires_grad=True)
        everyone = distributed.gather(mine)
        assert everyone[:, 0].tolist() == [1, 1, 2, 2]
        weights = torch.arange(4.0)[:, None] * (rank + 1)
        (everyone * weights).sum().backward()
        expected = torch.arange(4.0)[2 * rank : 2 * rank + 2, None].expand(2, 3) * 3
        assert torch.equal(mine.grad, expected), "gradients of both losses add up"
        distributed.require_same("a thing", {"both": 1})
        with pytest.raises(UserError, match="Process 1 .* something else than process 0 .a thing"):
            distributed.require_same("a thing", {"rank": rank})
        with distributed.main_first():
            everyone = distributed._group["store"].add("first", 1)
        assert everyone == rank + 1

    assert tiny.in_two_processes(work) == []


@pytest.mark.own_process
def test_two_processes_train_as_one_and_stop_as_one(tiny, tmp_path):
    def job(folder, world):
        torch.manual_seed(1)
        made = tiny.job(folder, task=tiny.Brighter(dropout=0.0), steps=8, batch=8, accumulate=2)
        plan = made.plan.model_copy(update={"world": world, "rank_batch": made.plan.batch // world})
        made.plan = plan
        made.feed = type(made.feed)(tiny.Blobs(), tiny.READS, plan, tiny.CPU)
        return made

    def work(rank):
        made = job(tmp_path / "two", 2)
        result = fit(*made.parts, made.validate)
        assert (result.last is None) == (rank == 1)
        cut = job(tmp_path / "cut", 2)
        # Only one of them gets the signal.
        cut.task.after_step = lambda: os.kill(os.getpid(), signal.SIGTERM) if rank else None
        with pytest.raises(KeyboardInterrupt):
            fit(*cut.parts, cut.validate)
        distributed.barrier()
        assert cut.run.step == 1

    assert tiny.in_two_processes(work) == []
    one, two = job(tmp_path / "one", 1), job(tmp_path / "two", 2)
    fit(*one.parts, one.validate)
    first, second = one.run.load(), two.run.load()
    assert second["step"] == 8
    for name, value in first["task"].items():
        torch.testing.assert_close(value, second["task"][name])
    for a, b in zip(one.run.rows(), two.run.rows(), strict=True):
        assert (a.pop("split"), a) == (b.pop("split"), pytest.approx(b, rel=1e-4))


def contrastive(tiny, norm):
    """Two noisy views of each picture are to be closer to each other than to those of all other pictures (NT-Xent).

    In double precision, so that one process and two can only differ by what matters.
    """

    class Contrast(tiny.Brighter):
        def views(self, batch, draw):
            x = batch.frames[:, 0, 0].double() / 255
            return {"x": x[:, None] + draw.normal(len(x), 2, *x.shape[1:]).double()}

        def forward(self, views):
            maps = self.trunk.norm(self.trunk.conv1(views["x"].flatten(0, 1))).tanh()
            z = self.gather(torch.nn.functional.normalize(maps.flatten(1))).unflatten(0, (-1, 2))
            likeness = z[:, 0] @ z[:, 1].T / 0.2
            return Answer(torch.nn.functional.cross_entropy(likeness, torch.arange(len(z))))

    return Contrast(norm=norm, dropout=0.0).double()


@pytest.mark.own_process
@pytest.mark.parametrize("accumulate", [1, 2])
def test_losses_with_negatives_see_those_of_all_processes(tiny, tmp_path, accumulate):
    def job(folder, world):
        torch.manual_seed(1)
        made = tiny.job(folder, task=contrastive(tiny, norm=True), steps=12, batch=8, accumulate=accumulate, lr=0.1)
        made.plan = made.plan.model_copy(update={"world": world, "rank_batch": 8 // world})
        made.feed = type(made.feed)(tiny.Blobs(), tiny.READS, made.plan, tiny.CPU)
        return made

    assert tiny.in_two_processes(lambda rank: fit(*job(tmp_path / "two", 2).parts)) == []
    one, two = job(tmp_path / "one", 1), job(tmp_path / "two", 2)
    fit(*one.parts)
    first, second = one.run.load()["task"], two.run.load()["task"]
    begun = contrastive(tiny, norm=True).state_dict()
    assert not torch.allclose(first["trunk.conv1.weight"], begun["trunk.conv1.weight"], rtol=0.1)
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-10, atol=1e-12)
    for a, b in zip(one.run.rows(), two.run.rows(), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-12)


@pytest.mark.own_process
def test_the_first_error_is_the_one_that_is_told(tiny):
    def of_one(rank):
        with pytest.raises(UserError if rank else Elsewhere) as raised, distributed.together():
            if rank:
                raise UserError("a wrong thing")
            distributed.barrier()
        assert (FIRST in getattr(raised.value, "__notes__", [])) == bool(rank)
        os._exit(0)  # with its connections, as a command does

    def of_both(rank):
        with pytest.raises((UserError, Elsewhere)) as raised, distributed.together():
            raise UserError("a wrong thing")
        told = distributed._group["store"].add("told", FIRST in getattr(raised.value, "__notes__", []))
        distributed.barrier()
        assert distributed._group["store"].add("told", 0) == 1 >= told

    def of_a_death(rank):
        if rank:
            os.kill(os.getpid(), signal.SIGKILL)
        with pytest.raises(WorkError, match="died or is out of reach") as raised, distributed.together():
            distributed.barrier()
        assert not isinstance(raised.value, Elsewhere)

    for work in (of_one, of_both, of_a_death):
        assert tiny.in_two_processes(work) == []
