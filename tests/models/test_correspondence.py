import math

import pytest
import torch
from torch.nn import functional as F

from sslkit.models.correspondence import Directions, Distance, Fusion, Head, Places

SIGHT, SOUND = torch.rand(3, 6, 4, 5), torch.rand(3, 8, 2, 7)


@pytest.mark.parametrize("head", [Fusion(6, 8, 16), Distance(6, 8, 16), Places(6, 8, 16)])
def test_pairs_are_scored_one_by_one(head: Head) -> None:
    looked, heard = head.look(SIGHT), head.hear(SOUND)
    rows, columns = torch.tensor([0, 2, 1, 1]), torch.tensor([0, 1, 1, 2])
    together = head.score(looked[rows], heard[columns])
    assert together.shape == (4,)
    for place, (i, j) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        alone = head.score(head.look(SIGHT[i : i + 1]), head.hear(SOUND[j : j + 1]))
        torch.testing.assert_close(together[place], alone[0])


def test_only_distance_counts_for_the_embedding_and_near_is_together() -> None:
    head = Distance(6, 8, 16)
    looked, heard = head.look(SIGHT), head.hear(SOUND)
    torch.testing.assert_close(looked.norm(dim=1), torch.ones(3))
    apart = (looked - heard).norm(dim=1)
    torch.testing.assert_close(head.score(looked, heard), head.bias + head.slope * apart)
    same = torch.eye(16)[:2]
    assert head.score(same, same).min() > 0 > head.score(same, same.flip(0)).max()
    head.score(looked, looked).sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in head.parameters())


def test_the_place_that_is_most_like_the_sound_decides() -> None:
    head = Places(6, 8, 16)
    looked, heard = head.look(SIGHT), head.hear(SOUND)
    assert looked.shape == (3, 16, 4, 5)
    similar = head.similar(looked, heard)
    expected = torch.stack([torch.einsum("dhw,d->hw", a, b) for a, b in zip(looked, heard, strict=True)])
    torch.testing.assert_close(similar, expected / math.sqrt(16))
    torch.testing.assert_close(head.score(looked, heard), similar.flatten(1).amax(1) * head.slope + head.bias)
    one_place = F.one_hot(torch.tensor(3), 16).float().reshape(1, 16, 1, 1)
    assert torch.equal(head.similar(one_place, torch.ones(1, 16)), torch.full((1, 1, 1), 0.25))


def test_cosines_keep_their_digits_within_mixed_precision() -> None:
    head, among = Directions(6, 8, 16), torch.ones(3, 4, 5, dtype=torch.bool)
    looked, heard = head.look(SIGHT), head.hear(SOUND)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = head.against(looked, heard, among)
    assert mixed.dtype == torch.float32 and torch.equal(mixed, head.against(looked, heard, among))
