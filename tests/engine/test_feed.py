"""What a step reads is a pure function of (seed, step), whatever the workers and processes; errors stay sentences."""

import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import chain

import pytest
import torch

from sslkit.data import dataset
from sslkit.data.dataset import collate
from sslkit.engine import feed as feed_module
from sslkit.engine.feed import Feed, Order, once
from sslkit.errors import UserError, WorkError


def plan_of(tiny, **changes):
    return tiny.plan(tiny.train(**{"steps": 8, **changes}))


def contents(batches):
    return [(b.index.tolist(), b.start_s.tolist(), b.label.tolist()) for b in batches]


def test_every_sample_comes_once_an_epoch(tiny):
    order = Order(tiny.Blobs(20), tiny.READS, plan_of(tiny, batch=6))
    indices = [request.index for step in range(19) for request in order(step)]
    everything = set(range(20)) - {3}  # 3 is too short to be read
    epochs = [indices[19 * e : 19 * (e + 1)] for e in range(6)]
    assert all(set(epoch) == everything for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6, "each epoch has its own order"


def test_order_is_a_pure_function_of_seed_and_step(tiny):
    first, second = (Order(tiny.Blobs(), tiny.READS, plan_of(tiny)) for _ in range(2))
    forwards = [first(step) for step in range(12)]
    assert [second(step) for step in reversed(range(12))] == forwards[::-1]
    other = Order(tiny.Blobs(), tiny.READS, plan_of(tiny, seed=1))
    assert [other(step) for step in range(12)] != forwards


def test_windows_differ_from_epoch_to_epoch(tiny):
    order = Order(tiny.Blobs(2), tiny.READS, plan_of(tiny, batch=2))
    starts = {request.starts for step in range(10) for request in order(step) if request.index == 0}
    assert len(starts) == 10


def test_a_batch_may_be_larger_than_the_dataset(tiny):
    order = Order(tiny.Blobs(5), tiny.READS, plan_of(tiny, batch=10))
    assert sorted(Counter(r.index for r in order(0)).values()) == [2, 2, 3, 3]


@pytest.mark.parametrize("accumulate", [1, 3])
def test_ranks_share_each_part_of_the_batch_of_one_process(tiny, accumulate):
    train = tiny.train(batch=12, steps=8, accumulate=accumulate)
    whole = Order(tiny.Blobs(), tiny.READS, tiny.plan(train))
    plan = tiny.plan(train, rank_batch=6, world=2)
    halves = [Order(tiny.Blobs(), tiny.READS, plan, rank) for rank in (0, 1)]
    rows = 6 // accumulate
    for step in range(8):
        parts = [half(step)[n * rows : (n + 1) * rows] for n in range(accumulate) for half in halves]
        assert list(chain.from_iterable(parts)) == whole(step)
    assert [parts[0].first for parts in map(partial(feed_module.parts, plan), (0, 1))] == [0, rows]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_are_the_same_with_any_number_of_workers(tiny, workers):
    plan = plan_of(tiny)
    feed = Feed(tiny.Blobs(), tiny.READS, plan, tiny.CPU, workers)
    order = Order(tiny.Blobs(), tiny.READS, plan)
    batches = list(feed)
    assert [b.index.tolist() for b in batches] == [[r.index for r in order(step)] for step in range(8)]
    assert all(b.label.tolist() == [i % 2 for i in b.index.tolist()] for b in batches)
    assert batches[0].frames.shape == (6, 1, 1, 3, 6, 6) and batches[0].frames.dtype == torch.uint8
    assert batches[0].frames.stride(3) == 1, "another order in memory rounds convolutions in another way"
    assert feed.waited_s > 0 and feed.keys(torch.tensor([4, 0])) == ["blob-4", "blob-0"]


def test_workers_do_not_collect_what_the_parent_left(tiny):
    """As a video frame of PyAV would: garbage that can only be freed where it was made."""
    parent, freed = os.getpid(), []

    class Decoder:
        def __del__(self):
            if os.getpid() != parent:
                os._exit(3)
            freed.append(True)

    dataset = tiny.Blobs()
    read = dataset.read

    def collecting(*arguments):
        gc.collect()
        return read(*arguments)

    dataset.read = collecting
    lying = Decoder()
    lying.itself = lying
    del lying
    assert len(list(once(dataset, tiny.READS, 4, tiny.CPU, workers=1))) > 0 and freed == [True]


def test_feed_starts_and_continues_anywhere(tiny):
    whole = contents(Feed(tiny.Blobs(), tiny.READS, plan_of(tiny), tiny.CPU))
    late = Feed(tiny.Blobs(), tiny.READS, plan_of(tiny), tiny.CPU, workers=2, start_step=5)
    assert contents(late) == whole[5:]
    late.seek(2)
    assert contents([next(late), next(late)]) == whole[2:4]
    late.close()
    assert contents(late) == whole[4:]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (WorkError("Sample blob-7 is damaged."), WorkError, r"^Sample blob-7 is damaged\.$"),
        (UserError("No flow; prepare it."), UserError, r"^No flow; prepare it\.$"),
        (
            OSError(5, "Input/output error"),
            WorkError,
            r"^Sample blob-7 cannot be read \(.*\): prepare the data again into a new folder\.$",
        ),
    ],
)
def test_an_unreadable_sample_is_an_error_that_names_it(tiny, workers, error, kind, sentence):
    feed = Feed(tiny.Blobs(broken={7: error}), tiny.READS, plan_of(tiny), tiny.CPU, workers)
    with pytest.raises(kind, match=sentence):
        list(feed)


@pytest.mark.parametrize("workers", [0, 1])
def test_whatever_else_goes_wrong_is_a_sentence_too_and_keeps_its_trace(tiny, workers):
    feed = Feed(tiny.Blobs(broken={7: ZeroDivisionError("oops")}), tiny.READS, plan_of(tiny), tiny.CPU, workers)
    with pytest.raises(WorkError, match=r"^Sample blob-7 cannot be read \(oops\): prepare .*\.$") as raised:
        list(feed)
    assert "ZeroDivisionError: oops" in str(raised.value.__cause__) and "Traceback" in str(raised.value.__cause__)
    feed = Feed(tiny.Blobs(broken={7: MemoryError()}), tiny.READS, plan_of(tiny), tiny.CPU, workers)
    with pytest.raises(WorkError, match=r"^Sample blob-7 cannot be read, because the memory is used up: .*--workers"):
        list(feed)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_that_cannot_be_put_together_is_a_sentence(tiny, workers):
    def collate(samples):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried")

    feed = Feed(tiny.Blobs(), tiny.READS, plan_of(tiny), tiny.CPU, workers, collate=collate)
    with pytest.raises(WorkError, match=r"^Batch 0 cannot be put together, because the memory is used up: .*\.$"):
        list(feed)


def test_a_worker_that_dies_is_reported_with_a_way_out(tiny):
    class Dying(tiny.Blobs):
        def read(self, index, starts, reads):
            os.kill(os.getpid(), signal.SIGKILL)

    feed = Feed(Dying(), tiny.READS, plan_of(tiny), tiny.CPU, workers=1)
    with pytest.raises(WorkError, match=r"process that reads data died .*--workers"):
        list(feed)


def test_workers_end_with_the_feed_and_ignore_interrupts(tiny):
    feed = Feed(tiny.Blobs(), tiny.READS, plan_of(tiny, steps=50), tiny.CPU, workers=2)
    next(feed)
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    for worker in workers:
        subprocess.run(["kill", "-INT", str(worker.pid)], check=True)
        subprocess.run(["kill", "-TERM", str(worker.pid)], check=True)
    time.sleep(0.2)
    assert all(worker.is_alive() for worker in workers)
    next(feed)
    feed.close()
    assert not any(worker.is_alive() for worker in workers)


def test_workers_obey_their_parent(tiny):
    feed = Feed(tiny.Blobs(), tiny.READS, plan_of(tiny, steps=50), tiny.CPU, workers=1)
    next(feed)
    (worker,) = multiprocessing.active_children()
    worker.terminate()
    worker.join(5)
    assert worker.exitcode == 0
    feed.close()


@pytest.mark.parametrize("error", [EOFError(), ConnectionResetError(104, "Connection reset by peer")])
def test_a_worker_that_dies_while_it_hands_over_is_reported_too(error):
    with pytest.raises(WorkError, match="process that reads data died"), feed_module.explained():
        raise error
    with pytest.raises(RuntimeError, match="shape"), feed_module.explained():
        raise RuntimeError("shape mismatch")


def test_workers_end_with_an_error_that_somebody_keeps(tiny):
    feed = Feed(tiny.Blobs(broken={7: ZeroDivisionError()}), tiny.READS, plan_of(tiny), tiny.CPU, workers=2)
    try:
        list(feed)
    except WorkError as error:
        kept = error
    assert kept.__traceback__ is not None and multiprocessing.active_children() == []


@pytest.mark.parametrize("workers", [0, 2])
def test_once_reads_every_usable_sample_in_order(tiny, workers):
    reads = tiny.READS.but(start="moving", clips=2)
    batches = list(once(tiny.Blobs(20), reads, 8, tiny.CPU, workers))
    assert [len(b) for b in batches] == [8, 8, 3]
    assert torch.cat([b.index for b in batches]).tolist() == [i for i in range(20) if i != 3]
    assert batches[0].start_s.shape == (8, 2) and not batches[0].start_s.any(), "windows are spread, not drawn"


def test_once_shares_samples_between_ranks(tiny):
    parts = [list(once(tiny.Blobs(20), tiny.READS, 4, tiny.CPU, rank=rank, world=3)) for rank in range(3)]
    indices = [torch.cat([b.index for b in part]).tolist() for part in parts]
    assert sorted(index for part in indices for index in part) == [i for i in range(20) if i != 3]
    assert max(map(len, indices)) - min(map(len, indices)) <= 1


def test_once_of_given_samples(tiny):
    (batch,) = once(tiny.Blobs(), tiny.READS, 8, tiny.CPU, indices=[5, 1])
    assert batch.index.tolist() == [5, 1]


def test_readers_travel_to_processes_that_are_not_forked(tiny):
    order = Order(tiny.Blobs(), tiny.READS, plan_of(tiny))
    order._dataset = None  # the fake, unlike a real dataset, cannot be imported elsewhere
    for requests in (order, feed_module._Inspection(None, tiny.READS, [1, 2], 2)):
        reader = feed_module._Reader(None, tiny.READS, collate, requests)
        again = pickle.loads(pickle.dumps(reader))
        assert again._reads == tiny.READS and type(again._requests) is type(requests)


def test_reading_leaves_the_global_generator_alone(tiny):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    list(Feed(tiny.Blobs(), tiny.READS, plan_of(tiny), tiny.CPU, workers=1))
    list(once(tiny.Blobs(), tiny.READS, 8, tiny.CPU))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.own_process
@pytest.mark.parametrize("workers", [1, 2])
def test_batches_that_are_kept_are_not_written_over(tiny, workers):
    """Workers write into memory that they lent before; large tensors alone are shared."""

    def pictures(samples):
        batch = collate(samples)
        canvas = dataset._canvas((len(samples), 300, 300), "pictures")
        canvas[:] = batch.index[:, None, None].to(torch.uint8)
        return replace(batch, frames=canvas)

    plan = plan_of(tiny, steps=24, batch=4)
    kept = []
    for batch in Feed(tiny.Blobs(), tiny.READS, plan, torch.device("cpu"), workers, collate=pictures):
        time.sleep(0.01 * (len(kept) % 3))
        kept.append(batch)
    assert len(kept) == 24 and len({tuple(b.index.tolist()) for b in kept}) > 4
    for batch in kept:
        assert (batch.frames == batch.index[:, None, None]).all()
