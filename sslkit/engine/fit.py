"""The one train loop of the package."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from sslkit.engine import distributed, norms
from sslkit.engine.alarm import Alarms
from sslkit.engine.device import kernels, place, precision, within_memory
from sslkit.engine.feed import Feed, explained, parts
from sslkit.engine.interrupt import Interrupt
from sslkit.engine.optim import learning_rate, optimiser, require_fitting
from sslkit.engine.run import Row, Run
from sslkit.engine.validate import Validation
from sslkit.engine.watch import Averages, Clock, LossWatch, require_finite
from sslkit.errors import UserError
from sslkit.recipe import Plan, Recipe, Train
from sslkit.tasks.base import Task
from sslkit.types import Answer, Batch, Draw

Progress = Callable[[int, int, Mapping[str, float]], None]
"""Called with the steps taken, the steps of the plan, and the figures of the last row."""


@dataclass
class Fit:
    """What a training came to.

    steps: taken since the beginning of the run. metrics: means of the last row of training. validation, best: the last
    and the best row of validation ({"step", name: value}), None without any. last: the last validation itself, if it
    was made now. alarms: sentences about what should be looked at. seconds: of this call; waited_share: the part of its
    training that waited for data, 0 to 1. samples_per_s: over all processes, validation and saving not counted.
    """

    steps: int
    metrics: dict[str, float]
    validation: Row | None = None
    best: Row | None = None
    last: Validation | None = field(default=None, repr=False)
    alarms: list[str] = field(default_factory=list)
    seconds: float = 0.0
    waited_share: float = 0.0
    samples_per_s: float = 0.0


def fit(
    task: Task,
    feed: Feed,
    recipe: Recipe,
    plan: Plan,
    run: Run,
    validate: Callable[[], Validation] | None = None,
    progress: Progress | None = None,
) -> Fit:
    """Train a task to the end of its plan, from the last checkpoint of the run if there is one.

    A run that was interrupted and resumed ends with the same weights and rows as one that was not, on the CPU bit for
    bit. Every `plan.validate_steps`, and at the end, the state is saved and `validate` is called (in the main process
    only). SIGINT and SIGTERM save the state after the step, then raise KeyboardInterrupt; one process alone gives up a
    step that takes long, and saves the state before it. Several processes end with the weights that one would, to
    rounding, but for what the network itself draws at random (dropout) and for babble, which is that of the sounds at
    hand. The parts of `accumulate` count alike, however much is asked in each.

    Raises WorkError for a loss that is not finite, naming the step and the samples, for memory that does not suffice,
    and whatever the feed raises.
    """
    train, device = recipe.train, torch.device(plan.device)
    place(task, device).train()
    task.gather = distributed.gather
    norms.share(task, device)
    mover = optimiser(task, train, plan)
    window, watch, alarms = Averages(), LossWatch(feed.keys), Alarms(recipe.alarm, plan)
    start = _resume(run, task, mover, window, device)
    clock = Clock(start, plan.batch, lambda: feed.waited_s)
    model = _wrapped(task, train, device)
    feed.seek(start)
    last = None
    with (
        Interrupt() as interrupt,
        kernels(device),
        _own_randomness(device),
        explained(),
        within_memory(plan),
        contextlib.closing(feed),
    ):
        if start == 0:
            with interrupt.at_once():
                task.before_training(feed.sweep)
            # What was fitted need not come out the same to the last digit, or of the same sign, on every host.
            distributed.share(task.state_dict().values())
        if validate and _unjudged(run, start, plan):
            last = _judge(validate, task, run, start, interrupt, alarms)
        for step in range(start, plan.steps):
            rate = learning_rate(step, train, plan)
            for group in mover.param_groups:
                group["lr"] = rate
            with _at_rest(interrupt, run, task, mover, window, step):
                batch = next(feed)
                logs = _gradients(model, task, batch, step, plan)
                watch.look(step, logs["loss"], batch.index)
            if train.clip_norm:
                nn.utils.clip_grad_norm_(task.parameters(), train.clip_norm)
            mover.step()
            task.after_step()
            window.add(logs)
            taken = step + 1
            if taken % _log_every(plan) == 0 or taken == plan.steps:
                watch.flush()
                window = _log(window, run, taken, plan, rate, clock, progress, alarms)
            stop = distributed.anywhere(interrupt.requested)
            if stop or _due(taken, plan):
                with clock.paused():
                    watch.flush()
                    _save(run, task, mover, window, taken)
                    if stop:
                        distributed.barrier()
                        raise KeyboardInterrupt
                    if validate:
                        last = _judge(validate, task, run, taken, interrupt, alarms)
    return _fit(run, start, plan.steps, clock, last, alarms.found)


def _gradients(model: nn.Module, task: Task, batch: Batch, step: int, plan: Plan) -> dict[str, Tensor]:
    """Leave the gradients of a step in the parameters, and return its loss and logs."""
    rank, device = distributed.rank(), torch.device(plan.device)
    # Dropout draws from torch's global generator: seeded for the step, a resumed run needs no stored state.
    torch.manual_seed(int(Draw(plan.seed, step, rank, stream="network").integers(high=2**63 - 1)))
    model.zero_grad(set_to_none=True)
    told: dict[str, list[Tensor]] = {}
    for number, part in enumerate(parts(plan, rank)):
        rows = batch.map(partial(_rows, first=number * part.rows, count=part.rows))
        views = task.views(rows, Draw(plan.seed, step, part=part))
        with _synchronised(model, number == plan.accumulate - 1):
            with precision(device, plan.dtype):
                answer: Answer = model(views)
            (answer.loss / plan.accumulate).backward()  # type: ignore[no-untyped-call]
        for name, value in {"loss": answer.loss, **answer.logs}.items():
            told.setdefault(name, []).append(value.detach().double())
    # A part that asks nothing has a loss of 0, and no accuracy.
    return {name: torch.stack(values).mean() for name, values in told.items()}


def _rows(tensor: Tensor, first: int, count: int) -> Tensor:
    return tensor[first : first + count]


def _synchronised(model: nn.Module, last: bool) -> AbstractContextManager[object]:
    """Processes exchange gradients once a step, with those of its last part."""
    if isinstance(model, DistributedDataParallel) and not last:
        return model.no_sync()
    return contextlib.nullcontext()


def _wrapped(task: Task, train: Train, device: torch.device) -> nn.Module:
    """The task as the loop calls it: over all processes, compiled."""
    model: nn.Module = torch.compile(task) if train.compile else task  # type: ignore[assignment]
    if distributed.world() == 1:
        return model
    ids = [torch.cuda.current_device()] if device.type == "cuda" else None
    # A task may use a trunk only up to some layer, which leaves parameters without gradients.
    return DistributedDataParallel(model, device_ids=ids, find_unused_parameters=True)


@contextlib.contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """The run seeds torch's global generators; the caller's come back."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _due(step: int, plan: Plan) -> bool:
    return step > 0 and (step % plan.validate_steps == 0 or step == plan.steps)


def _unjudged(run: Run, step: int, plan: Plan) -> bool:
    """Whether the run was stopped between saving and validating at a step."""
    # The main process decides for all: the rows are changing under the eyes of the others.
    done = not distributed.is_main() or any(row["step"] == step for row in run.rows("val"))
    return _due(step, plan) and distributed.anywhere(not done)


def _log_every(plan: Plan) -> int:
    return max(1, min(50, plan.validate_steps, plan.steps // 20))


def _resume(run: Run, task: Task, mover: Optimizer, window: Averages, device: torch.device) -> int:
    """Load the last checkpoint, and return how many steps are taken."""
    state = run.load()
    distributed.require_same("the last checkpoint", None if state is None else state["step"])
    if state is None:
        run.rewind(0)
        return 0
    try:
        task.load_state_dict(state["task"])
        require_fitting(mover, state["optimiser"])
        mover.load_state_dict(state["optimiser"])
        window.load(state["window"], device)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{run.folder} was trained by another version of the task; choose another --out.") from error
    step = int(state["step"])
    run.rewind(step)
    return step


def _save(
    run: Run, task: Task, mover: Optimizer, window: Averages, step: int, statistics: Mapping[str, Tensor] | None = None
) -> None:
    require_finite(task, step)
    weights = {**task.state_dict(), **(statistics or {})}
    run.save({"step": step, "task": weights, "optimiser": mover.state_dict(), "window": window.state()})


def _at_rest(
    interrupt: Interrupt, run: Run, task: Task, mover: Optimizer, window: Averages, step: int
) -> AbstractContextManager[None]:
    """Until the weights move, what has to be saved is the state after the step before."""
    if distributed.world() > 1:  # the others would wait for ever for the process that gives up
        return contextlib.nullcontext()
    return interrupt.at_rest(partial(_save, run, task, mover, window, step, norms.statistics(task)))


def _log(
    window: Averages,
    run: Run,
    step: int,
    plan: Plan,
    rate: float,
    clock: Clock,
    progress: Progress | None,
    alarms: Alarms,
) -> Averages:
    """Write the row of the steps since the last one, and begin the next."""
    means = distributed.mean(window.means())
    speed = clock.lap(step)
    run.log(step, "train", {"lr": rate, **means}, speed)
    if distributed.is_main():
        if progress:
            progress(step, plan.steps, {"lr": rate, **means, **speed})
        alarms.logged(step, means)
    return Averages()


def _judge(
    validate: Callable[[], Validation], task: Task, run: Run, step: int, interrupt: Interrupt, alarms: Alarms
) -> Validation | None:
    """Validate in the main process, keep the weights if they are the best so far, and write the row, in this order:
    a run that is killed in between validates again when it resumes."""
    validation = None
    if distributed.is_main():
        with distributed.alone(), interrupt.at_once():
            validation = validate()
        best = best_row(run.rows("val"))
        if best is None or _merit(validation.metrics) > _merit(best):
            run.save({"step": step, "task": task.state_dict(), "metrics": validation.metrics}, "best.pt")
        run.log(step, "val", validation.metrics)
        alarms.validated(step, validation)
    with interrupt.at_once():
        distributed.barrier()
    return validation


def best_row(rows: list[Row]) -> Row | None:
    """The best row of validation (the first of equals): the one with the smallest loss.

    The loss, not the accuracy: on a few hundred questions the accuracy jumps by points between equally good weights.
    """
    return max(rows, key=_merit, default=None)


def _merit(metrics: Mapping[str, float]) -> float:
    return -metrics["loss"] if math.isfinite(metrics["loss"]) else -math.inf


def _fit(run: Run, start: int, step: int, clock: Clock, last: Validation | None, alarms: list[str]) -> Fit:
    def figures(row: Row | None) -> dict[str, float]:
        return {name: value for name, value in (row or {}).items() if name not in ("step", "split")}

    rows = run.rows() if distributed.is_main() else []
    trained, validated = ([row for row in rows if row["split"] == split] for split in ("train", "val"))
    speed = clock.total(step) if step > start else {}
    return Fit(
        steps=step,
        metrics=figures(trained[-1] if trained else None),
        validation=validated[-1] if validated else None,
        best=best_row(validated),
        last=last,
        alarms=alarms,
        seconds=clock.seconds,
        **speed,
    )
