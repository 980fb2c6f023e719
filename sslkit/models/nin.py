"""Network in network, four blocks of three convolutions, for small pictures.

Source: gidariss/FeatureLearningRotNet, the CIFAR network; the best features are those of block2.
"""

from torch import Tensor, nn

from sslkit.models.pixels import Normalise
from sslkit.models.trunk import Trunk
from sslkit.types import Reads


class NIN(Trunk):
    """block1 .. block4; every convolution is followed by batch norm and ReLU. `width` scales the channels."""

    name = "nin"
    takes = Reads(frames=1)

    def __init__(self, side_px: int = 32, width: float = 1.0) -> None:
        super().__init__()
        self.settings = {"side_px": side_px, "width": width}
        self.crop_px = side_px
        full, first, second = (max(8, round(c * width)) for c in (192, 160, 96))
        self.normalise = Normalise()
        self.front_end = self.normalise.constants()
        self.blocks = nn.ModuleDict(
            {
                "block1": _block(3, (full, first, second), 5),
                "block2": nn.Sequential(nn.MaxPool2d(3, 2, 1), _block(second, (full,) * 3, 5)),
                "block3": nn.Sequential(nn.AvgPool2d(3, 2, 1), _block(full, (full,) * 3, 3)),
                "block4": _block(full, (full,) * 3, 3),
            }
        )
        self.widths = {"block1": second, "block2": full, "block3": full, "block4": full}

    def forward(self, raw: Tensor) -> dict[str, Tensor]:
        """Maps of the layers; see `Trunk.forward`."""
        x, maps = self.normalise(raw), {}
        for name, block in self.blocks.items():
            x = maps[name] = block(x)
        return maps


def _block(inputs: int, outputs: tuple[int, ...], kernel: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for wide, size in zip(outputs, (kernel, 1, 1), strict=True):
        layers += [nn.Conv2d(inputs, wide, size, padding=size // 2, bias=False), nn.BatchNorm2d(wide), nn.ReLU(True)]
        inputs = wide
    return nn.Sequential(*layers)
