"""What is watched while a run trains: averages of its figures, its speed, and whether its loss is still a number."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sslkit.engine import distributed
from sslkit.errors import WorkError

_CURE = "lower train.lr or set train.clip_norm"


class Averages:
    """Weighted means of named scalars, kept on their device so that adding waits for nothing."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._weights: dict[str, float] = {}

    def add(self, values: Mapping[str, Tensor], weight: float = 1.0) -> None:
        """Count scalars of any float type, on any one device."""
        for name, value in values.items():
            term = value.detach().double() * weight
            self._sums[name] = self._sums[name] + term if name in self._sums else term
            self._weights[name] = self._weights.get(name, 0.0) + weight

    def means(self) -> dict[str, float]:
        """The means so far, in the order in which names were first added."""
        if not self._sums:
            return {}
        sums = torch.stack(list(self._sums.values())).tolist()
        return {name: value / self._weights[name] for name, value in zip(self._sums, sums, strict=True)}

    def state(self) -> dict[str, Any]:
        """Plain values from which `load` continues exactly; averaged over processes."""
        sums = {name: float(value) for name, value in self._sums.items()}
        return {"sums": distributed.mean(sums), "weights": distributed.mean(self._weights)}

    def load(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Continue from a `state`."""
        self._sums = {name: torch.tensor(v, dtype=torch.float64, device=device) for name, v in state["sums"].items()}
        self._weights = dict(state["weights"])


class Clock:
    """How fast a run trains, pauses not counted.

    start: steps taken before. batch: samples a step. waited_s: how long the run has waited for data so far.
    seconds: since the clock was made, pauses included.
    """

    def __init__(self, start: int, batch: int, waited_s: Callable[[], float]) -> None:
        self._batch, self._waited_s = batch, waited_s
        self._began_s, self._paused_s = time.perf_counter(), 0.0
        self._first = self._last = (start, 0.0, waited_s())

    @property
    def seconds(self) -> float:
        """Seconds since the clock was made."""
        return time.perf_counter() - self._began_s

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Within, time does not count as training."""
        before = time.perf_counter()
        try:
            yield
        finally:
            self._paused_s += time.perf_counter() - before

    def lap(self, step: int) -> dict[str, float]:
        """samples_per_s, and waited_share (0 to 1), since the lap before."""
        since, self._last = self._last, self._now(step)
        return self._speed(since, self._last)

    def total(self, step: int) -> dict[str, float]:
        """The same since the beginning."""
        return self._speed(self._first, self._now(step))

    def _now(self, step: int) -> tuple[int, float, float]:
        return step, self.seconds - self._paused_s, self._waited_s()

    def _speed(self, since: tuple[int, float, float], now: tuple[int, float, float]) -> dict[str, float]:
        steps, trained_s, waited_s = (b - a for a, b in zip(since, now, strict=True))
        trained_s = max(trained_s, 1e-9)
        return {"samples_per_s": steps * self._batch / trained_s, "waited_share": waited_s / trained_s}


class LossWatch:
    """Stops a run whose loss is not finite, with the step and the samples in the message.

    On the CPU at once. On CUDA one step later, so that the host never waits for the step it has just launched; `flush`
    catches up. names: keys of the samples at the positions of `Batch.index`.
    """

    def __init__(self, names: Callable[[Tensor], list[str]]) -> None:
        self._names = names
        self._pending: tuple[int, Tensor, Tensor, torch.cuda.Event] | None = None

    def look(self, step: int, loss: Tensor, index: Tensor) -> None:
        """Watch the loss (scalar) of a step on the samples `index` (B,). Raises WorkError."""
        if loss.device.type != "cuda":
            return self._require(step, loss, index)
        self.flush()
        arrived = torch.empty((), dtype=loss.dtype, pin_memory=True)
        arrived.copy_(loss.detach(), non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._pending = (step, arrived, index, event)
        return None

    def flush(self) -> None:
        """Check what has not been checked yet. Raises WorkError."""
        if self._pending is not None:
            step, loss, index, event = self._pending
            self._pending = None
            event.synchronize()
            self._require(step, loss, index)

    def _require(self, step: int, loss: Tensor, index: Tensor) -> None:
        value = float(loss)
        if not math.isfinite(value):
            names = self._names(index)
            more = f" and {len(names) - 8} more" if len(names) > 8 else ""
            raise WorkError(f"The loss of step {step} is {value} on samples {', '.join(names[:8])}{more}; {_CURE}.")


def require_finite(module: nn.Module, step: int) -> None:
    """Raise WorkError when a weight is not finite after a step: such a state is not worth keeping."""
    # The sum of absolute values is not finite if and only if one of them is not, short of an overflow of float64.
    sums = [parameter.detach().abs().sum(dtype=torch.float64) for parameter in module.parameters()]
    if sums and not math.isfinite(float(torch.stack(sums).sum())):
        raise WorkError(f"Some weights are not finite after step {step}, and were not saved; {_CURE}.")
