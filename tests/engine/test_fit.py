"""The train loop: it learns, it resumes bit for bit, it saves before it stops, it refuses a loss that is no number."""

import json
import multiprocessing
import os
import resource
import signal
import time

import pytest
import torch

from sslkit.engine import fit as fit_module
from sslkit.engine.fit import best_row, fit
from sslkit.errors import UserError, WorkError


def state(job):
    return job.run.load()


def same(first, second):
    """Whether two trees of tensors and plain values are equal bit for bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def run_to(job, stop_after):
    """Train until an interrupt that arrives during step `stop_after`."""
    views, calls = job.task.views, []

    def interrupting(batch, draw):
        if job.task.training:
            calls.append(draw.step)
            if draw.step == stop_after - 1:
                os.kill(os.getpid(), signal.SIGTERM)
        return views(batch, draw)

    job.task.views = interrupting
    with pytest.raises(KeyboardInterrupt):
        fit(*job.parts, job.validate)
    assert calls[-1] == stop_after - 1, "the step in which the signal arrives is the last"


def test_it_learns_and_reports(tiny, tmp_path):
    job, seen = tiny.job(tmp_path / "run", steps=60, lr=0.5), []
    before = job.validate()
    result = fit(*job.parts, job.validate, lambda step, steps, row: seen.append((step, steps, row)))
    assert before.metrics["loss"] > 2 * result.validation["loss"]
    assert result.last.metrics["accuracy"] == 100 and result.last.chance == 50
    assert result.steps == 60 and result.best["accuracy"] == 100
    assert result.seconds > 0 and 0 < result.waited_share < 1 and result.samples_per_s > 0
    assert [step for step, _, _ in seen] == list(range(3, 61, 3)) and seen[-1][1] == 60
    assert set(seen[0][2]) == {"lr", "loss", "accuracy", "samples_per_s", "waited_share"}
    assert job.run.finished and int(job.task.steps) == 60 and job.task.training


def test_rows_hold_the_means_of_their_steps(tiny, tmp_path):
    each, every = tiny.job(tmp_path / "each", steps=12), tiny.job(tmp_path / "every", steps=12)
    fit(*each.parts)
    original, fit_module._log_every = fit_module._log_every, lambda plan: 5
    try:
        fit(*every.parts)
    finally:
        fit_module._log_every = original
    losses = [row["loss"] for row in each.run.rows("train")]
    means = [(row["step"], row["loss"]) for row in every.run.rows("train")]
    assert [step for step, _ in means] == [5, 10, 12]
    expected = [sum(losses[:5]) / 5, sum(losses[5:10]) / 5, sum(losses[10:]) / 2]
    assert [loss for _, loss in means] == pytest.approx(expected)


@pytest.mark.parametrize(("stops", "workers"), [((1,), 0), ((4,), 0), ((5, 7, 12), 0), ((6,), 2)])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_resumed_equals_uninterrupted(tiny, tmp_path, monkeypatch, stops, workers, optimizer):
    # Rows of five steps: the interrupts come in the middle of a row, on a validation, and in the last step.
    monkeypatch.setattr(fit_module, "_log_every", lambda plan: 5)
    settings = dict(optimizer=optimizer, lr=0.05, clip_norm=1.0, accumulate=2)
    whole = tiny.job(tmp_path / "whole", **settings)
    fit(*whole.parts, whole.validate)
    for stop in stops:
        run_to(tiny.job(tmp_path / "cut", workers=workers, **settings), stop)
        assert tiny.job(tmp_path / "cut", **settings).run.step == stop
        torch.rand(3)  # the global generator of another process stands elsewhere
    resumed = tiny.job(tmp_path / "cut", **settings)
    fit(*resumed.parts, resumed.validate)
    assert same(state(whole), state(resumed))
    assert same(torch.load(tmp_path / "whole/best.pt"), torch.load(tmp_path / "cut/best.pt"))
    assert (tmp_path / "whole/metrics.jsonl").read_bytes() == (tmp_path / "cut/metrics.jsonl").read_bytes()
    assert [row["step"] for row in resumed.run.rows("val")] == [4, 8, 12]


def test_a_killed_run_repeats_the_rows_after_its_checkpoint(tiny, tmp_path):
    whole, killed = tiny.job(tmp_path / "whole"), tiny.job(tmp_path / "killed")
    fit(*whole.parts, whole.validate)

    def dies(step, steps, row):
        if step == 7:
            raise SystemExit

    with pytest.raises(SystemExit):
        fit(*killed.parts, killed.validate, dies)
    with open(tmp_path / "killed/metrics.jsonl", "a") as file:
        file.write('{"step": 8, "spl')
    again = tiny.job(tmp_path / "killed")
    assert again.run.step == 4
    fit(*again.parts, again.validate)
    assert (tmp_path / "whole/metrics.jsonl").read_text() == (tmp_path / "killed/metrics.jsonl").read_text()


def test_a_finished_run_returns_at_once(tiny, tmp_path):
    job = tiny.job(tmp_path / "run")
    first = fit(*job.parts, job.validate)
    again = tiny.job(tmp_path / "run", dataset=tiny.Blobs(broken={i: WorkError("read") for i in range(20)}))
    second = fit(*again.parts, lambda: pytest.fail("validated again"))
    assert (second.steps, second.metrics, second.best) == (first.steps, first.metrics, first.best)
    assert second.samples_per_s == 0 and same(job.task.state_dict(), again.task.state_dict())


def _trained_by_child(tiny, folder, ready):
    job = tiny.job(folder, workers=2, steps=2000)
    try:
        fit(*job.parts, progress=lambda step, steps, row: ready.set())
    except KeyboardInterrupt:
        os._exit(130)


@pytest.mark.own_process
def test_sigint_of_a_whole_process_group_saves_first(tiny, tmp_path):
    fork = multiprocessing.get_context("fork")
    ready = fork.Event()

    def main():
        os.setsid()
        _trained_by_child(tiny, tmp_path / "run", ready)

    child = fork.Process(target=main)
    child.start()
    assert ready.wait(30)
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    child.join(30)
    assert child.exitcode == 130
    job = tiny.job(tmp_path / "run", steps=2000)
    assert 4 <= job.run.step < 2000
    assert job.run.rows()[-1]["step"] <= job.run.step


def test_signal_handlers_and_randomness_come_back(tiny, tmp_path):
    def handler(number, frame):
        raise AssertionError

    before = signal.signal(signal.SIGTERM, handler)
    try:
        torch.manual_seed(3)
        expected = torch.rand(4)
        torch.manual_seed(3)
        fit(*tiny.job(tmp_path / "run", workers=1).parts)
        assert torch.equal(torch.rand(4), expected)
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_interrupt_during_validation_stops_at_once_and_validates_on_resume(tiny, tmp_path):
    job = tiny.job(tmp_path / "run")

    def interrupted():
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the interrupt was ignored")

    with pytest.raises(KeyboardInterrupt):
        fit(*job.parts, interrupted)
    assert job.run.step == 4 and job.run.rows("val") == []
    again = tiny.job(tmp_path / "run")
    fit(*again.parts, again.validate)
    assert [row["step"] for row in again.run.rows("val")] == [4, 8, 12]


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(tiny, tmp_path):
    job = tiny.job(tmp_path / "run", lr=0.1)
    forward = job.task.forward

    def breaking(views):
        answer = forward(views)
        if int(job.task.steps) == 6:
            answer.loss = answer.loss * float("nan")
        return answer

    job.task.forward = breaking
    with pytest.raises(WorkError, match=r"loss of step 6 is nan on samples blob-\d+, .*train\.lr"):
        fit(*job.parts)
    assert job.run.step == 4
    assert all(torch.isfinite(v).all() for v in state(job)["task"].values())


def test_a_worker_that_dies_during_a_step_is_told_in_a_sentence(tiny, tmp_path):
    job = tiny.job(tmp_path / "run", workers=1, steps=500)

    def killing():
        if int(job.task.steps) == 2:
            (worker,) = multiprocessing.active_children()
            os.kill(worker.pid, signal.SIGKILL)
            time.sleep(0.2)

    job.task.after_step = lambda: (type(job.task).after_step(job.task), killing())
    with pytest.raises(WorkError, match=r"process that reads data died .*--workers"):
        fit(*job.parts)


@pytest.mark.parametrize(
    "exhaust",
    [
        lambda: torch.empty(2**60),
        lambda: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")),
        lambda: (_ for _ in ()).throw(MemoryError()),
    ],
    ids=["cpu", "cuda", "python"],
)
def test_memory_that_does_not_suffice_is_told_with_what_needs_less(tiny, tmp_path, exhaust):
    job = tiny.job(tmp_path / "run", accumulate=2)
    forward = job.task.forward

    def hungry(views):
        if job.task.training and int(job.task.steps) == 5:
            exhaust()
        return forward(views)

    job.task.forward = hungry
    sentence = "A step on 3 samples at once does not fit the memory of cpu: raise train.accumulate above 2, or lower"
    with pytest.raises(WorkError, match=f"^{sentence} train.batch.$"):
        fit(*job.parts)
    assert job.run.step == 4 and not list(job.run.folder.glob("*.partial"))


def test_a_disk_that_fills_keeps_the_last_checkpoint_and_the_run_goes_on_later(tiny, tmp_path):
    whole, cut = tiny.job(tmp_path / "whole"), tiny.job(tmp_path / "cut")
    fit(*whole.parts, whole.validate)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def filling(step, *_):
        if step == 6:
            resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))

    try:
        with pytest.raises(WorkError, match="checkpoint.pt cannot be written .file too large.: free some space"):
            fit(*cut.parts, cut.validate, filling)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    again = tiny.job(tmp_path / "cut")
    assert again.run.step == 4 and not list(again.run.folder.glob("*.partial"))
    fit(*again.parts, again.validate)
    assert same(state(whole), state(again))
    assert (tmp_path / "whole/metrics.jsonl").read_bytes() == (tmp_path / "cut/metrics.jsonl").read_bytes()


def test_weights_that_are_no_numbers_are_not_saved(tiny, tmp_path):
    job = tiny.job(tmp_path / "run")

    def poison():
        with torch.no_grad():
            job.task.head.bias.fill_(float("inf"))

    job.task.after_step = poison
    job.plan = job.plan.model_copy(update={"validate_steps": 1})
    with pytest.raises(WorkError, match="not finite after step 1"):
        fit(*job.parts)
    assert job.run.load() is None


def test_accumulated_parts_equal_the_whole_batch(tiny, tmp_path):
    plain = dict(lr=0.2, steps=6)
    jobs = [tiny.job(tmp_path / f"{n}", task=None, accumulate=n, **plain) for n in (1, 3)]
    for job in jobs:
        torch.manual_seed(0)
        job.task = tiny.Brighter(norm=False, dropout=0.0, noise=8.0)
        fit(*job.parts)
    for first, second in zip(jobs[0].task.parameters(), jobs[1].task.parameters(), strict=True):
        torch.testing.assert_close(first, second)
    rows = [[row["loss"] for row in job.run.rows("train")] for job in jobs]
    assert rows[0] == pytest.approx(rows[1], rel=1e-5)


def test_another_task_does_not_take_the_checkpoint(tiny, tmp_path):
    fit(*tiny.job(tmp_path / "run").parts)
    with pytest.raises(UserError, match="another version of the task"):
        fit(*tiny.job(tmp_path / "run", task=tiny.Brighter(norm=False)).parts)


def test_bfloat16_is_used_when_the_plan_says_so(tiny, tmp_path):
    job, kinds = tiny.job(tmp_path / "run", steps=2), []
    job.plan = job.plan.model_copy(update={"dtype": "bfloat16"})
    job.task.head.register_forward_hook(lambda module, inputs, output: kinds.append(output.dtype))
    fit(*job.parts)
    assert set(kinds) == {torch.bfloat16} and job.task.head.weight.dtype == torch.float32


def test_best_is_the_smallest_loss():
    rows = [{"step": 1, "loss": 1.0, "accuracy": 90.0}, {"step": 2, "loss": 0.5}, {"step": 3, "loss": float("nan")}]
    assert best_row(rows)["step"] == 2 and best_row([]) is None
    assert best_row([{"step": 4, "loss": 0.5}, {"step": 8, "loss": 0.5}])["step"] == 4


def test_best_weights_are_kept(tiny, tmp_path):
    job = tiny.job(tmp_path / "run")
    losses = iter([0.9, 0.2, 0.4])

    def validate():
        validation = job.validate()
        validation.metrics["loss"] = next(losses)
        return validation

    fitted = fit(*job.parts, validate)
    best = job.run.load("best.pt")
    assert best["step"] == fitted.best["step"] == 8 and best["metrics"]["loss"] == 0.2
    assert fitted.validation["step"] == 12
    assert not same(best["task"], state(job)["task"])


def test_rows_are_the_same_in_every_repetition(tiny, tmp_path):
    for name in ("a", "b"):
        job = tiny.job(tmp_path / name)
        fit(*job.parts, job.validate)
    first, second = ((tmp_path / name / "metrics.jsonl").read_text() for name in ("a", "b"))
    assert first == second and set(json.loads(first.splitlines()[0])) == {"step", "split", "lr", "loss", "accuracy"}


def test_what_is_fitted_before_training_is_fitted_once_and_stored(tiny, tmp_path):
    job, seen = tiny.job(tmp_path / "run"), []

    def fitting(sweep):
        seen.append([batch.index.tolist() for batch in sweep(tiny.READS, 8)])
        job.task.steps += 1000

    job.task.before_training = fitting
    run_to(job, 5)
    assert [len(batch) for batch in seen[0]] == [6, 2]
    indices = [index for batch in seen[0] for index in batch]
    assert len(set(indices)) == 8 and max(indices) > 15, "spread over the data"
    assert int(job.task.steps) == 1005
    again = tiny.job(tmp_path / "run")
    again.task.before_training = fitting
    fit(*again.parts, again.validate)
    assert len(seen) == 1 and int(again.task.steps) == 1012
