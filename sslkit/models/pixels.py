"""The input conversions that picture trunks share."""

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalise(nn.Module):
    """Raw RGB (B, 3, H, W), 0 to 255, to about zero mean and unit variance by torchvision's constants."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).reshape(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).reshape(1, 3, 1, 1) * 255, persistent=False)

    def constants(self) -> dict[str, list[float]]:
        """`mean` and `std` of each channel, in units of the raw values."""
        return {"mean": [255 * value for value in IMAGENET_MEAN], "std": [255 * value for value in IMAGENET_STD]}

    def forward(self, raw: Tensor) -> Tensor:
        """Float pictures, standardised per channel."""
        return (raw.float() - self.mean) / self.std
