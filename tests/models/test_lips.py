import torch

from sslkit.models.lips import HOP, WINDOW, Lips, Speech


def test_pictures_and_sound_come_in_with_all_their_digits() -> None:
    """Also within mixed precision: what differs from the mean picture is small."""
    generator, seen = torch.Generator().manual_seed(0), list[torch.Tensor]()
    frames = 120 + 5 * torch.rand(2, 8, 3, 48, 48, generator=generator)
    sound = 1000 * torch.randn(2, WINDOW + 3 * HOP, generator=generator)
    sight, speech = Lips().eval(), Speech().eval()
    for first in (sight.first, speech.blocks[0][0]):
        first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    for mixed in (False, True):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            sight.dense(frames), speech.dense(sound)
    assert torch.equal(seen[0], seen[2]) and torch.equal(seen[1], seen[3])
