"""SIGTERM in the middle of anything: the state is saved, the exit code is 130, and nobody waits for long."""

import ctypes
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass

import pytest
import torch

from sslkit.engine import interrupt as interrupts
from sslkit.engine.fit import fit
from sslkit.engine.interrupt import Interrupt
from sslkit.errors import WorkError

FORK = multiprocessing.get_context("fork")


@dataclass
class Slow:
    """Blobs of which reading one takes for ever from some sample on."""

    blobs: object
    ready: object

    def __getattr__(self, name):
        return getattr(self.blobs, name)

    def read(self, index, starts, reads):
        if index == 11:
            self.ready.set()
            time.sleep(600)
        return self.blobs.read(index, starts, reads)


def never_returns():
    """Deep inside a library, which waits for itself and takes no notice of signals."""
    library, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(128)
    library.pthread_mutex_init(mutex, None)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)


def interrupted(body, number=signal.SIGTERM, patience_s=0.5, leaving_s=0.5):
    """(exit code, seconds from the signal to the end) of a child that runs `body(ready)`."""
    ready = FORK.Event()

    def main():
        interrupts.PATIENCE_S, interrupts._LEAVING_S = patience_s, leaving_s
        Interrupt.__init__.__defaults__ = (patience_s,)
        try:
            body(ready)
        except KeyboardInterrupt:
            os._exit(130)
        except WorkError:
            os._exit(1)
        os._exit(0)

    child = FORK.Process(target=main)
    child.start()
    assert ready.wait(30)
    began = time.monotonic()
    os.kill(child.pid, number)
    child.join(30)
    return child.exitcode, time.monotonic() - began


def blocked(job, ready, step, how):
    """Make the forward pass of a step go on for ever, after the batch norm has seen the batch."""
    forward = job.task.forward

    def blocking(views):
        answer = forward(views)
        if job.task.training and int(job.task.steps) == step:
            ready.set()
            how()
        return answer

    job.task.forward = blocking


def stops_in_a_step(tiny, folder, how):
    def body(ready):
        job = tiny.job(folder)
        blocked(job, ready, 6, how)
        fit(*job.parts, job.validate)

    code, seconds = interrupted(body)
    assert code == 130 and seconds < 5
    resumed = tiny.job(folder)
    assert resumed.run.step == 6
    fit(*resumed.parts, resumed.validate)
    return resumed


def stops_in_validation(tiny, folder, how):
    def body(ready):
        job = tiny.job(folder)
        fit(*job.parts, lambda: (ready.set(), how()))

    code, seconds = interrupted(body)
    assert code == 130 and seconds < 5
    job = tiny.job(folder)
    assert job.run.step == 4 and job.run.rows("val") == []
    fit(*job.parts, job.validate)
    return job


@pytest.mark.own_process
def test_steps_and_validations_that_take_for_ever_are_given_up(tiny, tmp_path):
    """Asleep, and deep inside a library; what was saved is the state before the step, batch norm included."""
    whole = tiny.job(tmp_path / "whole")
    fit(*whole.parts, whole.validate)
    for number, stops in enumerate((stops_in_a_step, stops_in_validation)):
        for how in (lambda: time.sleep(600), never_returns):
            folder = tmp_path / f"{number}{how.__name__}"
            resumed = stops(tiny, folder, how)
            for name, value in whole.task.state_dict().items():
                assert torch.equal(value, resumed.task.state_dict()[name]), name
            assert (folder / "metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()


@pytest.mark.own_process
def test_a_feed_that_never_delivers_is_not_waited_for(tiny, tmp_path):
    def waiting(ready):
        fit(*tiny.job(tmp_path / "run", workers=3, dataset=Slow(tiny.Blobs(), ready)).parts)

    code, seconds = interrupted(waiting, leaving_s=3)
    assert code == 130 and seconds < 5
    job = tiny.job(tmp_path / "run")
    fit(*job.parts)
    assert job.run.finished

    def full_disk(ready):
        job = tiny.job(tmp_path / "full")
        blocked(job, ready, 3, lambda: time.sleep(600))
        job.run.save = lambda *_: (_ for _ in ()).throw(WorkError("No space."))
        fit(*job.parts)

    assert interrupted(full_disk)[0] == 1


def test_what_is_at_rest_is_saved_once_and_only_when_there_is_no_end():
    saved = []
    with Interrupt(patience_s=0.05) as interrupt:
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.requested
        with interrupt.at_rest(lambda: saved.append("too early")):
            pass
        time.sleep(0.2)  # the state is moving
    assert saved == []
    with (
        pytest.raises(KeyboardInterrupt),
        Interrupt(patience_s=0.05) as interrupt,
        interrupt.at_rest(lambda: saved.append("saved")),
    ):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert saved == ["saved"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL and signal.set_wakeup_fd(-1) == -1


def test_an_interrupt_from_the_keyboard_never_ends_the_process_the_hard_way(monkeypatch):
    monkeypatch.setattr(interrupts, "_LEAVING_S", 0.05)
    saved = []
    with (
        pytest.raises(KeyboardInterrupt),
        Interrupt(patience_s=0.05) as interrupt,
        interrupt.at_rest(lambda: saved.append("saved")),
    ):
        os.kill(os.getpid(), signal.SIGINT)
        ctypes.CDLL(None).usleep(400_000)
        ctypes.CDLL(None).usleep(400_000)
        time.sleep(1)
    assert saved == ["saved"]
