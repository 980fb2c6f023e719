"""Random numbers: those of a sample do not depend on how its batch is shared out."""

import pytest
import torch

from sslkit.types import Draw, Part

DRAWS = {
    "uniform": lambda draw, n: draw.uniform(n, 3, low=2, high=5),
    "normal": lambda draw, n: draw.normal(n),
    "integers": lambda draw, n: draw.integers(n, 2, high=1000),
    "choice": lambda draw, n: draw.choice(torch.arange(50.0), n),
}


@pytest.mark.parametrize("each", [1, 4])
@pytest.mark.parametrize("name", DRAWS)
def test_parts_of_a_batch_get_the_numbers_of_the_whole(name, each):
    whole = Draw(1, 7)
    cuts = [Draw(1, 7, part=part) for part in (Part(0, 6, 24), Part(6, 12, 24), Part(18, 6, 24))]
    for _ in range(2):
        parts = [DRAWS[name](cut, each * cut._part.rows) for cut in cuts]
        assert torch.equal(torch.cat(parts), DRAWS[name](whole, each * 24))


def test_what_the_whole_batch_shares_is_drawn_in_common():
    cuts = [Draw(1, 7, part=Part(first, 6, 12)) for first in (0, 6)]
    first, second = ([cut.shuffle(5), cut.common.uniform(6, 2), cut.integers(high=9), cut.normal(6)] for cut in cuts)
    assert all(map(torch.equal, first[:3], second[:3])) and first[1].shape == (6, 2)
    assert not torch.equal(first[3], second[3])


def test_numbers_that_do_not_fit_the_samples_are_refused():
    with pytest.raises(ValueError, match="7 numbers were drawn for 6 samples.*draw.common"):
        Draw(1, 7, part=Part(0, 6, 12)).uniform(7)


def test_seed_step_rank_and_stream_all_count():
    draws = [Draw(0, 0), Draw(1, 0), Draw(0, 1), Draw(0, 0, rank=1), Draw(0, 0, stream="network")]
    assert len({float(draw.uniform()) for draw in draws}) == 5
