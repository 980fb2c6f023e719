"""AlexNet with batch norm, in the widths that the rotation paper's code uses (not Caffe's).

Source: gidariss/FeatureLearningRotNet, the ImageNet network: 64-192-384-256-256, no groups, no LRN.
"""

from torch import Tensor, nn

from sslkit.errors import UserError
from sslkit.models.pixels import Normalise
from sslkit.models.trunk import Trunk
from sslkit.types import Reads


class AlexNetBN(Trunk):
    """conv1 .. conv5, then fc6 and fc7 (`fc` wide; 0 leaves them out). `width` scales the channels.

    Feature maps are taken after ReLU and before pooling. `side_px` is the side of the square input.
    """

    name = "alexnet_bn"
    takes = Reads(frames=1)

    def __init__(self, side_px: int = 224, width: float = 1.0, fc: int = 4096) -> None:
        super().__init__()
        if _final_side(side_px) < 1:
            raise UserError(f"alexnet_bn: side_px {side_px} is too small for its strides; use 64 or more.")
        self.settings = {"side_px": side_px, "width": width, "fc": fc}
        self.crop_px = side_px
        wide = [max(8, round(c * width)) for c in (64, 192, 384, 256, 256)]
        self.widths = dict(zip(("conv1", "conv2", "conv3", "conv4", "conv5"), wide, strict=True))
        self.normalise = Normalise()
        self.front_end = self.normalise.constants()
        self.pool = nn.MaxPool2d(3, 2)
        self.convs = nn.ModuleDict(
            {
                "conv1": _conv(3, wide[0], 11, stride=4, padding=2),
                "conv2": _conv(wide[0], wide[1], 5, padding=2),
                "conv3": _conv(wide[1], wide[2], 3, padding=1),
                "conv4": _conv(wide[2], wide[3], 3, padding=1),
                "conv5": _conv(wide[3], wide[4], 3, padding=1),
            }
        )
        if fc:
            flat = wide[4] * _final_side(side_px) ** 2
            self.fcs = nn.ModuleDict({"fc6": _linear(flat, fc), "fc7": _linear(fc, fc)})
            self.widths |= {"fc6": fc, "fc7": fc}

    def forward(self, raw: Tensor) -> dict[str, Tensor]:
        """Maps of the layers; see `Trunk.forward`."""
        x, maps = self.normalise(raw), {}
        for name, conv in self.convs.items():
            x = maps[name] = conv(x)
            if name in ("conv1", "conv2", "conv5"):
                x = self.pool(x)
        if self.settings["fc"]:
            x = x.flatten(1)
            for name, linear in self.fcs.items():
                x = maps[name] = linear(x)
        return maps


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _linear(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True))


def _final_side(side_px: int) -> int:
    """Side of the map that fc6 sees: conv1 11/4 with padding 2, then three 3/2 pools (224 -> 55 -> 27 -> 13 -> 6)."""
    side = (side_px + 4 - 11) // 4 + 1
    for _ in range(3):
        side = (side - 3) // 2 + 1
    return side
