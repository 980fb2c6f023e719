import torch

from sslkit.ops.precision import in_float32


def test_products_keep_their_digits_within_mixed_precision() -> None:
    a, b = torch.rand(8, 64), torch.rand(64, 8)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = a @ b
        with in_float32(a):
            exact = a @ b
        assert (a @ b).dtype == rounded.dtype == torch.bfloat16
    assert torch.equal(exact, a @ b) and not torch.equal(rounded.float(), exact)
