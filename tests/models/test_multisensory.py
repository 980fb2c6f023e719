import torch

from sslkit.models import trunk as trunks
from sslkit.models.multisensory import Multisensory

SMALL = {"frames": 8, "fps": 12.5, "side_px": 32, "width": 0.125}


def built(**settings: object) -> Multisensory:
    torch.manual_seed(0)
    trunk = trunks.build("multisensory", {**SMALL, **settings})
    assert isinstance(trunk, Multisensory)
    return trunk.eval()


def test_published_sizes() -> None:
    with torch.device("meta"):
        trunk = Multisensory()
        seen = trunk.seen(torch.zeros(1, 125, 3, 224, 224))
        assert seen.shape == (1, 64, 32, 28, 28)
        maps = trunk.joined(seen, torch.zeros(1, 128, 32))
        assert maps["fused"].shape == (1, 128, 32, 28, 28) and maps["res5"].shape == (1, 512, 16, 7, 7)
        finer = Multisensory(cam=True)
        assert finer.joined(seen, torch.zeros(1, 128, 32))["res5"].shape == (1, 512, 16, 14, 14)


def test_batch_norm_stands_after_what_passes_by_the_fusion() -> None:
    trunk = built().train()
    seen, heard = torch.randn(4, 8, 2, 5, 5) * 3 + 7, torch.randn(4, 16, 2) * 2 - 4
    with torch.no_grad():
        past = torch.cat([seen, heard[:, 8:, :, None, None].expand(-1, -1, -1, 5, 5)], 1)
        every = torch.cat([seen, heard[..., None, None].expand(-1, -1, -1, 5, 5)], 1)
        both = trunk.fuse(every) + past
        mean, std = (
            both.mean((0, 2, 3, 4), keepdim=True),
            both.var((0, 2, 3, 4), correction=0, keepdim=True).add(1e-3).sqrt(),
        )
        assert torch.allclose(trunk.joined(seen, heard)["fused"], ((both - mean) / std).relu(), atol=1e-4)


def test_pictures_reach_from_minus_one_to_one() -> None:
    trunk, given = built(), []
    trunk.first.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]))
    for level, wanted in ((0, -1.0), (255, 1.0)):
        trunk.seen(torch.full((1, 8, 3, 32, 32), level, dtype=torch.uint8))
        assert given.pop().unique().tolist() == [wanted]


def test_as_a_trunk_it_sees_and_hears_nothing() -> None:
    trunk = built()
    raw = torch.randint(0, 256, (2, 8, 3, 32, 40), dtype=torch.uint8)
    maps = trunk(raw)
    assert {name: one.shape[1] for name, one in maps.items()} == trunk.widths
    assert trunk.vector(maps).shape == (2, trunk.vector_width)
    silent = trunk.joined(trunk.seen(raw), torch.zeros(2, trunk.widths["fused"], 2))
    assert torch.equal(silent["res5"].flatten(2, 3), maps["res5"])


def test_sound_is_brought_to_the_time_of_the_pictures() -> None:
    trunk = built(frames=16)
    sound = torch.zeros(1, 20_480)
    sound[:, 15_000:15_400] = 20_000
    heard = (trunk.heard(sound, 4) - trunk.heard(torch.zeros_like(sound), 4)).abs().sum(1)[0]
    assert heard.argmax() in (2, 3) and heard[0] < 0.2 * heard.max()
    assert trunk.heard(torch.zeros(1, 20_000), 4).shape == trunk.heard(sound, 4).shape


def test_what_stands_still_can_be_left_out() -> None:
    torch.manual_seed(0)
    moving = torch.rand(2, 8, 3, 32, 32) * 20
    still = torch.rand(2, 1, 3, 32, 32) * 200
    for share, alike in ((0.0, True), (1.0, False)):
        trunk = built(still=share)
        assert torch.allclose(trunk.seen(moving), trunk.seen(moving + still), atol=1e-3) is alike
        assert trunk.front_end["still"] == [share]
