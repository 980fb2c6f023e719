"""A run that does not learn is noticed, once, in time; one that does is left in peace."""

import warnings

import pytest
import torch

from sslkit import recipe as recipes
from sslkit.engine.alarm import Alarms, accuracy, guesses
from sslkit.engine.fit import fit
from sslkit.engine.validate import Validation
from sslkit.errors import Alarm, WorkError
from sslkit.types import Answer


def answered(right, samples, chance=50.0):
    """A validation whose questions were answered as `right` (bools) says, of the samples of these numbers."""
    right = torch.as_tensor(right)
    scores = torch.stack([~right, right], 1).float()
    none = Answer(torch.zeros(()))
    target = torch.ones(len(right), dtype=torch.int64)
    return Validation({}, chance, len(right), {}, none, scores, target, torch.as_tensor(samples))


def alarms(tiny, steps=300, **settings):
    return Alarms(recipes.Alarm(**settings), tiny.plan(tiny.train(steps=steps)))


def test_what_is_better_than_luck(tiny):
    hundred = torch.arange(100)
    assert guesses(answered(hundred < 50, hundred)) and guesses(answered(hundred < 58, hundred))
    assert not guesses(answered(hundred < 59, hundred)), "1.645 standard errors of 49.2 / 10 above 50"
    assert guesses(answered(hundred < 40, hundred))
    # Four questions of a sample that are answered alike count as one: 60 % of 25 samples may be luck.
    assert not guesses(answered(hundred < 60, hundred)) and guesses(answered(hundred < 60, hundred // 4))
    # Always the same answer is exactly chance; one sample says nothing.
    assert guesses(answered(hundred % 2 == 0, hundred // 2)) and guesses(answered(hundred % 4 == 0, hundred // 4, 25.0))
    assert not guesses(answered(hundred >= 0, hundred))
    unknown = answered(hundred < 50, hundred)
    unknown.target[50:] = -1
    assert accuracy(unknown) == 100 and not guesses(unknown)
    unknown.scores = None
    assert not guesses(unknown), "not a classification"


def test_it_warns_once_and_not_before_that_is_due(tiny):
    one, guessing = alarms(tiny), answered(torch.arange(100) < 52, torch.arange(100))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one.validated(100, guessing)
    with pytest.warns(
        Alarm, match=r"^After step 200 .* 52\.0 %, cannot be told from guessing, 50\.0 %; up to step 100 .*\.$"
    ):
        one.validated(200, guessing)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one.validated(300, guessing)
    assert len(one.found) == 1


def test_the_recipe_says_until_when_guessing_is_normal_and_whether_to_stop(tiny):
    guessing = answered(torch.arange(100) < 52, torch.arange(100))
    assert alarms(tiny, steps=10).normal_until_step == 100 and alarms(tiny, steps=3000).normal_until_step == 1000
    late = alarms(tiny, normal_until_step=1000)
    late.validated(299, guessing)
    assert late.found == []
    late.validated(300, guessing)
    assert late.found[0].endswith("that is normal up to step 1000: train for longer.")
    with pytest.raises(WorkError, match=r"cannot be told from guessing.*the run was stopped: look at its data"):
        alarms(tiny, normal_until_step=0, stop=True).validated(10, guessing)


def test_embeddings_that_are_all_alike_are_noticed(tiny):
    one = alarms(tiny)
    one.logged(50, {"loss": 1.0, "embedding_std": 0.001})
    one.logged(150, {"loss": 1.0, "embedding_std": 0.9})
    one.logged(150, {"loss": 1.0})
    assert one.found == []
    with pytest.warns(Alarm, match=r"^Up to step 200 the embeddings are nearly all alike: their spread is 0\.001"):
        one.logged(200, {"loss": 1.0, "embedding_std": 0.001})
    with pytest.raises(WorkError, match="nearly all alike"):
        alarms(tiny, stop=True).logged(200, {"embedding_std": 0.001})


def due(job, **settings):
    """What `fit` takes, with an alarm that is due after 20 steps."""
    alarm = recipes.Alarm(normal_until_step=20, **settings)
    return job.task, job.feed, job.recipe.model_copy(update={"alarm": alarm}), job.plan, job.run


class Shuffled:
    """Blobs whose labels say nothing about them."""

    def __init__(self, blobs):
        self._blobs = blobs

    def __getattr__(self, name):
        return getattr(self._blobs, name)

    def read(self, index, starts, reads):
        sample = self._blobs.read(index, starts, reads)
        sample.label = index // 2 % 2
        return sample


def test_a_task_with_shuffled_labels_sets_it_off_and_one_with_true_labels_does_not(tiny, tmp_path):
    learning = tiny.job(tmp_path / "true", steps=60)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Alarm)
        assert fit(*due(learning), learning.validate).alarms == []
    job = tiny.job(tmp_path / "shuffled", dataset=Shuffled(tiny.Blobs()), steps=60, lr=0.01)
    with pytest.warns(Alarm, match="cannot be told from guessing") as told:
        fitted = fit(*due(job), job.validate)
    assert len(told) == 1 and fitted.alarms == [str(told[0].message)] and fitted.steps == 60


def test_a_run_that_was_to_stop_can_go_on_without_being_another_one(tiny, tmp_path):
    job = tiny.job(tmp_path / "run", dataset=Shuffled(tiny.Blobs()), steps=60, lr=0.01)
    with pytest.raises(WorkError, match="the run was stopped"):
        fit(*due(job, stop=True), job.validate)
    reached = job.run.step
    assert 20 < reached < 60 and job.run.rows("val")[-1]["step"] == reached
    again = tiny.job(tmp_path / "run", dataset=Shuffled(tiny.Blobs()), steps=60, lr=0.01)
    with pytest.warns(Alarm):
        assert fit(*due(again), again.validate).steps == 60
