"""Damaged datasets: what is read is what was stored, or one sentence says why not."""

from __future__ import annotations

import fuzzing
import pytest

NAMES = ["shard", "index", "dataset.json", "resealed shard", "resealed index"]


@pytest.mark.parametrize("inputs", [150, pytest.param(1500, marks=pytest.mark.slow)])
def test_damaged_datasets(inputs: int) -> None:
    tally = fuzzing.run(NAMES, 0, inputs)
    print(tally.table())
    assert not tally.wrong
