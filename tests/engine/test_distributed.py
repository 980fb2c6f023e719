"""Two processes over gloo do what one does; without a process group nothing happens."""

import multiprocessing
import os
import signal
import socket
import traceback

import pytest
import torch

from sslkit.engine import distributed
from sslkit.engine.fit import fit


def test_everything_works_alone():
    distributed.setup()
    tensor = torch.ones(2, requires_grad=True)
    assert (distributed.rank(), distributed.world(), distributed.is_main()) == (0, 1, True)
    assert distributed.gather(tensor) is tensor and distributed.mean({"a": 2.0}) == {"a": 2.0}
    assert distributed.anywhere(True) and not distributed.anywhere(False)
    distributed.barrier()
    distributed.teardown()


def in_two_processes(work):
    """Run work(rank) in two forked processes that form a group; returns what they raised."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    errors = fork.SimpleQueue()

    def main(rank):
        os.environ.update(WORLD_SIZE="2", RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        try:
            torch.set_num_threads(1)  # OpenMP's threads did not come along with the fork
            distributed.setup()
            work(rank)
            distributed.teardown()
        except BaseException:
            errors.put(traceback.format_exc())
        os._exit(0)

    children = [fork.Process(target=main, args=(rank,)) for rank in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    hung = [child for child in children if child.is_alive()]
    for child in hung:
        child.kill()
    assert not hung
    return [] if errors.empty() else [errors.get()]


@pytest.mark.own_process
def test_two_processes_talk():
    def work(rank):
        assert (distributed.rank(), distributed.world()) == (rank, 2)
        assert distributed.mean({"b": float(rank), "a": 4.0}) == {"b": 0.5, "a": 4.0}
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

    assert in_two_processes(work) == []


@pytest.mark.own_process
def test_two_processes_train_as_one_and_stop_as_one(tiny, tmp_path):
    quiet = dict(norm=False, dropout=0.0, noise=0.0)

    def job(folder, world):
        torch.manual_seed(1)
        made = tiny.job(folder, task=tiny.Brighter(**quiet), steps=8, accumulate=2)
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

    assert in_two_processes(work) == []
    one, two = job(tmp_path / "one", 1), job(tmp_path / "two", 2)
    fit(*one.parts, one.validate)
    first, second = one.run.load(), two.run.load()
    assert second["step"] == 8
    for name, value in first["task"].items():
        torch.testing.assert_close(value, second["task"][name])
    for a, b in zip(one.run.rows(), two.run.rows(), strict=True):
        assert (a.pop("split"), a) == (b.pop("split"), pytest.approx(b, rel=1e-4))
