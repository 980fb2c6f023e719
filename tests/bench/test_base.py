"""How rivals take turns, and what a row says of them."""

import time

import pytest

from sslkit.bench import base
from sslkit.bench.base import Spent, Turns, compared, taking_turns


def test_rivals_alternate_and_the_first_turn_is_not_kept() -> None:
    calls: list[str] = []

    def rival(name: str, seconds: float):  # type: ignore[no-untyped-def]
        def work() -> Spent:
            calls.append(name)
            return Spent(seconds, seconds)

        return work

    turns = taking_turns(rival("a", 2.0), rival("b", 1.0), 3)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert turns.ratios("cpu") == [2.0] * 3 and turns.median("wall") == (2.0, 1.0)


def test_both_clocks_run_and_sleep_costs_no_processor_time() -> None:
    spent = base.timed(lambda: time.sleep(0.05))
    assert spent.wall >= 0.05 and spent.cpu < 0.04
    busy = base.timed(lambda: sum(range(2_000_000)))
    assert busy.cpu > 0.005 and busy.per(2).cpu == busy.cpu / 2


@pytest.mark.parametrize(
    ("unit", "aims", "value", "ratio", "met"),
    [
        ("ms", {"at_most": 1.05}, 2000.0, 2.0, False),
        ("ms", {}, 2000.0, 2.0, None),
        ("windows/s", {"at_least": 0.5}, 0.5, 0.5, True),
        ("windows/s", {"at_least": 0.8}, 0.5, 0.5, False),
    ],
)
def test_a_row_says_cost_or_speed_and_whether_the_aim_is_met(unit, aims, value, ratio, met) -> None:  # type: ignore[no-untyped-def]
    turns = Turns([Spent(9, 2), Spent(9, 2), Spent(9, 4)], [Spent(3, 1)] * 3)
    row = compared("r", "what", turns, "other", unit, **aims)
    assert (row.value, row.ratio, row.met, row.clock) == (value, ratio, met, "cpu")
    assert row.wall_ratio == pytest.approx(3.0 if unit == "ms" else 1 / 3)
    assert (row.low, row.high) == ((2.0, 4.0) if unit == "ms" else (0.25, 0.5))
    assert row.aim == next((f"{'>=' if k == 'at_least' else '<='} {v:g}" for k, v in aims.items()), None)
    assert list(row.shown())[:4] == ["row", "what", "value", "unit"]
