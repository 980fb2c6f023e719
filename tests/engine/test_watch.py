"""Averages, the clock, the watch over the loss, and interrupts."""

import os
import signal
import threading
import time

import pytest
import torch
from torch import nn

from sslkit.engine import watch as watch_module
from sslkit.engine.interrupt import Interrupt
from sslkit.engine.watch import Averages, Clock, LossWatch, require_finite
from sslkit.errors import WorkError


def test_averages_are_weighted_and_continue_exactly():
    whole, first, second = Averages(), Averages(), Averages()
    values = [(torch.rand(()), weight) for weight in (3, 1, 7, 2)]
    for value, weight in values:
        whole.add({"loss": value}, weight)
    for value, weight in values[:2]:
        first.add({"loss": value}, weight)
    second.load(first.state(), torch.device("cpu"))
    for value, weight in values[2:]:
        second.add({"loss": value}, weight)
    expected = sum(value.double() * weight for value, weight in values) / 13
    assert whole.means() == second.means() == {"loss": pytest.approx(expected.item())}
    assert Averages().means() == {}


def test_averages_of_what_is_not_always_there():
    averages = Averages()
    averages.add({"a": torch.tensor(1.0)})
    averages.add({"a": torch.tensor(3), "b": torch.tensor(5.0, dtype=torch.bfloat16, requires_grad=True)})
    assert averages.means() == {"a": 2.0, "b": 5.0}


def test_the_clock_leaves_pauses_out(monkeypatch):
    now, waited = [100.0], [5.0]
    monkeypatch.setattr(watch_module.time, "perf_counter", lambda: now[0])
    clock = Clock(start=10, batch=4, waited_s=lambda: waited[0])
    now[0], waited[0] = 102.0, 6.0
    assert clock.lap(15) == {"samples_per_s": 10.0, "waited_share": 0.5}
    with clock.paused():
        now[0] = 150.0
    now[0] = 152.0
    assert clock.lap(20) == {"samples_per_s": 10.0, "waited_share": 0.0}
    assert clock.total(20) == {"samples_per_s": 10.0, "waited_share": 0.25} and clock.seconds == 52


def test_the_watch_names_step_and_samples():
    watch = LossWatch(lambda index: [f"s{i}" for i in index.tolist()])
    watch.look(1, torch.tensor(1e30), torch.arange(2))
    with pytest.raises(WorkError, match=r"loss of step 2 is inf on samples s0, s1; lower train\.lr"):
        watch.look(2, torch.tensor(float("inf")), torch.arange(2))
    with pytest.raises(WorkError, match=r"s6, s7 and 12 more; "):
        watch.look(3, torch.tensor(float("nan")), torch.arange(20))
    watch.flush()


def test_weights_must_be_finite():
    layer = nn.Linear(2, 2)
    require_finite(layer, 1)
    require_finite(nn.Identity(), 1)
    layer.weight.data[0, 0] = -float("inf")
    with pytest.raises(WorkError, match="after step 3"):
        require_finite(layer, 3)


def test_the_first_signal_waits_and_the_second_does_not(monkeypatch):
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.requested, "signals that come together are one"
        later = time.monotonic() + 5
        monkeypatch.setattr(time, "monotonic", lambda: later)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_at_once(monkeypatch):
    with Interrupt() as interrupt:
        with pytest.raises(KeyboardInterrupt), interrupt.at_once():
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt), interrupt.at_once():
            pytest.fail("it had been requested before")


def test_other_threads_are_left_alone():
    before, seen = signal.getsignal(signal.SIGINT), []

    def work():
        with Interrupt() as interrupt:
            seen.append((interrupt.requested, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
