import torch

from sslkit.ops.pairs import partners


def test_partners_are_of_other_sources_and_usable_and_all_are_drawn() -> None:
    source = torch.tensor([7, 7, 3, 3, 3, 9, 7])
    usable = torch.tensor([True, True, True, False, True, True, True])
    place = torch.rand(7, 400, generator=torch.Generator().manual_seed(0))
    found = partners(source, usable, place)
    for row in range(7):
        others = {j for j in range(7) if usable[j] and source[j] != source[row]} if usable[row] else {-1}
        assert set(found[row].tolist()) == others


def test_partners_are_counted_round_the_batch() -> None:
    source = torch.arange(5)
    place = torch.tensor([[0.0, 0.3, 0.999]]).expand(5, 3)
    expected = [[(row + step) % 5 for step in (1, 2, 4)] for row in range(5)]
    assert partners(source, torch.ones(5, dtype=torch.bool), place).tolist() == expected


def test_without_another_source_there_is_no_partner() -> None:
    alone = partners(torch.zeros(3, dtype=torch.int64), torch.ones(3, dtype=torch.bool), torch.zeros(3, 2))
    assert alone.tolist() == [[-1, -1]] * 3
    assert partners(torch.zeros(1, dtype=torch.int64), torch.ones(1, dtype=torch.bool), torch.zeros(1, 1)).item() == -1
