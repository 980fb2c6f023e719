"""Damaged recipes, runs, weights and data in training: used is what was written, or one sentence says why not."""

from __future__ import annotations

import fuzzing
import pytest
import run_kinds

NAMES = [kind.name for kind in run_kinds.KINDS]


@pytest.mark.parametrize("inputs", [160, pytest.param(2000, marks=pytest.mark.slow)])
def test_damaged_runs(inputs: int) -> None:
    tally = fuzzing.run(NAMES, 0, inputs)
    print(tally.table())
    assert not tally.wrong
